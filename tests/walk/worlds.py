"""
Small networks written as code, for tests of the walk.

A World is built with the words of ip(8): namespaces, veths, bridges, addresses, routes, rule
sets as iptables-save text.  What the kernel adds by itself (local and connected routes,
sysctls, carriers) is added here too.
"""

from typing import Any
from zlib import crc32

from msgspec.structs import replace

from nettrace.model.addr import canonical_prefix, network_of
from nettrace.model.bpf import BpfProgram
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import IpvsConnection, VirtualServer
from nettrace.model.links import (
    Address,
    BridgeAttrs,
    FdbEntry,
    Link,
    Neighbour,
    Peer,
    PortAttrs,
    VxlanAttrs,
)
from nettrace.model.nft import NftRuleset
from nettrace.model.packet import Packet, PortRange
from nettrace.model.recent import RecentList
from nettrace.model.relay import Relay
from nettrace.model.routes import TABLE_LOCAL, NextHop, PolicyRule, Route
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.sockets import ConntrackEntry, Socket
from nettrace.model.walk import Needs, Path, Walk
from nettrace.model.xfrm import Xfrm
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import parse_save
from nettrace.walk import walk

__all__ = ["TO_SERVER", "UDP_TO_SERVER", "World", "flow", "one_path", "pod_network", "router", "walked"]

DEFAULT_RULES = (
    PolicyRule(priority=0, table=255),
    PolicyRule(priority=32766, table=254),
    PolicyRule(priority=32767, table=253),
)

#: What a fresh namespace has for each device.
CONF = {"forwarding": "0", "rp_filter": "0"}


class Space:
    """One namespace under construction."""

    def __init__(self, name: str, node: str, role: str) -> None:
        self.name = name
        self.node = node
        self.role = role
        self.links: dict[str, Link] = {}
        self.addresses: list[Address] = []
        self.routes: list[Route] = []
        self.rules: list[PolicyRule] = list(DEFAULT_RULES)
        self.neighbours: list[Neighbour] = []
        self.fdb: list[FdbEntry] = []
        self.sysctls: dict[str, str] = {
            "net.ipv4.ip_forward": "0",
            "net.bridge.bridge-nf-call-iptables": "1",
        }
        self.sockets: list[Socket] = []
        self.socket_programs: list[BpfProgram] = []
        self.relays: list[Relay] = []
        self.conntrack: list[ConntrackEntry] = []
        self.xt_nft = XtRuleset({})
        self.xt_legacy = XtRuleset({})
        self.xt6_nft = XtRuleset({})
        self.xt6_legacy = XtRuleset({})
        self.ipsets: list[IpSet] = []
        self.nft = NftRuleset()
        self.ipvs: list[VirtualServer] = []
        self.ipvs_connections: list[IpvsConnection] = []
        self.recent: list[RecentList] = []
        self.xfrm = Xfrm()
        self.conf("all", **CONF)
        self.add_link("lo", "loopback", mtu=65536)
        self.address("lo", "127.0.0.1/8", scope="host")

    def add_link(self, name: str, kind: str, **attributes: Any) -> Link:
        """Add a device."""
        index = len(self.links) + 1
        number = crc32(f"{self.name} {name}".encode())
        mac = "02:" + ":".join(f"{octet:02x}" for octet in (index, *number.to_bytes(4)))
        if kind == "loopback":
            mac = "00:00:00:00:00:00"
        link = Link(**{"index": index, "name": name, "kind": kind, "mac": mac, **attributes})
        self.links[name] = link
        self.conf(name, **CONF)
        return link

    def change(self, name: str, **attributes: Any) -> None:
        """Change attributes of a device."""
        self.links[name] = replace(self.links[name], **attributes)

    def port(self, name: str, **attributes: Any) -> None:
        """Change attributes of a bridge port."""
        self.change(name, port=replace(self.links[name].port or PortAttrs(), **attributes))

    def conf(self, device: str, **values: str | int) -> None:
        """Set ``net.ipv4.conf.DEVICE.*``."""
        for name, value in values.items():
            self.sysctls[f"net.ipv4.conf.{device.replace('.', '/')}.{name}"] = str(value)

    def sysctl(self, name: str, value: str | int) -> None:
        """Set one sysctl; ip_forward sets every device's as the kernel does."""
        self.sysctls[name] = str(value)
        if name == "net.ipv4.ip_forward":
            for device in ("all", *self.links):
                self.conf(device, forwarding=value)

    def address(self, device: str, prefix: str, scope: str = "global") -> None:
        """``ip addr add``, with the routes that the kernel adds."""
        address, _, bits = prefix.partition("/")
        length = int(bits)
        self.addresses.append(Address(device=device, address=address, prefixlen=length, scope=scope))
        hop = (NextHop(device=device),)
        common: dict[str, Any] = {"nexthops": hop, "prefsrc": address, "protocol": "kernel"}
        self.routes.append(
            Route(dst=f"{address}/32", table=TABLE_LOCAL, type="local", scope="host", **common)
        )
        if length == 32:
            return
        network = network_of(address, length)
        if device == "lo":
            self.routes.append(Route(dst=network, table=TABLE_LOCAL, type="local", scope="host", **common))
            return
        self.routes.append(Route(dst=network, scope="link", **common))
        last = [int(part) for part in network.partition("/")[0].split(".")]
        value = int.from_bytes(bytes(last)) | (1 << 32 - length) - 1
        broadcast = ".".join(str(part) for part in value.to_bytes(4))
        self.routes.append(
            Route(dst=f"{broadcast}/32", table=TABLE_LOCAL, type="broadcast", scope="link", **common)
        )

    def route(self, dst: str, device: str | None = None, via: str | None = None, **attributes: Any) -> None:
        """``ip route add``."""
        prefix = "0.0.0.0/0" if dst == "default" else canonical_prefix(dst)
        hops = (NextHop(device=device, via=via),) if device else ()
        scope = "global" if via or not device else "link"
        self.routes.append(Route(**{"dst": prefix, "nexthops": hops, "scope": scope, **attributes}))

    def xt(self, text: str, backend: str = "nft") -> None:
        """Load iptables-save text."""
        ruleset = parse_save(text)
        if backend == "nft":
            self.xt_nft = ruleset
        else:
            self.xt_legacy = ruleset

    def filter(self, *rules: str, table: str = "filter", backend: str = "nft") -> None:
        """Load rules into one table with the usual built-in chains; chains of ``-A`` are made."""
        builtin = {
            "raw": ("PREROUTING", "OUTPUT"),
            "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
            "filter": ("INPUT", "FORWARD", "OUTPUT"),
            "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
        }[table]
        policies = {words[1]: words[2] for words in (rule.split() for rule in rules) if words[0] == "-P"}
        named = [rule.split()[1] for rule in rules]
        lines = [f"*{table}"]
        lines += [f":{chain} {policies.get(chain, 'ACCEPT')} [0:0]" for chain in builtin]
        lines += [f":{chain} - [0:0]" for chain in dict.fromkeys(named) if chain not in builtin]
        lines += [rule for rule in rules if rule.split()[0] == "-A"]
        parsed = parse_save("\n".join([*lines, "COMMIT", ""]))
        held = self.xt_nft if backend == "nft" else self.xt_legacy
        merged = XtRuleset({**held.tables, **parsed.tables})
        if backend == "nft":
            self.xt_nft = merged
        else:
            self.xt_legacy = merged

    def nat(self, *rules: str, backend: str = "nft") -> None:
        """Load the nat table."""
        self.filter(*rules, table="nat", backend=backend)

    def listen(self, port: int, proto: str = "tcp", address: str = "0.0.0.0", **attributes: Any) -> None:
        """Start a listener."""
        state = "listen" if proto == "tcp" else "unconn"
        self.sockets.append(Socket(proto=proto, address=address, port=port, state=state, **attributes))

    def neighbour(self, device: str, address: str, mac: str, state: str = "permanent") -> None:
        """``ip neigh add``."""
        self.neighbours.append(Neighbour(device=device, address=address, mac=mac, state=state))

    def bridge_fdb(self, device: str, mac: str, dst: str | None = None) -> None:
        """``bridge fdb add``."""
        master = self.links[device].master
        self.fdb.append(FdbEntry(device=device, mac=mac, dst=dst, master=master, permanent=dst is not None))

    def built(self) -> Netns:
        """Return the namespace."""
        return Netns(
            name=self.name,
            node=self.node,
            role=self.role,
            links=Known(tuple(self.links.values())),
            addresses=Known(tuple(self.addresses)),
            routes=Known(tuple(self.routes)),
            rules=Known(tuple(self.rules)),
            neighbours=Known(tuple(self.neighbours)),
            fdb=Known(tuple(self.fdb)),
            sysctls=Known(dict(self.sysctls)),
            sockets=Known(tuple(self.sockets)),
            socket_programs=Known(tuple(self.socket_programs)),
            conntrack=Known(tuple(self.conntrack)),
            xt_nft=Known(self.xt_nft),
            xt_legacy=Known(self.xt_legacy),
            xt6_nft=Known(self.xt6_nft),
            xt6_legacy=Known(self.xt6_legacy),
            ipsets=Known(tuple(self.ipsets)),
            ipvs=Known(tuple(self.ipvs)),
            ipvs_connections=Known(tuple(self.ipvs_connections)),
            recent=Known(tuple(self.recent)),
            nft=Known(self.nft),
            xfrm=Known(self.xfrm),
            relays=Known(tuple(self.relays)),
        )


class World:
    """A network under construction."""

    def __init__(self) -> None:
        self.spaces: dict[str, Space] = {}

    def __getitem__(self, name: str) -> Space:
        return self.spaces[name]

    def netns(self, name: str, node: str = "node", role: str = "other") -> Space:
        """``ip netns add``."""
        self.spaces[name] = Space(name, node, role)
        return self.spaces[name]

    def veth(self, one: str, device: str, other: str, far: str, mtu: int = 1500) -> None:
        """``ip link add type veth``: *device* of namespace *one* and *far* of *other*."""
        here = self[one].add_link(device, "veth", mtu=mtu)
        there = self[other].add_link(far, "veth", mtu=mtu)
        self[one].change(device, peer=Peer(other, there.index))
        self[other].change(far, peer=Peer(one, here.index))

    def bridge(self, name: str, bridge: str, *ports: str) -> None:
        """``ip link add type bridge``, with ports."""
        self[name].add_link(bridge, "bridge", bridge=BridgeAttrs())
        for port in ports:
            self[name].change(port, master=bridge, port=PortAttrs())

    def vxlan(self, name: str, device: str, local: str, *, vni: int = 1, port: int = 8472) -> None:
        """``ip link add type vxlan``, as flanneld makes it: nothing is learned."""
        attributes = VxlanAttrs(vni=vni, local=local, port=port, learning=False)
        self[name].add_link(device, "vxlan", vxlan=attributes, mtu=1450)

    def mac(self, name: str, device: str) -> str:
        """Return a device's MAC address."""
        return self[name].links[device].mac

    def snapshot(self) -> Snapshot:
        """Return what was built, everything known."""
        spaces = {name: space.built() for name, space in self.spaces.items()}
        nodes = [one for one in spaces.values() if one.role == "node"]
        return Snapshot(
            namespaces=spaces, nodes={one.node: NodeState(name=one.node, netns=one.name) for one in nodes}
        )


def flow(
    netns: str,
    dst: str,
    port: int | None = None,
    proto: str = "tcp",
    *,
    src: str = "",
    sport: int | None = None,
    device: str | None = None,
    **packet: Any,
) -> Flow:
    """Return a flow from *netns*: out of a socket, or in by *device*."""
    target = ObjectRef(kind="ip", name=dst)
    return Flow(
        origin=Origin(netns=netns, device=device),
        packet=Packet(
            src=src,
            dst=dst,
            proto=proto,
            sport=PortRange(sport, sport) if sport is not None else None,
            dport=PortRange(port, port) if port is not None else None,
            tcp_flags=frozenset({"SYN"}) if proto == "tcp" else frozenset(),
            icmp_type=8 if proto == "icmp" else None,
            icmp_code=0 if proto == "icmp" else None,
            **packet,
        ),
        source=ObjectRef(kind="netns", name=netns),
        target=target,
    )


#: From the client to the server of router().
TO_SERVER = flow("client", "10.2.0.2", 80)
UDP_TO_SERVER = flow("client", "10.2.0.2", 53, "udp")


def walked(world: World | Snapshot, asked: Flow) -> Walk:
    """Walk over a world where everything is known."""
    answer = walk(world.snapshot() if isinstance(world, World) else world, asked)
    assert not isinstance(answer, Needs), answer
    return answer


def one_path(world: World | Snapshot, asked: Flow) -> Path:
    """Walk, where there is one branch only."""
    answer = walked(world, asked)
    assert len(answer.paths) == 1, [path.draws for path in answer.paths]
    return answer.paths[0]


def router(*, forwarding: int = 1) -> World:
    """``client`` 10.1.0.2 -- ``r`` 10.1.0.1, 10.2.0.1 -- ``server`` 10.2.0.2, listening at 80."""
    world = World()
    for name in ("client", "r", "server"):
        world.netns(name)
    world.veth("client", "eth0", "r", "c")
    world.veth("server", "eth0", "r", "s")
    world["client"].address("eth0", "10.1.0.2/24")
    world["server"].address("eth0", "10.2.0.2/24")
    world["r"].address("c", "10.1.0.1/24")
    world["r"].address("s", "10.2.0.1/24")
    world["client"].route("default", "eth0", "10.1.0.1")
    world["server"].route("default", "eth0", "10.2.0.1")
    world["r"].sysctl("net.ipv4.ip_forward", forwarding)
    world["server"].listen(80)
    world["server"].listen(53, "udp")
    return world


def pod_network(*, pods: int = 3) -> World:
    """
    A node with bridge cni0 10.244.1.1/24 and pods 10.244.1.2.. listening at 9376 (tcp) and 53 (udp).

    ``outside`` 192.168.50.100 is beyond the node's eth0 192.168.50.11.
    """
    world = World()
    world.netns("node", "node", "node")
    world.netns("outside", "outside", "outside")
    world.veth("node", "eth0", "outside", "eth0")
    world["node"].address("eth0", "192.168.50.11/24")
    world["outside"].address("eth0", "192.168.50.100/24")
    world["outside"].listen(80)
    ports = []
    for number in range(1, pods + 1):
        name = f"pod{number}"
        world.netns(name, "node", "pod")
        world.veth("node", f"veth{number}", name, "eth0")
        world[name].address("eth0", f"10.244.1.{number + 1}/24")
        world[name].route("default", "eth0", "10.244.1.1")
        world[name].listen(9376)
        world[name].listen(53, "udp")
        ports.append(f"veth{number}")
    world.bridge("node", "cni0", *ports)
    for port in ports:
        world["node"].port(port, hairpin=True)
    world["node"].address("cni0", "10.244.1.1/24")
    world["node"].sysctl("net.ipv4.ip_forward", 1)
    return world
