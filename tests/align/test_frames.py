"""Frames of a probe beside predicted steps."""

import pytest
from msgspec.structs import replace

from nettrace.align.frames import frames_of, on_device, unnamed
from nettrace.align.steps import compare_steps
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.observation import Attempt, Frame, Observed
from nettrace.model.packet import EPHEMERAL, Packet, PortRange
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Leg, Outcome, Path, Walk

SENT = Packet(src="10.0.0.1", dst="10.0.0.2", proto="tcp", sport=EPHEMERAL, dport=PortRange(80, 80))
SEEN = replace(SENT, sport=PortRange(40000, 40000))
OUTER = Packet(src="1.1.1.1", dst="1.1.1.2", proto="udp", dport=PortRange(8472, 8472), df=False)


def step(stage: Stage, device: str = "eth0", packet: Packet = SENT, *, netns: str = "n") -> Step:
    """A step at a device."""
    return Step(node="n", netns=netns, stage=stage, verdict="x", device=device, before=packet)


def frame(
    device: str = "eth0", packet: Packet = SEEN, *, out: bool = True, netns: str = "n", for_us: bool = True
) -> Frame:
    """A frame of the request."""
    return Frame(
        netns=netns, device=device, outgoing=out, for_us=for_us, time=1.0, leg="request", packet=packet
    )


@pytest.mark.parametrize(
    ("predicted", "seen", "agrees", "words"),
    [
        (step(Stage.TRANSMIT), [frame()], True, ""),
        (step(Stage.RECEIVE), [frame(out=False)], True, ""),
        (step(Stage.TRANSMIT), [frame(out=False)], False, "had nothing leave by eth0"),
        (step(Stage.RECEIVE), [frame("eth1", out=False)], False, "had nothing arrive at eth0"),
        (
            step(Stage.TRANSMIT),
            [frame(packet=replace(SEEN, ttl=63))],
            False,
            "had 10.0.0.1:40000 -> 10.0.0.2:80 ttl 63 leave by eth0",
        ),
        (
            step(Stage.TRANSMIT),
            [frame(packet=replace(SEEN, dport=PortRange(81, 81)))],
            False,
            "had 10.0.0.1:40000 -> 10.0.0.2:81 ttl 64 leave by eth0",
        ),
        (
            step(Stage.TRANSMIT, packet=replace(OUTER, inner=SENT)),
            [frame(packet=replace(OUTER, inner=SEEN))],
            True,
            "",
        ),
        (
            step(Stage.TRANSMIT, packet=replace(OUTER, inner=SENT)),
            [frame(packet=replace(OUTER, inner=replace(SEEN, dst="10.0.0.3")))],
            False,
            "had 1.1.1.1 -> 1.1.1.2:8472 ttl 64 with 10.0.0.1:40000 -> 10.0.0.3:80 inside leave by eth0",
        ),
        (step(Stage.TRANSMIT, packet=replace(OUTER, inner=SENT)), [frame(packet=OUTER)], False, None),
        (replace(step(Stage.TRANSMIT), stops=True), [], None, ""),
        (replace(step(Stage.TRANSMIT), before=None), [], None, ""),
        (replace(step(Stage.TRANSMIT), device=None), [], None, ""),
    ],
)
def test_a_step_at_a_device_is_held_against_its_frames(
    predicted: Step, seen: list[Frame], agrees: bool | None, words: str | None
) -> None:
    """Addresses, ports and TTL, also of what is inside, as far as the walk is certain of them."""
    found = on_device(predicted, seen)
    assert found[0] is agrees
    assert words is None or found[1] == words


def test_what_an_icmp_error_quotes_is_not_compared() -> None:
    """Only the error's own header is."""
    error = Packet(src="10.0.0.9", dst="10.0.0.1", proto="icmp", icmp_type=3, icmp_code=1)
    found = on_device(step(Stage.TRANSMIT, packet=error), [frame(packet=replace(error, inner=SEEN))])
    assert found == (True, "")


STEPS = (step(Stage.RECEIVE, "in0"), step(Stage.TRANSMIT, "out0"))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (frame("in0", out=False), ""),
        (frame("out0"), ""),
        (frame("out1"), "had 10.0.0.1:40000 -> 10.0.0.2:80 ttl 64 leave by out1 of n"),
        (frame("in1", out=False), "had 10.0.0.1:40000 -> 10.0.0.2:80 ttl 64 arrive at in1 of n"),
        (frame("in1", out=False, for_us=False), ""),
        (frame("lo"), ""),
        (frame("x", netns="not captured"), ""),
        (frame("x", netns="elsewhere"), ""),
    ],
)
def test_a_frame_where_the_walk_has_none(seen: Frame, words: str) -> None:
    """One for this host, or that left a host without a bridge, is told; what is flooded is not."""
    assert unnamed(STEPS, [seen], {"n", "elsewhere"}) == words


def test_what_a_bridge_floods_is_not_meant() -> None:
    """A frame may leave by all ports of a bridge."""
    steps = (*STEPS, step(Stage.BRIDGE, "br0"))
    assert unnamed(steps, [frame("out1")], {"n"}) == ""


def test_the_frames_of_a_leg_are_those_of_its_first_kind() -> None:
    """An answer is that of the far end, or else an error."""
    one, other = frame(), replace(frame(), leg="error")
    attempt = Attempt(outcome=Outcome.TIMEOUT, delay=1.0, frames=(one, other))
    assert frames_of(attempt, ("reply", "error")) == (other,)
    assert frames_of(attempt, ("request",)) == (one,)
    assert frames_of(attempt, ("ack",)) == ()
    assert attempt.first_frames == (one, other)


def test_frames_alone_are_compared_where_rules_are_not_watched() -> None:
    """A namespace that is only captured has its devices compared, and a packet that went on is told."""
    ref = ObjectRef(kind="netns", name="n")
    leg = Leg(kind="request", steps=STEPS, verdict=Verdict.DROPPED_BY_RULE)
    path = Path(probability=1.0, legs=(leg,), verdict=leg.verdict, outcome=Outcome.TIMEOUT)
    walk = Walk(
        flow=Flow(origin=Origin(netns="n"), packet=SENT, source=ref, target=ref),
        paths=(path,),
        verdict=leg.verdict,
        outcome=Outcome.TIMEOUT,
    )
    frames = (frame("in0", out=False), frame("out0"))
    attempt = Attempt(outcome=Outcome.TIMEOUT, delay=1.0, frames=frames)
    [agreed] = compare_steps(walk, Observed(attempts=(attempt,), captured=("n",)))
    assert agreed.checked == {"request": (True, True)}
    assert agreed.parted is None
    further = replace(attempt, frames=(*frames, frame("out9")))
    [parted] = compare_steps(walk, Observed(attempts=(further,), captured=("n",)))
    assert parted.parted is not None
    assert "leave by out9" in parted.parted.observed
    [unseen] = compare_steps(walk, Observed(attempts=(further,)))
    assert unseen.compared == 0
