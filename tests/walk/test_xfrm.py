"""Policies of IPsec in the way, on a model: what no kernel test of one machine has, and what is not told."""

import pytest
from msgspec.structs import replace

from nettrace.model.section import NOT_READ, Missing, MissingKind, SectionKey
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Needs, Outcome, Path
from nettrace.model.xfrm import Xfrm, XfrmPolicy, XfrmState, XfrmTemplate
from nettrace.parse.snapshot_file import decode_snapshot, encode_snapshot
from nettrace.walk import walk
from tests.walk.worlds import World, flow, one_path, router

ESP = (XfrmTemplate(),)
SA = XfrmState(src="10.1.0.2", dst="10.2.0.2", proto="esp", spi=256)
ALL = {"src": "0.0.0.0/0", "dst": "0.0.0.0/0"}


def policy(direction: str, **attributes: object) -> XfrmPolicy:
    """A policy for everything of IPv4."""
    return XfrmPolicy(**{**ALL, "direction": direction, **attributes})  # type: ignore[arg-type]


def held(name: str, *policies: XfrmPolicy, states: tuple[XfrmState, ...] = ()) -> World:
    """The router, with policies in one namespace."""
    world = router()
    world[name].xfrm = Xfrm(policies=policies, states=states)
    return world


def outside(world: World) -> Path:
    """What comes in by the router's device, from nobody who is known."""
    world["r"].change("c", peer=None, kind="device")
    return one_path(world, flow("r", "10.2.0.2", 80, src="10.1.0.2", device="c"))


def test_a_snapshot_that_does_not_hold_it_does_not_say_that_there_is_none() -> None:
    """What was not read is asked for; what a file does not hold makes the walk unknown, with the reason."""
    snapshot = router().snapshot()
    asked = flow("client", "10.2.0.2", 80)
    key = SectionKey("client", "xfrm")
    answer = walk(snapshot.with_section(key, NOT_READ), asked)
    assert isinstance(answer, Needs)
    assert key in answer.keys
    absent = Missing(MissingKind.FAILED, "file old.json does not hold it")
    path = one_path(snapshot.with_section(key, absent), asked)
    assert path.verdict is Verdict.UNKNOWN
    assert path.reason == "client/xfrm is not known: file old.json does not hold it"


def test_a_snapshot_keeps_it() -> None:
    """Policies, states and defaults come back from a file; one without them has not been read."""
    world = held("r", policy("fwd", templates=ESP, action="block"), states=(SA,))
    world["r"].xfrm = replace(world["r"].xfrm, blocks=("in",))
    snapshot = world.snapshot()
    assert decode_snapshot(encode_snapshot(snapshot), "x").namespaces == snapshot.namespaces
    old = snapshot.with_section(SectionKey("r", "xfrm"), NOT_READ)
    assert decode_snapshot(encode_snapshot(old), "x").namespaces["r"].xfrm == NOT_READ


def test_whether_the_sender_outside_uses_ipsec_is_not_told() -> None:
    """A policy that requires it is undecided for what comes from outside; one that blocks is not."""
    path = outside(held("r", policy("fwd", templates=ESP)))
    assert path.verdict is Verdict.UNKNOWN
    assert "lets in only what comes by IPsec, and whether it does is not told" in path.reason
    assert outside(held("r", policy("fwd", action="block"))).verdict is Verdict.DROPPED_BY_XFRM


@pytest.mark.parametrize(("states", "verdict"), [((), Verdict.DELIVERED), ((SA,), Verdict.UNKNOWN)])
def test_what_came_by_ipsec_is_told_only_where_there_is_no_state(
    states: tuple[XfrmState, ...], verdict: Verdict
) -> None:
    """``-m policy`` of what comes from outside: none without a state, else not told."""
    world = held("r", states=states)
    world["r"].filter("-A FORWARD -m policy --dir in --pol ipsec -j DROP")
    assert outside(world).verdict is verdict


def test_a_template_that_is_optional_depends_on_the_states() -> None:
    """What leaves is transformed by the states there are, and passes as it is where there are none."""
    use = (XfrmTemplate(level="use"),)
    asked = flow("client", "10.2.0.2", 80)
    assert one_path(held("client", policy("out", templates=use)), asked).outcome is Outcome.CONNECTED
    assert (
        one_path(held("client", policy("out", templates=use), states=(SA,)), asked).outcome is Outcome.UNKNOWN
    )


def test_a_socket_s_own_policy_is_undecided_where_it_would_differ() -> None:
    """No dump tells whose it is; what no socket sends or takes is not its matter."""
    bypass = (policy("socket out"), policy("socket in"))
    asked = flow("client", "10.2.0.2", 80)
    assert one_path(held("client", *bypass), asked).outcome is Outcome.CONNECTED
    path = one_path(held("client", *bypass, policy("out", action="block")), asked)
    assert path.verdict is Verdict.UNKNOWN
    assert "a socket has a policy of its own" in path.reason
    world = held("server", *bypass, policy("in", templates=ESP))
    assert one_path(world, asked).verdict is Verdict.UNKNOWN
    assert one_path(world, flow("client", "10.2.0.2", proto="icmp")).verdict is Verdict.DROPPED_BY_XFRM
    assert (
        one_path(held("r", *bypass, policy("fwd", action="block")), asked).verdict is Verdict.DROPPED_BY_XFRM
    )


def test_errors_by_what_they_are_about() -> None:
    """Whether an error is let pass for the packet that it quotes depends on the version, or on a flag."""
    closed = flow("client", "10.2.0.2", 99, "udp")
    back = policy("fwd", src="10.2.0.2/32", proto="udp", action="block")
    assert one_path(held("r", back), closed).outcome is Outcome.UNKNOWN
    assert one_path(held("r", replace(back, action="allow")), closed).outcome is Outcome.REFUSED
    flagged = policy("out", src="10.9.0.0/16", flags=("icmp",))
    assert one_path(held("server", flagged), closed).outcome is Outcome.UNKNOWN


def test_the_step_names_the_policy_that_allows() -> None:
    """A policy that lets a packet pass is a step, as a rule would be."""
    path = one_path(held("client", policy("out", priority=7)), flow("client", "10.2.0.2", 80))
    step = next(one for one in path.request.steps if one.stage is Stage.XFRM)
    assert step.why is not None
    assert (step.verdict, step.why.text) == ("accept", "src 0.0.0.0/0 dst 0.0.0.0/0 dir out priority 7")


def test_a_tunnel_s_outer_packet_is_asked_for() -> None:
    """VXLAN over IPsec, as Weave's encrypted overlay has it: the outer packet meets a policy."""
    world = World()
    for name in ("a", "b"):
        world.netns(name)
        world[name].listen(80)
    world.veth("a", "eth0", "b", "eth0")
    for name, near, far in (("a", "192.0.2.1", "10.0.0.1"), ("b", "192.0.2.2", "10.0.0.2")):
        world[name].address("eth0", f"{near}/24")
        world.vxlan(name, "vx", near)
        world[name].address("vx", f"{far}/24")
    for name, other, end, far in (("a", "b", "192.0.2.2", "10.0.0.2"), ("b", "a", "192.0.2.1", "10.0.0.1")):
        world[name].neighbour("vx", far, world.mac(other, "vx"))
        world[name].bridge_fdb("vx", world.mac(other, "vx"), end)
    asked = flow("a", "10.0.0.2", 80)
    assert one_path(world, asked).outcome is Outcome.CONNECTED
    port = {"proto": "udp", "dport": 8472, "dport_mask": 0xFFFF}
    world["a"].xfrm = Xfrm(policies=(policy("out", templates=ESP, **port),))
    path = one_path(world, asked)
    assert path.verdict is Verdict.UNKNOWN
    assert "has 192.0.2.1:* -> 192.0.2.2:8472 sent by IPsec" in path.reason
    world["a"].xfrm = Xfrm()
    world["b"].xfrm = Xfrm(policies=(policy("in", templates=ESP, **port),))
    path = one_path(world, asked)
    assert (path.verdict, path.outcome) == (Verdict.DROPPED_BY_XFRM, Outcome.TIMEOUT)
