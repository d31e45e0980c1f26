"""
Colours of the application, light and dark.

Lives here: what each style of a page looks like here.  Never colour alone: a word or a symbol says
the same.
"""

from functools import cache

from rich.style import Style as RichStyle

from nettrace.render.page import Style

__all__ = ["rich_style"]

#: Style -> colour on dark, colour on light, attributes.
_COLOURS: dict[Style, tuple[str | None, str | None, str]] = {
    Style.PLAIN: (None, None, ""),
    Style.HEAD: (None, None, "bold"),
    Style.NAME: ("#7fd4e8", "#005f73", ""),
    Style.DIM: ("#8f98a3", "#5c6670", ""),
    Style.GOOD: ("#7ed491", "#146c2e", "bold"),
    Style.BAD: ("#ff7b72", "#b3261e", "bold"),
    Style.WARN: ("#f2c14e", "#8a5a00", "bold"),
    Style.UNSURE: ("#d6a0f0", "#7b2d97", "bold"),
    Style.CHANGE: ("#f0b072", "#8f4a00", ""),
    Style.CODE: ("#d7dde5", "#22272e", ""),
}


@cache
def rich_style(style: Style, *, dark: bool) -> RichStyle:
    """Return rich's style for a style of a page."""
    on_dark, on_light, attributes = _COLOURS[style]
    return RichStyle(color=on_dark if dark else on_light, bold="bold" in attributes or None)
