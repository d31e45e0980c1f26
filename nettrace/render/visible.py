"""
Untrusted text made visible.

Names of pods, rules' comments and probes' answers come from others.  A terminal obeys
escape sequences, and a reader believes what overriding marks reorder.
Lives here: the one function that every text output passes its text through.
"""

import unicodedata

__all__ = ["visible"]

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

#: Unicode categories that do not show: controls, format marks (bidi, zero width), surrogates,
#: private use, unassigned, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str) -> str:
    r"""
    Return *text* with every character that a terminal would act upon written as an escape.

    Escape, C1 controls, newlines, right-to-left marks and the like become ``\\x1b``,
    ``\\n``, ``\\u202e``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
