"""scripts/vm, seen from outside: what comes back from the guest, and what does not."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.vm.machine import NO_KERNEL

ROOT = Path(__file__).parents[1]

SCRIPT = """
echo said; echo wrong >&2; test "$NETTRACE_WORD" = "two words" || echo lost
echo kept >"$1/kept"; echo gone >"$2/gone"; test "$(cat "$1/given")" = given || echo unread
exit 7
"""


def test_what_comes_back(tmp_path: Path) -> None:
    """Output and exit code come back, what is shared stays, and nothing else of what is written."""
    (tmp_path / "given").write_text("given")
    done = subprocess.run(
        ["timeout", "120", ROOT / "scripts/vm", "-w", tmp_path, "sh", "-c", SCRIPT, "sh", tmp_path, ROOT],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NETTRACE_WORD": "two words"},
    )
    if done.returncode == 125 and "vm: " in done.stderr and not done.stdout:
        pytest.skip(f"{NO_KERNEL}: {done.stderr}")
    assert (done.returncode, done.stdout.splitlines()) == (7, ["said", "wrong"])
    assert (tmp_path / "kept").read_text() == "kept\n"
    assert not (ROOT / "gone").exists()
