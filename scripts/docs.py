"""
Bring the documentation up to what nettrace does today: transcripts, the table of causes, pictures.

``.venv/bin/python -m scripts.docs [PAGE ...]`` as root; pages of causes are written by
scripts/cause_pages.py.  tests/test_docs.py fails where this would change more than what differs
from run to run.
"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from nettrace.app.plugins import load_plugins
from scripts.pictures import draw
from scripts.transcripts import ROOT, commands, play, rewritten

__all__ = ["PAGES", "causes_table", "main", "with_causes"]

#: The pages that are checked, and may hold transcripts.
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_CAUSES = re.compile(r"(<!-- causes -->\n).*?(<!-- end of causes -->)", re.DOTALL)


def causes_table() -> str:
    """Return the table of all causes that nettrace and its plugins know, linked to their pages."""
    rows = [f"| [`{c.id}`](docs/causes/{c.id}.md) | {c.title} | {c.shows} |" for c in load_plugins().causes()]
    return "\n".join(["| cause | what is wrong | how it shows |", "|---|---|---|", *rows])


def with_causes(page: str) -> str:
    """Return *page* with the table of causes between its two marks."""
    return _CAUSES.sub(lambda match: f"{match[1]}{causes_table()}\n{match[2]}", page)


def main(pages: list[Path]) -> None:
    """Rewrite *pages*, or everything if there are none."""
    for path in pages or PAGES:
        page = with_causes(path.read_text())
        if commands(page):
            with TemporaryDirectory() as scratch:
                labs = ("shop", "dock")
                page = rewritten(page, list(play(page, Path(scratch), names={lab: lab for lab in labs})))
        if page != path.read_text():
            path.write_text(page)
            print(f"rewritten: {path}")
    if not pages:
        for name, svg in draw().items():
            (ROOT / "docs/pictures" / name).write_text(svg)


if __name__ == "__main__":
    main([Path(name).resolve() for name in sys.argv[1:]])
