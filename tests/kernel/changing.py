"""A node whose state tests change: devices, routes, entries, rules of both back ends."""

import time
from typing import Any

from nettrace.apply.kernel import apply_change
from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.canonical import snapshot_difference
from nettrace.model.change import Change
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.parse.iptables import parse_rule
from tests.kernel.bed import Bed

DROP = parse_rule("-s 10.9.0.0/16 -j DROP")
MASQ = parse_rule('-s 10.1.0.0/24 -m comment --comment "it\'s \\"quoted\\"" -j MASQUERADE --random-fully')
DNAT = parse_rule("-d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.1.0.2:6443")
JUMP = parse_rule("-j SPARE")

RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:USED - [0:0]
:SPARE - [0:0]
-A FORWARD -j USED
-A FORWARD -s 10.9.0.0/16 -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -s 10.9.0.0/16 -j DROP
-A USED -m comment --comment "kept as it is" -j RETURN
-A SPARE -j ACCEPT
COMMIT
"""

SETS = """create PORTS bitmap:port range 0-65535
add PORTS 30080
create NETS hash:net family inet hashsize 1024 maxelem 65536
add NETS 10.0.0.0/8
add NETS 10.1.0.0/16 nomatch
"""


class Node:
    """A node with a bridge, two pods, a VXLAN device with a dot in its name, rules of both back ends, sets."""

    def __init__(self, bed: Bed) -> None:
        self.space, self.pod = bed.new("node"), bed.new("pod")
        for space in (self.space, self.pod):  # link-local addresses come and go by themselves
            for scope in ("all", "default"):
                space.sysctl(f"net.ipv6.conf.{scope}.disable_ipv6", 1)
        node = self.space
        bed.veth(node, "v0", self.pod, "eth0")
        bed.veth(node, "v1", self.pod, "eth1")
        bed.bridge(node, "br0", "v0", address="10.1.0.1/24")
        node.ip("addr add 10.1.0.9/24 dev br0")
        node.address("v1", "10.2.0.1/30")
        self.pod.address("eth0", "10.1.0.2/24")
        node.ip("link add flannel.1 type vxlan id 1 dstport 8472 local 10.2.0.1 dev v1 nolearning")
        node.ip("link set flannel.1 mtu 1450")
        node.address("flannel.1", "10.244.1.0/32")
        node.ip("route add 10.50.0.0/16 via 10.1.0.2 proto static")
        node.ip("route add 10.51.0.0/16 dev br0 src 10.1.0.9 metric 7 mtu 1400 advmss 1360")
        node.ip("route add 10.52.0.0/16 nexthop via 10.1.0.2 weight 2 nexthop via 10.2.0.2")
        node.ip("route add blackhole 10.53.0.0/16")
        node.ip("neigh add 10.1.0.7 lladdr 02:00:00:00:00:07 dev br0 nud permanent")
        node.run(
            "bridge",
            "fdb",
            "add",
            "02:00:00:00:01:01",
            "dev",
            "flannel.1",
            "dst",
            "10.2.0.2",
            "self",
            "permanent",
        )
        node.run("bridge", "fdb", "add", "02:00:00:00:01:02", "dev", "v0", "master", "static")
        for backend in ("nft", "legacy"):
            node.run(f"iptables-{backend}-restore", stdin=RULES)
        node.run("ipset", "restore", stdin=SETS)

    @property
    def name(self) -> str:
        """The node's namespace, as the snapshot calls it."""
        return self.space.name

    def read(self) -> Snapshot:
        """Everything there is to know about the node and its pod."""
        handles = [
            Handle(name=space.name, path=space.path, inode=space.inode) for space in (self.space, self.pod)
        ]
        with Reader(handles) as reader:
            return reader.read_all(reader.skeleton())

    def differs(self, expected: Snapshot) -> list[str]:
        """
        What differs from *expected*, once devices have settled.

        The kernel tells bridges of a carrier up to a second later (net/core/link_watch.c).
        """
        end = time.monotonic() + 3
        while (found := snapshot_difference(self.read(), expected)) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def section(self, name: str) -> Any:
        """One section of the node, which has to be known."""
        section = getattr(self.read().namespaces[self.name], name)
        assert isinstance(section, Known), section
        return section.value

    def apply(self, change: Change) -> None:
        """Make a change on the node or the pod."""
        apply_change(f"/run/netns/{change.netns}", change)
