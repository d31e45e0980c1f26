"""
What all topologies share: the wire, the machines on it, and how every namespace starts.

Lives here: the namespace ``wire`` (a switch, and the router that every machine has as its
default gateway), the outside host ``internet``, the first sysctls, the command of a listener.
Not here: what is inside a node.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from nettrace.lab import server
from nettrace.lab.addresses import host
from nettrace.lab.blueprint import Daemon
from nettrace.lab.detach import command
from nettrace.lab.names import mac_of, netns_name, veth_name
from nettrace.model.errors import UserError
from nettrace.model.lab import LabNetns

__all__ = [
    "INTERNET",
    "WIRE",
    "attach_pod",
    "base_sysctls",
    "internet_daemon",
    "listener",
    "machine",
    "pod_wiring",
    "route_pod",
    "wire_wiring",
]

WIRE = "wire"
INTERNET = "internet"

_BRIDGE = "br0"
_INTERNET_HOST = 100
_GATEWAY_HOST = 1
_NODE_HOST = 11
#: Who has a fixed place on the wire; nodes follow from _NODE_HOST on.
_HOSTS = {WIRE: _GATEWAY_HOST, INTERNET: _INTERNET_HOST, "balancer": 2}

#: What the outside host answers on: the servers that pods call.
_INTERNET_PORTS = ("tcp/0.0.0.0/80", "tcp/0.0.0.0/8080", "udp/0.0.0.0/53")

#: veth hands over whole GSO packets, which pass a smaller MTU that real segments would not pass.
_NO_GSO = "gso_max_segs 1"

# A new namespace takes net.ipv4.conf from the machine (net.core.devconf_inherit_init_net), and
# a lab is to be the same everywhere: these are the kernel's own defaults.
_FIRST = {"rp_filter": "0", "accept_local": "0", "route_localnet": "0", "arp_ignore": "0"}
_FIRST |= {"arp_announce": "0", "arp_filter": "0", "proxy_arp": "0", "log_martians": "0"}
_FIRST |= {"accept_redirects": "1", "send_redirects": "1"}


def base_sysctls(*, forward: bool = False, bridge_netfilter: bool = False) -> dict[str, str]:
    """The sysctls every namespace starts with; no IPv6, whose own traffic would be in the way."""
    call = "1" if bridge_netfilter else "0"
    found: dict[str, str] = {}
    for which in ("all", "default", "lo"):
        found |= {f"net.ipv4.conf.{which}.{key}": value for key, value in _FIRST.items()}
        found[f"net.ipv6.conf.{which}.disable_ipv6"] = "1"
    found |= {f"net.bridge.bridge-nf-call-{kind}": call for kind in ("iptables", "ip6tables", "arptables")}
    # The namespace may have inherited 1, and only a write that changes it reaches the devices.
    found["net.ipv4.conf.all.forwarding"] = "0"
    found["net.ipv4.ip_forward"] = "1" if forward else "0"
    return found


def machine(lab: str, name: str, role: str, net: IPv4Network, index: int = 0) -> LabNetns:
    """Return the namespace of a machine on the wire: the wire itself, ``internet``, or the node *index*."""
    number = _HOSTS.get(name, _NODE_HOST + index)
    if number == _INTERNET_HOST and net.num_addresses <= _INTERNET_HOST + 1:
        number = net.num_addresses - 2
    return LabNetns(
        name=name, netns=netns_name(lab, name), role=role, node=name, addresses=(host(net, number),)
    )


def wire_wiring(
    wire: LabNetns, machines: Sequence[LabNetns], net: IPv4Network
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """
    Return the two stages that lay the wire: its namespace, then each machine's end.

    The gateway routes, but knows no network beyond the wire: what it is asked to pass on goes
    into a black hole, as a packet to somebody else's private address does on the Internet.
    """
    if len({entry.addresses for entry in (wire, *machines)}) <= len(machines):
        raise UserError(f"{net} is too small for {len(machines)} machines", hint="use a shorter node network")
    lines = [f"link add {_BRIDGE} address {mac_of(wire.name)} type bridge", "link set lo up"]
    for entry in machines:
        lines += [
            _veth(f"{_port(entry)} {_NO_GSO} address {mac_of(entry.name + ' wire')}", entry),
            f"link set {_port(entry)} master {_BRIDGE} up",
        ]
    gateway = wire.addresses[0]
    lines += [
        f"link set {_BRIDGE} up",
        f"addr add {gateway}/{net.prefixlen} brd + dev {_BRIDGE}",
        "route add blackhole default",
    ]
    ends: dict[str, tuple[str, ...]] = {
        entry.netns: (
            "link set lo up",
            f"addr add {entry.addresses[0]}/{net.prefixlen} brd + dev eth0",
            "link set eth0 up",
            f"route add default via {gateway} dev eth0",
        )
        for entry in machines
    }
    return {wire.netns: tuple(lines)}, ends


def _veth(here: str, there: LabNetns, *, mtu: int = 1500, mac: str = "") -> str:
    """The line that makes a veth: one end as *here* says, the other as eth0 of *there*, never in between."""
    address = mac or mac_of(there.name)
    peer = f"peer name eth0 mtu {mtu} {_NO_GSO} address {address} netns {there.netns}"
    return f"link add {here} type veth {peer}"


def _port(entry: LabNetns) -> str:
    return entry.name[:15]  # IFNAMSIZ - 1


def attach_pod(
    pod: LabNetns, bridge: str, mtu: int, mac: str = "", *, hairpin: bool = False, device: str = ""
) -> tuple[str, ...]:
    """The lines, in the node, that give *pod* its eth0 and put the other end, *device*, into *bridge*."""
    device = device or veth_name(pod.name)
    lines = [
        _veth(f"{device} mtu {mtu} {_NO_GSO} address {mac_of(device)}", pod, mtu=mtu, mac=mac),
        f"link set {device} master {bridge} up",
    ]
    if hairpin:
        lines.append(f"link set {device} type bridge_slave hairpin on")
    return tuple(lines)


def route_pod(pod: LabNetns, device: str, mtu: int, mac: str) -> tuple[str, ...]:
    """The lines, in the node, that give *pod* its eth0 and lead to its address by the other end, *device*."""
    return (
        _veth(f"{device} mtu {mtu} {_NO_GSO} address {mac}", pod, mtu=mtu),
        f"link set {device} up",
        f"route add {pod.addresses[0]}/32 dev {device} scope link",
    )


def pod_wiring(pod: LabNetns, prefixlen: int, gateway: str) -> tuple[str, ...]:
    """The lines, inside *pod*, that give it its address and its default route."""
    return (
        "link set lo up",
        f"addr add {pod.addresses[0]}/{prefixlen} brd + dev eth0",
        "link set eth0 up",
        f"route add default via {gateway} dev eth0",
    )


def listener(root: Path, netns: str, name: str, says: str, addresses: Iterable[str]) -> Daemon:
    """Return the listener of one container: *name* for messages, *says* what it answers with."""
    pid_file = f"run/{name.replace('/', '.').replace(' ', '.')}.pid"
    argv = command(server, str(root / pid_file), says, *addresses)
    return Daemon(netns=netns, name=name, argv=argv, pid_file=pid_file)


def internet_daemon(root: Path, internet: LabNetns) -> Daemon:
    """The servers of the outside host."""
    return listener(root, internet.netns, INTERNET, INTERNET, _INTERNET_PORTS)
