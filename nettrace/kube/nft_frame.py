"""
What kube-proxy's nftables tables hold whatever Services there are.

Lives here: base chains, the chains that they jump to, sets and maps without their elements.
Not here: Services (nft_services), the table as a whole (nft_tables).
"""

from collections.abc import Sequence

from nettrace.kube.expected import ExpectedNftChain, ExpectedNftSet
from nettrace.kube.nft_names import Layout, family_words
from nettrace.kube.nft_prefixes import braced
from nettrace.kube.settings import LocalDetector, Settings
from nettrace.model.nft import NftBase

__all__ = ["frame_chains", "frame_sets", "local_test", "mark_rule", "mark_text"]

_DNAT, _SNAT = -100, 100
_FIREWALL = "firewall-check"
_SERVICE_ENDPOINTS = "service-endpoints-check"
_NODE_PORT_ENDPOINTS = "nodeport-endpoints-check"
_CLUSTER_IPS = "cluster-ips-check"

#: (chain, hook, priority, the checks that it jumps to); reject is not allowed in prerouting
#: before Linux 5.9.
_FILTERS_AFTER = (
    ("filter-prerouting-pre-dnat", "prerouting", _DNAT - 10, (_FIREWALL,)),
    ("filter-output-pre-dnat", "output", _DNAT - 10, (_FIREWALL,)),
    ("filter-input", "input", 0, (_NODE_PORT_ENDPOINTS, _SERVICE_ENDPOINTS)),
    ("filter-forward", "forward", 0, (_SERVICE_ENDPOINTS, _CLUSTER_IPS)),
    ("filter-output", "output", 0, (_SERVICE_ENDPOINTS, _CLUSTER_IPS)),
)
_FILTERS_BEFORE = (
    ("filter-prerouting", "prerouting", _DNAT - 10, (_FIREWALL,)),
    ("filter-input", "input", _DNAT - 10, (_NODE_PORT_ENDPOINTS, _SERVICE_ENDPOINTS)),
    ("filter-forward", "forward", _DNAT - 10, (_SERVICE_ENDPOINTS, _CLUSTER_IPS)),
    ("filter-output", "output", _DNAT - 10, (_SERVICE_ENDPOINTS, _FIREWALL)),
    ("filter-output-post-dnat", "output", _DNAT + 10, (_CLUSTER_IPS,)),
)
_NATS = (
    ("nat-prerouting", "prerouting", _DNAT, "services"),
    ("nat-output", "output", _DNAT, "services"),
    ("nat-postrouting", "postrouting", _SNAT, "masquerading"),
)


def mark_text(mark: int) -> str:
    """``0x00004000``."""
    return f"0x{mark:08x}"


def mark_rule(mark: int) -> str:
    """Return the statement that marks a packet for masquerading."""
    return f"meta mark set meta mark | {mark_text(mark)}"


def _marked(mark: int, *, yes: bool) -> str:
    """Return the test for the mark; nft takes the mask of the highest bit for a prefix."""
    if mark == 1 << 31:
        return f"meta mark {'!= ' if yes else ''}0x00000000/1"
    return f"meta mark & {mark_text(mark)} {'!=' if yes else '=='} 0x00000000"


def local_test(detector: LocalDetector, ip: str, *, local: bool) -> str:
    """Return the test for traffic of this node's pods, or for any other."""
    op = "" if local else "!= "
    if detector.src is not None:
        return f"{ip} saddr {op}{detector.src}"
    device = (detector.device or "").removesuffix("+") + (
        "*" if (detector.device or "").endswith("+") else ""
    )
    return f'iifname {op}"{device}"'


def frame_sets(settings: Settings, layout: Layout) -> tuple[ExpectedNftSet, ...]:
    """Return the sets and maps; only nodeport-ips has its elements."""
    address = family_words(settings.family).address
    service = f"{address} . inet_proto . inet_service"
    found = [
        ExpectedNftSet(name="cluster-ips", type=address, comment="Active ClusterIPs"),
        _map("no-endpoint-services", service, "vmap to drop or reject packets to services with no endpoints"),
        _map(
            "no-endpoint-nodeports",
            "inet_proto . inet_service",
            "vmap to drop or reject packets to service nodeports with no endpoints",
        ),
        _map("firewall-ips", service, "destinations that are subject to LoadBalancerSourceRanges"),
        _map("service-ips", service, "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
        _map("service-nodeports", "inet_proto . inet_service", "NodePort traffic"),
    ]
    if settings.node_port_ips is not None:
        found.insert(
            1,
            ExpectedNftSet(
                name="nodeport-ips",
                type=address,
                comment="IPs that accept NodePort traffic",
                elements=settings.node_port_ips,
            ),
        )
    if layout.mapped:
        found.insert(
            0,
            ExpectedNftSet(
                name="hairpin-connections",
                type=f"{address} . {service}",
                comment="service hairpin connections",
            ),
        )
    return tuple(found)


def _map(name: str, key: str, comment: str) -> ExpectedNftSet:
    return ExpectedNftSet(name=name, type=f"{key} : verdict", is_map=True, comment=comment)


def frame_chains(
    settings: Settings, layout: Layout, service_cidrs: Sequence[str]
) -> tuple[ExpectedNftChain, ...]:
    """Return the chains; *service_cidrs* are the ServiceCIDRs of the family that this kube-proxy watches."""
    words = family_words(settings.family)
    found = [
        ExpectedNftChain(
            name=name,
            base=NftBase(type="filter", hook=hook, priority=priority),
            rules=tuple(f"ct state new jump {check}" for check in checks),
        )
        for name, hook, priority, checks in (_FILTERS_AFTER if layout.after_dnat else _FILTERS_BEFORE)
    ]
    found += [
        ExpectedNftChain(
            name=name, base=NftBase(type="nat", hook=hook, priority=priority), rules=(f"jump {to}",)
        )
        for name, hook, priority, to in _NATS
    ]
    by_service = f"{words.ip} daddr . meta l4proto . th dport vmap"
    by_port = "meta l4proto . th dport vmap"
    if settings.node_port_ips is None:
        away = f"{words.ip} daddr != {words.loopback}"
        here, here_checked = f"fib daddr type local {away}", away
    else:
        here = here_checked = f"{words.ip} daddr @nodeport-ips"
    found += [
        ExpectedNftChain(
            name=_NODE_PORT_ENDPOINTS, rules=(f"{here_checked} {by_port} @no-endpoint-nodeports",)
        ),
        ExpectedNftChain(name=_SERVICE_ENDPOINTS, rules=(f"{by_service} @no-endpoint-services",)),
        ExpectedNftChain(name=_FIREWALL, rules=(f"{by_service} @firewall-ips",)),
        ExpectedNftChain(
            name="services",
            rules=(
                *(_masquerade_cluster_ips(settings) if layout.mapped else ()),
                f"{by_service} @service-ips",
                f"{here} {by_port} @service-nodeports",
            ),
        ),
        ExpectedNftChain(name="masquerading", rules=_masquerading(settings, layout)),
        ExpectedNftChain(name=_CLUSTER_IPS, rules=_cluster_ips(words.ip, service_cidrs)),
        ExpectedNftChain(
            name="reject-chain",
            rules=("reject",),
            comment="helper for @no-endpoint-services / @no-endpoint-nodeports",
        ),
    ]
    if not layout.mapped:
        found.append(ExpectedNftChain(name="mark-for-masquerade", rules=(mark_rule(settings.mark),)))
    return tuple(found)


def _masquerade_cluster_ips(settings: Settings) -> tuple[str, ...]:
    """Who is no pod of this node may come by another node than the reply would leave by."""
    ip = family_words(settings.family).ip
    mark = mark_rule(settings.mark)
    if settings.masquerade_all:
        return (f'{ip} daddr @cluster-ips {mark} comment "masquerade all clusterIP traffic"',)
    if not settings.detector.implemented:
        return ()
    away = local_test(settings.detector, ip, local=False)
    words = "masquerade clusterIP traffic from outside cluster"
    return (f'{ip} daddr @cluster-ips {away} {mark} comment "{words}"',)


def _masquerading(settings: Settings, layout: Layout) -> tuple[str, ...]:
    """The mark is taken off lest an outer packet be masqueraded too."""
    mark, ip = mark_text(settings.mark), family_words(settings.family).ip
    if layout.mapped:
        pair = f"{ip} saddr . {ip} daddr . meta l4proto . th dport"
        return (
            f"{_marked(settings.mark, yes=True)} meta mark set meta mark ^ {mark} masquerade fully-random",
            f"ct status dnat {pair} @hairpin-connections masquerade fully-random",
        )
    return (
        f"{_marked(settings.mark, yes=False)} return",
        f"meta mark set meta mark ^ {mark}",
        "masquerade fully-random",
    )


def _cluster_ips(ip: str, service_cidrs: Sequence[str]) -> tuple[str, ...]:
    rules = [f'{ip} daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"']
    if service_cidrs:
        words = "Drop traffic to unallocated ClusterIPs"
        rules.append(f'{ip} daddr {braced(service_cidrs)} drop comment "{words}"')
    return tuple(rules)
