"""A program that carries packets between a TUN device and UDP, as flannel's back end udp does."""

from msgspec.structs import replace

from nettrace.model.relay import Relay
from nettrace.model.section import NOT_READ, Missing, MissingKind, SectionKey
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Needs, Outcome
from nettrace.walk.walker import walk
from tests.walk.worlds import World, flow, one_path

ACROSS = flow("pod1", "10.244.2.2", 9376)


def cluster(*, mtu: int = 1472) -> World:
    """node1 and node2 on a wire, a pod each, flannel0 on both."""
    world = World()
    world.netns("wire", "wire", "wire")
    for number, other in ((1, 2), (2, 1)):
        node, pod = f"node{number}", f"pod{number}"
        world.netns(node, node, "node")
        world.netns(pod, node, "pod")
        world.veth(node, "eth0", "wire", f"port{number}")
        world[node].address("eth0", f"192.168.50.1{number}/24")
        world.veth(node, "veth1", pod, "eth0", mtu=mtu)
        world[node].address("veth1", f"10.244.{number}.1/24")
        world[pod].address("eth0", f"10.244.{number}.2/24")
        world[pod].route("default", "eth0", f"10.244.{number}.1")
        world[pod].listen(9376)
        world[node].add_link("flannel0", "tun", noarp=True, mtu=mtu)
        world[node].address("flannel0", f"10.244.{number}.0/32")
        world[node].route("10.244.0.0/16", "flannel0")
        world[node].sysctl("net.ipv4.ip_forward", 1)
        world[node].listen(8285, "udp", f"192.168.50.1{number}")
        world[node].relays.append(
            Relay(
                device="flannel0",
                prefix=f"10.244.{other}.0/24",
                local=f"192.168.50.1{number}",
                port=8285,
                far=f"192.168.50.1{other}",
                far_port=8285,
                owner="flanneld",
                source=f"Node node{other}",
                hops=1,
            )
        )
    world.bridge("wire", "br0", "port1", "port2")
    return world


def test_across() -> None:
    """The outer packet is walked as any, the inner one comes out with a TTL lower by one at each end."""
    path = one_path(cluster(), ACROSS)
    assert (path.outcome, path.verdict) == (Outcome.CONNECTED, Verdict.DELIVERED)
    into, out = [step for step in path.request.steps if step.stage is Stage.TUNNEL]
    assert (into.netns, into.verdict, out.netns, out.verdict) == (
        "node1",
        "encapsulate",
        "node2",
        "decapsulate",
    )
    outer = into.after
    assert into.before is not None
    assert outer is not None
    assert (outer.src, outer.dst, str(outer.sport), str(outer.dport), outer.df) == (
        "192.168.50.11",
        "192.168.50.12",
        "8285",
        "8285",
        True,
    )
    assert outer.size == into.before.size + 28
    assert out.after is not None
    assert out.after.ttl == into.before.ttl - 2


def test_a_ttl_that_ends_in_the_program() -> None:
    """The program drops a packet without TTL and tells nobody, at either end."""
    for ttl, place in ((2, "node1"), (3, "node2")):
        path = one_path(cluster(), flow("pod1", "10.244.2.2", 9376, ttl=ttl))
        assert path.verdict is Verdict.TTL_EXCEEDED
        assert place in path.reason


def test_nobody_takes_it_out() -> None:
    """Without the program at the far end the outer packet finds no socket; without a way it leaves."""
    world = cluster()
    world["node2"].relays.clear()
    world["node2"].sockets.clear()
    path = one_path(world, ACROSS)
    assert (path.verdict, path.outcome) == (Verdict.NOT_LISTENING, Outcome.TIMEOUT)
    unknown = cluster()
    unknown["node2"].relays.clear()  # somebody listens, and nobody knows what it does
    assert one_path(unknown, ACROSS).outcome is Outcome.UNKNOWN
    away = cluster()
    away["node1"].relays.clear()
    path = one_path(away, ACROSS)
    assert path.verdict is Verdict.LEFT_SNAPSHOT
    assert "user space" in path.reason


def test_the_longest_prefix_counts() -> None:
    """Of two ways the narrower one is taken."""
    world = cluster()
    way = world["node1"].relays[0]
    world["node1"].relays.insert(0, replace(way, prefix="10.244.0.0/16", far="192.168.50.99"))
    assert one_path(world, ACROSS).outcome is Outcome.CONNECTED


def test_outer_packets_that_cannot_go() -> None:
    """No route to the far end, an own address as far end, and a far end behind the device itself."""
    world = cluster()
    way = world["node1"].relays[0]
    world["node1"].relays = [replace(way, far="203.0.113.9")]
    assert one_path(world, ACROSS).verdict is Verdict.NO_ROUTE
    world["node1"].relays = [replace(way, far="192.168.50.11")]
    assert one_path(world, ACROSS).outcome is Outcome.UNKNOWN
    world["node1"].relays = [replace(way, far="10.244.2.9")]
    assert one_path(world, ACROSS).verdict is Verdict.LOOP


def test_a_packet_that_the_wire_has_no_room_for() -> None:
    """With a device as wide as the wire the outer packet is fragmented: its socket does not forbid it."""
    path = one_path(cluster(mtu=1500), flow("pod1", "10.244.2.2", 9376, "udp", size=1500))
    into = next(step for step in path.request.steps if step.stage is Stage.TUNNEL)
    assert into.after is not None
    assert (into.after.size, into.after.df) == (1528, False)


def test_what_is_not_read() -> None:
    """A TUN device needs to know its program; where that cannot be known the walk does not guess."""
    snapshot = cluster().snapshot()
    key = SectionKey("node1", "relays")
    asked = walk(snapshot.with_section(key, NOT_READ), ACROSS)
    assert isinstance(asked, Needs)
    assert asked.keys == (key,)
    denied = snapshot.with_section(key, Missing(MissingKind.DENIED, "not allowed"))
    assert one_path(denied, ACROSS).outcome is Outcome.UNKNOWN


def captured() -> World:
    """A pod on a bridge, one of whose ports leads back to the node itself, to where frames are captured."""
    world = World()
    world.netns("node1", "node1", "node")
    world.netns("pod1", "node1", "pod")
    world.veth("node1", "veth1", "pod1", "eth0")
    world.veth("node1", "out", "node1", "pcap")
    world.bridge("node1", "br0", "veth1", "out")
    world["node1"].change("pcap", noarp=True)
    world["node1"].address("br0", "10.32.0.1/12")
    world["pod1"].address("eth0", "10.32.0.2/12")
    return world


def test_captured_frames_are_not_followed() -> None:
    """Where a program captures the request for a MAC, nobody knows who answers; without it nobody does."""
    asked = flow("pod1", "10.32.2.2", 9376)
    assert one_path(captured(), asked).verdict is Verdict.NEIGHBOUR_FAILED
    world = captured()
    world["node1"].relays.append(
        Relay(
            device="pcap",
            prefix="0.0.0.0/0",
            local="",
            port=6783,
            far="",
            far_port=6783,
            owner="a router",
            source="the test",
            unfollowed="a router that captures frames at pcap",
        )
    )
    path = one_path(world, asked)
    assert (path.outcome, path.verdict) == (Outcome.UNKNOWN, Verdict.UNKNOWN)
    assert "a router that captures frames at pcap" in str(path)
    assert one_path(world, flow("pod1", "10.32.0.1", 9376)).outcome is Outcome.REFUSED
