"""
Large snapshot files: one pass finds the chains' blocks, a chain is parsed when it is looked at.

Lives here: the types that leave chains as JSON, and parsing one of them, strictly.
Not here: the header and what a file is told as a whole (nettrace.parse.snapshot_file).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from nettrace.model.late import Late
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, Section
from nettrace.model.snapshot import Netns
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.strict import StrictError, decode_strictly

__all__ = ["LateNetns", "outline", "with_late_chains"]

_RULESETS = ("xt_nft", "xt_legacy", "xt6_nft", "xt6_legacy")
#: How a chain that was read begins in the files that nettrace writes.
_KNOWN = b'{"type":"known"'


class _Table(Struct, frozen=True):
    chains: dict[str, Raw]


class _Ruleset(Struct, frozen=True):
    tables: dict[str, Section[_Table]]


class LateNetns(Netns, frozen=True, kw_only=True):
    """A namespace as it stands in a large file: its chains are still JSON."""

    xt_nft: Section[_Ruleset] = NOT_READ  # type: ignore[assignment]
    xt_legacy: Section[_Ruleset] = NOT_READ  # type: ignore[assignment]
    xt6_nft: Section[_Ruleset] = NOT_READ  # type: ignore[assignment]
    xt6_legacy: Section[_Ruleset] = NOT_READ  # type: ignore[assignment]


def with_late_chains(netns: LateNetns, where: str) -> Netns:
    """
    Return the namespace with chains that are parsed when they are looked at.

    A chain that does not hold what it should is then ``Missing(FAILED)`` with its place in *where*,
    the file.
    """
    fields = {name: getattr(netns, name) for name in Netns.__struct_fields__}
    for field in _RULESETS:
        section = fields[field]
        if isinstance(section, Known):
            place = f'{where}: $.namespaces["{netns.name}"].{field}'
            tables = {
                name: Known(XtTable(_chains(table.value.chains, f'{place}.value.tables["{name}"]')))
                if isinstance(table, Known)
                else table
                for name, table in section.value.tables.items()
            }
            fields[field] = Known(XtRuleset(tables))
    return Netns(**fields)


def _chains(raw: dict[str, Raw], place: str) -> Late[Section[XtChain]]:
    parse = partial(_parsed, place)
    # What was not read is told at once: who looks for that need not parse everything else.
    known = len(_KNOWN)
    at_once = {name: parse(name, one) for name, one in raw.items() if memoryview(one)[:known] != _KNOWN}
    return Late({**raw, **at_once}, parse)


def _parsed(place: str, name: str, raw: Raw) -> Section[XtChain]:
    at = f'{place}.value.chains["{name}"]'
    try:
        found: Section[XtChain] = decode_strictly(bytes(raw), Known[XtChain] | Missing)  # type: ignore[arg-type]
    except StrictError as error:
        return Missing(MissingKind.FAILED, f"{error.what} at {at}{error.path.removeprefix('$')}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Missing(MissingKind.FAILED, f"{error} at {at}")
    if isinstance(found, Known):
        chain = found.value
        if chain.counters is not None and len(chain.counters) != len(chain.rules):
            return Missing(MissingKind.FAILED, f"a chain has counters, but not one a rule, at {at}")
    return found


class _Outline(Struct, frozen=True):
    policy: str | None = None
    rules: tuple[Raw, ...] = ()


_OUTLINE = msgspec.json.Decoder(Known[_Outline])


def outline(chains: Mapping[str, Section[XtChain]], name: str) -> tuple[str | None, int] | Missing:
    """Return the policy and the number of rules of a chain, without parsing the rules if they are not yet."""
    raw = chains.raw(name) if isinstance(chains, Late) else None
    if raw is not None:
        try:
            found = _OUTLINE.decode(raw).value
        except msgspec.MsgspecError:
            pass  # parsed in full, it says what is wrong
        else:
            return found.policy, len(found.rules)
    section: Any = chains[name]
    if isinstance(section, Missing):
        return section
    return section.value.policy, len(section.value.rules)
