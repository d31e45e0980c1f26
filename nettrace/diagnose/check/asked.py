"""
A single question of a check: one source, one target, what is expected.

Lives here: the type, and making target texts out of names and ports.
"""

from msgspec import Struct

from nettrace.model.check import Expect, Via
from nettrace.model.errors import UserError
from nettrace.parse.target import Target, parse_target

__all__ = ["Asked", "Expanded", "with_port"]


class Asked(Struct, frozen=True, kw_only=True):
    """
    One question.

    ``kind`` is ``expectation`` or an invariant.  ``endpoints`` are (address, port) pairs, None
    for whoever is owed.  ``problem``: why it cannot be asked at all, "" otherwise; with ``unread``
    because something could not be read.
    """

    name: str
    kind: str
    source: str
    target: str
    expect: tuple[Expect, ...] = (Expect.OWED,)
    endpoints: frozenset[tuple[str, int | None]] | None = None
    kept: str = ""
    via: Via = Via.MODEL
    line: int = 0
    problem: str = ""
    unread: bool = False


class Expanded(Struct, frozen=True, kw_only=True):
    """What an expectation or invariant comes to; ``left_out`` are sentences about what it does not ask."""

    asked: tuple[Asked, ...] = ()
    left_out: tuple[str, ...] = ()


def with_port(target: str, port: str) -> str:
    """Return the target text with a port or protocol as written in a check file; "" changes nothing."""
    if not port:
        return target
    if port in ("icmp", "icmpv6"):
        return f"{target}/{port}"
    return f"{_bracketed(target)}:{port}"


def _bracketed(text: str) -> str:
    """Put an IPv6 address in brackets, so that a port may follow."""
    try:
        target: Target = parse_target(text)
    except UserError:
        return text
    if ":" in target.name and not text.endswith("]"):
        head, _, _ = text.rpartition("/")
        return f"{head}/[{target.name}]" if head else f"[{target.name}]"
    return text
