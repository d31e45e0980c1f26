"""Programs of BPF in the way, on a model: netkit pairs, which few kernels have, and netfilter's hooks."""

import pytest

from nettrace.model.bpf import BpfProgram, MapRef
from nettrace.model.step import Verdict
from nettrace.model.walk import Path
from tests.walk.worlds import World, flow, one_path, router

PRIMARY = BpfProgram(hook="netkit primary", id=41, name="cil_to_containe")
PEER = BpfProgram(hook="netkit peer", id=42, name="cil_from_contai", maps=(MapRef(7, "policy"),))


def netkit(*programs: BpfProgram) -> World:
    """The router with its client behind a netkit pair, whose primary end, with *programs*, it has."""
    world = router()
    for name, device in (("client", "eth0"), ("r", "c")):
        world[name].change(device, kind="netkit", noarp=True)
    world["r"].change("c", programs=tuple(map(str, programs)), bpf=programs)
    return world


def ends(path: Path) -> str:
    """Why it is not known; what was walked before is another matter."""
    assert path.verdict is Verdict.UNKNOWN
    return path.legs[-1].reason


def test_what_a_peer_sends_its_primary_s_program_decides() -> None:
    """The program is told at the primary end, in another namespace than the one that sends."""
    reason = ends(one_path(netkit(PRIMARY, PEER), flow("client", "10.2.0.2", 80)))
    assert reason.startswith(
        "netkit peer cil_from_contai (id 42) on c of r decides about what its peer eth0 of client sends"
    )
    assert reason.endswith("program 42 has maps policy (id 7)")
    assert "id 41" not in reason


def test_what_a_primary_sends() -> None:
    """The program of the primary end is its own, as any on a device."""
    reason = ends(one_path(netkit(PRIMARY), flow("r", "10.1.0.2", 80)))
    assert "netkit primary cil_to_containe (id 41) on c of r decides" in reason


def test_a_pair_without_programs_is_not_passed_silently() -> None:
    """Its policy may be blackhole, which is not read; nor is it known what hangs on an end elsewhere."""
    reason = ends(one_path(netkit(), flow("client", "10.2.0.2", 80)))
    assert reason == (
        "eth0 of client is one end of a netkit pair, where programs or its policy decide, "
        "and no program is told of it"
    )
    world = netkit(PEER)
    world["client"].change("eth0", peer=None)
    reason = ends(one_path(world, flow("client", "10.2.0.2", 80)))
    assert reason.endswith("its other end is not in the snapshot")


def test_who_answers_arp_behind_a_pair() -> None:
    """In mode l2 ARP goes the same way, and is no more known; the program is named there too."""
    world = netkit(PEER)
    for name, device in (("client", "eth0"), ("r", "c")):
        world[name].change(device, noarp=False)
    reason = ends(one_path(world, flow("client", "10.2.0.2", 80)))
    assert "what is behind netkit peer cil_from_contai (id 42) for eth0 of client cannot be told" in reason


def at_forward(*, family: str = "ip", priority: int = -10, placed: bool = True) -> World:
    """The router with a program at a hook of its own."""
    world = router()
    hook = f"netfilter {family} forward"
    one = BpfProgram(hook=hook, id=9, name="drop_all", tag="a0", priority=priority, placed=placed)
    world["r"].socket_programs.append(one)
    return world


@pytest.mark.parametrize(
    ("placed", "where"), [(True, "in r"), (False, "here or in another namespace than r")]
)
def test_a_program_at_a_hook(placed: bool, where: str) -> None:
    """Whatever it does, by name and id; one that may be another namespace's is said to be that."""
    reason = ends(one_path(at_forward(placed=placed), flow("client", "10.2.0.2", 80)))
    assert reason == (
        f"netfilter ip forward drop_all (id 9) at priority -10 {where} decides, and no rule shows how; "
        "program 9 has tag a0 and no maps"
    )


def test_who_drops_before_it_is_known() -> None:
    """A rule of a lower priority ends the packet first; one of a higher priority is not reached."""
    for priority, verdict in ((10, Verdict.DROPPED_BY_RULE), (-10, Verdict.UNKNOWN)):
        world = at_forward(priority=priority)
        world["r"].filter("-A FORWARD -j DROP")
        assert one_path(world, flow("client", "10.2.0.2", 80)).verdict is verdict


def test_another_family_s_program_is_not_asked() -> None:
    """What hangs on IPv6's hook sees no packet of IPv4, and INPUT none that is passed on."""
    assert one_path(at_forward(family="ip6"), flow("client", "10.2.0.2", 80)).verdict is Verdict.DELIVERED
    assert one_path(at_forward(), flow("client", "10.1.0.1", 80)).verdict is not Verdict.UNKNOWN
