"""
A native table that is there, in the shape in which it is owed.

Lives here: the text of ``nft list ruleset``, and a snapshot's rules, as ExpectedNftTable.
Not here: what is owed (nft_tables), what differs (nettrace.diagnose).

The grammar is that of nft 1.0.6 to 1.1: one statement a line, elements over several.
"""

import re
from collections.abc import Iterator, Sequence

from nettrace.kube.expected import ExpectedNftChain, ExpectedNftSet, ExpectedNftTable
from nettrace.model.errors import UserError
from nettrace.model.nft import NftBase

__all__ = ["canonical_element", "canonical_rule", "listed_tables"]

_TABLE = re.compile(r"table (\S+) (\S+) \{")
_INSIDE = re.compile(r"(set|map|chain|counter|quota|limit|flowtable|ct \w+) (.+) \{")
_BASE = re.compile(r"type (\w+) hook (\w+)(?: devices? .+?)? priority ([^;]+);(?: policy (\w+);)?")
_COMMENT = re.compile(r'comment "([^"]*)"')
_HANDLE = re.compile(r"\s*# handle \d+$")
#: What nft calls priorities of ip and ip6 (src/rule.c, std_prios).
_PRIORITIES = {
    "raw": -300,
    "mangle": -150,
    "dstnat": -100,
    "filter": 0,
    "security": 50,
    "srcnat": 100,
}


def canonical_rule(text: str) -> str:
    """
    Return a rule without what nft versions print differently.

    nft 1.0.6 leaves out ``addr . port`` where an address and a port are looked up for a NAT.
    """
    return _HANDLE.sub("", " ".join(text.split())).replace(" addr . port to ", " to ")


def canonical_element(text: str) -> str:
    """Return an element without counters and times."""
    text = re.sub(r" (?:timeout|expires) \S+", "", " ".join(text.split()))
    return re.sub(r" counter packets \d+ bytes \d+", "", text)


def listed_tables(text: str) -> tuple[ExpectedNftTable, ...]:
    """
    Return the tables in what ``nft list ruleset`` or ``nft list table`` printed.

    Objects but chains, sets and maps are left out.  UserError for text that is none of nft's.
    """
    lines = [_HANDLE.sub("", line).strip() for line in text.splitlines()]
    rest = [line for line in lines if line and not line.startswith("#")]
    found, position = [], 0
    while position < len(rest):
        head = _TABLE.fullmatch(rest[position])
        if head is None:
            raise UserError(
                f"not text of nft: `{rest[position][:60]}`",
                hint="give what `nft list ruleset` prints",
            )
        end = _end(rest, position)
        found.append(_table(head[1], head[2], rest[position + 1 : end]))
        position = end + 1
    return tuple(found)


def _end(lines: Sequence[str], start: int) -> int:
    """Return the index of the line that closes the block which *start* opens."""
    depth = 0
    for index in range(start, len(lines)):
        bare = re.sub(r'"[^"]*"', "", lines[index])
        depth += bare.count("{") - bare.count("}")
        if depth == 0:
            return index
    raise UserError("the text of nft ends in the middle of a block", hint="save it again, whole")


def _table(family: str, name: str, lines: Sequence[str]) -> ExpectedNftTable:
    comment, sets, chains, position = "", [], [], 0
    while position < len(lines):
        head = _INSIDE.fullmatch(lines[position])
        if head is None:
            said = _COMMENT.match(lines[position])
            comment = said[1] if said else comment
            position += 1
            continue
        end = _end(lines, position)
        body = lines[position + 1 : end]
        if head[1] == "chain":
            chains.append(_chain(head[2], body))
        elif head[1] in ("set", "map"):
            sets.append(_set(head[2], body, is_map=head[1] == "map"))
        position = end + 1
    return ExpectedNftTable(family=family, name=name, comment=comment, sets=tuple(sets), chains=tuple(chains))


def _chain(name: str, body: Sequence[str]) -> ExpectedNftChain:
    base, comment, rules = None, "", []
    for line in body:
        hooked, said = _BASE.match(line), _COMMENT.match(line)
        if hooked is not None:
            base = NftBase(
                type=hooked[1], hook=hooked[2], priority=_priority(hooked[3]), policy=hooked[4] or "accept"
            )
        elif said is not None:
            comment = said[1]
        else:
            rules.append(line)
    return ExpectedNftChain(name=name, base=base, rules=tuple(rules), comment=comment)


def _priority(text: str) -> int:
    """``dstnat - 10``, ``filter``, ``-110``."""
    sign, total = 1, 0
    for word in text.split():
        if word in ("+", "-"):
            sign = 1 if word == "+" else -1
        elif re.fullmatch(r"-?\d+", word):
            total += sign * int(word)
        elif word in _PRIORITIES:
            total += sign * _PRIORITIES[word]
        else:
            raise UserError(f"`{text}` is no priority of a chain", hint="give what `nft list ruleset` prints")
    return total


def _set(name: str, body: Sequence[str], *, is_map: bool) -> ExpectedNftSet:
    given: dict[str, str] = {}
    elements: tuple[str, ...] = ()
    for index, line in enumerate(body):
        word, _, value = line.partition(" ")
        if word == "elements":
            inner = " ".join(body[index:]).partition("{")[2].rpartition("}")[0]
            elements = tuple(canonical_element(one) for one in _split(inner))
            break
        given[word] = value.rstrip(";")
    return ExpectedNftSet(
        name=name,
        type=given.get("type") or given.get("typeof", ""),
        is_map=is_map,
        flags=tuple(sorted(flag.strip() for flag in given.get("flags", "").split(",") if flag.strip())),
        comment=given.get("comment", "").strip('"'),
        timeout=given.get("timeout", ""),
        size=int(given["size"]) if "size" in given else None,
        elements=elements,
    )


def _split(text: str) -> Iterator[str]:
    """Split elements at commas that stand outside of quotes."""
    start, quoted = 0, False
    for index, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            yield text[start:index]
            start = index + 1
    if text[start:].strip():
        yield text[start:]
