"""
What kube-proxy owes a node, in whichever mode it runs.

Lives here: the choice of the mode.  Not here: the modes themselves.
"""

from collections.abc import Callable, Mapping

from nettrace.kube.expected import Expected, NodeFacts
from nettrace.kube.iptables import expected_iptables
from nettrace.kube.ipvs_state import expected_ipvs
from nettrace.kube.nft_tables import expected_nftables
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube
from nettrace.model.section import Known

__all__ = ["expected"]

#: Mode -> (cluster, node, family, facts) -> what is owed.
_MODES: Mapping[str, Callable[[Kube, str, int, NodeFacts], Expected]] = {
    "iptables": expected_iptables,
    "nftables": expected_nftables,
    "ipvs": expected_ipvs,
}


def expected(kube: Kube, node: str, family: int, facts: NodeFacts) -> Expected:
    """
    Return what the kube-proxy that ``kube.proxy`` describes owes *node* in *family* (4 or 6).

    Raises UserError where the objects do not tell, and for a mode that is not derived.
    """
    if not isinstance(kube.proxy, Known):
        raise UserError(
            f"what kube-proxy writes on {node} depends on its configuration, which was not read",
            hint="give it with --kube-proxy-config FILE",
        )
    mode = kube.proxy.value.mode or "iptables"
    if mode not in _MODES:
        raise UserError(
            f"what kube-proxy writes in mode {mode} is not derived",
            hint=f"derived are: {', '.join(_MODES)}",
        )
    return _MODES[mode](kube, node, family, facts)
