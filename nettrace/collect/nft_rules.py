"""
Rules of one native chain and elements of one set, by raw nfnetlink.

Lives here: asking the kernel, microseconds an entry; reading anew what changed meanwhile.
Not here: which tables there are (nf_tables, nft), what expressions mean (nft_expressions).
"""

import struct
from collections.abc import Callable, Iterable
from typing import TypeVar

from nettrace.collect.failure import CollectError
from nettrace.collect.nf_tables import generation
from nettrace.collect.nft_expressions import decode_data, decode_expression, expression_name
from nettrace.collect.session import Session
from nettrace.collect.wire import attribute, attributes, be32, be64, each, nfgenmsg, text
from nettrace.model.nft import FAMILIES, NftElement, NftRule, NftSet
from nettrace.model.section import MissingKind

__all__ = ["read_elements", "read_rules", "read_sets", "steadily"]

T = TypeVar("T")

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GETRULE, _GETSET, _GETSETELEM = _SUBSYSTEM | 7, _SUBSYSTEM | 10, _SUBSYSTEM | 13

_NUMBERS = {name: number for number, name in FAMILIES.items()}
_SET_FLAGS = ("anonymous", "constant", "interval", "map", "timeout", "dynamic", "object", "concat", "expr")

#: What changes while it is read is read again, this often at most.
_TRIES = 3


def steadily(session: Session, read: Callable[[], T]) -> T:
    """Return what *read* returns while the rule set stays as it is; CollectError if it never does."""
    for _ in range(_TRIES):
        before = generation(session)
        found = read()
        if generation(session) == before:
            return found
    raise CollectError(MissingKind.FAILED, "unstable: it changed each time while it was read")


def _name(kind: int, name: str) -> bytes:
    return attribute(kind, name.encode(errors="surrogateescape") + b"\0")


def _body(family: str, *attrs: bytes) -> bytes:
    return nfgenmsg(_NUMBERS[family]) + b"".join(attrs)


def read_rules(session: Session, family: str, table: str, chain: str) -> tuple[NftRule, ...]:
    """Return the rules of a chain, in order; OSError with ENOENT's errno if it is gone."""
    body = _body(family, _name(1, table), _name(2, chain))
    return tuple(_rule(payload) for payload in session.netfilter.dump(_GETRULE, body))


def read_all_rules(session: Session, family: str, table: str) -> dict[str, tuple[NftRule, ...]]:
    """Return the rules of all chains of a table that have any, in one dump."""
    found: dict[str, list[NftRule]] = {}
    for payload in session.netfilter.dump(_GETRULE, _body(family, _name(1, table))):
        found.setdefault(text(attributes(payload, 4)[2]), []).append(_rule(payload))
    return {chain: tuple(rules) for chain, rules in found.items()}


def _rule(payload: bytes) -> NftRule:
    found = attributes(payload, 4)
    expressions = tuple(each(found.get(4, b"")))
    return NftRule(
        handle=be64(found[3]),
        expressions=tuple(decode_expression(one) for one in expressions),
        comment=_comment(found.get(7, b"")),
        packets=_packets(expressions),
    )


def _packets(expressions: Iterable[bytes]) -> int | None:
    """Read the first counter of a rule (NFTA_COUNTER_PACKETS)."""
    for one in expressions:
        found = attributes(one)
        if text(found.get(1, b"")) == "counter":
            return be64(attributes(found.get(2, b"")).get(2, bytes(8)))
    return None


def _comment(userdata: bytes) -> str:
    """Find the comment in nft's userdata: pairs of type, length, value (libnftnl's udata.h)."""
    start = 0
    while start + 2 <= len(userdata):
        kind, length = userdata[start], userdata[start + 1]
        if kind == 0:
            return text(userdata[start + 2 : start + 2 + length])
        start += 2 + length
    return ""


def read_sets(session: Session) -> dict[tuple[str, str], dict[str, NftSet]]:
    """Return all sets without their elements, by (family, table) and name, in order."""
    sets: dict[tuple[str, str], dict[str, NftSet]] = {}
    for payload in session.netfilter.dump(_GETSET, nfgenmsg()):
        found = attributes(payload, 4)
        family = FAMILIES.get(payload[0], str(payload[0]))
        sets.setdefault((family, text(found[1])), {})[text(found[2])] = _set(found)
    return sets


def _set(found: dict[int, bytes]) -> NftSet:
    def number(kind: int) -> int:
        return be32(found[kind]) if kind in found else 0

    flags = number(3)
    description = attributes(found[9]) if 9 in found else {}
    fields = tuple(be32(attributes(one)[1]) for one in each(description.get(2, b"")))
    return NftSet(
        handle=be64(found[16]) if 16 in found else 0,
        flags=frozenset(name for bit, name in enumerate(_SET_FLAGS) if flags >> bit & 1),
        key_type=number(4),
        key_len=number(5),
        data_type=number(6),
        data_len=number(7),
        object_type=number(15),
        fields=fields,
    )


def read_elements(session: Session, family: str, table: str, name: str) -> tuple[NftElement, ...]:
    """Return the elements of a set, in the kernel's order; OSError with ENOENT's errno if it is gone."""
    body = _body(family, _name(1, table), _name(2, name))
    return tuple(
        _element(one)
        for payload in session.netfilter.dump(_GETSETELEM, body)
        for one in each(attributes(payload, 4).get(3, b""))
    )


def _element(payload: bytes) -> NftElement:
    found = attributes(payload)
    flags = be32(found[3]) if 3 in found else 0
    data, verdict = decode_data(found[2]) if 2 in found else (None, None)
    inside = list(each(found[11])) if 11 in found else [found[7]] if 7 in found else []
    return NftElement(
        key=decode_data(found[1])[0] if 1 in found else "",
        key_end=decode_data(found[10])[0] if 10 in found else None,
        interval_end=bool(flags & 1),
        catch_all=bool(flags & 2),
        data=data if verdict is None else None,
        verdict=verdict,
        object=text(found[9]) if 9 in found else None,
        stateful=tuple(expression_name(one) for one in inside),
        comment=_comment(found.get(6, b"")),
        expires=struct.unpack(">Q", found[5])[0] if 5 in found else None,
    )
