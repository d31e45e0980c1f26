"""
What kube-proxy writes on a node of a lab, in the mode that the lab's kube-proxy runs in.

Lives here: the text for iptables-restore, nft, ipvsadm and ipset.  Not here: bringing it to a node that is up
(nettrace.lab.proxy), the rules themselves (nettrace.kube).
"""

from collections.abc import Sequence

from msgspec import Struct

from nettrace.kube.expected import ExpectedNftTable, NodeFacts
from nettrace.kube.iptables import ruleset
from nettrace.kube.ipvs_state import expected_ipvs
from nettrace.kube.nft_tables import expected_nftables
from nettrace.model.kube import Kube
from nettrace.model.section import Known, Section
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRuleset, XtTable
from nettrace.parse.ipvs import save_ipvsadm
from nettrace.render.ipvs_text import ipset_text
from nettrace.render.nft_table import nft_tables_text

__all__ = [
    "MODES",
    "VirtualState",
    "iptables_rules",
    "mode_of",
    "native_rules",
    "native_tables",
    "virtual_state",
]

MODES = ("iptables", "nftables", "ipvs")
_FAMILIES = (4, 6)


class VirtualState(Struct, frozen=True, kw_only=True):
    """
    What kube-proxy in mode ipvs makes of a node beside iptables rules.

    ``servers`` is for ``ipvsadm -R``, ``sets`` for ``ipset restore``, ``wiring`` for ip(8).
    """

    servers: str
    sets: str
    wiring: tuple[str, ...]
    sysctls: dict[str, str]


def mode_of(kube: Kube) -> str:
    """``iptables``, ``nftables`` or ``ipvs``."""
    return kube.proxy.value.mode if isinstance(kube.proxy, Known) else MODES[0]


def iptables_rules(kube: Kube, node: str, addresses: Sequence[str] = ()) -> XtRuleset:
    """
    Return the tables of iptables; without a chain of kube-proxy's in mode nftables.

    *addresses* are those of the node's devices, which only mode ipvs has to know.
    """
    if mode_of(kube) == "iptables":
        return ruleset(kube, node)
    empty: dict[str, Section[XtTable]] = {
        table: Known(XtTable({name: Known(XtChain(policy="ACCEPT")) for name in BUILTIN_CHAINS[table]}))
        for table in ("mangle", "nat", "filter")
    }
    if mode_of(kube) == "ipvs":
        owed = expected_ipvs(kube, node, 4, NodeFacts(addresses=tuple(addresses))).iptables
        return XtRuleset({**empty, **(owed.tables if owed is not None else {})})
    return XtRuleset(empty)


def virtual_state(kube: Kube, node: str, addresses: Sequence[str]) -> VirtualState | None:
    """Return what mode ipvs keeps beside its few rules on a node with these addresses; None in others."""
    if mode_of(kube) != "ipvs":
        return None
    owed = expected_ipvs(kube, node, 4, NodeFacts(addresses=tuple(addresses)))
    assert owed.ipvs is not None  # noqa: S101  (the mode's own)
    device = owed.ipvs.device
    return VirtualState(
        servers=save_ipvsadm(owed.ipvs.servers),
        sets=ipset_text(owed.ipvs.ipsets),
        wiring=(
            f"link add {device} type dummy",
            *(f"addr add {address}/32 dev {device}" for address in owed.ipvs.addresses),
        ),
        sysctls=owed.sysctls,
    )


def native_rules(kube: Kube, node: str) -> str:
    """Return native_tables() as text for ``nft -f``, "" in mode iptables."""
    return nft_tables_text(native_tables(kube, node))


def native_tables(kube: Kube, node: str) -> tuple[ExpectedNftTable, ...]:
    """Return kube-proxy's native tables, of both families always; none in mode iptables."""
    if mode_of(kube) != "nftables":
        return ()
    return tuple(
        table for family in _FAMILIES for table in expected_nftables(kube, node, family, NodeFacts()).nft
    )
