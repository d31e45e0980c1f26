"""ARP, played through among those whom the snapshot knows."""

import pytest

from nettrace.model.links import Peer
from nettrace.model.section import NOT_READ, SectionKey
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Needs, Outcome
from nettrace.walk import walk
from nettrace.walk.neighbour import ARP_PATIENCE
from tests.walk.worlds import TO_SERVER, World, flow, one_path, pod_network, router


def test_nobody_answers_the_sender() -> None:
    """The sender itself gets EHOSTUNREACH after three tries of a second."""
    path = one_path(router(), flow("client", "10.1.0.77", 80))
    assert (path.verdict, path.outcome, path.errno, path.delay) == (
        Verdict.NEIGHBOUR_FAILED,
        Outcome.UNREACHABLE,
        "EHOSTUNREACH",
        ARP_PATIENCE,
    )


def test_nobody_answers_a_router() -> None:
    """A router reports host-unreachable, if its error gets back."""
    world = router()
    asked = flow("client", "10.2.0.77", 80)
    assert one_path(world, asked).errno == "EHOSTUNREACH"
    world["client"].filter("-A INPUT -p icmp -j DROP")
    path = one_path(world, asked)
    assert (path.outcome, path.delay) == (Outcome.TIMEOUT, None)


@pytest.mark.parametrize("state", ["permanent", "reachable", "stale", "delay", "probe", "noarp"])
def test_a_known_entry_is_used(state: str) -> None:
    """Every valid state's MAC is used as it is; a wrong one reaches nobody."""
    world = router()
    world["r"].neighbour("s", "10.2.0.2", "02:00:00:00:00:99", state)
    assert one_path(world, TO_SERVER).verdict is Verdict.OTHERHOST


@pytest.mark.parametrize("state", ["failed", "incomplete", "none"])
def test_an_entry_without_a_mac_asks_again(state: str) -> None:
    """An entry that failed once is asked for anew."""
    world = router()
    world["r"].neighbour("s", "10.2.0.2", "02:00:00:00:00:99", state)
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


def test_the_asker_is_learned_too() -> None:
    """Who is asked knows the asker; so the answer needs no ARP of its own."""
    path = one_path(router(), TO_SERVER)
    words = [step.verdict for leg in path.legs[:2] for step in leg.steps if step.stage is Stage.NEIGHBOUR]
    assert words == ["resolved", "resolved", "known", "known"]


def test_a_permanent_entry_is_not_overwritten_by_an_asker() -> None:
    """What somebody made permanent stays wrong."""
    world = router()
    world["server"].neighbour("eth0", "10.2.0.1", "02:00:00:00:00:99")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.failed) == (Verdict.OTHERHOST, 1)
    world["server"].neighbours.clear()
    world["server"].neighbour("eth0", "10.2.0.1", "02:00:00:00:00:99", "stale")
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


def test_a_device_without_arp() -> None:
    """NOARP sends to the device's own MAC, and answers nobody."""
    world = router()
    world["client"].change("eth0", noarp=True)
    assert one_path(world, TO_SERVER).verdict is Verdict.OTHERHOST
    world = router()
    world["server"].change("eth0", noarp=True)
    assert one_path(world, TO_SERVER).verdict is Verdict.NEIGHBOUR_FAILED


@pytest.mark.parametrize(
    ("ignore", "verdict"),
    [
        (0, Verdict.DELIVERED),
        (1, Verdict.NEIGHBOUR_FAILED),
        (8, Verdict.NEIGHBOUR_FAILED),
        (2, Verdict.UNKNOWN),
    ],
)
def test_arp_ignore(ignore: int, verdict: Verdict) -> None:
    """An address of another device is answered for by default, not with arp_ignore 1 or 8."""
    world = router()
    world["server"].address("lo", "10.2.0.50/32")
    world["server"].listen(80)
    world["server"].conf("all", arp_ignore=ignore)
    assert one_path(world, flow("client", "10.2.0.50", 80)).verdict is verdict


def test_proxy_arp() -> None:
    """A router with proxy_arp answers for what it would forward elsewhere, not for its own side."""
    world = router()
    world["client"].route("10.2.0.0/24", "eth0")
    assert one_path(world, TO_SERVER).verdict is Verdict.NEIGHBOUR_FAILED
    world["r"].conf("c", proxy_arp=1)
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED
    assert one_path(world, flow("client", "10.1.0.77", 80)).verdict is Verdict.NEIGHBOUR_FAILED


def test_arp_filter() -> None:
    """With arp_filter only the device that would answer the asker does."""
    world = router()
    world["server"].add_link("eth1", "veth")
    world["server"].route("10.2.0.1/32", "eth1")
    world["server"].conf("eth0", arp_filter=1)
    assert one_path(world, TO_SERVER).verdict is Verdict.NEIGHBOUR_FAILED


def test_two_owners_of_an_address() -> None:
    """Two pods with one address: who answers first decides, so the walk does not."""
    world = pod_network()
    world["pod3"].address("eth0", "10.244.1.3/24")
    path = one_path(world, flow("pod1", "10.244.1.3", 9376))
    assert path.outcome is Outcome.UNKNOWN
    assert "both answer" in path.reason


def test_the_far_end_is_not_in_the_snapshot() -> None:
    """Where nobody answers and the cable leads outside, the packet left the snapshot."""
    world = router()
    world["r"].change("s", peer=Peer("elsewhere", 3))
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome) == (Verdict.LEFT_SNAPSHOT, Outcome.UNKNOWN)
    assert "10.2.0.2" in path.reason
    world["r"].neighbour("s", "10.2.0.2", "02:00:00:00:00:99")
    assert one_path(world, TO_SERVER).verdict is Verdict.LEFT_SNAPSHOT


def test_a_physical_device_leads_outside() -> None:
    """A device of hardware is where the snapshot ends."""
    world = router()
    world["r"].add_link("eth9", "device")
    world["r"].address("eth9", "10.3.0.1/24")
    assert one_path(world, flow("client", "10.3.0.2", 80)).verdict is Verdict.LEFT_SNAPSHOT


@pytest.mark.parametrize("kind", ["macvlan", "ipip", "wireguard", "vlan", "bond", "gre"])
def test_devices_that_are_not_walked(kind: str) -> None:
    """Other kinds of devices are named, not guessed."""
    world = router()
    world["r"].add_link("x0", kind)
    world["r"].address("x0", "10.3.0.1/24")
    path = one_path(world, flow("client", "10.3.0.2", 80))
    assert path.outcome is Outcome.UNKNOWN
    assert "x0" in path.reason


def test_a_dummy_swallows_everything() -> None:
    """What a dummy device sends is gone for certain."""
    world = router()
    world["r"].add_link("d0", "dummy", noarp=True)
    world["r"].address("d0", "10.3.0.1/24")
    path = one_path(world, flow("client", "10.3.0.2", 80))
    assert (path.verdict, path.outcome) == (Verdict.BLACKHOLED, Outcome.TIMEOUT)


def test_everybody_on_a_bridge_is_asked_for_at_once() -> None:
    """The namespaces behind the ports of a bridge are read in one round."""
    world = pod_network(pods=6)
    snapshot = world.snapshot()
    for number in range(2, 7):
        for section in ("links", "addresses", "routes", "rules", "sysctls"):
            snapshot = snapshot.with_section(SectionKey(f"pod{number}", section), NOT_READ)
    answer = walk(snapshot, flow("pod1", "10.244.1.3", 9376))
    assert isinstance(answer, Needs)
    assert {key.netns for key in answer.keys} == {f"pod{number}" for number in range(2, 7)}


def test_the_far_end_of_a_veth_is_down() -> None:
    """A far end that is down answers nothing; with a known MAC the frame is lost there."""
    world = World()
    for name in ("a", "b"):
        world.netns(name)
    world.veth("a", "eth0", "b", "eth0")
    for name, number in (("a", 1), ("b", 2)):
        world[name].address("eth0", f"10.0.0.{number}/24")
    world["b"].change("eth0", up=False)
    world["a"].neighbour("eth0", "10.0.0.2", world.mac("b", "eth0"))
    assert one_path(world, flow("a", "10.0.0.2", 80)).verdict is Verdict.LINK_DOWN
