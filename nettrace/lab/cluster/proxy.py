"""
What kube-proxy writes on a node of a lab, in the mode that the lab's kube-proxy runs in.

Lives here: the text for iptables-restore or for nft.  Not here: bringing it to a node that is up
(nettrace.lab.proxy), the rules themselves (nettrace.kube).
"""

from nettrace.kube.expected import ExpectedNftTable, NodeFacts
from nettrace.kube.iptables import ruleset
from nettrace.kube.nft_tables import expected_nftables
from nettrace.model.kube import Kube
from nettrace.model.section import Known
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRuleset, XtTable
from nettrace.render.nft_table import nft_tables_text

__all__ = ["MODES", "iptables_rules", "mode_of", "native_rules", "native_tables"]

MODES = ("iptables", "nftables")
_FAMILIES = (4, 6)


def mode_of(kube: Kube) -> str:
    """``iptables`` or ``nftables``."""
    return kube.proxy.value.mode if isinstance(kube.proxy, Known) else MODES[0]


def iptables_rules(kube: Kube, node: str) -> XtRuleset:
    """Return the tables of iptables; without a chain of kube-proxy's in mode nftables."""
    if mode_of(kube) == "iptables":
        return ruleset(kube, node)
    return XtRuleset(
        {
            table: Known(XtTable({name: Known(XtChain(policy="ACCEPT")) for name in BUILTIN_CHAINS[table]}))
            for table in ("mangle", "nat", "filter")
        }
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
