"""Taking changes back, on the model."""

from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nettrace.model.canonical import snapshot_difference
from nettrace.model.change import (
    ConntrackDelete,
    Exact,
    LinkSet,
    NeighbourDelete,
    NoUndo,
    Rebuilds,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    SysctlSet,
)
from nettrace.model.edit import edit
from nettrace.model.edit_links import kernel_routes
from nettrace.model.links import Address, BridgeAttrs, Link, Neighbour
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import NOT_READ, Known
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.undo import undo_of
from nettrace.model.xt import XtRule, XtRuleset
from nettrace.model.xt_target import Masquerade
from tests.model.drawn_changes import CONNECTION, SEEN, changes, nodes


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_undo_restores_the_canonical_state(data: Any) -> None:
    """Whatever is taken back exactly leaves the state that was; Rebuilds says what it does not."""
    before = data.draw(nodes())
    change = data.draw(changes(before))
    try:
        after = edit(before, change)
    except ValueError:
        with pytest.raises(ValueError):
            undo_of(before, change)
        return
    undo = undo_of(before, change)
    event(f"{type(change).__name__} {type(undo).__name__}")
    if isinstance(undo, NoUndo):
        assert undo.reason
        return
    for inverse in undo.changes:
        after = edit(after, inverse)
    if isinstance(undo, Exact):
        assert snapshot_difference(after, before) == []
    else:
        assert undo.differs


BRIDGE = Link(index=2, name="br0", kind="bridge", bridge=BridgeAttrs())
ADDRESS = Address(device="br0", address="10.1.0.1", prefixlen=24)
VIA = Route(dst="10.9.0.0/16", nexthops=(NextHop(device="br0", via="10.1.0.2"),), protocol="static")
DIRECT = Route(dst="10.8.0.0/16", nexthops=(NextHop(device="br0"),), scope="link")


def node(**sections: Any) -> Snapshot:
    """A node with one bridge and these sections."""
    base: dict[str, Any] = {
        "links": Known((BRIDGE,)),
        "addresses": Known((ADDRESS,)),
        "routes": Known((VIA, DIRECT, *kernel_routes((ADDRESS,), BRIDGE))),
        "neighbours": Known((Neighbour(device="br0", address="10.1.0.7", mac="02::7", state="permanent"),)),
        "fdb": Known(()),
        "sysctls": Known(
            {
                "net.ipv4.ip_forward": "0",
                "net.ipv4.conf.all.forwarding": "0",
                "net.ipv4.conf.all.accept_redirects": "1",
                "net.ipv4.conf.default.forwarding": "0",
                "net.ipv4.conf.br0.forwarding": "1",
            }
        ),
    }
    netns = Netns(name="node", node="node", **{**base, **sections})
    return Snapshot(namespaces={"node": netns})


def written(name: str, value: str) -> SysctlSet:
    """A write on the node."""
    return SysctlSet(netns="node", name=name, value=value)


def test_forwarding_is_taken_back_device_by_device() -> None:
    """A device that forwarded before ip_forward was set does so after it is taken back, and no other."""
    assert undo_of(node(), written("net.ipv4.ip_forward", "1")) == Exact(
        (written("net.ipv4.ip_forward", "0"), written("net.ipv4.conf.br0.forwarding", "1"))
    )


def test_what_was_not_read_is_said() -> None:
    """A switch that sets values nobody read can be turned back, but not promised to be exact."""
    undo = undo_of(node(sysctls=Known({"net.ipv4.ip_forward": "0"})), written("net.ipv4.ip_forward", "1"))
    assert isinstance(undo, Rebuilds)
    assert "net.ipv4.conf.br0.forwarding" in undo.differs


def test_a_device_comes_back_with_its_routes() -> None:
    """Taking a device down is undone by bringing it up and adding its routes, gateways last."""
    undo = undo_of(node(), LinkSet(netns="node", device="br0", attribute="up", value="off"))
    assert isinstance(undo, Exact)
    assert [type(change).__name__ for change in undo.changes] == [
        "LinkSet",
        "RouteAdd",
        "RouteAdd",
        "NeighbourAdd",
    ]
    assert undo.changes[1:3] == (RouteAdd(netns="node", route=DIRECT), RouteAdd(netns="node", route=VIA))


def test_lost_ipv6_addresses_are_said() -> None:
    """A device that goes down loses its IPv6 addresses, which no change brings back."""
    six = Address(device="br0", address="fd00::1", prefixlen=64)
    undo = undo_of(
        node(addresses=Known((ADDRESS, six))),
        LinkSet(netns="node", device="br0", attribute="up", value="off"),
    )
    assert isinstance(undo, Rebuilds)
    assert "fd00::1" in undo.differs


def test_unread_neighbours_are_said() -> None:
    """Permanent neighbours that nobody read may be lost with the device."""
    change = LinkSet(netns="node", device="br0", attribute="up", value="off")
    undo = undo_of(node(neighbours=NOT_READ), change)
    assert isinstance(undo, Rebuilds)
    assert "neighbours" in undo.differs


def test_one_of_several_equal_routes_is_not_promised() -> None:
    """Where several routes share one key, deleting one cannot be taken back in order."""
    other = replace(VIA, nexthops=(NextHop(device="br0", via="10.1.0.3"),))
    undo = undo_of(node(routes=Known((VIA, other))), RouteDelete(netns="node", route=VIA))
    assert isinstance(undo, NoUndo)


def test_a_route_that_cannot_be_written_again() -> None:
    """A route with an encapsulation that was not read can be deleted, but not put back."""
    tunnel = replace(VIA, more=("encap", "?"))
    undo = undo_of(node(routes=Known((tunnel,))), RouteDelete(netns="node", route=tunnel))
    assert isinstance(undo, NoUndo)
    assert "encapsulation" in undo.reason


def test_what_returns_by_itself_has_no_undo() -> None:
    """A deleted connection or learned neighbour comes back by itself, and the reason says so."""
    seen = Neighbour(device="br0", address="10.1.0.8", mac="02::8", state="stale")
    state = node(neighbours=Known((seen,)), conntrack=Known((CONNECTION,)))
    assert isinstance(undo_of(state, ConntrackDelete(netns="node", entry=CONNECTION)), NoUndo)
    assert isinstance(undo_of(state, NeighbourDelete(netns="node", entry=seen)), NoUndo)


def test_a_list_is_told_again_what_it_forgot() -> None:
    """An address comes back as seen now; one that a list had before cannot be made older again."""
    state = node(recent=Known((SEEN,)))
    place = {"netns": "node", "name": "L"}
    undo = undo_of(state, RecentDelete(**place, address="10.1.0.2"))
    assert isinstance(undo, Rebuilds)
    assert undo.changes == (RecentAdd(**place, address="10.1.0.2"),)
    assert isinstance(undo_of(state, RecentAdd(**place, address="10.1.0.2")), NoUndo)
    new = undo_of(state, RecentAdd(**place, address="10.1.0.3"))
    assert new == Exact((RecentDelete(**place, address="10.1.0.3"),))


def test_a_table_that_the_rule_made_stays() -> None:
    """A rule for a table that did not exist is deleted again, and the empty table is said to stay."""
    state = node(xt_nft=Known(XtRuleset({})))
    rule = XtRule(target=Masquerade())
    place: dict[str, Any] = {"netns": "node", "backend": "nft", "table": "nat", "chain": "POSTROUTING"}
    undo = undo_of(state, RuleInsert(**place, position=1, rule=rule))
    assert isinstance(undo, Rebuilds)
    assert undo.changes == (RuleDelete(**place, position=1, rule=rule),)
    assert "nat" in undo.differs


def test_nothing_changed_is_nothing_to_undo() -> None:
    """A write of the value that is there has an empty undo."""
    assert undo_of(node(), written("net.ipv4.ip_forward", "0")) == Exact(())
