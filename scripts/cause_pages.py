"""
Write docs/causes from the causes themselves.

``scripts/cause_pages.py [DIRECTORY]``; a test compares the pages with the causes.
"""

import sys
from pathlib import Path

from nettrace.app.plugins import load_plugins
from nettrace.diagnose.page import index_page, page

__all__ = ["main"]


def main(directory: Path) -> None:
    """Write one page a cause, and the index; pages of causes that are gone go too."""
    causes = load_plugins().causes()
    directory.mkdir(parents=True, exist_ok=True)
    wanted = {f"{cause.id}.md": page(cause) for cause in causes} | {"README.md": index_page(causes)}
    for old in directory.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    root = Path(__file__).parent.parent
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else root / "docs" / "causes")
