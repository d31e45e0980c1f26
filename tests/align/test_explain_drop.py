"""What a walk of a dropped header says of its drop."""

import pytest
from msgspec.structs import replace

from nettrace.align.explain_drop import explain, flow_of, is_interesting
from nettrace.model.dropped import DropSeen
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Leg, Outcome, Path, Walk

PACKET = Packet(src="10.0.0.1", dst="10.0.0.2", proto="tcp", dport=PortRange(80, 80))
REF = ObjectRef(kind="ip", name="x")


def seen(
    reason: str, function: str = "", *, sent: bool = False, iif: str | None = "eth0", packet: Packet = PACKET
) -> DropSeen:
    """A drop in node n."""
    return DropSeen(
        time=0.0,
        netns="n",
        node="n",
        device="eth1",
        iif=None if sent else iif,
        sent=sent,
        reason=reason,
        function=function,
        packet=packet,
    )


def walked(*branches: tuple[Verdict, str, Stage, float]) -> Walk:
    """A walk whose branches end like this: verdict, namespace, stage, probability."""
    paths = tuple(
        Path(
            probability=share,
            legs=(
                Leg(
                    kind="request",
                    verdict=verdict,
                    reason=f"because of {netns}",
                    steps=(
                        Step(
                            node="n",
                            netns=netns,
                            stage=stage,
                            verdict="x",
                            stops=verdict is not Verdict.DELIVERED,
                        ),
                    ),
                ),
            ),
            verdict=verdict,
            outcome=Outcome.TIMEOUT,
        )
        for verdict, netns, stage, share in branches
    )
    flow = Flow(origin=Origin(netns="n"), packet=PACKET, source=REF, target=REF)
    return Walk(flow=flow, paths=paths, verdict=paths[0].verdict, outcome=Outcome.TIMEOUT)


RULE = (Verdict.DROPPED_BY_RULE, "n", Stage.HOOK, 0.3)


def test_the_branch_that_ends_there_for_that_explains_it() -> None:
    """Though another is likelier."""
    found = explain(walked((Verdict.DELIVERED, "m", Stage.DELIVER, 0.7), RULE), seen("NETFILTER_DROP"))
    assert (found.verdict, found.fits, found.reason) == (Verdict.DROPPED_BY_RULE, True, "because of n")
    assert found.step is not None
    assert found.step.stops


@pytest.mark.parametrize(
    ("branch", "drop", "fits"),
    [
        (RULE, seen("IP_RPFILTER"), False),
        ((Verdict.DROPPED_BY_RULE, "m", Stage.HOOK, 1.0), seen("NETFILTER_DROP"), False),
        ((Verdict.DELIVERED, "n", Stage.DELIVER, 1.0), seen("SOCKET_RCVBUFF"), True),
        ((Verdict.DELIVERED, "n", Stage.DELIVER, 1.0), seen("NO_SOCKET"), False),
        ((Verdict.UNKNOWN, "n", Stage.HOOK, 1.0), seen("NETFILTER_DROP"), None),
        ((Verdict.LEFT_SNAPSHOT, "n", Stage.HOOK, 1.0), seen("NETFILTER_DROP"), None),
        ((Verdict.NO_ROUTE, "n", Stage.ROUTE, 1.0), seen("NETFILTER_DROP", sent=True), True),
        ((Verdict.NO_ROUTE, "n", Stage.ROUTE, 1.0), seen("NETFILTER_DROP"), False),
        ((Verdict.MARTIAN, "n", Stage.SEND, 1.0), seen("NETFILTER_DROP", sent=True), None),
    ],
)
def test_what_fits_and_what_does_not(
    branch: tuple[Verdict, str, Stage, float], drop: DropSeen, fits: bool | None
) -> None:
    """Another place or reason does not; UNKNOWN, and a source that was translated, cannot tell."""
    found = explain(walked(branch), drop)
    assert found.fits is fits
    assert (found.verdict is Verdict.UNKNOWN) is (fits is None)


def test_the_walk_begins_where_the_packet_came_from() -> None:
    """At the device it came in by, at that where it was last if that is not known, or in a socket."""
    assert flow_of(seen("X"), PACKET).origin == Origin(netns="n", device="eth0")
    assert flow_of(seen("X", iif=None), PACKET).origin == Origin(netns="n", device="eth1")
    assert flow_of(seen("X", sent=True), PACKET).origin == Origin(netns="n", device=None)


def test_of_a_tunnel_the_outer_packet_is_walked() -> None:
    """What is inside is no part of its way; what an ICMP error quotes is a part of it."""
    outer = Packet(src="1.1.1.1", dst="1.1.1.2", proto="udp", inner=PACKET)
    assert flow_of(seen("X"), outer).packet.inner is None
    error = replace(outer, proto="icmp", icmp_type=3)
    assert flow_of(seen("X"), error).packet.inner == PACKET


@pytest.mark.parametrize(
    ("reason", "function", "dst", "interesting"),
    [
        ("NETFILTER_DROP", "nft_do_chain", "10.0.0.2", True),
        ("NOT_SPECIFIED", "ip6_mc_input", "ff02::16", False),
        ("NO_SOCKET", "ip_rcv", "224.0.0.1", False),
        ("NO_SOCKET", "ping_rcv", "10.0.0.2", False),
        ("TCP_OLD_DATA", "tcp_data_queue", "10.0.0.2", False),
        ("PACKET_SOCK_ERROR", "packet_rcv", "10.0.0.2", False),
        ("NO_SOCKET", "udp", "255.255.255.255", False),
    ],
)
def test_what_nobody_misses_is_left_out(reason: str, function: str, dst: str, interesting: bool) -> None:
    """Multicast, duplicates, and copies."""
    assert is_interesting(reason, function, replace(PACKET, dst=dst)) is interesting
