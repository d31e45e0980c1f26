"""
kube-router as the service proxy: IPVS, a dummy device with the ClusterIPs, and a firewall before it.

Lives here: what its sets hold, which follows from the virtual servers that are there, and the evidence.
Not here: which virtual servers Services ask for: schedulers, addresses and DSR are by annotations.
Source: pkg/controllers/proxy/network_services_controller.go (setupIpvsFirewall, syncIpvsFirewall).
"""

from collections.abc import Iterator

from nettrace.model.finding import Evidence
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import VirtualServer
from nettrace.model.owed import OwedIpset
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace_plugins.kube_router.facts import proxies

__all__ = ["SERVICE_CHAIN", "evidence_of_proxy", "owed_by_proxy"]

#: The chain of table filter that lets in what is for a Service, and refuses the rest.
SERVICE_CHAIN = "KUBE-ROUTER-SERVICES"

#: The addresses that are served, and the same with protocol and port.
_ADDRESSES, _PORTS = "kube-router-svip", "kube-router-svip-prt"


def _servers(snapshot: Snapshot, netns: str) -> tuple[VirtualServer, ...]:
    """Return the IPv4 virtual servers of addresses (not of marks); none where they were not read."""
    section = snapshot.section(SectionKey(netns, "ipvs"))
    found: tuple[VirtualServer, ...] = section.value if isinstance(section, Known) else ()
    return tuple(one for one in found if not one.fwmark and ":" not in one.address)


def owed_by_proxy(snapshot: Snapshot, netns: str, owner: str) -> Iterator[OwedIpset]:
    """Yield the two sets of Services; nothing where kube-router is no proxy, or has no virtual server."""
    servers = _servers(snapshot, netns) if proxies(snapshot, netns) else ()
    if not servers:
        return
    addresses = tuple(dict.fromkeys(one.address for one in servers))
    ports = tuple(f"{one.address},{one.proto}:{one.port}" for one in servers)
    for name, kind, members, about in (
        (_ADDRESSES, "hash:ip", addresses, "addresses that IPVS serves"),
        (_PORTS, "hash:ip,port", ports, f"what {SERVICE_CHAIN} lets in to IPVS"),
    ):
        yield OwedIpset(
            netns=netns,
            owner=owner,
            source="the virtual servers",
            about=about,
            set=IpSet(name=name, type=kind, members=members),
            options="family inet hashsize 1024 maxelem 65536 timeout 0",
            closed=False,  # Services by mark are in it too
        )


def evidence_of_proxy(snapshot: Snapshot, node: NodeState) -> Iterator[Evidence]:
    """Yield what shows that it serves, where its dummy device is there."""
    servers = _servers(snapshot, node.netns) if proxies(snapshot, node.netns) else ()
    if servers:
        noun = "virtual server" if len(servers) == 1 else "virtual servers"
        yield Evidence(ref=f"{node.netns}/ipvs", text=f"{len(servers)} {noun}", note="its service proxy")
