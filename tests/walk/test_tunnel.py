"""VXLAN between two nodes, as flannel builds it."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.links import FdbEntry, Peer, PortAttrs
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import World, flow, one_path

ACROSS = flow("pod1", "10.244.2.2", 9376)


def cluster() -> World:
    """node1 and node2 on a wire, a pod each, flannel.1 between them."""
    world = World()
    world.netns("wire", "wire", "wire")
    for number in (1, 2):
        node, pod = f"node{number}", f"pod{number}"
        world.netns(node, node, "node")
        world.netns(pod, node, "pod")
        world.veth(node, "eth0", "wire", f"port{number}")
        world[node].address("eth0", f"192.168.50.1{number}/24")
        world.veth(node, "veth1", pod, "eth0", mtu=1450)
        world[pod].address("eth0", f"10.244.{number}.2/24")
        world[pod].route("default", "eth0", f"10.244.{number}.1")
        world[pod].listen(9376)
        world.bridge(node, "cni0", "veth1")
        world[node].change("cni0", mtu=1450)
        world[node].address("cni0", f"10.244.{number}.1/24")
        world.vxlan(node, "flannel.1", f"192.168.50.1{number}")
        world[node].address("flannel.1", f"10.244.{number}.0/32")
        world[node].sysctl("net.ipv4.ip_forward", 1)
    world.bridge("wire", "br0", "port1", "port2")
    for number, other in ((1, 2), (2, 1)):
        here = world[f"node{number}"]
        mac = world.mac(f"node{other}", "flannel.1")
        here.route(f"10.244.{other}.0/24", "flannel.1", f"10.244.{other}.0")
        here.neighbour("flannel.1", f"10.244.{other}.0", mac)
        here.bridge_fdb("flannel.1", mac, f"192.168.50.1{other}")
    return world


def test_across() -> None:
    """The outer packet walks OUTPUT, the wire and INPUT; the inner one comes out as it went in."""
    path = one_path(cluster(), ACROSS)
    assert path.outcome is Outcome.CONNECTED
    assert path.endpoint is not None
    assert path.endpoint.source == "10.244.1.2"
    tunnel = [step for step in path.request.steps if step.stage is Stage.TUNNEL]
    assert [(step.netns, step.verdict) for step in tunnel] == [
        ("node1", "encapsulate"),
        ("node2", "decapsulate"),
    ]
    outer = tunnel[0].after
    assert outer is not None
    assert (outer.src, outer.dst, str(outer.dport), outer.size) == (
        "192.168.50.11",
        "192.168.50.12",
        "8472",
        110,
    )
    assert outer.inner == tunnel[0].before


@pytest.mark.parametrize(("node", "failed"), [("node1", 0), ("node2", 1)])
def test_no_entry_for_the_far_end(node: str, failed: int) -> None:
    """Without an FDB entry the frame is dropped, on the way there or back."""
    world = cluster()
    world[node].fdb.clear()
    path = one_path(world, ACROSS)
    assert (path.verdict, path.failed, path.outcome) == (
        Verdict.NO_TUNNEL_DESTINATION,
        failed,
        Outcome.TIMEOUT,
    )
    assert path.failing_step is not None
    assert path.failing_step.why is not None
    assert path.failing_step.why.ref.startswith(f"{node}/fdb/flannel.1/")


ZERO = FdbEntry(device="flannel.1", mac="00:00:00:00:00:00", dst="192.168.50.12")


def test_the_default_destination() -> None:
    """An all-zero MAC is where everything else goes; of several the one counts where it is taken."""
    world = cluster()
    world["node1"].fdb = [ZERO]
    assert one_path(world, ACROSS).outcome is Outcome.CONNECTED
    world["node1"].fdb = [replace(ZERO, dst="192.168.50.13"), ZERO]
    assert one_path(world, ACROSS).outcome is Outcome.CONNECTED


def test_several_far_ends_and_nobody_takes_it() -> None:
    """Where nobody behind any far end has the MAC address, one copy's end is the answer."""
    world = cluster()
    world["node1"].fdb = [ZERO, replace(ZERO, dst="192.168.50.13")]
    world["node2"].change("flannel.1", mac="02:00:00:00:00:99")
    assert one_path(world, ACROSS).verdict is Verdict.OTHERHOST


def test_a_copy_that_leaves_the_snapshot() -> None:
    """Whether somebody outside takes a copy is not known."""
    world = cluster()
    world["node1"].fdb = [ZERO, replace(ZERO, dst="192.168.50.13")]
    world["wire"].add_link("uplink", "device", master="br0", port=PortAttrs())
    path = one_path(world, ACROSS)
    assert path.outcome is Outcome.UNKNOWN
    assert "leaves the snapshot" in path.reason


@pytest.mark.parametrize(
    ("change", "word"),
    [({"nexthop": 7, "dst": None}, "next hops"), ({"dst": "239.1.1.1"}, "not one host")],
)
def test_entries_that_are_not_walked(change: dict[str, Any], word: str) -> None:
    """A group of next hops, or of multicast, is UNKNOWN and says so."""
    world = cluster()
    world["node1"].fdb = [replace(ZERO, **change)]
    path = one_path(world, ACROSS)
    assert path.outcome is Outcome.UNKNOWN
    assert word in path.reason


def test_a_device_that_answers_for_others() -> None:
    """What a tunnel with proxy or rsc does with a frame is not walked."""
    world = cluster()
    vxlan = world["node1"].links["flannel.1"].vxlan
    assert vxlan is not None
    world["node1"].change("flannel.1", vxlan=replace(vxlan, special=("proxy",)))
    assert "proxy" in one_path(world, ACROSS).reason


def learning(world: World) -> None:
    """Let both tunnels learn, with nothing but default destinations and no known neighbours."""
    for number, other in ((1, 2), (2, 1)):
        here = world[f"node{number}"]
        vxlan = here.links["flannel.1"].vxlan
        assert vxlan is not None
        here.change("flannel.1", vxlan=replace(vxlan, learning=True))
        here.neighbours.clear()
        here.fdb = [replace(ZERO, dst=f"192.168.50.1{other}")]


def test_arp_goes_through_the_tunnel_and_teaches() -> None:
    """The request is flooded to the far end, the answer comes back by what that learned."""
    world = cluster()
    learning(world)
    world["node2"].fdb.clear()
    path = one_path(world, ACROSS)
    assert path.outcome is Outcome.CONNECTED
    reply = path.reply
    assert reply is not None
    assert [step.why.text for step in reply.steps if step.verdict == "encapsulate" and step.why] == [
        f"{world.mac('node1', 'flannel.1')} dst 192.168.50.11"
    ]


def test_arp_whose_answer_is_lost() -> None:
    """A far end that neither learns nor knows where to send has its answer lost."""
    world = cluster()
    learning(world)
    world["node2"].fdb.clear()
    vxlan = world["node2"].links["flannel.1"].vxlan
    assert vxlan is not None
    world["node2"].change("flannel.1", vxlan=replace(vxlan, learning=False))
    assert one_path(world, ACROSS).verdict is Verdict.NEIGHBOUR_FAILED


def test_a_frame_against_a_static_entry() -> None:
    """What was put there by hand is believed more than a frame from elsewhere."""
    world = cluster()
    vxlan = world["node2"].links["flannel.1"].vxlan
    assert vxlan is not None
    world["node2"].change("flannel.1", vxlan=replace(vxlan, learning=True))
    mac = world.mac("node1", "flannel.1")
    world["node2"].fdb = [FdbEntry(device="flannel.1", mac=mac, dst="192.168.50.99", static=True)]
    path = one_path(world, ACROSS)
    assert path.verdict is Verdict.MARTIAN
    assert "by hand" in path.reason


def test_arp_to_a_group_of_multicast() -> None:
    """Whom a multicast group reaches is not known."""
    world = cluster()
    learning(world)
    world["node1"].fdb = [replace(ZERO, dst="239.1.1.1")]
    path = one_path(world, ACROSS)
    assert path.outcome is Outcome.UNKNOWN
    assert "239.1.1.1" in path.reason


def test_an_unknown_far_neighbour() -> None:
    """flannel's tunnel does not flood ARP: nobody answers, and the sender hears of it after 3 s."""
    world = cluster()
    world["node1"].neighbours.clear()
    path = one_path(world, ACROSS)
    assert (path.verdict, path.errno) == (Verdict.NEIGHBOUR_FAILED, "EHOSTUNREACH")


def test_a_tunnel_that_floods_may_find_somebody() -> None:
    """With a default destination ARP goes through the tunnel."""
    world = cluster()
    world["node1"].neighbours.clear()
    world["node1"].fdb.append(ZERO)
    assert one_path(world, ACROSS).outcome is Outcome.CONNECTED


def test_the_far_device_has_another_mac() -> None:
    """A frame for an old MAC is nobody's at the far end."""
    world = cluster()
    world["node2"].change("flannel.1", mac="02:00:00:00:00:99")
    assert one_path(world, ACROSS).verdict is Verdict.OTHERHOST


def test_another_vni() -> None:
    """The receiver looks for its VNI, and drops silently."""
    world = cluster()
    link = world["node2"].links["flannel.1"]
    assert link.vxlan is not None
    world["node2"].change("flannel.1", vxlan=replace(link.vxlan, vni=2))
    path = one_path(world, ACROSS)
    assert path.verdict is Verdict.NO_TUNNEL_DESTINATION
    assert "VNI 1" in path.reason


def test_another_port_or_a_device_that_is_down() -> None:
    """Nobody listens at the UDP port; the error about the outer packet tells the pod nothing."""
    world = cluster()
    link = world["node2"].links["flannel.1"]
    assert link.vxlan is not None
    world["node2"].change("flannel.1", vxlan=replace(link.vxlan, port=4789))
    path = one_path(world, ACROSS)
    assert (path.verdict, path.outcome) == (Verdict.NOT_LISTENING, Outcome.TIMEOUT)
    world = cluster()
    world["node2"].change("flannel.1", up=False)
    assert one_path(world, ACROSS).verdict is Verdict.NOT_LISTENING


@pytest.mark.parametrize("rule", ["DROP", "REJECT"])
def test_the_outer_packet_meets_rules(rule: str) -> None:
    """A firewall on UDP 8472 kills everything inside, as a timeout either way."""
    world = cluster()
    world["node2"].filter(f"-A INPUT -p udp -m udp --dport 8472 -j {rule}")
    assert one_path(world, ACROSS).outcome is Outcome.TIMEOUT
    world = cluster()
    world["node1"].filter(f"-A OUTPUT -p udp -m udp --dport 8472 -j {rule}")
    assert one_path(world, ACROSS).outcome is Outcome.TIMEOUT


def test_the_mark_of_the_inner_packet_is_the_outer_s() -> None:
    """A rule on marks in POSTROUTING sees the outer packet with the mark of the inner one."""
    world = cluster()
    world["node1"].filter("-A PREROUTING -i cni0 -j MARK --set-mark 0x4000", table="mangle")
    world["node1"].nat("-A POSTROUTING -p udp -m udp --dport 8472 -m mark --mark 0x4000 -j MASQUERADE")
    path = one_path(world, ACROSS)
    assert path.outcome is Outcome.CONNECTED
    assert ("POSTROUTING", 1) in [(step.chain, step.rule) for step in path.request.steps]


def test_the_far_end_is_nobody() -> None:
    """An entry for an address that nobody has loses the packet without a word."""
    world = cluster()
    world["node1"].fdb = [replace(world["node1"].fdb[0], dst="192.168.50.77")]
    path = one_path(world, ACROSS)
    assert (path.verdict, path.outcome) == (Verdict.NEIGHBOUR_FAILED, Outcome.TIMEOUT)


def test_no_route_to_the_far_end() -> None:
    """The outer packet needs a route of its own."""
    world = cluster()
    world["node1"].fdb = [replace(world["node1"].fdb[0], dst="172.16.0.1")]
    path = one_path(world, ACROSS)
    assert (path.verdict, path.outcome) == (Verdict.NO_ROUTE, Outcome.TIMEOUT)


def test_the_far_node_is_not_in_the_snapshot() -> None:
    """A wire that leads out of the snapshot ends the walk there."""
    world = cluster()
    world["wire"].change("port2", peer=Peer(None, 9))
    assert one_path(world, ACROSS).verdict is Verdict.LEFT_SNAPSHOT


def test_a_tunnel_as_a_bridge_port() -> None:
    """A vxlan that is a port of a bridge carries frames between two halves of one segment."""
    world = World()
    for number in (1, 2):
        node, pod = f"node{number}", f"pod{number}"
        world.netns(node, node, "node")
        world.netns(pod, node, "pod")
        world.veth(node, "veth1", pod, "eth0", mtu=1450)
        world[pod].address("eth0", f"10.5.0.{number}/24")
        world[pod].listen(80)
        world.vxlan(node, "vx", f"192.168.50.1{number}", vni=7)
        world.bridge(node, "br0", "veth1", "vx")
        world[node].port("vx", learning=False)
    world.veth("node1", "eth0", "node2", "eth0")
    for number, other in ((1, 2), (2, 1)):
        world[f"node{number}"].address("eth0", f"192.168.50.1{number}/24")
        mac = world.mac(f"pod{other}", "eth0")
        world[f"pod{number}"].neighbour("eth0", f"10.5.0.{other}", mac)
        world[f"node{number}"].fdb = [
            FdbEntry(device="vx", mac=mac, master="br0", static=True),
            FdbEntry(device="vx", mac=mac, dst=f"192.168.50.1{other}", permanent=True),
        ]
    assert isinstance(world["node1"].links["vx"].port, PortAttrs)
    path = one_path(world, flow("pod1", "10.5.0.2", 80))
    assert path.outcome is Outcome.CONNECTED


def test_a_tunnel_that_carries_itself() -> None:
    """A far end that is reached by the tunnel itself is never reached."""
    world = cluster()
    learning(world)
    world["node1"].route("192.168.50.12/32", "flannel.1")
    assert one_path(world, ACROSS).verdict is Verdict.NEIGHBOUR_FAILED
