"""
A small node to be edited.

Lives here: its snapshot, and the node after one change.
"""

from msgspec.structs import replace

from nettrace.model.change import Change
from nettrace.model.edit import edit
from nettrace.model.links import Address, BridgeAttrs, FdbEntry, Link, Neighbour, Peer, PortAttrs, VxlanAttrs
from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.routes import TABLE_LOCAL, NextHop, Route
from nettrace.model.section import NOT_READ, Known
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.xt import Counters, XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_match import Comment, Negatable
from nettrace.model.xt_target import Accept, Drop, Jump

DROP = XtRule(src=Negatable("10.1.0.0/16"), target=Drop())
ACCEPT = XtRule(matches=(Comment("in"),), target=Accept())
TO_USER = XtRule(target=Jump("USER"))
LOCAL = Route(
    dst="10.9.0.1/32",
    type="local",
    table=TABLE_LOCAL,
    scope="host",
    protocol="kernel",
    prefsrc="10.9.0.1",
    nexthops=(NextHop(device="br0"),),
)
CONNECTED = Route(
    dst="10.9.0.0/24",
    scope="link",
    protocol="kernel",
    prefsrc="10.9.0.1",
    nexthops=(NextHop(device="br0"),),
)
BROADCAST = replace(CONNECTED, dst="10.9.0.255/32", type="broadcast", table=TABLE_LOCAL)
STATIC = Route(dst="10.50.0.0/16", nexthops=(NextHop(device="br0", via="10.9.0.2"),))
CONNECTION = ConntrackEntry(
    proto="udp",
    original=Tuple(src="10.9.0.2", dst="10.96.0.10", sport=4000, dport=53),
    reply=Tuple(src="10.9.0.3", dst="10.9.0.2", sport=53, dport=4000),
)
FAR = FdbEntry(device="vx0", mac="02:00:00:00:01:01", dst="10.200.0.2", permanent=True)
FIXED = Neighbour(device="br0", address="10.9.0.7", mac="02:00:00:00:00:07", state="permanent")


def table(**chains: XtChain) -> Known[XtTable]:
    """A table of these chains."""
    return Known(XtTable({name: Known(chain) for name, chain in chains.items()}))


SEEN = RecentList(name="L", entries=(RecentEntry(address="10.1.0.2", ages=(3.0,)),))


def small() -> Snapshot:
    """A node with a bridge, a port to a pod, a VXLAN device, some rules; and the pod."""
    node = Netns(
        name="node",
        node="node",
        links=Known(
            (
                Link(index=1, name="lo", kind="loopback"),
                Link(index=2, name="br0", kind="bridge", bridge=BridgeAttrs()),
                Link(index=3, name="v0", kind="veth", peer=Peer("pod", 2), master="br0", port=PortAttrs()),
                Link(index=4, name="vx0", kind="vxlan", vxlan=VxlanAttrs(vni=1), mtu=1450),
                Link(index=5, name="flannel.1", kind="dummy"),
                Link(index=6, name="v0.5", kind="vlan", lower="v0"),
            )
        ),
        addresses=Known((Address(device="br0", address="10.9.0.1", prefixlen=24),)),
        routes=Known((LOCAL, CONNECTED, BROADCAST, STATIC)),
        neighbours=Known((FIXED, Neighbour(device="br0", address="10.9.0.2", mac=None, state="failed"))),
        fdb=Known((FAR, FdbEntry(device="v0", mac="02:00:00:00:00:02", master="br0"))),
        sysctls=Known(
            {
                "net.ipv4.ip_forward": "0",
                "net.ipv4.conf.all.forwarding": "0",
                "net.ipv4.conf.all.accept_redirects": "1",
                "net.ipv4.conf.default.forwarding": "0",
                "net.ipv4.conf.br0.forwarding": "1",
                "net.ipv4.conf.flannel/1.forwarding": "0",
                "net.ipv4.conf.all.rp_filter": "0",
                "net.ipv4.conf.default.rp_filter": "0",
                "net.ipv4.conf.br0.rp_filter": "0",
                "net.ipv4.conf.v0.rp_filter": "0",
                "net.ipv4.conf.flannel/1.rp_filter": "1",
                "net.ipv6.conf.all.forwarding": "0",
                "net.ipv6.conf.br0.forwarding": "0",
                "net.bridge.bridge-nf-call-iptables": "0",
            }
        ),
        conntrack=Known((CONNECTION,)),
        recent=Known((SEEN,)),
        ipsets=Known(()),
        xt_nft=Known(
            XtRuleset(
                {
                    "filter": table(
                        INPUT=XtChain(policy="ACCEPT"),
                        FORWARD=XtChain(
                            policy="ACCEPT",
                            rules=(TO_USER, DROP, ACCEPT),
                            counters=(Counters(1, 10), Counters(2, 20), Counters(3, 30)),
                        ),
                        OUTPUT=XtChain(policy="ACCEPT"),
                        USER=XtChain(rules=(ACCEPT,)),
                        SPARE=XtChain(rules=(DROP,)),
                    )
                }
            )
        ),
        xt_legacy=NOT_READ,
    )
    pod = Netns(
        name="pod",
        node="node",
        links=Known((Link(index=2, name="eth0", kind="veth", peer=Peer("node", 3)),)),
        routes=Known(
            (Route(dst="0.0.0.0/0", nexthops=(NextHop(device="eth0", via="10.9.0.1"),)),),
        ),
        addresses=Known(()),
    )
    return Snapshot(namespaces={"node": node, "pod": pod})


def after(change: Change) -> Netns:
    """The node after *change*."""
    return edit(small(), change).namespaces["node"]


def value(section: object) -> tuple[object, ...]:
    """The value of a section that must be known."""
    assert isinstance(section, Known)
    return tuple(section.value)
