"""
What kube-proxy in ipvs mode owes a node, as single things that can be held against it and restored.

Lives here: its virtual servers and the entries of its sets with their Services, kube-ipvs0's addresses,
its rules and sysctls.
Not here: what these are (ipvs_state).
"""

from collections.abc import Iterator, Sequence

from nettrace.kube.expected import Expected, ExpectedIpset, NodeFacts
from nettrace.kube.ipvs_state import expected_ipvs
from nettrace.kube.owed_tables import owed_tables
from nettrace.kube.services import proxied_ports
from nettrace.model.errors import UserError
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import VirtualServer
from nettrace.model.kube import Kube
from nettrace.model.links import Address
from nettrace.model.owed import Owed, OwedAddress, OwedIpset, OwedSysctl, OwedVirtualServer, RuleNote
from nettrace.model.section import Known

__all__ = ["DEVICE", "in_ipvs_mode", "owed_ipvs", "owed_set"]

#: Its addresses are those of Services.
DEVICE = "kube-ipvs0"

_OWNER = "kube-proxy"
_SOURCE = "kube-proxy's configuration"
_SLICES = "kube/endpoint_slices"


def in_ipvs_mode(kube: Kube) -> bool:
    """Do the objects say that kube-proxy runs in ipvs mode?"""
    return isinstance(kube.proxy, Known) and kube.proxy.value.mode == "ipvs"


def owed_ipvs(kube: Kube, node: str, netns: str, addresses: Sequence[str] | None) -> Iterator[Owed]:
    """
    Yield what is owed *netns* of *node* for IPv4; nothing where the objects do not tell.

    *addresses* are those of the node's devices but kube-ipvs0, on which NodePorts are served; None where
    they were not read.
    """
    if not in_ipvs_mode(kube) or not isinstance(kube.services, Known):
        return
    if not isinstance(kube.endpoint_slices, Known):
        return
    try:
        owed = expected_ipvs(kube, node, 4, NodeFacts(addresses=tuple(addresses) if addresses else None))
    except UserError:
        return  # a version whose layout is not derived
    yield from owed_tables(owed, netns)
    yield from _state(kube, owed, netns)
    for name, value in owed.sysctls.items():
        if name.startswith("net.ipv4.vs."):
            yield OwedSysctl(
                netns=netns, owner=_OWNER, source=_SOURCE, about="of IPVS", name=name, values=(value,)
            )


def _state(kube: Kube, owed: Expected, netns: str) -> Iterator[Owed]:
    if owed.ipvs is None:
        return
    names = _subjects(kube)
    for server in owed.ipvs.servers:
        subject = _subject(names, server)
        yield OwedVirtualServer(
            netns=netns,
            owner=_OWNER,
            source=f"{_SLICES}/{subject.removeprefix('svc/')}" if subject else _SLICES,
            about=f"virtual server of {subject.removeprefix('svc/')}" if subject else "virtual server",
            subject=subject,
            server=server,
        )
    for one in owed.ipvs.ipsets:
        yield owed_set(one, netns, tuple(_note(names, one.name, member) for member in one.members))
    for address in owed.ipvs.addresses:
        subject = next((name for key, name in names.items() if key[0] == address), "")
        yield OwedAddress(
            netns=netns,
            owner=_OWNER,
            source=f"kube/services/{subject.removeprefix('svc/')}" if subject else "kube/services",
            about=f"address of {subject.removeprefix('svc/')}" if subject else "",
            subject=subject,
            address=Address(device=DEVICE, address=address, prefixlen=32),
        )


def owed_set(one: ExpectedIpset, netns: str, notes: tuple[RuleNote, ...] = ()) -> OwedIpset:
    """Return one set as it is owed; *notes* say whose each of its entries is, as far as that shows."""
    family = 6 if "inet6" in one.options.split() else 4
    return OwedIpset(
        netns=netns,
        owner=_OWNER,
        source=_SOURCE,
        about=f"set {one.name}",
        set=IpSet(name=one.name, type=one.type, family=family, members=one.members),
        options=one.options,
        notes=notes,
    )


def _note(names: dict[tuple[str, int, str], str], name: str, member: str) -> RuleNote:
    """Say whose an entry is: ``ADDRESS,PROTO:PORT...``, or a port of ``KUBE-NODE-PORT-PROTO``."""
    if member.isdecimal():
        key = ("", int(member), next((p for p in ("tcp", "udp") if p.upper() in name.split("-")), ""))
    else:
        address, _, rest = member.partition(",")
        proto, _, port = rest.partition(",")[0].partition(":")
        key = (address, int(port) if port.isdecimal() else 0, proto)
    subject = names.get(key, "")
    service = subject.removeprefix("svc/")
    return RuleNote(
        source=f"kube/services/{service}" if service else _SLICES,
        about=f"entry of {service} in {name}" if service else f"entry in {name}",
        subject=subject,
    )


def _subjects(kube: Kube) -> dict[tuple[str, int, str], str]:
    """(address, or "" for a NodePort, port, protocol) -> ``svc/NAMESPACE/NAME``."""
    services = kube.services.value if isinstance(kube.services, Known) else ()
    found = {}
    for port in proxied_ports(services, 4):
        for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
            found[address, port.port.port, port.proto] = port.subject
        if port.port.node_port:
            found["", port.port.node_port, port.proto] = port.subject
    return found


def _subject(names: dict[tuple[str, int, str], str], server: VirtualServer) -> str:
    own = names.get((server.address, server.port, server.proto))
    return own or names.get(("", server.port, server.proto), "")
