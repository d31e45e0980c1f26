"""Where frames go that leave a device: other ends, programs, ports, segments."""

from nettrace.model.links import Peer, PortAttrs
from nettrace.model.section import SectionKey
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, flow, one_path, pod_network, router


def test_a_veth_whose_other_end_is_not_listed() -> None:
    """A peer index that the other namespace has not is UNKNOWN."""
    world = router()
    world["client"].change("eth0", peer=Peer("r", 99))
    world["client"].neighbour("eth0", "10.1.0.1", "02:00:00:00:00:01")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_a_tun_leads_to_a_program() -> None:
    """What enters a tun device has left for user space."""
    world = router()
    world["client"].add_link("tun0", "tun", noarp=True)
    world["client"].address("tun0", "10.7.0.1/24")
    path = one_path(world, flow("client", "10.7.0.9", 80))
    assert path.verdict is Verdict.LEFT_SNAPSHOT
    assert "user space" in path.reason


def test_a_bridge_port_without_flooding_to_outside() -> None:
    """A frame for a MAC that nobody knows leaves the snapshot by a port that leads outside."""
    world = pod_network()
    world["node"].add_link("eth1", "device", master="cni0", port=PortAttrs())
    world["pod1"].neighbour("eth0", "10.244.1.50", "02:00:00:00:00:50")
    path = one_path(world, flow("pod1", "10.244.1.50", 80))
    assert path.verdict is Verdict.LEFT_SNAPSHOT
    world["node"].change("eth1", kind="macvlan")
    assert one_path(world, flow("pod1", "10.244.1.50", 80)).outcome is Outcome.UNKNOWN


def test_a_port_that_is_down_itself() -> None:
    """The port that a frame came by does not forward: nothing of it goes on."""
    world = pod_network()
    world["node"].port("veth1", state=0)
    world["pod1"].neighbour("eth0", "10.244.1.1", world.mac("node", "cni0"))
    path = one_path(world, flow("pod1", "192.168.50.100", 80))
    assert path.verdict is Verdict.BRIDGE_DROPPED


def test_a_bond_on_the_segment() -> None:
    """ARP into a device that is not walked leaves open who answers."""
    world = router()
    world["server"].add_link("bond0", "bond")
    world["server"].change("eth0", master="bond0")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_a_far_namespace_that_cannot_be_read() -> None:
    """ARP towards a namespace whose devices are not known is open."""
    from nettrace.model.section import Missing, MissingKind

    denied = Missing(MissingKind.DENIED, "gone while it was read")
    snapshot = router().snapshot().with_section(SectionKey("server", "links"), denied)
    path = one_path(snapshot, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "gone while it was read" in path.reason
