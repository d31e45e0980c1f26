"""
The nftables table that kube-proxy owes a node in one address family.

Lives here: the frame and all Services put together.
Not here: single rules (nft_frame, nft_services), what is there instead (nft_difference).
"""

from collections.abc import Iterable

from msgspec.structs import replace

from nettrace.kube.expected import Expected, ExpectedNftChain, ExpectedNftSet, ExpectedNftTable, NodeFacts
from nettrace.kube.iptables import servings
from nettrace.kube.nft_frame import frame_chains, frame_sets
from nettrace.kube.nft_names import Layout, family_words, layout
from nettrace.kube.nft_services import service_parts
from nettrace.kube.services import prefixes_of_family
from nettrace.kube.serving import Serving
from nettrace.kube.settings import Settings, settings
from nettrace.kube.traits import layout_version
from nettrace.model.addr import is_loopback
from nettrace.model.kube import Kube
from nettrace.model.section import Known

__all__ = ["expected_nftables"]

#: kube-proxy watches ServiceCIDRs by this gate, on by default since 1.33.
_CIDR_GATE, _CIDRS_SINCE = "MultiCIDRServiceAllocator", (1, 33)


def expected_nftables(kube: Kube, node: str, family: int, facts: NodeFacts) -> Expected:
    """
    Return what kube-proxy in nftables mode owes *node* in *family* (4 or 6).

    NodePorts are served on the node's own address alone unless nodePortAddresses says
    otherwise, and never on a loopback address.  UserError as for settings(), and for a version
    before 1.30.
    """
    if isinstance(kube.proxy, Known) and not kube.proxy.value.node_port_addresses:
        kube = replace(kube, proxy=Known(replace(kube.proxy.value, node_port_addresses=("primary",))))
    chosen = settings(kube, node, family=family, addresses=facts.addresses)
    if chosen.node_port_ips is not None:
        served = tuple(ip for ip in chosen.node_port_ips if not is_loopback(ip))
        chosen = replace(chosen, node_port_ips=served)
    config = kube.proxy.value if isinstance(kube.proxy, Known) else None
    version = config.version if config is not None else ""
    made = layout(layout_version(version))
    gates = config.feature_gates if config is not None else {}
    watches = gates.get(_CIDR_GATE, layout_version(version) >= _CIDRS_SINCE)
    given = kube.service_cidrs.value if watches and isinstance(kube.service_cidrs, Known) else ()
    table = _table(chosen, made, servings(kube, chosen), prefixes_of_family(given, family))
    return Expected(mode="nftables", family=family, node=node, version=version, nft=(table,))


def _table(
    chosen: Settings, made: Layout, served: Iterable[Serving], service_cidrs: tuple[str, ...]
) -> ExpectedNftTable:
    chains: dict[str, ExpectedNftChain] = {}
    sets: dict[str, ExpectedNftSet] = {}
    elements: dict[str, dict[str, str]] = {}
    for chain in frame_chains(chosen, made, service_cidrs):
        chains[chain.name] = chain
    for one in frame_sets(chosen, made):
        sets[one.name] = one
    for serving in served:
        parts = service_parts(serving, made)
        for chain in parts.chains:
            chains[chain.name] = chain
        for one in parts.sets:
            sets[one.name] = one
        for element in parts.elements:
            # Of two Services with one address and port the one that comes last counts.
            elements.setdefault(element.set, {})[element.key] = element.text
    filled = (
        replace(one, elements=(*one.elements, *elements.get(name, {}).values())) for name, one in sets.items()
    )
    return ExpectedNftTable(
        family=family_words(chosen.family).ip,
        comment="rules for kube-proxy",
        sets=tuple(filled),
        chains=tuple(chains.values()),
    )
