"""Native nftables rule sets for walks over hand-made worlds, expression by expression."""

from collections.abc import Iterable, Sequence

from nettrace.model import nft_expr as e
from nettrace.model import nft_statement as s
from nettrace.model.nft import NftBase, NftChain, NftElement, NftRule, NftRuleset, NftSet, NftTable
from nettrace.model.section import Known

DROP = e.ImmediateExpr(dreg=0, verdict=e.NftVerdict("drop"))
ACCEPT = e.ImmediateExpr(dreg=0, verdict=e.NftVerdict("accept"))
#: ``meta protocol ip drop``: what drops packets and lets ARP pass.
DROP_IP = (e.MetaExpr(1, "protocol"), e.CmpExpr(1, "eq", "0800"), DROP)


def jump(chain: str) -> e.ImmediateExpr:
    """``jump CHAIN``."""
    return e.ImmediateExpr(dreg=0, verdict=e.NftVerdict("jump", chain))


def tcp_dport(port: int, op: str = "eq") -> tuple[e.Expression, ...]:
    """``tcp dport PORT``."""
    return (
        e.MetaExpr(1, "l4proto"),
        e.CmpExpr(1, "eq", "06"),
        e.PayloadExpr(1, "transport", 2, 2),
        e.CmpExpr(1, op, f"{port:04x}"),
    )


def mark_set(value: int) -> tuple[e.Expression, ...]:
    """``meta mark set VALUE``."""
    return (
        e.ImmediateExpr(dreg=1, data=value.to_bytes(4, "little").hex()),
        s.MetaSetExpr(1, "mark"),
    )


def mark_is(value: int) -> tuple[e.Expression, ...]:
    """``meta mark VALUE``."""
    return (e.MetaExpr(1, "mark"), e.CmpExpr(1, "eq", value.to_bytes(4, "little").hex()))


def dnat(address: str, port: int) -> tuple[e.Expression, ...]:
    """``dnat ip to ADDRESS:PORT``."""
    data = bytes(int(part) for part in address.split(".")).hex()
    return (
        e.ImmediateExpr(dreg=1, data=data),
        e.ImmediateExpr(dreg=2, data=f"{port:04x}"),
        s.NatExpr(kind="dnat", family="ip", addr_min=1, addr_max=1, port_min=2, port_max=2),
    )


def chain(*rules: Sequence[e.Expression], base: NftBase | None = None, handle: int = 1) -> NftChain:
    """A chain of rules."""
    made = tuple(NftRule(handle=n, expressions=tuple(one)) for n, one in enumerate(rules, 1))
    return NftChain(handle=handle, base=base, use=len(rules), rules=Known(made))


def base(hook: str = "forward", priority: int = 0, *, type: str = "filter", **more: object) -> NftBase:
    """Where a base chain hooks in."""
    return NftBase(type=type, hook=hook, priority=priority, **more)  # type: ignore[arg-type]


def table(
    chains: dict[str, NftChain],
    sets: dict[str, NftSet] | None = None,
    *,
    family: str = "inet",
    name: str = "fw",
) -> NftTable:
    """A table."""
    return NftTable(family=family, name=name, chains=chains, sets=sets or {})


def ruleset(*tables: NftTable) -> NftRuleset:
    """A rule set."""
    return NftRuleset(tables={f"{one.family} {one.name}": one for one in tables})


def one_chain(*rules: Sequence[e.Expression], at: NftBase | None = None, family: str = "inet") -> NftRuleset:
    """A rule set of one base chain ``c`` in table ``fw``."""
    return ruleset(table({"c": chain(*rules, base=at or base())}, family=family))


def elements(one: NftSet, found: Iterable[NftElement]) -> NftSet:
    """A set with its elements."""
    return NftSet(
        handle=one.handle,
        flags=one.flags,
        key_len=one.key_len,
        data_len=one.data_len,
        fields=one.fields,
        elements=Known(tuple(found)),
    )
