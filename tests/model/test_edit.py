"""Changes applied to the model."""

import pytest
from msgspec.structs import replace

from nettrace.model.change import (
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
    FdbAdd,
    FdbDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    PolicySet,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit import edit
from nettrace.model.links import Address, BridgeAttrs, FdbEntry, Link, Neighbour, Peer, PortAttrs, VxlanAttrs
from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.routes import TABLE_LOCAL, NextHop, Route
from nettrace.model.section import NOT_READ, Known, Missing, SectionKey
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.xt import Counters, XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_match import Comment, Negatable, SetMatch
from nettrace.model.xt_target import Accept, Drop, Jump, Masquerade

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


def sysctls(name: str, value: str) -> dict[str, str]:
    """The sysctls that differ after a write, with their new values."""
    before, node = small().namespaces["node"].sysctls, after(SysctlSet(netns="node", name=name, value=value))
    assert isinstance(before, Known)
    assert isinstance(node.sysctls, Known)
    return {k: v for k, v in node.sysctls.value.items() if before.value[k] != v}


def chain_of(netns: Netns, name: str, of: str = "filter") -> XtChain:
    """A chain of the node's nft back end, which must be there."""
    found = Snapshot(namespaces={"node": netns}).chain("node", "nft", of, name)
    assert found is not None
    return found


def nft(kind: type, **fields: object) -> Change:
    """A change of the filter table of iptables-nft."""
    change: Change = kind(**{"netns": "node", "backend": "nft", "table": "filter", **fields})
    return change


def value(section: object) -> tuple[object, ...]:
    """The value of a section that must be known."""
    assert isinstance(section, Known)
    return tuple(section.value)


def test_ip_forward_sets_every_device() -> None:
    """A write to ip_forward reaches all, default and each device, and turns redirects round."""
    assert sysctls("net.ipv4.ip_forward", "1") == {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.forwarding": "1",
        "net.ipv4.conf.all.accept_redirects": "0",
        "net.ipv4.conf.default.forwarding": "1",
        "net.ipv4.conf.flannel/1.forwarding": "1",
    }


def test_ip_forward_with_its_own_value_does_nothing() -> None:
    """A write of the value that ip_forward has leaves devices that differ as they are."""
    assert sysctls("net.ipv4.ip_forward", "0") == {}


def test_ipv6_forwarding_is_apart() -> None:
    """The IPv6 switch reaches IPv6 devices only."""
    assert set(sysctls("net.ipv6.conf.all.forwarding", "1")) == {
        "net.ipv6.conf.all.forwarding",
        "net.ipv6.conf.br0.forwarding",
    }


def test_default_reaches_devices_that_follow_it() -> None:
    """A default is copied to devices without an address that still have it, and to no other."""
    assert set(sysctls("net.ipv4.conf.default.rp_filter", "2")) == {
        "net.ipv4.conf.default.rp_filter",
        "net.ipv4.conf.v0.rp_filter",
    }


def test_bridge_nf_is_a_switch() -> None:
    """Any number but 0 reads back as 1 from a bridge-nf switch."""
    assert sysctls("net.bridge.bridge-nf-call-iptables", "7") == {"net.bridge.bridge-nf-call-iptables": "1"}


def test_rules_keep_their_counters_by_place() -> None:
    """An inserted rule counts from zero and shifts the counters behind it."""
    chain = chain_of(after(nft(RuleInsert, chain="FORWARD", position=2, rule=ACCEPT)), "FORWARD")
    assert chain.rules == (TO_USER, ACCEPT, DROP, ACCEPT)
    assert chain.counters == (Counters(1, 10), Counters(0, 0), Counters(2, 20), Counters(3, 30))


def test_delete_and_replace_take_the_rule_at_the_position() -> None:
    """Deleting and replacing work on the position, when the expected rule stands there."""
    gone = chain_of(after(nft(RuleDelete, chain="FORWARD", position=2, rule=DROP)), "FORWARD")
    assert gone.rules == (TO_USER, ACCEPT)
    new = chain_of(after(nft(RuleReplace, chain="FORWARD", position=2, old=DROP, rule=ACCEPT)), "FORWARD")
    assert new.rules == (TO_USER, ACCEPT, ACCEPT)


def test_first_rule_makes_the_table() -> None:
    """A rule for a table that does not exist brings all built-in chains of that table."""
    change = nft(RuleInsert, table="nat", chain="POSTROUTING", position=1, rule=XtRule(target=Masquerade()))
    node = after(change)
    assert chain_of(node, "POSTROUTING", "nat").rules == (XtRule(target=Masquerade()),)
    assert chain_of(node, "PREROUTING", "nat") == XtChain(policy="ACCEPT")


def test_chains_and_policies() -> None:
    """ChainSet makes and fills, ChainDelete removes, PolicySet sets the policy."""
    assert chain_of(after(nft(ChainSet, chain="NEW", rules=(DROP,))), "NEW").rules == (DROP,)
    assert chain_of(after(nft(ChainSet, chain="USER", rules=())), "USER").rules == ()
    spare = edit(small(), nft(ChainDelete, chain="SPARE"))
    assert spare.chain("node", "nft", "filter", "SPARE") is None
    assert chain_of(after(nft(PolicySet, chain="FORWARD", policy="DROP")), "FORWARD").policy == "DROP"


def test_routes_come_and_go() -> None:
    """A route is added, replaced in its place, and deleted whether its next hop is dead or not."""
    new = Route(dst="10.60.0.0/16", nexthops=(NextHop(device="br0", via="10.9.0.3"),))
    assert value(after(RouteAdd(netns="node", route=new)).routes)[-1] == new
    other = replace(STATIC, nexthops=(NextHop(device="br0", via="10.9.0.9"),))
    replaced = after(RouteAdd(netns="node", route=other, replaces=STATIC))
    assert value(replaced.routes) == (LOCAL, CONNECTED, BROADCAST, other)
    dead = replace(STATIC, nexthops=(NextHop(device="br0", via="10.9.0.2", dead=True),))
    assert value(after(RouteDelete(netns="node", route=dead)).routes) == (LOCAL, CONNECTED, BROADCAST)


def test_device_down_takes_routes_and_neighbours() -> None:
    """A bridge that goes down keeps its local route only, and no neighbour."""
    node = after(LinkSet(netns="node", device="br0", attribute="up", value="off"))
    assert value(node.routes) == (LOCAL,)
    assert value(node.neighbours) == ()


def test_device_up_brings_the_kernels_routes_back() -> None:
    """A device that comes up again has its connected and broadcast routes, no static one."""
    down = edit(small(), LinkSet(netns="node", device="br0", attribute="up", value="off"))
    up = edit(down, LinkSet(netns="node", device="br0", attribute="up", value="on")).namespaces["node"]
    assert set(value(up.routes)) == {LOCAL, CONNECTED, BROADCAST}


def test_carrier_passes_through_veth_and_bridge() -> None:
    """A pod's device that goes down takes the carrier of the node's port and its bridge with it."""
    change = LinkSet(netns="pod", device="eth0", attribute="up", value="off")
    changed = edit(small(), change)
    node = changed.namespaces["node"]
    assert isinstance(node.links, Known)
    by_name = {link.name: link for link in node.links.value}
    assert not by_name["v0"].carrier
    assert by_name["v0"].up
    assert by_name["v0"].port == PortAttrs(state=0)
    assert not by_name["br0"].carrier
    assert not any(r.nexthops[0].dead for r in value(node.routes))  # type: ignore[attr-defined]
    up = edit(changed, replace(change, value="on"))
    assert up.namespaces["node"] == small().namespaces["node"]


def test_routes_without_carrier_are_dead_where_a_sysctl_says_so() -> None:
    """With ignore_routes_with_linkdown, routes over a device without carrier are dead, local ones not."""
    state = small()
    key = SectionKey("node", "sysctls")
    asked = state.with_section(key, Known({"net.ipv4.conf.br0.ignore_routes_with_linkdown": "1"}))
    node = edit(asked, LinkSet(netns="pod", device="eth0", attribute="up", value="off")).namespaces["node"]
    assert [r.nexthops[0].dead for r in value(node.routes)] == [False, True, True, True]  # type: ignore[attr-defined]


def test_mtu_reaches_stacked_devices_and_the_bridge() -> None:
    """A port's smaller MTU lowers the VLAN device above it and the bridge that follows its ports."""
    node = after(LinkSet(netns="node", device="v0", attribute="mtu", value="1400"))
    assert {link.name: link.mtu for link in value(node.links)} == {  # type: ignore[attr-defined]
        "lo": 1500,
        "br0": 1400,
        "v0": 1400,
        "vx0": 1450,
        "flannel.1": 1500,
        "v0.5": 1400,
    }


def test_forwarding_entries() -> None:
    """A MAC leads to one far end; all zeros may lead to several."""
    moved = replace(FAR, dst="10.200.0.3")
    assert moved in value(after(FdbAdd(netns="node", entry=moved)).fdb)
    assert FAR not in value(after(FdbAdd(netns="node", entry=moved)).fdb)
    one = replace(FAR, mac="00:00:00:00:00:00")
    two = replace(one, dst="10.200.0.3")
    both = edit(edit(small(), FdbAdd(netns="node", entry=one)), FdbAdd(netns="node", entry=two))
    assert {one, two} < set(value(both.namespaces["node"].fdb))
    assert FAR not in value(after(FdbDelete(netns="node", entry=FAR)).fdb)


def test_neighbours_and_connections() -> None:
    """A neighbour replaces the one of its address; entries and connections are deleted."""
    new = replace(FIXED, mac="02:00:00:00:00:08")
    assert new in value(after(NeighbourAdd(netns="node", entry=new)).neighbours)
    assert FIXED not in value(after(NeighbourAdd(netns="node", entry=new)).neighbours)
    assert FIXED not in value(after(NeighbourDelete(netns="node", entry=FIXED)).neighbours)
    seen = replace(CONNECTION, timeout=30)
    assert value(after(ConntrackDelete(netns="node", entry=seen)).conntrack) == ()


def test_lists_of_addresses() -> None:
    """An address that is put in was seen now, once more where it was there; one that is taken out is gone."""

    def entries(change: Change) -> tuple[RecentEntry, ...]:
        held: tuple[RecentList, ...] = after(change).recent.value  # type: ignore[union-attr]
        return held[0].entries

    place = {"netns": "node", "name": "L"}
    again = entries(RecentAdd(**place, address="10.1.0.2"))
    assert again == (RecentEntry(address="10.1.0.2", ages=(0.0, 3.0)),)
    new = entries(RecentAdd(**place, address="10.1.0.3"))
    assert [entry.address for entry in new] == ["10.1.0.2", "10.1.0.3"]
    assert entries(RecentDelete(**place, address="10.1.0.2")) == ()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (SysctlSet(netns="node", name="net.ipv4.no_such", value="1"), "no_such"),
        (SysctlSet(netns="pod", name="net.ipv4.ip_forward", value="1"), "not-read"),
        (SysctlSet(netns="mars", name="net.ipv4.ip_forward", value="1"), "mars"),
        (nft(RuleDelete, chain="FORWARD", position=1, rule=DROP), "another rule stands at 1"),
        (nft(RuleDelete, chain="FORWARD", position=4, rule=DROP), "none at 4"),
        (nft(RuleReplace, chain="FORWARD", position=3, old=DROP, rule=DROP), "another rule"),
        (nft(RuleInsert, chain="FORWARD", position=5, rule=DROP), "no place 5"),
        (nft(RuleInsert, chain="NOWHERE", position=1, rule=DROP), "NOWHERE"),
        (nft(RuleInsert, chain="INPUT", position=1, rule=XtRule(target=Jump("GONE"))), "GONE"),
        (
            nft(
                RuleInsert,
                chain="INPUT",
                position=1,
                rule=XtRule(matches=(SetMatch(name="pods", directions=("src",)),)),
            ),
            "pods",
        ),
        (nft(RuleInsert, backend="legacy", chain="INPUT", position=1, rule=DROP), "not-read"),
        (nft(RuleInsert, backend="ebt", chain="INPUT", position=1, rule=DROP), "ebt"),
        (nft(ChainSet, chain="FORWARD", rules=()), "built in"),
        (nft(ChainDelete, chain="USER"), "jumped to from FORWARD"),
        (nft(ChainDelete, chain="INPUT"), "built in"),
        (nft(ChainDelete, chain="NOWHERE"), "no such chain"),
        (nft(PolicySet, chain="USER", policy="DROP"), "no built-in chain"),
        (nft(PolicySet, chain="NOWHERE", policy="DROP"), "no such chain"),
        (RouteAdd(netns="node", route=STATIC), "already has"),
        (RouteAdd(netns="node", route=STATIC, replaces=CONNECTED), "to replace"),
        (RouteAdd(netns="node", route=replace(STATIC, nexthops=(NextHop(device="eth9"),))), "eth9"),
        (RouteDelete(netns="node", route=replace(STATIC, metric=5)), "metric 5"),
        (LinkSet(netns="node", device="v0", attribute="hairpin", value="yes"), "yes"),
        (LinkSet(netns="node", device="br0", attribute="hairpin", value="on"), "no port"),
        (LinkSet(netns="node", device="br0", attribute="state", value="3"), "no port"),
        (LinkSet(netns="node", device="v0", attribute="state", value="5"), "no state"),
        (LinkSet(netns="node", device="v0", attribute="master", value="v0"), "no bridge v0"),
        (LinkSet(netns="node", device="br9", attribute="up", value="on"), "br9"),
        (LinkSet(netns="node", device="br0", attribute="colour", value="on"), "colour"),
        (LinkSet(netns="node", device="br0", attribute="mtu", value="60"), "below 68"),
        (FdbAdd(netns="node", entry=replace(FAR, device="v0")), "no vxlan"),
        (FdbAdd(netns="node", entry=replace(FAR, dst=None, master="br0")), "no port of br0"),
        (FdbDelete(netns="node", entry=replace(FAR, dst="10.200.0.9")), "10.200.0.9"),
        (NeighbourAdd(netns="node", entry=replace(FIXED, device="br9")), "br9"),
        (NeighbourDelete(netns="node", entry=replace(FIXED, mac=None)), "10.9.0.7"),
        (ConntrackDelete(netns="node", entry=replace(CONNECTION, proto="tcp")), "tcp"),
        (RecentDelete(netns="node", name="L", address="10.1.0.3"), "10.1.0.3"),
        (RecentAdd(netns="node", name="M", address="10.1.0.3"), "list M"),
    ],
)
def test_what_is_not_there_is_named(change: Change, names: str) -> None:
    """A change of something that is not there is refused with its name."""
    with pytest.raises(ValueError, match=names):
        edit(small(), change)


def test_unread_sections_are_never_edited() -> None:
    """A device is not brought down in a namespace whose routes were not read."""
    state = small()
    blind = state.with_netns(replace(state.namespaces["node"], routes=NOT_READ))
    with pytest.raises(ValueError, match="node/routes"):
        edit(blind, LinkSet(netns="node", device="br0", attribute="up", value="off"))
    assert isinstance(blind.namespaces["node"].routes, Missing)
