"""Cases on which the walk and the kernel once differed, as the oracle found and shrank them."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.oracle.case import Probe, State
from tests.oracle.run import Bench, Pair, bench

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_ISOLATED = "bridge link set dev veth1 isolated on\nbridge link set dev veth2 isolated on"
_JOINED = "bridge link set dev veth1 isolated off\nbridge link set dev veth2 isolated off"
_TO_POD1 = "*nat\n-A PREROUTING -d 10.244.1.3 -j DNAT --to-destination 10.244.1.2\nCOMMIT\n"


class Benches:
    """Networks that are built once."""

    def __init__(self) -> None:
        self._open: dict[str, Bench] = {}
        self.stack = ExitStack()

    def agreed(self, state: State, *probes: Probe) -> Pair:
        """Return what came of the last probe; AssertionError where walk and kernel differ."""
        one = self._open.get(state.topology)
        if one is None:
            one = self._open[state.topology] = self.stack.enter_context(bench(state.topology))
        one.enter(state)
        try:
            found = [one.pair(probe) for probe in probes]
        finally:
            one.leave()
        for pair in found:
            assert pair.judgement.agrees, pair.judgement.differences
        return found[-1]


@pytest.fixture(scope="module")
def benches() -> Iterator[Benches]:
    """Build networks as they are asked for."""
    found = Benches()
    with found.stack:
        yield found


def test_hairpin_of_an_isolated_port(benches: Benches) -> None:
    """An isolated port does not get back what came by it, hairpin or not."""
    udp = Probe(source="pod1", dst="10.244.1.3", proto="udp", dport=53, sport=2001)
    benches.agreed(State(topology="pods"), udp)  # so that pod1 knows its neighbour
    state = State(
        topology="pods",
        rules=(("node", "iptables-restore", _TO_POD1),),
        commands=(("node", _ISOLATED, _JOINED),),
    )
    assert benches.agreed(state, udp).walk.verdict == "BRIDGE_DROPPED"


def test_a_route_out_by_lo(benches: Benches) -> None:
    """What is sent by lo is delivered, also where no address of the namespace is meant."""
    state = State(
        topology="router",
        commands=(
            (
                "r",
                "ip addr add 10.2.0.2/32 dev lo\nip route add 10.99.0.0/24 via 10.2.0.2",
                "ip route del 10.99.0.0/24 via 10.2.0.2\nip addr del 10.2.0.2/32 dev lo",
            ),
        ),
    )
    for proto, port in (("udp", 9), ("tcp", 80), ("tcp", 81), ("icmp", None)):
        sport = 2100 if port else None
        probe = Probe(source="r", dst="10.99.0.1", proto=proto, dport=port, sport=sport, icmp_id=7)
        assert benches.agreed(state, probe).walk.outcome == "timeout"


@pytest.mark.parametrize(
    ("df", "size", "verdict"), [(True, 700, "TOO_BIG"), (False, 700, "DELIVERED"), (True, 640, "DELIVERED")]
)
def test_the_size_of_a_bridge_port(benches: Benches, df: bool, size: int, verdict: str) -> None:
    """The MTU of a port counts after all hooks; with br_netfilter the bridge fragments."""
    state = State(
        topology="pods",
        rules=(("node", "iptables-restore", "*mangle\n-A POSTROUTING -j MARK --set-mark 1\nCOMMIT\n"),),
        commands=(("node", "ip link set veth2 mtu 640", "ip link set veth2 mtu 1500"),),
    )
    probe = Probe(source="pod1", dst="10.244.1.3", proto="udp", dport=53, sport=2200 + size, size=size, df=df)
    assert benches.agreed(state, probe).walk.verdict == verdict


def test_a_blackhole_where_forwarding_is_off(benches: Benches) -> None:
    """The kernel calls a blackhole route an address that is not here where it does not forward."""
    state = State(
        topology="router",
        sysctls=(("r", "net.ipv4.conf.c.forwarding", "0"),),
        commands=(("r", "ip route add blackhole 10.2.0.2/32", "ip route del blackhole 10.2.0.2/32"),),
    )
    pair = benches.agreed(state, Probe(source="client", dst="10.2.0.2", proto="udp", dport=7, sport=2300))
    assert pair.walk.verdict == "BLACKHOLED"
    assert [lost.reason for lost in pair.sighting.lost or ()] == ["IP_INADDRERRORS"]
