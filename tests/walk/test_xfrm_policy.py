"""Which policy of IPsec a flow meets: selectors, priorities, what is not told."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrace.model.packet import PortRange
from nettrace.model.xfrm import Xfrm, XfrmPolicy, XfrmState, XfrmTemplate
from nettrace.walk.xfrm_policy import Effect, XfrmFlow, effect_of, matches, met

FLOW = XfrmFlow("10.1.0.2", "10.2.0.2", "tcp", PortRange(32768, 60999), PortRange(80, 80), "eth0", 0x11)
ESP, USE = XfrmTemplate(), XfrmTemplate(level="use")
SA = XfrmState(src="10.1.0.2", dst="10.2.0.2", proto="esp", spi=256)


def policy(**attributes: object) -> XfrmPolicy:
    """A policy for everything of IPv4."""
    return XfrmPolicy(**{"src": "0.0.0.0/0", "dst": "0.0.0.0/0", "direction": "out", **attributes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, True),
        ({"src": "10.1.0.0/16"}, True),
        ({"src": "10.2.0.0/16"}, False),
        ({"dst": "10.2.0.2/32"}, True),
        ({"dst": "10.2.0.3/32"}, False),
        ({"src": "::/0", "dst": "::/0"}, False),
        ({"proto": "tcp"}, True),
        ({"proto": "udp"}, False),
        ({"dport": 80, "dport_mask": 0xFFFF}, True),
        ({"dport": 81, "dport_mask": 0xFFFF}, False),
        ({"dport": 64, "dport_mask": 0xFFC0}, True),
        ({"sport": 0, "sport_mask": 0x8000}, False),  # all of 32768-60999 have the bit
        ({"sport": 40000, "sport_mask": 0xFFFF}, None),
        ({"sport": 80, "sport_mask": 0xFFFF}, False),
        ({"device": "eth0"}, True),
        ({"device": "eth1"}, False),
        ({"mark": 0x10, "mark_mask": 0xF0}, True),
        ({"mark": 0x20, "mark_mask": 0xF0}, False),
        ({"if_id": 7}, False),
        ({"context": "system_u:object_r:ipsec_spd_t:s0"}, None),
    ],
)
def test_a_selector_matches_as_the_kernels_does(attributes: dict[str, object], expected: bool | None) -> None:
    """Prefixes, protocol, ports under masks, device, mark and interface id; None where it is not told."""
    assert matches(policy(**attributes), FLOW) is expected


def test_what_a_flow_does_not_tell_is_not_told() -> None:
    """A device that the kernel may not fill in, and ports of a later fragment."""
    assert matches(policy(device="eth1"), FLOW._replace(device=None)) is None
    assert matches(policy(dport=80, dport_mask=0xFFFF), FLOW._replace(unsure=True)) is None
    assert matches(policy(), FLOW._replace(unsure=True)) is True
    without = FLOW._replace(proto="47", sport=None, dport=None)
    assert matches(policy(dport=80, dport_mask=0xFFFF), without) is False
    assert matches(policy(dport=0, dport_mask=0xFFFF), without) is True


@pytest.mark.parametrize(
    ("one", "states", "expected"),
    [
        (policy(), (), Effect.PLAIN),
        (policy(action="block"), (), Effect.BLOCK),
        (policy(templates=(ESP,)), (), Effect.IPSEC),
        (policy(templates=(USE,)), (), Effect.PLAIN),
        (policy(templates=(USE,)), (SA,), Effect.IPSEC),
        (policy(templates=(USE,), direction="in"), (SA,), Effect.PLAIN),
        (policy(templates=(USE, ESP), direction="in"), (), Effect.IPSEC),
        (policy(action="block", templates=(ESP,)), (), Effect.BLOCK),
    ],
)
def test_what_a_policy_makes_of_a_packet_in_the_clear(
    one: XfrmPolicy, states: tuple[XfrmState, ...], expected: Effect
) -> None:
    """Optional templates let pass what came in; what leaves they may transform once there is a state."""
    assert effect_of(one, Xfrm(policies=(one,), states=states)) is expected


def _met(*policies: XfrmPolicy, default: Effect = Effect.PLAIN) -> tuple[XfrmPolicy | None, Effect, bool]:
    found = met(Xfrm(policies=policies), "out", FLOW, default=default)
    return found.policy, found.effect, bool(found.why)


def test_the_smallest_priority_counts_in_whatever_order_they_are_read() -> None:
    """Others of the direction, or of none, are not asked."""
    first = policy(priority=1, dst="10.2.0.2/32")
    blocks = policy(priority=2, action="block")
    other = policy(priority=0, dst="10.3.0.0/16", action="block")
    for order in permutations((first, blocks, other, policy(direction="in", action="block"))):
        assert _met(*order) == (first, Effect.PLAIN, False)
    assert _met(other) == (None, Effect.PLAIN, False)
    assert _met(other, default=Effect.BLOCK) == (None, Effect.BLOCK, False)


def test_two_of_one_priority_are_undecided_where_they_differ() -> None:
    """No dump tells which was there first once one has been replaced."""
    blocks, passes = policy(action="block"), policy(dst="10.2.0.0/16")
    assert _met(blocks, passes)[2]
    assert _met(blocks, policy(dst="10.2.0.0/16", action="block"))[1:] == (Effect.BLOCK, False)


def test_a_port_that_is_the_kernels_choice_matters_where_the_effects_differ() -> None:
    """It decides between a policy and the next one, or none."""
    port = policy(sport=40000, sport_mask=0xFFFF, action="block")
    assert _met(port)[2]
    assert not _met(port, default=Effect.BLOCK)[2]
    assert not _met(port, policy(priority=3, action="block"))[2]
    assert _met(port, policy(priority=3))[2]


def test_sub_policies_are_undecided() -> None:
    """They go before the others, and are not walked."""
    assert _met(policy(type="sub"), policy())[2]
    assert not _met(policy(type="sub", dst="10.3.0.0/16"), policy())[2]


PORTS = st.integers(0, 0xFFFF)


@given(low=PORTS, high=PORTS, wanted=PORTS, mask=PORTS)
def test_a_range_of_ports_is_decided_where_all_of_it_agree(
    low: int, high: int, wanted: int, mask: int
) -> None:
    """Certain only if every port of the range gives the same answer."""
    low, high = sorted((low, high))
    flow = FLOW._replace(dport=PortRange(low, min(high, low + 300)))
    ends = {
        matches(policy(dport=wanted, dport_mask=mask), flow._replace(dport=PortRange(one, one)))
        for one in range(low, min(high, low + 300) + 1)
    }
    found = matches(policy(dport=wanted, dport_mask=mask), flow)
    assert found is (ends.pop() if len(ends) == 1 else None)


def test_words() -> None:
    """A policy, a template and a state are written as ip(8) writes them, in one line."""
    one = policy(
        dst="10.2.0.0/16",
        proto="udp",
        sport=68,
        sport_mask=0xFFFF,
        dport=64,
        dport_mask=0xFFC0,
        device="eth0",
        action="block",
        priority=9,
        mark=1,
        mark_mask=0xFF,
        if_id=7,
        type="sub",
        context="label",
        templates=(
            XfrmTemplate(mode="tunnel", src="192.0.2.1", dst="192.0.2.2", spi=16, reqid=4),
            XfrmTemplate(proto="ah", mode="tunnel", dst="192.0.2.2", level="use"),
        ),
    )
    assert str(one) == (
        "src 0.0.0.0/0 dst 10.2.0.0/16 proto udp sport 68 dport 64/0xffc0 dev eth0 mark 0x1/0xff if_id 0x7 "
        "ptype sub ctx label dir out action block priority 9 "
        "tmpl esp tunnel 192.0.2.1 -> 192.0.2.2 spi 0x10 reqid 4 tmpl ah tunnel any -> 192.0.2.2 level use"
    )
    assert str(SA) == "esp 10.1.0.2 -> 10.2.0.2 spi 0x100 transport"
    assert (one.family, policy(src="::/0", dst="::/0").family) == (4, 6)
