"""
A native table as nft writes it, ready for ``nft -f``.

Lives here: the table that kube-proxy owes -> text.  Not here: what is owed (nettrace.kube).
"""

from collections.abc import Iterable, Iterator

from nettrace.kube.expected import ExpectedNftChain, ExpectedNftSet, ExpectedNftTable
from nettrace.model.nft import NftBase

__all__ = ["nft_tables_text"]

_EVERYWHERE = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
#: Names of priorities that only one hook knows.
_AT_HOOK = {"prerouting": {"dstnat": -100}, "postrouting": {"srcnat": 100}}
#: nft names a priority that is at most so far from a named one.
_NEAR = 10


def nft_tables_text(tables: Iterable[ExpectedNftTable]) -> str:
    """Return the tables in the form of ``nft list ruleset``."""
    return "".join(f"{line}\n" for table in tables for line in _table(table))


def _table(table: ExpectedNftTable) -> Iterator[str]:
    yield f"table {table.family} {table.name} {{"
    if table.comment:
        yield f'\tcomment "{table.comment}"'
    for one in table.sets:
        yield from _set(one)
        yield ""
    for index, chain in enumerate(table.chains):
        if index:
            yield ""
        yield from _chain(chain)
    yield "}"


def _set(one: ExpectedNftSet) -> Iterator[str]:
    yield f"\t{'map' if one.is_map else 'set'} {one.name} {{"
    yield f"\t\ttype {one.type}"
    if one.size is not None:
        yield f"\t\tsize {one.size}"
    if one.flags:
        yield f"\t\tflags {','.join(one.flags)}"
    if one.timeout:
        yield f"\t\ttimeout {one.timeout}"
    if one.comment:
        yield f'\t\tcomment "{one.comment}"'
    if one.elements:
        between = ",\n\t\t\t     "
        yield f"\t\telements = {{ {between.join(one.elements)} }}"
    yield "\t}"


def _chain(chain: ExpectedNftChain) -> Iterator[str]:
    yield f"\tchain {chain.name} {{"
    if chain.comment:
        yield f'\t\tcomment "{chain.comment}"'
    if chain.base is not None:
        base = chain.base
        yield (f"\t\ttype {base.type} hook {base.hook} priority {_priority(base)}; policy {base.policy};")
    for rule in chain.rules:
        yield f"\t\t{rule}"
    yield "\t}"


def _priority(base: NftBase) -> str:
    """``filter``, ``dstnat - 10``, or the number where nothing named is near."""
    for name, value in (_EVERYWHERE | _AT_HOOK.get(base.hook, {})).items():
        away = base.priority - value
        if away == 0:
            return name
        if abs(away) <= _NEAR:
            return f"{name} {'+' if away > 0 else '-'} {abs(away)}"
    return str(base.priority)
