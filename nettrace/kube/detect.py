"""
Which kube-proxy it was that wrote the rules of a node.

Lives here: mode and version from what is in the kernel, for a node of which no object says.
Not here: reading it (nettrace.app), the rules (iptables).
"""

from collections.abc import Collection, Iterable

from nettrace.kube.names import XLB_PREFIX
from nettrace.kube.traits import NEWEST
from nettrace.model.nft import NftRuleset
from nettrace.model.section import Known
from nettrace.model.xt import XtChain, XtRuleset
from nettrace.model.xt_match import Nfacct, SetMatch
from nettrace.model.xt_target import Jump

__all__ = ["detect_mode", "detect_nft_version", "detect_version", "has_kube_proxy"]

#: The newest version of each layout.
_WITHOUT_COUNTERS = "1.30"
_MARKS_DROPS = "1.24"
_ONE_BALANCING = "1.23"
_MARKS_IN_SERVICE = "1.22"
_HEALTH_CHECKS = "1.21"
_OLDEST = "1.20"

#: nftables: marks by a chain of its own; and, before, refusals behind a chain after DNAT.
_MARKED = "1.35"
_FILTERED_LATE = "1.33"

_NFT_TABLES = ("ip kube-proxy", "ip6 kube-proxy")


def _chain(rules: XtRuleset, table: str, name: str) -> XtChain | None:
    section = rules.tables.get(table)
    if not isinstance(section, Known):
        return None
    chain = section.value.chains.get(name)
    return chain.value if isinstance(chain, Known) else None


def _names(rules: XtRuleset, table: str) -> Iterable[str]:
    section = rules.tables.get(table)
    return section.value.chains if isinstance(section, Known) else ()


def has_kube_proxy(rules: XtRuleset) -> bool:
    """Is there a chain in table nat that only kube-proxy makes?"""
    return "KUBE-SERVICES" in _names(rules, "nat")


def detect_mode(rules: XtRuleset | None, nft: NftRuleset | None) -> str | None:
    """
    Return the mode of the kube-proxy whose rules these are, None if there are none.

    Its table of nftables goes before chains that an earlier mode left behind; ipvs mode tests
    ipsets where iptables mode has a rule for each Service.
    """
    if nft is not None and any(name in nft.tables for name in _NFT_TABLES):
        return "nftables"
    if rules is None or not has_kube_proxy(rules):
        return None
    services = _chain(rules, "nat", "KUBE-SERVICES")
    tests = [match for rule in services.rules for match in rule.matches] if services else []
    return "ipvs" if any(isinstance(match, SetMatch) for match in tests) else "iptables"


def detect_version(rules: XtRuleset) -> str | None:
    """
    Return the newest version whose iptables layout these rules have, None if there are none.

    Told apart are the layouts with KUBE-XLB, marking for kubelet's KUBE-MARK-DROP, no nfacct counters,
    and counters.
    """
    if not has_kube_proxy(rules):
        return None
    inside = set(_names(rules, "filter"))
    if "KUBE-NODEPORTS" not in inside:
        return _OLDEST
    if _forwards_twice(rules):
        return _HEALTH_CHECKS if _marks_where_it_dispatches(rules) else _MARKS_IN_SERVICE
    if any(name.startswith(XLB_PREFIX) for name in _names(rules, "nat")):
        return _ONE_BALANCING
    if "KUBE-PROXY-FIREWALL" not in inside:
        return _MARKS_DROPS
    counted = (_chain(rules, "filter", "KUBE-FORWARD"), _chain(rules, "nat", "KUBE-NODEPORTS"))
    matches = [match for chain in counted if chain for rule in chain.rules for match in rule.matches]
    return NEWEST if any(isinstance(match, Nfacct) for match in matches) else _WITHOUT_COUNTERS


def _forwards_twice(rules: XtRuleset) -> bool:
    """Has KUBE-FORWARD a rule for each direction of established connections?"""
    forward = _chain(rules, "filter", "KUBE-FORWARD")
    return forward is not None and any("pod source rule" in rule.comment for rule in forward.rules)


def _marks_where_it_dispatches(rules: XtRuleset) -> bool:
    """Is traffic to cluster IPs marked for masquerading in KUBE-SERVICES?"""
    services = _chain(rules, "nat", "KUBE-SERVICES")
    return services is not None and any(rule.target == Jump("KUBE-MARK-MASQ") for rule in services.rules)


def detect_nft_version(chains: Collection[str]) -> str | None:
    """Return the newest version whose native table has these chains, None if it is none of kube-proxy's."""
    if "services" not in chains:
        return None
    if "mark-for-masquerade" not in chains:
        return NEWEST
    return _FILTERED_LATE if "filter-output-post-dnat" in chains else _MARKED
