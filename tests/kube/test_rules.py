"""The words that rules are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrace.kube.rules import comment, ports, probability, rule
from nettrace.model.packet import PortRange
from nettrace.model.xt_match import Negatable, Ports, Tcp, Udp
from nettrace.model.xt_target import Drop, Jump, PassThrough

UNIT = 2**31


@pytest.mark.parametrize(
    ("among", "printed"),
    [
        (2, "0.50000000000"),
        (3, "0.33333333349"),
        (6, "0.16666666651"),
        (7, "0.14285714272"),
        (10, "0.10000000009"),
        (19, "0.05263157887"),
        (20, "0.04999999981"),
    ],
)
def test_probabilities_are_those_that_the_kernel_keeps(among: int, printed: str) -> None:
    """The 31-bit numbers print as they do in dumps of the real rules."""
    assert f"{probability(among) / UNIT:.11f}" == printed


@given(st.integers(min_value=1, max_value=2000))
def test_every_endpoint_gets_its_share(number: int) -> None:
    """Down the chain, each of n endpoints is reached with 1/n, within 2^-30."""
    left = 1.0
    for position in range(number):
        among = number - position
        chance = probability(among) / UNIT if among > 1 else 1.0
        assert abs(left * chance - 1 / number) < 2**-30
        left *= 1 - chance
    assert left == 0


@given(st.integers(min_value=1, max_value=100_000))
def test_probabilities_are_31_bits(among: int) -> None:
    """No endpoint is without a chance, none has more than all."""
    assert 0 < probability(among) <= UNIT


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("10.0.0.1", Negatable("10.0.0.1/32")),
        ("fd00::1", Negatable("fd00::1/128")),
        ("10.0.0.0/8", Negatable("10.0.0.0/8")),
        (Negatable("10.0.0.0/8", invert=True), Negatable("10.0.0.0/8", invert=True)),
        ("0.0.0.0/0", None),
        ("::/0", None),
        (Negatable("0.0.0.0/0", invert=True), Negatable("0.0.0.0/0", invert=True)),
        (None, None),
    ],
)
def test_addresses_as_the_kernel_keeps_them(given: Negatable | str | None, kept: Negatable | None) -> None:
    """An address has its length; a source that every packet has is no test."""
    assert rule(Drop(), src=given).src == kept
    assert rule(Drop(), dst=given).dst == kept


def test_targets() -> None:
    """Text is a chain to jump to; nothing is a rule that only counts."""
    assert rule("KUBE-SERVICES").target == Jump("KUBE-SERVICES")
    assert rule(None).target == PassThrough()
    assert rule(Drop(), proto="tcp").proto == Negatable("tcp")


def test_port_matches() -> None:
    """TCP has its own match, SCTP shares that of UDP; without a port the match is empty."""
    port = Ports(PortRange(80, 80))
    assert ports("tcp", 80) == (Tcp(dport=port),)
    assert ports("udp", 80) == (Udp(dport=port),)
    assert ports("sctp", 80) == (Udp(dport=port, proto="sctp"),)
    assert ports("tcp") == (Tcp(),)
    assert comment("") == ()
