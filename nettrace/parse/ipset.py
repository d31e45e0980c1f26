"""
``ipset save`` text to the model.

Lives here: ``create`` and ``add`` lines (ipset(8)).
Not here: listing sets (nettrace.collect), testing addresses against them (nettrace.walk).
"""

import re
from itertools import pairwise

from msgspec import Struct

from nettrace.model.errors import UserError
from nettrace.model.ipset import IpSet

__all__ = ["parse_ipset_save", "save_ipset"]

#: A comment is the only quoted thing, and ipset allows no quotes inside.
_COMMENT = re.compile(r'"[^"]*"')


class _Open(Struct):
    name: str
    type: str
    family: int
    members: list[str]
    exceptions: list[str]
    wildcards: list[str]
    mask: str | None
    markmask: int | None


def parse_ipset_save(text: str) -> tuple[IpSet, ...]:
    """
    Return the sets of an ``ipset save`` dump, in its order.

    UserError, with the line, for text that is not one.
    """
    sets: dict[str, _Open] = {}
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            _read(line, sets)
        except ValueError as error:
            raise UserError(
                str(error),
                where=f"ipset save, line {line_number}",
                hint="take the dump again: ipset save > FILE",
            ) from None
    return tuple(
        IpSet(
            name=one.name,
            type=one.type,
            family=one.family,
            members=tuple(one.members),
            exceptions=tuple(one.exceptions),
            wildcards=tuple(one.wildcards),
            mask=one.mask,
            markmask=one.markmask,
        )
        for one in sets.values()
    )


def save_ipset(one: IpSet, options: str) -> str:
    """Write a set for ``ipset restore``; *options* stand behind its type."""
    lines = [f"create {one.name} {one.type} {options}".rstrip()]
    for members, word in ((one.members, ""), (one.exceptions, " nomatch")):
        lines += [f"add {one.name} {m}{' wildcard' if m in one.wildcards else ''}{word}" for m in members]
    return "".join(f"{line}\n" for line in lines)


def _read(line: str, sets: dict[str, _Open]) -> None:
    command, *words = _COMMENT.sub("_", line).split()
    if command == "create" and len(words) >= 2:
        name, kind, *options = words
        if name in sets:
            raise ValueError(f"set {name} is created twice")
        markmask = _follows(options, "markmask")
        sets[name] = _Open(
            name,
            kind,
            6 if _follows(options, "family") == "inet6" else 4,
            [],
            [],
            [],
            _follows(options, "netmask") or _follows(options, "bitmask"),
            None if markmask is None else int(markmask, 0),
        )
    elif command == "add" and len(words) >= 2:
        name, member, *options = words
        if name not in sets:
            raise ValueError(f"an entry of set {name} stands before the set")
        one = sets[name]
        (one.exceptions if "nomatch" in options else one.members).append(member)
        if "wildcard" in options:
            one.wildcards.append(member)
    else:
        raise ValueError(f"`{line[:60]}` is not a line of ipset save")


def _follows(words: list[str], word: str) -> str | None:
    return next((value for name, value in pairwise(words) if name == word), None)
