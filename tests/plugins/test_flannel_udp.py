"""flannel's back end udp: what flanneld carries in user space."""

import pytest
from msgspec.structs import replace

from nettrace.model.links import Link
from nettrace.model.owed import OwedRoute
from nettrace.model.relay import Relay
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import Socket
from nettrace_plugins.flannel import plugin
from nettrace_plugins.flannel.facts import NET_CONF
from tests.diagnose.asking import diagnosed
from tests.diagnose.worlds import World, cluster
from tests.plugins.flannel_worlds import owes, with_nodes

CONF = '{"Network": "10.244.0.0/16", "Backend": {"Type": "udp"}}'


def udp(conf: str = CONF) -> World:
    """A cluster whose flanneld carries the packets itself, on node-a and node-b."""
    world = cluster()
    snapshot = with_nodes(world.snapshot, backend_type="", backend_data="null")
    for name, address in (("node-a", "172.18.0.11"), ("node-b", "172.18.0.12")):
        node, state = snapshot.namespaces[name], snapshot.nodes[name]
        assert isinstance(node.links, Known)
        assert isinstance(node.routes, Known)
        assert isinstance(node.sockets, Known)
        assert isinstance(state.files, Known)
        kept = tuple(one for one in node.links.value if one.kind != "vxlan")
        routes = tuple(
            one
            for one in node.routes.value
            if one.nexthops[:1] == () or one.nexthops[0].via is None or one.nexthops[0].device == "eth0"
        )
        assert isinstance(node.sysctls, Known)
        settings = {
            k.replace("flannel/1", "flannel0"): v for k, v in node.sysctls.value.items() if "flannel/1" in k
        }
        node = replace(
            node,
            sysctls=Known({**node.sysctls.value, **settings}),
            links=Known((*kept, Link(index=90, name="flannel0", kind="tun", mtu=1472))),
            routes=Known((*routes, Route(dst="10.244.0.0/16", nexthops=(NextHop(device="flannel0"),)))),
            sockets=Known(
                (*node.sockets.value, Socket(proto="udp", address=address, port=8285, state="unconn"))
            ),
        )
        snapshot = snapshot.with_netns(node)
        files = Known({**state.files.value, NET_CONF: conf})
        snapshot = replace(snapshot, nodes={**snapshot.nodes, name: replace(state, files=files)})
    return World(_related(snapshot), world.names)


def _related(snapshot: Snapshot) -> Snapshot:
    """The snapshot with what the plugin says of TUN devices in it."""
    for name in snapshot.namespaces:
        ways = Known(tuple(plugin.nettrace_transit(snapshot, name)))
        snapshot = snapshot.with_section(SectionKey(name, "relays"), ways)
    return snapshot


def test_what_flanneld_carries() -> None:
    """One way a peer, between the nodes' published addresses, on the configured port, TTL lower by one."""
    snapshot = udp().snapshot
    (way,) = plugin.nettrace_transit(snapshot, "node-a")
    assert way == Relay(
        device="flannel0",
        prefix="10.244.2.0/24",
        local="172.18.0.11",
        port=8285,
        far="172.18.0.12",
        far_port=8285,
        owner="flanneld",
        source="annotations of Node node-b",
        hops=1,
    )
    assert plugin.nettrace_transit(snapshot, "wire") == ()
    (route, *_) = owes(snapshot)
    assert isinstance(route, OwedRoute)
    assert route.route == Route(dst="10.244.0.0/16", nexthops=(NextHop(device="flannel0"),))
    assert plugin.nettrace_name(snapshot, "node-a", "links/flannel0") is not None


@pytest.mark.parametrize(
    "conf", ["", '{"Backend": {"Type": "alloc"}}', '{"Backend": {"Type": "udp", "Port": 9000}}']
)
def test_another_back_end_carries_nothing(conf: str) -> None:
    """Without the back end's name, or a socket at its port, nobody says what happens to a packet."""
    assert plugin.nettrace_transit(udp(conf).snapshot, "node-a") == ()


def test_what_was_not_read_carries_nothing() -> None:
    """Devices and sockets that were not read show no program, and a device that is not known is not gone."""
    snapshot = udp().snapshot
    for name in ("links", "sockets"):
        assert (
            plugin.nettrace_transit(snapshot.with_section(SectionKey("node-a", name), NOT_READ), "node-a")
            == ()
        )


def test_a_flow_through_flanneld() -> None:
    """It arrives; with flanneld gone from either node that is the finding."""
    world = udp()
    assert diagnosed(world, "pod/client-near", "pod/hostnames-1").met is True
    for name in ("node-a", "node-b"):
        node = world.snapshot.namespaces[name]
        assert isinstance(node.links, Known)
        assert isinstance(node.routes, Known)
        assert isinstance(node.sockets, Known)
        dead = replace(
            node,
            links=Known(tuple(one for one in node.links.value if one.name != "flannel0")),
            routes=Known(tuple(one for one in node.routes.value if one.dst != "10.244.0.0/16")),
            sockets=Known(tuple(one for one in node.sockets.value if one.port != 8285)),
        )
        broken = World(_related(world.snapshot.with_netns(dead)), world.names)
        found = diagnosed(broken, "pod/client-near", "pod/hostnames-1")
        assert [f.cause for f in found.findings] == ["flanneld-dead"]
        assert f"flanneld does not run on {name}" in found.findings[0].message
