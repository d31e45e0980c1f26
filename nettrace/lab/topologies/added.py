"""
What a network system adds to the rules of a node.

Lives here: putting rules, written as iptables-save does, in front of and behind those of others.
Not here: which rules (plugins).
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from nettrace.model.section import Known, Section
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule

__all__ = ["with_rules"]

T = TypeVar("T")
_Specs = Mapping[str, Sequence[str]]


def with_rules(
    rules: XtRuleset,
    table: str,
    *,
    chains: _Specs | None = None,
    first: _Specs | None = None,
    last: _Specs | None = None,
) -> XtRuleset:
    """
    Return *rules* with more in one table, each rule a text without ``-A CHAIN``.

    *chains* are chains of its own, *first* and *last* rules of chains that are there: in front of the
    others, and behind them.
    """
    found: dict[str, Section[XtChain]] = dict(_known(rules.tables.get(table, Known(XtTable({})))).chains)
    for name, specs in (chains or {}).items():
        found[name] = Known(XtChain(rules=tuple(parse_rule(spec) for spec in specs)))
    for name, specs in (first or {}).items():
        old = _known(found[name])
        found[name] = Known(replace(old, rules=(*(parse_rule(spec) for spec in specs), *old.rules)))
    for name, specs in (last or {}).items():
        old = _known(found[name])
        found[name] = Known(replace(old, rules=(*old.rules, *(parse_rule(spec) for spec in specs))))
    return XtRuleset({**rules.tables, table: Known(XtTable(found))})


def _known(section: Section[T]) -> T:
    assert isinstance(section, Known)  # noqa: S101  (made here, not read)
    return section.value
