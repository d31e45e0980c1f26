"""
Documents as a picture: the text rendering in colours, as a terminal would show it.

Lives here: the SVG.  The same document gives the same bytes.
"""

import re
from io import StringIO

from rich.console import Console

from nettrace.render.colour import as_text
from nettrace.render.contract import Document
from nettrace.render.page import Look, width_of
from nettrace.render.text import page

__all__ = ["offline", "render"]

#: rich's pictures fetch their font from the web.  Ours ask nobody for anything.
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def render(document: Document, look: Look | None = None, *, title: str = "nettrace") -> str:
    """Return *document* as SVG, as wide as its longest line and at least 80 columns."""
    laid = page(document, look or Look(width=100))
    width = max([80, *(width_of(spans) for spans in laid)])
    console = Console(
        file=StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor", _environ={}
    )
    for spans in laid:
        console.print(as_text(spans), highlight=False)
    return offline(console.export_svg(title=title, unique_id="nettrace"))


def offline(svg: str) -> str:
    """Return a picture of rich's without the fonts that it would fetch."""
    return _FONT.sub("", svg)
