"""
Pictures for the documentation: SVG files that nettrace itself draws of a real lab.

``scripts/docs.py`` writes them to docs/pictures, and a test draws them again.
"""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.transcripts import environment, free_name

__all__ = ["PICTURES", "draw"]

#: The lab's name in the pictures.
LAB = "shop"

#: Picture -> what is done to the lab before it is drawn, and the question it shows.  In this order.
PICTURES = {
    "node-port.svg": ([], "trace internet node/node-a:30080 --lab LAB"),
    "kube-postrouting-missing.svg": (
        ["lab break kube-postrouting-missing --lab LAB"],
        "trace internet node/node-a:30080 --lab LAB",
    ),
}


def draw() -> dict[str, str]:
    """Build a lab, draw all pictures of it, and take it down; returns their SVG by name."""
    # As long as the name in the pictures: the drawing depends on the length.
    name = free_name(len(LAB))
    with TemporaryDirectory() as scratch:
        directory = Path(scratch)

        def run(line: str, *codes: int) -> str:
            done = subprocess.run(
                ["nettrace", *line.replace("LAB", name).split()],
                env=environment(directory),
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if done.returncode not in codes:
                raise RuntimeError(f"nettrace {line}: exit {done.returncode}\n{done.stderr}")
            return done.stdout.replace(name, LAB)

        try:
            run("lab up flannel-vxlan --name LAB", 0)
            drawn = {}
            for file, (before, question) in PICTURES.items():
                for line in before:
                    run(line, 0)
                drawn[file] = run(f"{question} -o svg", 0, 1)
            return drawn
        finally:
            run("lab down LAB", 0, 2)
