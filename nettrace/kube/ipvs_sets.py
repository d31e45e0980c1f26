"""
The ipsets of kube-proxy in ipvs mode, and what a service port puts into them.

Lives here: names, types, entries.  Not here: the rules that look into them (ipvs_rules).

Sources: pkg/proxy/ipvs/ipset.go and proxier.go of Kubernetes; the dump of 1.36 in
fixtures/kube-proxy.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from nettrace.kube.endpoints import Backend
from nettrace.kube.expected import ExpectedIpset
from nettrace.kube.ipvs_layout import IpvsLayout
from nettrace.kube.serving import Serving
from nettrace.model.addr import in_prefix

__all__ = ["COMMENTS", "SETS", "Entry", "ipsets", "port_entries", "set_name", "shuts_out_node"]

#: Name without the family -> type.
SETS = {
    "LOOP-BACK": "hash:ip,port,ip",
    "CLUSTER-IP": "hash:ip,port",
    "EXTERNAL-IP": "hash:ip,port",
    "EXTERNAL-IP-LOCAL": "hash:ip,port",
    "LOAD-BALANCER": "hash:ip,port",
    "LOAD-BALANCER-FW": "hash:ip,port",
    "LOAD-BALANCER-LOCAL": "hash:ip,port",
    "LOAD-BALANCER-SOURCE-IP": "hash:ip,port,ip",
    "LOAD-BALANCER-SOURCE-CIDR": "hash:ip,port,net",
    "NODE-PORT-TCP": "bitmap:port",
    "NODE-PORT-LOCAL-TCP": "bitmap:port",
    "NODE-PORT-UDP": "bitmap:port",
    "NODE-PORT-LOCAL-UDP": "bitmap:port",
    "NODE-PORT-SCTP-HASH": "hash:ip,port",
    "NODE-PORT-LOCAL-SCTP-HASH": "hash:ip,port",
    "HEALTH-CHECK-NODE-PORT": "bitmap:port",
    "IPVS-IPS": "hash:ip",
}

_BALANCER = "Kubernetes service load balancer ip + port"
_LOCAL = "with externalTrafficPolicy=local"
_SCTP = "with type 'hash ip:port'"
_SNAT = "for masquerade purpose"
#: The comments of the rules that look into them.
COMMENTS = {
    "LOOP-BACK": "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
    "CLUSTER-IP": f"Kubernetes service cluster ip + port {_SNAT}",
    "EXTERNAL-IP": "Kubernetes service external ip + port for masquerade and filter purpose",
    "EXTERNAL-IP-LOCAL": f"Kubernetes service external ip + port {_LOCAL}",
    "LOAD-BALANCER": "Kubernetes service lb portal",
    "LOAD-BALANCER-FW": f"{_BALANCER} for load balancer with sourceRange",
    "LOAD-BALANCER-LOCAL": f"{_BALANCER} {_LOCAL}",
    "LOAD-BALANCER-SOURCE-IP": f"{_BALANCER} + source IP for packet filter purpose",
    "LOAD-BALANCER-SOURCE-CIDR": f"{_BALANCER} + source cidr for packet filter purpose",
    "NODE-PORT-TCP": f"Kubernetes nodeport TCP port {_SNAT}",
    "NODE-PORT-LOCAL-TCP": f"Kubernetes nodeport TCP port {_LOCAL}",
    "NODE-PORT-UDP": f"Kubernetes nodeport UDP port {_SNAT}",
    "NODE-PORT-LOCAL-UDP": f"Kubernetes nodeport UDP port {_LOCAL}",
    "NODE-PORT-SCTP-HASH": f"Kubernetes nodeport SCTP port {_SNAT} {_SCTP}",
    "NODE-PORT-LOCAL-SCTP-HASH": f"Kubernetes nodeport SCTP port {_LOCAL} {_SCTP}",
    "HEALTH-CHECK-NODE-PORT": "Kubernetes health check node port",
}

#: The kernel's IPSET_MAXNAMELEN is 32 with the end of the text.
_LONGEST = 31


class Entry(Struct, frozen=True):
    """One entry of the set ``name`` (a key of SETS)."""

    name: str
    text: str


def set_name(name: str, family: int) -> str:
    """``KUBE-CLUSTER-IP``, ``KUBE-6-LOAD-BALANCER-SOURCE-CID``: cut where the kernel's names end."""
    return f"KUBE-{'6-' if family == 6 else ''}{name}"[:_LONGEST]


def ipsets(entries: Iterable[Entry], family: int, layout: IpvsLayout) -> tuple[ExpectedIpset, ...]:
    """Return all sets, with the entries; kube-proxy makes the empty ones too."""
    has = {"HEALTH-CHECK-NODE-PORT": layout.health_checks, "IPVS-IPS": layout.access}
    members: dict[str, dict[str, None]] = {name: {} for name in SETS if has.get(name, True)}
    for entry in entries:
        if entry.name in members and not entry.text.endswith(
            "/0"
        ):  # which no set of networks takes: kube-proxy tries in vain
            members[entry.name][entry.text] = None
    inet = "inet6" if family == 6 else "inet"
    return tuple(
        ExpectedIpset(
            name=set_name(name, family),
            type=kind,
            options="range 0-65535"
            if kind == "bitmap:port"
            else f"family {inet} hashsize 1024 maxelem 65536",
            members=tuple(members[name]),
        )
        for name, kind in SETS.items()
        if name in members
    )


def port_entries(
    serving: Serving, everyone: Sequence[Backend], node_ports_on: Sequence[str]
) -> Iterator[Entry]:
    """
    Yield what a service port puts into the sets.

    *everyone* are all its endpoints, ready or not: a pod that is not ready may still ask itself.
    *node_ports_on* are the addresses on which the node serves NodePorts.
    """
    port = serving.port
    proto, number = port.proto, port.port.port
    for backend in everyone:
        if backend.local:
            pair = f"{backend.address},{proto}:{backend.port},{backend.address}"
            yield Entry("LOOP-BACK", pair)
    yield Entry("CLUSTER-IP", f"{port.cluster_ip},{proto}:{number}")
    external = "EXTERNAL-IP-LOCAL" if serving.outside_local else "EXTERNAL-IP"
    for address in port.external_ips:
        yield Entry(external, f"{address},{proto}:{number}")
    for address in port.load_balancer_ips:
        yield from _balancer(serving, f"{address},{proto}:{number}", address)
    if port.port.node_port and node_ports_on:
        yield from _node_port(serving, node_ports_on)
    # kube-proxy leaves a port of which it can serve no NodePort where it is.
    served = node_ports_on or not port.port.node_port
    if served and port.health_check_node_port:
        yield Entry("HEALTH-CHECK-NODE-PORT", str(port.health_check_node_port))


def shuts_out_node(serving: Serving) -> bool:
    """Do the source ranges leave out the node itself?"""
    ranges = serving.port.source_ranges
    return bool(ranges) and not any(in_prefix(serving.settings.node_ip, prefix) for prefix in ranges)


def _balancer(serving: Serving, key: str, address: str) -> Iterator[Entry]:
    yield Entry("LOAD-BALANCER", key)
    if serving.outside_local:
        yield Entry("LOAD-BALANCER-LOCAL", key)
    if serving.port.source_ranges:
        yield Entry("LOAD-BALANCER-FW", key)
        for prefix in serving.port.source_ranges:
            yield from _source(key, prefix)
        if not shuts_out_node(serving):
            yield Entry("LOAD-BALANCER-SOURCE-IP", f"{key},{address}")


def _source(key: str, prefix: str) -> Iterator[Entry]:
    """A host stands without its length, as ipset writes it."""
    yield Entry(
        "LOAD-BALANCER-SOURCE-CIDR", f"{key},{prefix.removesuffix('/128' if ':' in prefix else '/32')}"
    )


def _node_port(serving: Serving, node_ports_on: Sequence[str]) -> Iterator[Entry]:
    port = serving.port
    kind = f"{port.proto.upper()}{'-HASH' if port.proto == 'sctp' else ''}"
    number = port.port.node_port
    texts = (
        [f"{address},sctp:{number}" for address in node_ports_on] if port.proto == "sctp" else [str(number)]
    )
    for text in texts:
        yield Entry(f"NODE-PORT-{kind}", text)
        if serving.outside_local:
            yield Entry(f"NODE-PORT-LOCAL-{kind}", text)
