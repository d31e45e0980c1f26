"""The switches of a bridge's ports, and what ARP has to do with them."""

from typing import Any

import pytest

from nettrace.model.links import FdbEntry
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from tests.walk.bridges import POD_TO_POD, known_neighbours
from tests.walk.worlds import World, flow, one_path, pod_network


@pytest.mark.parametrize(
    ("port", "attributes"),
    [
        ("veth2", {"state": 2}),
        ("veth1", {"state": 2}),
        ("veth2", {"bcast_flood": False}),
        ("veth2", {"proxy_arp": True}),
        ("veth1", {"locked": True}),
        ("veth2", {"locked": True}),
        ("veth1", {"learning": False, "flood": False}),
    ],
)
def test_switches_that_lose_arp(port: str, attributes: dict[str, Any]) -> None:
    """Whatever keeps the request or its answer from a port leaves the neighbour unknown."""
    world = pod_network()
    world["node"].port(port, **attributes)
    assert one_path(world, POD_TO_POD).verdict is Verdict.NEIGHBOUR_FAILED


@pytest.mark.parametrize("attributes", [{"state": 2}, {"locked": True}])
def test_switches_that_stop_a_frame(attributes: dict[str, Any]) -> None:
    """A port that only learns, or lets in whom it knows, drops the frame."""
    world = known_neighbours()
    world["node"].port("veth1", **attributes)
    assert one_path(world, POD_TO_POD).verdict is Verdict.BRIDGE_DROPPED


def test_a_locked_port_and_a_known_sender() -> None:
    """An entry lets the sender in."""
    world = pod_network()
    world["node"].port("veth1", locked=True, learning=False)
    world["node"].fdb.append(
        FdbEntry(device="veth1", mac=world.mac("pod1", "eth0"), master="cni0", static=True)
    )
    assert one_path(world, POD_TO_POD).outcome is Outcome.CONNECTED


def test_an_arp_answer_sent_elsewhere() -> None:
    """A bridge that does not learn believes its entry, and sends the answer to the wrong port."""
    world = pod_network()
    world["node"].port("veth1", learning=False)
    world["node"].fdb.append(
        FdbEntry(device="veth3", mac=world.mac("pod1", "eth0"), master="cni0", static=True)
    )
    assert one_path(world, POD_TO_POD).verdict is Verdict.NEIGHBOUR_FAILED


def suppressing(mac: str) -> World:
    """Let veth2 suppress ARP, and the host believe that pod2 has *mac*, which is behind veth2."""
    world = pod_network()
    world["node"].port("veth2", neigh_suppress=True)
    world["node"].neighbour("cni0", "10.244.1.3", mac)
    world["node"].fdb.append(FdbEntry(device="veth2", mac=mac, master="cni0", static=True))
    return world


def test_a_bridge_answers_arp_itself() -> None:
    """With neigh_suppress the bridge answers with what its host believes, right or wrong."""
    mac = pod_network().mac("pod2", "eth0")
    assert one_path(suppressing(mac), POD_TO_POD).outcome is Outcome.CONNECTED
    assert one_path(suppressing("02:00:00:00:00:99"), POD_TO_POD).verdict is Verdict.OTHERHOST


def test_suppression_without_knowledge() -> None:
    """What the host does not know is flooded to suppressing ports too; from them nothing is proxied."""
    world = pod_network()
    world["node"].port("veth2", neigh_suppress=True)
    assert one_path(world, POD_TO_POD).outcome is Outcome.CONNECTED
    world = suppressing(pod_network().mac("pod2", "eth0"))
    world["node"].port("veth1", neigh_suppress=True)
    assert one_path(world, POD_TO_POD).outcome is Outcome.CONNECTED


def test_the_host_sends_to_a_local_entry() -> None:
    """The host's own frame for a local address goes to the port that has it, or nowhere."""
    world = pod_network()
    world["node"].neighbour("cni0", "10.244.1.3", "02:00:00:00:00:99")
    world["node"].fdb.append(FdbEntry(device="veth3", mac="02:00:00:00:00:99", master="cni0", permanent=True))
    assert one_path(world, flow("node", "10.244.1.3", 9376)).verdict is Verdict.OTHERHOST
    world["node"].fdb[-1] = FdbEntry(device="cni0", mac="02:00:00:00:00:99", master="cni0", permanent=True)
    assert one_path(world, flow("node", "10.244.1.3", 9376)).verdict is Verdict.BRIDGE_DROPPED


def test_a_bridged_reset_passes_no_rules() -> None:
    """The RST of a REJECT rule goes back by the port, untranslated and unseen by OUTPUT."""
    world = pod_network()
    reject = "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset"
    world["node"].filter(reject, "-P OUTPUT DROP")
    path = one_path(world, POD_TO_POD)
    assert (path.verdict, path.outcome) == (Verdict.REJECTED, Outcome.REFUSED)
    assert path.reply is not None
    assert [step.stage for step in path.reply.steps if step.netns == "node"] == [Stage.SEND, Stage.TRANSMIT]
    world["node"].nat("-A PREROUTING -d 10.96.0.1/32 -p tcp -j DNAT --to-destination 10.244.1.3:9376")
    path = one_path(world, flow("pod1", "10.96.0.1", 80))
    assert (path.verdict, path.outcome) == (Verdict.REJECTED, Outcome.TIMEOUT)


def test_a_bridged_reset_needs_a_route() -> None:
    """Without a route to the sender there is no RST, though none would be taken."""
    world = pod_network()
    world["node"].filter("-A FORWARD -p tcp -j REJECT --reject-with tcp-reset")
    world["node"].routes = [one for one in world["node"].routes if one.dst != "10.244.1.0/24"]
    assert one_path(world, POD_TO_POD).outcome is Outcome.TIMEOUT
