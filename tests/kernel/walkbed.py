"""
Small real networks for the walk: built by ip(8), read by nettrace.collect, walked, and tried.

Lives here: topologies, listeners that answer with their namespace's label, and the comparison
of a walk with real connections.
"""

import re
import selectors
import socket
import threading
from collections.abc import Callable

from nettrace.align.outcome import compare
from nettrace.collect.discover import Handle
from nettrace.collect.netns import in_netns
from nettrace.collect.reader import Reader
from nettrace.model.addr import family_of
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.observation import Observed
from nettrace.model.packet import Packet, PortRange
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Needs, Outcome, Walk
from nettrace.observe.connect import connect
from nettrace.observe.probe_drops import ProbeDrops
from nettrace.observe.tag import fresh_tags
from nettrace.walk import walk
from tests.kernel.bed import Bed, Space
from tests.kernel.service_rules import service_rules

__all__ = ["TOPOLOGIES", "Net"]

#: A walk never needs more rounds of reading than this.
MOST_ROUNDS = 40


class Net:
    """A topology that is up, with listeners in it."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.spaces: dict[str, Space] = {}
        self.roles: dict[str, tuple[str, str]] = {}
        self.sockets: list[socket.socket] = []
        self.selector = selectors.DefaultSelector()
        self.stop = threading.Event()
        self.server = threading.Thread(target=self._serve, daemon=True)
        self.server.start()

    def __getitem__(self, label: str) -> Space:
        return self.spaces[label]

    def new(self, label: str, *, node: str = "", role: str = "other") -> Space:
        """Make a namespace."""
        self.spaces[label] = self.bed.new(label)
        for which in ("all", "default"):
            # link-local addresses are usable at once, without a second of duplicate detection
            self.spaces[label].sysctl(f"net.ipv6.conf.{which}.accept_dad", 0)
        self.roles[label] = (node or label, role)
        return self.spaces[label]

    def veth(self, one: str, device: str, other: str, far: str) -> None:
        """Join two namespaces."""
        self.bed.veth(self[one], device, self[other], far)

    def listen(
        self, label: str, port: int, proto: str = "tcp", address: str = "", *, both: bool = False
    ) -> None:
        """Answer at a port with the label; a wildcard IPv6 address takes IPv4 too if *both*."""
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM

        def opened() -> socket.socket:
            found = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in address:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            found.bind((address, port))
            if proto == "tcp":
                found.listen(64)
            found.setblocking(False)
            return found

        found = in_netns(self[label].path, opened)
        self.sockets.append(found)
        self.selector.register(found, selectors.EVENT_READ, f"{label}\n".encode())

    def _serve(self) -> None:
        while not self.stop.is_set():
            for key, _ in self.selector.select(0.05):
                found: socket.socket = key.fileobj  # type: ignore[assignment]
                try:
                    if found.type == socket.SOCK_STREAM:
                        connection, _ = found.accept()
                        connection.sendall(key.data)
                        connection.close()
                    else:
                        data, peer = found.recvfrom(2048)
                        answer = data[:2] + b"\x81\x85" + data[4:] if len(data) > 12 else key.data
                        found.sendto(answer, peer)
                except OSError:
                    continue

    def close(self) -> None:
        """Close the listeners."""
        self.stop.set()
        self.server.join()
        for found in self.sockets:
            found.close()
        self.selector.close()

    def sh(self, label: str, command: str) -> None:
        """
        Run a command line in a namespace, as the catalogue writes it.

        ``$MAC_pod1_eth0`` is the MAC address of a device of a namespace, ``$NS_pod1`` its name.
        """
        command = re.sub(r"\$MAC_(\w+?)_([\w.]+)", lambda found: self.mac(found[1], found[2]), command)
        command = re.sub(r"\$NS_(\w+)", lambda found: self[found[1]].name, command)
        self[label].run("sh", "-ec", command)

    def mac(self, label: str, device: str) -> str:
        """Return a MAC address."""
        return self[label].run("cat", f"/sys/class/net/{device}/address").strip()

    # --- reading, walking, trying ----------------------------------------------------------

    def walked(self, flow: Flow) -> Walk:
        """Walk over what is read as it is asked for; each section once."""
        if family_of(flow.packet.dst) == 6:
            for space in self.spaces.values():
                space.settle6()
        handles = [
            Handle(
                name=label,
                path=space.path,
                inode=space.inode,
                netns=space.name,
                node=self.roles[label][0],
                role=self.roles[label][1],
            )
            for label, space in self.spaces.items()
        ]
        asked: set[SectionKey] = set()
        with Reader(handles) as reader:
            snapshot: Snapshot = reader.skeleton()
            for _ in range(MOST_ROUNDS):
                answer = walk(snapshot, flow)
                if not isinstance(answer, Needs):
                    return answer
                assert not asked & set(answer.keys), "a section was asked for twice"
                asked |= set(answer.keys)
                snapshot = reader.read(answer.keys, snapshot)
        raise AssertionError("the walk kept asking")

    def flow(
        self,
        source: str,
        dst: str,
        port: int | None,
        proto: str,
        *,
        sport: int | None = None,
        src: str = "",
        ttl: int = 64,
        size: int | None = None,
    ) -> Flow:
        """Return the flow of a probe."""
        return Flow(
            origin=Origin(netns=source),
            packet=Packet(
                src=src,
                dst=dst,
                proto=proto,
                sport=PortRange(sport, sport) if sport else None,
                dport=PortRange(port, port) if port else None,
                tcp_flags=frozenset({"SYN"}) if proto == "tcp" else frozenset(),
                size=size or {"icmp": 84, "icmpv6": 104}.get(proto, 80 if ":" in dst else 60),
                ttl=ttl,
            ),
            source=ObjectRef(kind="netns", name=source),
            target=ObjectRef(kind="ip", name=dst),
        )

    def tried(self, flow: Flow, *, timeout: float, count: int = 1) -> Observed:
        """Make real connections, and watch where their packets are dropped."""
        packet = flow.packet
        port = packet.dport.single if packet.dport else None
        tags = fresh_tags(packet.proto, port, count)
        spaces = {label: space.path for label, space in self.spaces.items()}
        with ProbeDrops(packet.proto, family_of(packet.dst), tags, (), spaces) as drops:
            observed = connect(
                self[flow.origin.netns].path,
                packet.src or None,
                packet.dst,
                port,
                packet.proto,
                timeout=timeout,
                count=count,
                sport=packet.sport.single if packet.sport else None,
                tags=tags,
            )
            return drops.added_to(observed)

    def agree(self, flow: Flow, *, count: int = 1) -> Walk:
        """Walk and try; AssertionError with both where they differ or the walk does not know."""
        answer = self.walked(flow)
        # where ARP fails somebody might be told of it after three seconds
        slow = any(
            path.delay or leg.verdict is Verdict.NEIGHBOUR_FAILED
            for path in answer.paths
            for leg in path.legs
        )
        silent = any(path.outcome is Outcome.TIMEOUT for path in answer.paths)
        observed = self.tried(flow, timeout=1.2 if silent and not slow else 4.0, count=count)
        agreement = compare(answer, observed, names=tuple(self.spaces))
        said = "\n".join(
            f"{path.probability:.2f} {path.verdict} {path.outcome} {path.errno}: {path.reason}"
            for path in answer.paths
        )
        assert agreement.agrees, f"{agreement.differences}\nwalk: {said}\nkernel: {observed}"
        assert answer.outcome is not Outcome.UNKNOWN, said
        for path in answer.paths:
            late = [one.delay for one in observed.attempts if one.outcome is path.outcome and one.errno]
            if path.delay and late and len(answer.paths) == 1:
                assert abs(late[0] - path.delay) < 0.7, f"walk {path.delay}, kernel {late[0]}"
        return answer


# --- topologies ----------------------------------------------------------------------------


def _router(net: Net) -> None:
    """client 10.1.0.2 -- r 10.1.0.1, 10.2.0.1 -- server 10.2.0.2."""
    for label in ("client", "r", "server"):
        net.new(label)
    net.veth("client", "eth0", "r", "c")
    net.veth("server", "eth0", "r", "s")
    net["client"].address("eth0", "10.1.0.2/24")
    net["server"].address("eth0", "10.2.0.2/24")
    net["r"].address("c", "10.1.0.1/24")
    net["r"].address("s", "10.2.0.1/24")
    net["client"].ip("route add default via 10.1.0.1")
    net["server"].ip("route add default via 10.2.0.1")
    net["r"].sysctl("net.ipv4.ip_forward", 1)
    for label in ("r", "server"):
        net.listen(label, 80)
        net.listen(label, 7, "udp")


def _two_ways(net: Net) -> None:
    """client and server joined twice, by r1 (10.1.x, 10.2.x) and by r2 (10.3.x, 10.4.x)."""
    for label in ("client", "r1", "r2", "server"):
        net.new(label)
    for number, label in ((0, "r1"), (1, "r2")):
        a, b = 1 + 2 * number, 2 + 2 * number
        net.veth("client", f"eth{number}", label, "c")
        net.veth("server", f"eth{number}", label, "s")
        net["client"].address(f"eth{number}", f"10.{a}.0.2/24")
        net["server"].address(f"eth{number}", f"10.{b}.0.2/24")
        net[label].address("c", f"10.{a}.0.1/24")
        net[label].address("s", f"10.{b}.0.1/24")
        net[label].sysctl("net.ipv4.ip_forward", 1)
    net["client"].ip("route add default via 10.1.0.1")
    net["server"].ip("route add default via 10.2.0.1")
    for label in ("r2", "r1"):
        net[label].ip(f"route add default via 10.{2 if label == 'r1' else 4}.0.2")
    net.listen("server", 80)
    net.listen("server", 7, "udp")


def _pods(net: Net) -> None:
    """node with cni0 10.244.1.1/24, pods .2 .3 .4 at 9376 tcp and 53 udp; outside 192.168.50.100."""
    net.new("node", node="node", role="node")
    net.new("outside", role="outside")
    net.veth("node", "eth0", "outside", "eth0")
    net["node"].address("eth0", "192.168.50.11/24")
    net["outside"].address("eth0", "192.168.50.100/24")
    ports = []
    for number in (1, 2, 3):
        label = f"pod{number}"
        net.new(label, node="node", role="pod")
        net.veth("node", f"veth{number}", label, "eth0")
        net[label].address("eth0", f"10.244.1.{number + 1}/24")
        net[label].ip("route add default via 10.244.1.1")
        ports.append(f"veth{number}")
    net.bed.bridge(net["node"], "cni0", *ports, address="10.244.1.1/24")
    for port in ports:
        net["node"].run("bridge", "link", "set", "dev", port, "hairpin", "on")
    net["node"].sysctl("net.ipv4.ip_forward", 1)
    for label in ("pod1", "pod2", "pod3", "node", "outside"):
        net.listen(label, 9376)
        net.listen(label, 53, "udp")
    net["node"].run("iptables-restore", stdin=service_rules(4))


def _vxlan(net: Net) -> None:
    """Two nodes with a pod each, joined by flannel.1 over a wire that outside is on too."""
    net.new("wire", role="wire")
    macs = {}
    for number in (1, 2):
        node, pod = f"node{number}", f"pod{number}"
        net.new(node, node=node, role="node")
        net.new(pod, node=node, role="pod")
        net.veth(node, "eth0", "wire", f"port{number}")
        net[node].address("eth0", f"192.168.50.1{number}/24")
        net.veth(node, "veth1", pod, "eth0")
        net[pod].address("eth0", f"10.244.{number}.2/24")
        net[pod].ip(f"route add default via 10.244.{number}.1")
        net[pod].ip("link set eth0 mtu 1450")
        net[node].ip("link set veth1 mtu 1450")
        net.bed.bridge(net[node], "cni0", "veth1", address=f"10.244.{number}.1/24")
        net[node].sysctl("net.ipv4.ip_forward", 1)
        net[node].ip(
            f"link add flannel.1 type vxlan id 1 local 192.168.50.1{number} dev eth0 dstport 8472 nolearning"
        )
        net[node].address("flannel.1", f"10.244.{number}.0/32")
        macs[number] = net.mac(node, "flannel.1")
        net.listen(pod, 9376)
        net.listen(pod, 53, "udp")
    net.bed.bridge(net["wire"], "br0", "port1", "port2")
    for number, other in ((1, 2), (2, 1)):
        space = net[f"node{number}"]
        space.ip(f"route add 10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink")
        space.ip(f"neigh add 10.244.{other}.0 lladdr {macs[other]} dev flannel.1 nud permanent")
        space.run(
            "bridge", "fdb", "add", macs[other], "dev", "flannel.1", "dst", f"192.168.50.1{other}"
        )  # fmt: skip


def _macvlan(net: Net) -> None:
    """
    host 10.5.0.1 and far 10.5.0.4 on a wire; a 10.5.0.2 and b 10.5.0.3 are still to come.

    They will sit on host's eth0, as macvlans called eth0.
    """
    for label in ("host", "a", "b", "far", "wire"):
        net.new(label)
    net.veth("host", "eth0", "wire", "port1")
    net.veth("far", "eth0", "wire", "port2")
    net.bed.bridge(net["wire"], "br0", "port1", "port2")
    net["host"].address("eth0", "10.5.0.1/24")
    net["far"].address("eth0", "10.5.0.4/24")
    for label in ("host", "a", "b", "far"):
        net.listen(label, 80)


TOPOLOGIES: dict[str, Callable[[Net], None]] = {
    "router": _router,
    "two-ways": _two_ways,
    "pods": _pods,
    "vxlan": _vxlan,
    "macvlan": _macvlan,
}
