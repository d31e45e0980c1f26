"""Which drops of the kernel the oracle takes for those of the walk."""

import pytest

from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Leg
from tests.oracle.dropped import differences
from tests.oracle.witness import Lost

PACKET = Packet(src="10.1.0.2", dst="10.2.0.2", proto="udp", sport=PortRange(9, 9), dport=PortRange(7, 7))


def leg(verdict: Verdict, netns: str = "r", kind: str = "request") -> Leg:
    """A leg that ends in *netns*."""
    step = Step(
        node="n",
        netns=netns,
        stage=Stage.ROUTE,
        verdict="drop",
        before=PACKET,
        stops=verdict is not Verdict.DELIVERED,
    )
    return Leg(kind=kind, steps=(step,), verdict=verdict)


def lost(reason: str, function: str = "f", netns: str = "r") -> Lost:
    """A drop of the packet."""
    return Lost((netns,), "eth0", reason, function, PACKET)


def test_a_drop_that_fits() -> None:
    """A reason of the verdict in the walk's namespace is the walk's drop."""
    assert not differences([leg(Verdict.REVERSE_PATH_FILTERED)], [lost("IP_RPFILTER")], open_end=False)


@pytest.mark.parametrize("seen", [[], [lost("IP_RPFILTER", netns="server")], [lost("NETFILTER_DROP")]])
def test_a_drop_that_is_missed(seen: list[Lost]) -> None:
    """Where the walk is sure of a drop, none, one elsewhere and one with another reason are differences."""
    assert differences([leg(Verdict.REVERSE_PATH_FILTERED)], seen, open_end=True)


def test_a_drop_that_the_walk_has_not() -> None:
    """A drop of what the walk delivers is a difference, unless more was sent than it walked."""
    delivered = [leg(Verdict.DELIVERED)]
    assert differences(delivered, [lost("NETFILTER_DROP")], open_end=False)
    assert not differences(delivered, [lost("NETFILTER_DROP")], open_end=True)


def test_one_drop_is_not_two() -> None:
    """Two legs that are dropped need two drops."""
    legs = [leg(Verdict.DROPPED_BY_RULE), leg(Verdict.DROPPED_BY_RULE, kind="error")]
    assert differences(legs, [lost("NETFILTER_DROP")], open_end=False)
    assert not differences(legs, [lost("NETFILTER_DROP")] * 2, open_end=False)


@pytest.mark.parametrize(
    "one",
    [
        lost("OTHERHOST", netns="x"),
        lost("PACKET_SOCK_ERROR", netns="x"),
        lost("UDP_CSUM"),
        lost("SOCKET_FILTER"),
    ],
)
def test_drops_beside(one: Lost) -> None:
    """Copies for others, copies for taps, and what a socket does not want say nothing about the way."""
    assert not differences([leg(Verdict.DELIVERED)], [one], open_end=False)


@pytest.mark.parametrize("netns", ["r", "server"])
def test_either_end_of_a_pair_that_is_down(netns: str) -> None:
    """Of two devices that belong together either may drop what cannot pass."""
    seen = [lost("QDISC_DROP", netns=netns)]
    assert not differences([leg(Verdict.LINK_DOWN)], seen, open_end=False)


def test_routed_again_after_output() -> None:
    """Where OUTPUT changed the packet and no route is left, netfilter drops it."""
    sent = Step(node="n", netns="r", stage=Stage.SEND, verdict="send", before=PACKET)
    here = leg(Verdict.NO_ROUTE)
    own = Leg(kind="request", steps=(sent, *here.steps), verdict=Verdict.NO_ROUTE)
    assert not differences([own], [lost("NETFILTER_DROP")], open_end=False)
    assert differences([here], [lost("NETFILTER_DROP")], open_end=False)
