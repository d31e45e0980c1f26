"""What takes a frame at a device: masters, macvlans, programs."""

from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, one_path, router


def test_a_master_that_is_no_bridge() -> None:
    """A device of a bond is UNKNOWN."""
    world = router()
    world["r"].add_link("bond0", "bond")
    world["r"].change("c", master="bond0")
    world["client"].neighbour("eth0", "10.1.0.1", "02:00:00:00:00:01")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "bond0" in path.reason


def test_a_macvlan_above_takes_its_frames() -> None:
    """A frame for the MAC of a macvlan on the device is UNKNOWN, not for somebody else."""
    world = router()
    world["server"].add_link("mv0", "macvlan", lower="eth0")
    world["r"].neighbour("s", "10.2.0.2", world.mac("server", "mv0"))
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "mv0" in path.reason


def test_programs_where_they_receive_and_send() -> None:
    """BPF is named on both ends of a cable, also by ARP."""
    for netns, device in (("client", "eth0"), ("r", "c"), ("r", "s"), ("server", "eth0")):
        world = router()
        world[netns].change(device, programs=("xdp prog 7",))
        path = one_path(world, TO_SERVER)
        assert path.outcome is Outcome.UNKNOWN
        assert "xdp prog 7" in path.reason
        world["client"].neighbour("eth0", "10.1.0.1", world.mac("r", "c"))
        world["r"].neighbour("c", "10.1.0.2", world.mac("client", "eth0"))
        world["r"].neighbour("s", "10.2.0.2", world.mac("server", "eth0"))
        path = one_path(world, TO_SERVER)
        assert path.outcome is Outcome.UNKNOWN
        assert "xdp prog 7" in path.reason
