"""
Blanks and quotes of iptables-save's text.

Lives here: splitting a specification into words and into parts (``-m ...``, ``-j ...``), and
quoting a value again.
Not here: what the words mean.

iptables knows one kind of quoting: double quotes, with a backslash before a character that is
to be taken as it is (xtables_save_string() in libxtables/xtables.c, add_param_to_argv() in
iptables/xshared.c).  A single quote quotes nothing; a new line inside quotes is a character.
"""

import re
from collections.abc import Iterator

__all__ = ["Part", "join", "quote", "split_counters", "split_spec", "words"]

#: ``("m", "tcp --dport 80")``, ``("j", "ACCEPT")``, ``("g", "CHAIN")``.
Part = tuple[str, str]

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PART = re.compile(r"(?:^| )-([mjg]) ")
_COUNTERS = re.compile(r"(?:^| )-c (\d+) (\d+)(?= -[jg] |$)")
_PLAIN = re.compile(r"[-_0-9A-Za-z]+")
_ESCAPED = re.compile(r'(["\\\'])')
_WORD = re.compile(r'(?:[^ "]|"(?:[^"\\]|\\.)*")+', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NEEDS_QUOTES = re.compile(r'[ "\\\n\t]')


def words(text: str) -> list[str]:
    """Return the words of *text* with their quotes taken off; ValueError if a quote is left open."""
    if '"' not in text:
        return [word for word in text.split(" ") if word]
    if '"' in _QUOTED.sub("", text):
        raise ValueError("a double quote is not closed")
    return [
        _QUOTED.sub(lambda quoted: _ESCAPE.sub(r"\1", quoted[0][1:-1]), word) for word in _WORD.findall(text)
    ]


def quote(value: str) -> str:
    """Return *value* as iptables 1.8.9 prints a string: bare if it is harmless, else in quotes."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + _ESCAPED.sub(r"\\\1", value) + '"'


def join(parts: list[str]) -> str:
    """Return words as one text that ``words`` takes apart again, quoted only where needed."""
    return " ".join(quote(part) if not part or _NEEDS_QUOTES.search(part) else part for part in parts)


def split_spec(text: str) -> tuple[str, list[Part]]:
    """
    Split a specification before each ``-m``, ``-j`` and ``-g`` that is not inside quotes.

    Returns what stands before the first of them and the parts, all as written.  ValueError
    if a quote is left open.
    """
    bare, quoted = _hide(text)
    base, *rest = _PART.split(bare)
    found = iter(quoted)
    base = _show(base, found) if quoted else base
    flags, bodies = rest[::2], rest[1::2]
    if quoted:
        bodies = [_show(body, found) if '"' in body else body for body in bodies]
    return base, list(zip(flags, bodies, strict=True))


def split_counters(text: str) -> tuple[str, tuple[int, int] | None]:
    """Take ``-c PACKETS BYTES`` as ``iptables -v -S`` prints it out of a rule."""
    bare, quoted = _hide(text)
    all_found = list(_COUNTERS.finditer(bare))
    if not all_found:
        return text, None
    found = all_found[-1]  # iptables' own stands right before the target
    rest = bare[: found.start()] + bare[found.end() :]
    return _show(rest, iter(quoted)).removeprefix(" "), (int(found[1]), int(found[2]))


def _hide(text: str) -> tuple[str, list[str]]:
    """Return *text* with a lone ``"`` for each quoted string, and these strings."""
    if '"' not in text:
        return text, []
    quoted = _QUOTED.findall(text)
    bare = _QUOTED.sub('"', text)
    if bare.count('"') != len(quoted):
        raise ValueError("a double quote is not closed")
    return bare, quoted


def _show(bare: str, quoted: Iterator[str]) -> str:
    head, *tails = bare.split('"')
    return head + "".join(next(quoted) + tail for tail in tails)
