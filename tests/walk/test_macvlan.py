"""Macvlans on one device: who reaches whom in which mode."""

import pytest

from nettrace.model.links import MacvlanAttrs, PortAttrs
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import World, flow, one_path

A_TO_B = flow("a", "10.5.0.3", 80)


def shared(mode: str, *names: str, hairpin: bool = False) -> World:
    """host 10.5.0.1 and far 10.5.0.4 on a wire; macvlans of a 10.5.0.2 and b 10.5.0.3 on host's eth0."""
    world = World()
    for name in ("host", "far", "wire", "a", "b"):
        world.netns(name)
    world.veth("host", "eth0", "wire", "port1")
    world.veth("far", "eth0", "wire", "port2")
    world.bridge("wire", "br0", "port1", "port2")
    world["wire"].port("port1", hairpin=hairpin)
    world["host"].address("eth0", "10.5.0.1/24")
    world["far"].address("eth0", "10.5.0.4/24")
    below = world["host"].links["eth0"]
    for name in names or ("a", "b"):
        attributes = MacvlanAttrs(mode=mode, netns="host", ifindex=below.index)
        world[name].add_link("eth0", "macvlan", macvlan=attributes)
        world[name].address("eth0", f"10.5.0.{'_xab'.index(name[0])}/24")
    macs = tuple(world.mac(name, "eth0") for name in names or ("a", "b"))
    world["host"].change("eth0", taps=macs, promiscuity=int(mode == "passthru"))
    for name in ("host", "far", "a", "b"):
        world[name].listen(80)
    return world


@pytest.mark.parametrize(
    ("mode", "hairpin", "reached"),
    [
        ("bridge", False, True),
        ("bridge", True, True),
        ("vepa", False, False),
        ("vepa", True, True),
        ("private", False, False),
        ("private", True, False),
    ],
)
def test_macvlans_beside_each_other(mode: str, hairpin: bool, reached: bool) -> None:
    """In bridge mode they talk directly, in vepa mode by a switch that reflects, in private mode never."""
    path = one_path(shared(mode, hairpin=hairpin), A_TO_B)
    assert path.verdict is (Verdict.DELIVERED if reached else Verdict.NEIGHBOUR_FAILED)


@pytest.mark.parametrize("mode", ["bridge", "vepa", "private", "passthru"])
def test_a_macvlan_and_the_world(mode: str) -> None:
    """In every mode the outside reaches a macvlan and is reached."""
    world = shared(mode, "a")
    assert one_path(world, flow("a", "10.5.0.4", 80)).outcome is Outcome.CONNECTED
    assert one_path(world, flow("far", "10.5.0.2", 80)).outcome is Outcome.CONNECTED


def test_the_host_and_its_macvlans_do_not_meet() -> None:
    """What the host sends goes out by its device, not up to who sits on it; and the other way round."""
    world = shared("bridge")
    assert one_path(world, flow("host", "10.5.0.2", 80)).verdict is Verdict.NEIGHBOUR_FAILED
    assert one_path(world, flow("a", "10.5.0.1", 80)).verdict is Verdict.NEIGHBOUR_FAILED


def test_passthru_takes_everything() -> None:
    """The host does not get the answer to its own ARP request any more."""
    world = shared("passthru", "a")
    assert one_path(world, flow("host", "10.5.0.4", 80)).verdict is Verdict.NEIGHBOUR_FAILED


def test_a_macvlan_that_is_down() -> None:
    """One that is down is not on the device."""
    world = shared("bridge")
    world["b"].change("eth0", up=False)
    assert one_path(world, A_TO_B).verdict is Verdict.NEIGHBOUR_FAILED


def known(world: World) -> World:
    """Let a know b without asking."""
    world["a"].neighbour("eth0", "10.5.0.3", world.mac("b", "eth0"))
    return world


def test_the_device_below_decides_too() -> None:
    """Straight to the one beside, a frame still needs the device below: up, and of its MTU."""
    world = known(shared("bridge"))
    world["host"].change("eth0", up=False)
    assert one_path(world, A_TO_B).verdict is Verdict.LINK_DOWN
    world = known(shared("bridge"))
    world["host"].change("eth0", mtu=1300)
    path = one_path(world, A_TO_B)
    assert (path.verdict, path.outcome) == (Verdict.TOO_BIG, Outcome.STALLS)


def test_somebody_who_is_not_in_the_snapshot_listens() -> None:
    """An address that somebody on top asked for, and nobody here has, may answer."""
    world = shared("bridge", "a")
    world["host"].change("eth0", taps=("02:00:00:00:00:77",))
    asked = one_path(world, flow("far", "10.5.0.9", 80))
    assert asked.outcome is Outcome.UNKNOWN
    assert "02:00:00:00:00:77" in asked.reason
    world["far"].neighbour("eth0", "10.5.0.9", "02:00:00:00:00:77")
    world["wire"].change("port1", port=PortAttrs())
    assert one_path(world, flow("far", "10.5.0.9", 80)).outcome is Outcome.UNKNOWN


def test_a_device_below_that_was_not_read() -> None:
    """A macvlan on a device outside of the snapshot leads out of it."""
    world = shared("bridge", "a")
    world["a"].change("eth0", macvlan=MacvlanAttrs(mode="bridge", netns=None, ifindex=2))
    assert one_path(world, A_TO_B).verdict is Verdict.LEFT_SNAPSHOT
    world["a"].neighbour("eth0", "10.5.0.3", "02:00:00:00:00:77")
    assert one_path(world, A_TO_B).verdict is Verdict.LEFT_SNAPSHOT


@pytest.mark.parametrize("known_before", [False, True])
def test_modes_that_are_not_walked(known_before: bool) -> None:
    """Source mode asks a list that is not read."""
    world = shared("source", "b")
    if known_before:
        world["far"].neighbour("eth0", "10.5.0.3", world.mac("b", "eth0"))
    assert one_path(world, flow("far", "10.5.0.3", 80)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("known_before", [False, True])
def test_a_macvtap_leads_to_a_program(known_before: bool) -> None:
    """What a virtual machine behind a macvtap does nobody here can tell."""
    world = shared("bridge", "b")
    world["b"].change("eth0", kind="macvtap")
    if known_before:
        world["far"].neighbour("eth0", "10.5.0.3", world.mac("b", "eth0"))
    assert one_path(world, flow("far", "10.5.0.3", 80)).outcome is Outcome.UNKNOWN
