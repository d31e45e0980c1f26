"""Devices that are edited: up, down, carrier, MTU, forwarding entries."""

from msgspec.structs import replace

from nettrace.model.change import (
    FdbAdd,
    FdbDelete,
    LinkSet,
)
from nettrace.model.edit import edit
from nettrace.model.links import PortAttrs
from nettrace.model.section import Known, SectionKey
from tests.model.small_node import BROADCAST, CONNECTED, FAR, LOCAL, after, small, value


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
