"""Bridges: ports, flooding, hairpin, isolation, and the ip hooks that br_netfilter calls."""

import pytest
from msgspec.structs import replace

from nettrace.model.links import BridgeAttrs, Peer
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome, Path
from tests.walk.bridges import POD_TO_POD, known_neighbours
from tests.walk.native import DROP_IP, base, mark_set, one_chain
from tests.walk.worlds import World, flow, one_path, pod_network

DNS = flow("pod1", "10.96.0.10", 53, "udp")
TO_POD2 = "-A PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.3:53"
NF = "net.bridge.bridge-nf-call-iptables"


def bridged(path: Path, netns: str = "node") -> list[tuple[str, str | None]]:
    """What the node's bridge did with the request."""
    return [
        (step.verdict, step.device)
        for step in path.request.steps
        if step.stage is Stage.BRIDGE and step.netns == netns
    ]


def test_two_pods_of_a_bridge() -> None:
    """ARP teaches the bridge where the other pod is; the host routes nothing."""
    path = one_path(pod_network(), POD_TO_POD)
    assert path.outcome is Outcome.CONNECTED
    assert bridged(path) == [("forward", "cni0")]
    assert not [step for step in path.request.steps if step.netns == "node" and step.stage is Stage.ROUTE]


@pytest.mark.parametrize(("switch", "outcome"), [("1", Outcome.TIMEOUT), ("0", Outcome.CONNECTED)])
def test_bridged_traffic_meets_forward_only_with_br_netfilter(switch: str, outcome: Outcome) -> None:
    """FORWARD's policy kills same-bridge traffic where bridge-nf-call-iptables is 1."""
    world = pod_network()
    world["node"].sysctl(NF, switch)
    world["node"].filter("-P FORWARD DROP")
    assert one_path(world, POD_TO_POD).outcome is outcome


def test_without_br_netfilter_the_switch_does_not_exist() -> None:
    """A namespace whose sysctls lack the switch has bridges that call nobody."""
    world = pod_network()
    del world["node"].sysctls[NF]
    world["node"].filter("-P FORWARD DROP")
    assert one_path(world, POD_TO_POD).outcome is Outcome.CONNECTED


def test_a_bridge_may_have_a_switch_of_its_own() -> None:
    """``nf_call_iptables`` of the bridge turns the hooks on where the namespace's switch is off."""
    world = pod_network()
    world["node"].sysctl(NF, 0)
    world["node"].change("cni0", bridge=BridgeAttrs(nf_call_iptables=True))
    world["node"].filter("-P FORWARD DROP")
    assert one_path(world, POD_TO_POD).outcome is Outcome.TIMEOUT


def test_a_translated_destination_on_the_same_bridge_stays_bridged() -> None:
    """DNAT inside the bridge to a neighbour pod: FORWARD with cni0 on both sides, and un-NATed back."""
    world = pod_network()
    world["node"].nat(TO_POD2)
    world["node"].filter("-P FORWARD DROP", "-A FORWARD -i cni0 -o cni0 -j ACCEPT")
    path = one_path(world, DNS)
    assert path.outcome is Outcome.CONNECTED
    assert path.endpoint is not None
    assert (path.endpoint.netns, path.endpoint.source) == ("pod2", "10.244.1.2")
    verdicts = [
        step.verdict for step in path.request.steps if step.stage is Stage.ROUTE and step.netns == "node"
    ]
    assert verdicts == ["bridged"]


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (None, Verdict.DROPPED_BY_RULE),
        ("stale", Verdict.DROPPED_BY_RULE),
        ("reachable", Verdict.UNKNOWN),
        ("permanent", Verdict.UNKNOWN),
    ],
)
def test_a_translated_destination_passes_the_bridge_s_egress(state: str | None, verdict: Verdict) -> None:
    """Where its neighbour is to be confirmed, or asked for; of one that is connected it is not told."""
    world = known_neighbours()
    world["node"].nat("-A PREROUTING -d 192.0.2.9 -j DNAT --to-destination 10.244.1.3")
    world["node"].nft = one_chain(DROP_IP, at=base("egress", devices=("cni0",)), family="netdev")
    world["pod1"].neighbour("eth0", "10.244.1.1", world.mac("node", "cni0"))
    if state is not None:
        world["node"].neighbour("cni0", "10.244.1.3", world.mac("pod2", "eth0"), state)
    path = one_path(world, flow("pod1", "192.0.2.9", 9376))
    assert path.verdict is verdict


def test_without_br_netfilter_the_answer_is_not_translated_back() -> None:
    """The pod answers its neighbour directly, who waits for somebody else: bridge-nf-off."""
    world = pod_network()
    world["node"].nat(TO_POD2)
    world["node"].sysctl(NF, 0)
    path = one_path(world, DNS)
    assert path.request.verdict is Verdict.DELIVERED
    assert (path.verdict, path.outcome, path.failed) == (Verdict.UNEXPECTED, Outcome.TIMEOUT, 1)


def test_bridged_dnat_asks_for_forwarding() -> None:
    """The route for the new destination is an input route like any other."""
    world = pod_network()
    world["node"].nat(TO_POD2)
    world["node"].sysctl("net.ipv4.ip_forward", 0)
    path = one_path(world, DNS)
    assert (path.verdict, path.outcome) == (Verdict.NOT_FORWARDED, Outcome.TIMEOUT)


def hairpin(*, masquerade: bool = True) -> World:
    """A Service whose only endpoint is pod1 itself."""
    world = pod_network()
    world["node"].nat(
        "-A PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.2:53",
        *(["-A POSTROUTING -s 10.244.1.2/32 -d 10.244.1.2/32 -j MASQUERADE"] if masquerade else []),
    )
    return world


def test_hairpin() -> None:
    """A pod reaches itself through its Service if its port may send back, and its source is hidden."""
    world = hairpin()
    path = one_path(world, DNS)
    assert path.outcome is Outcome.CONNECTED
    assert path.endpoint is not None
    assert path.endpoint.source == "10.244.1.1"
    world["node"].port("veth1", hairpin=False)
    path = one_path(world, DNS)
    assert (path.verdict, path.outcome) == (Verdict.BRIDGE_DROPPED, Outcome.TIMEOUT)
    assert path.failing_step is not None
    assert path.failing_step.why is not None
    assert (path.failing_step.why.ref, path.failing_step.why.text) == (
        "node/links/veth1",
        "veth1 hairpin off",
    )


def test_hairpin_without_masquerade() -> None:
    """The pod drops a packet that comes from its own address."""
    path = one_path(hairpin(masquerade=False), DNS)
    assert path.verdict is Verdict.MARTIAN


def test_isolated_ports() -> None:
    """Two isolated ports do not reach each other, not even with ARP; one isolated port does no harm."""
    world = pod_network()
    world["node"].port("veth1", isolated=True)
    assert one_path(world, POD_TO_POD).outcome is Outcome.CONNECTED
    world["node"].port("veth2", isolated=True)
    path = one_path(world, POD_TO_POD)
    assert (path.verdict, path.outcome, path.errno) == (
        Verdict.NEIGHBOUR_FAILED,
        Outcome.UNREACHABLE,
        "EHOSTUNREACH",
    )
    world["pod1"].neighbour("eth0", "10.244.1.3", world.mac("pod2", "eth0"))
    assert one_path(world, POD_TO_POD).verdict is Verdict.BRIDGE_DROPPED


@pytest.mark.parametrize("state", [0, 1, 2, 4])
def test_a_port_that_does_not_forward(state: int) -> None:
    """Disabled, listening, learning and blocking ports pass nothing."""
    world = pod_network()
    world["node"].port("veth2", state=state)
    world["pod1"].neighbour("eth0", "10.244.1.3", world.mac("pod2", "eth0"))
    world["node"].bridge_fdb("veth2", world.mac("pod2", "eth0"))
    assert one_path(world, POD_TO_POD).verdict is Verdict.BRIDGE_DROPPED


def test_an_unknown_mac_is_flooded() -> None:
    """Without an entry the frame goes everywhere, and the one it is for takes it."""
    path = one_path(known_neighbours(), POD_TO_POD)
    assert path.outcome is Outcome.CONNECTED
    assert bridged(path) == [("flood", "cni0")]


def test_flooding_may_be_off() -> None:
    """A port without flooding does not get what nobody knows."""
    world = known_neighbours()
    world["node"].port("veth2", flood=False)
    path = one_path(world, POD_TO_POD)
    assert path.verdict is Verdict.BRIDGE_DROPPED
    assert "veth2 does not get what is flooded" in path.reason


def test_the_forwarding_database_decides() -> None:
    """An entry for the wrong port sends the frame to somebody who drops it."""
    world = known_neighbours()
    world["node"].bridge_fdb("veth3", world.mac("pod2", "eth0"))
    path = one_path(world, POD_TO_POD)
    assert (path.verdict, path.outcome) == (Verdict.OTHERHOST, Outcome.TIMEOUT)


def test_a_stale_mac_reaches_nobody() -> None:
    """A permanent neighbour entry with a dead MAC is flooded and dropped by all."""
    world = pod_network()
    world["node"].neighbour("cni0", "10.244.1.3", "02:00:00:00:00:99")
    path = one_path(world, flow("node", "10.244.1.3", 9376))
    assert (path.verdict, path.outcome) == (Verdict.OTHERHOST, Outcome.TIMEOUT)


def test_two_owners_of_a_mac() -> None:
    """A flooded frame that two pods would take decides nothing."""
    world = known_neighbours()
    world["pod3"].change("eth0", mac=world.mac("pod2", "eth0"))
    path = one_path(world, POD_TO_POD)
    assert path.outcome is Outcome.UNKNOWN
    assert "pod2" in path.reason
    assert "pod3" in path.reason


def test_physdev_sees_ports() -> None:
    """A rule on a bridge port matches bridged frames, and those that came in by it and are routed."""
    world = pod_network()
    world["node"].filter("-A FORWARD -m physdev --physdev-in veth1 --physdev-out veth2 -j DROP")
    assert one_path(world, POD_TO_POD).verdict is Verdict.DROPPED_BY_RULE
    assert one_path(world, flow("pod1", "10.244.1.4", 9376)).outcome is Outcome.CONNECTED


def test_vlan_filtering_is_not_walked() -> None:
    """A bridge that filters VLANs is UNKNOWN."""
    world = pod_network()
    world["node"].change("cni0", bridge=BridgeAttrs(vlan_filtering=True))
    path = one_path(world, POD_TO_POD)
    assert path.outcome is Outcome.UNKNOWN
    assert "VLAN" in path.reason


@pytest.mark.parametrize(
    ("priority", "outcome"), [(-1, Outcome.TIMEOUT), (0, Outcome.UNKNOWN), (1, Outcome.CONNECTED)]
)
def test_a_chain_of_the_bridge_beside_br_netfilter(priority: int, outcome: Outcome) -> None:
    """At its very priority, 0, nobody knows which of both was there first; it matters for a mark."""
    world = pod_network()
    world["node"].nft = one_chain(mark_set(7), at=base("forward", priority), family="bridge")
    world["node"].filter("-A FORWARD -m mark --mark 0x7 -j DROP")
    assert one_path(world, POD_TO_POD).outcome is outcome


def test_a_native_chain_of_the_bridge_family() -> None:
    """A rule of the bridge family drops bridged frames, and no others."""
    world = pod_network()
    world["node"].nft = one_chain(DROP_IP, at=base("forward"), family="bridge")
    path = one_path(world, POD_TO_POD)
    assert (path.verdict, path.outcome) == (Verdict.DROPPED_BY_RULE, Outcome.TIMEOUT)
    assert path.failing_step is not None
    assert (path.failing_step.backend, path.failing_step.table) == ("nftables", "bridge fw")
    assert one_path(world, flow("pod1", "192.168.50.11", 1)).outcome is Outcome.REFUSED


def test_a_program_on_a_port_decides() -> None:
    """BPF on a device of the path is named, not guessed."""
    world = pod_network()
    world["node"].change("veth2", programs=("tc ingress cil_from_container",))
    path = one_path(world, POD_TO_POD)
    assert path.outcome is Outcome.UNKNOWN
    assert "cil_from_container" in path.reason


def test_a_port_that_leads_out_of_the_snapshot() -> None:
    """Where nobody in the snapshot answers and a port leads outside, the packet has left."""
    world = pod_network()
    world["node"].change("veth3", peer=Peer(None, 7))
    path = one_path(world, flow("pod1", "10.244.1.77", 80))
    assert (path.verdict, path.outcome) == (Verdict.LEFT_SNAPSHOT, Outcome.UNKNOWN)


def test_a_frame_too_big_for_a_port() -> None:
    """A bridge drops a frame larger than the port's MTU, and tells nobody: big segments stall."""
    world = pod_network()
    world["node"].change("veth2", mtu=1400)
    path = one_path(world, POD_TO_POD)
    assert (path.verdict, path.outcome) == (Verdict.TOO_BIG, Outcome.STALLS)
    assert path.failed is not None
    assert path.legs[path.failed].kind == "data"


def test_a_veth_that_has_no_master() -> None:
    """A detached port leaves its pod alone on its cable."""
    world = pod_network()
    world["node"].change("veth2", master=None, port=None)
    assert one_path(world, POD_TO_POD).verdict is Verdict.NEIGHBOUR_FAILED


def test_a_bridge_that_is_down() -> None:
    """The host cannot send by a bridge that is down."""
    world = pod_network()
    world["node"].change("cni0", up=False)
    path = one_path(world, flow("node", "10.244.1.3", 9376))
    assert path.verdict is Verdict.NO_ROUTE
    assert one_path(world, POD_TO_POD).verdict is Verdict.NEIGHBOUR_FAILED


def test_rejects_inside_the_bridge_come_back() -> None:
    """A REJECT of bridged traffic is answered by the host."""
    world = pod_network()
    world["node"].filter("-A FORWARD -i cni0 -o cni0 -p tcp -j REJECT --reject-with tcp-reset")
    path = one_path(world, POD_TO_POD)
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")


def test_a_loop_of_bridges() -> None:
    """A frame that two bridges send round is a LOOP."""
    world = pod_network()
    node = world["node"]
    world.veth("node", "loop0", "node", "loop1")
    for name in ("loop0", "loop1"):
        node.change(name, master="cni0", port=node.links["veth1"].port)
    node.bridge_fdb("loop0", world.mac("pod2", "eth0"))
    node.links["veth2"] = replace(node.links["veth2"], up=False)
    world["pod1"].neighbour("eth0", "10.244.1.3", world.mac("pod2", "eth0"))
    assert one_path(world, POD_TO_POD).verdict in (Verdict.LOOP, Verdict.BRIDGE_DROPPED)
