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
from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import NOT_READ, Known, Missing
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.xt import Counters, XtChain, XtRule
from nettrace.model.xt_match import SetMatch
from nettrace.model.xt_target import Jump, Masquerade
from tests.model.small_node import (
    ACCEPT,
    BROADCAST,
    CONNECTED,
    CONNECTION,
    DROP,
    FAR,
    FIXED,
    LOCAL,
    STATIC,
    TO_USER,
    after,
    small,
    value,
)


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
