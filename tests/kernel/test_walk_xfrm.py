"""
The walk against the kernel where policies of IPsec stand in the way.

A client, a router and a server; policies in one of them, and real packets.
"""

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.align.drops import accepts
from nettrace.align.outcome import compare
from nettrace.collect.netns import in_netns
from nettrace.collect.session import Session
from nettrace.collect.xfrm import read_xfrm
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome, Walk
from nettrace.model.xfrm import Xfrm, XfrmPolicy, XfrmTemplate
from tests.kernel.bed import Bed
from tests.kernel.walkbed import TOPOLOGIES, Net

PORTS = {"tcp": 80, "udp": 7, "icmp": None}
SWEEP = bool(os.environ.get("NETTRACE_TEST_SWEEP"))
#: Where a policy may stand between client and server -> its directions that count there.
SPACES = {"client": ("out", "in"), "r": ("fwd", "out", "in"), "server": ("in", "out")}


@pytest.fixture(scope="module")
def network() -> Iterator[Net]:
    """The router, for all tests."""
    bed = Bed()
    found = Net(bed)
    try:
        TOPOLOGIES["router"](found)
        yield found
    finally:
        found.close()
        bed.close()


@pytest.fixture
def net(network: Net) -> Iterator[Net]:
    """The router, without a policy or rule."""
    yield network
    for label in SPACES:
        network.sh(
            label,
            "ip xfrm policy flush; ip xfrm policy setdefault in accept fwd accept out accept;"
            "iptables -F; iptables -t nat -F; iptables -t mangle -F; nft delete table ip nt 2>/dev/null || true",
        )


def policy(net: Net, label: str, words: str) -> None:
    """``ip xfrm policy add``."""
    net.sh(label, f"ip xfrm policy add {words}")


def probe(
    net: Net,
    proto: str = "tcp",
    source: str = "client",
    dst: str = "10.2.0.2",
    port: int | None = None,
    sport: int | None = None,
) -> Walk:
    """Walk and try once; the two have to agree, and the drop has to be one of the verdict's."""
    flow = net.flow(source, dst, port or PORTS[proto], proto, sport=sport)
    answer = net.walked(flow)
    silent = answer.outcome is Outcome.TIMEOUT
    observed = net.tried(flow, timeout=0.5 if silent else 4.0)
    agreement = compare(answer, observed, names=tuple(net.spaces))
    assert agreement.agrees, f"{agreement.differences}\n{[path.reason for path in answer.paths]}"
    drops = [one for attempt in observed.attempts for one in attempt.drops]
    if answer.verdict is Verdict.DROPPED_BY_XFRM:
        assert all(accepts(answer.verdict, one.reason, one.function) for one in drops), drops
    return answer


def spread(cases: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Each case with every protocol, or with one of them in turn where not all are asked for."""
    return [
        (*case, proto)
        for number, case in enumerate(cases)
        for turn, proto in enumerate(PORTS)
        if SWEEP or number % len(PORTS) == turn
    ]


ENDS = "src 10.1.0.0/16 dst 10.2.0.2"
ESP = "tmpl proto esp mode transport"


#: Where a policy stands, the policy, and what the sender sees of it.
FORBIDDING = (
    ("client", f"{ENDS} dir out action block", "EPERM"),
    ("r", f"{ENDS} dir fwd action block", None),
    ("r", f"{ENDS} dir out action block", None),
    ("server", f"{ENDS} dir in action block", None),
    ("r", f"{ENDS} dir fwd {ESP}", None),
    ("server", f"{ENDS} dir in {ESP}", None),
    ("server", f"{ENDS} dir in tmpl src 10.1.0.1 dst 10.2.0.2 proto esp mode tunnel", None),
)


@pytest.mark.parametrize(("label", "words", "errno", "proto"), spread(FORBIDDING))
def test_what_a_policy_forbids_is_dropped_where_the_kernel_drops_it(
    net: Net, label: str, words: str, errno: str | None, proto: str
) -> None:
    """A policy that blocks, or that wants IPsec of what comes in the clear: lost, and EPERM at the sender."""
    policy(net, label, words)
    answer = probe(net, proto)
    path = answer.paths[0]
    assert (path.verdict, path.errno, path.failed) == (Verdict.DROPPED_BY_XFRM, errno, 0)
    step = path.failing_step
    assert step is not None
    assert (step.stage, step.netns) == (Stage.XFRM, label)
    assert step.why is not None
    assert step.why.ref.startswith(f"{label}/xfrm/")


#: Policies that are not about the packet, or let it pass.
PASSING = (
    ("client", "src 10.1.0.0/16 dst 10.3.0.0/16 dir out action block"),
    ("client", f"{ENDS} dir in action block"),
    ("client", f"{ENDS} dir out mark 0x1 mask 0xff action block"),
    ("client", f"{ENDS} dir out if_id 7 action block"),
    ("client", f"{ENDS} proto sctp dir out action block"),
    ("client", f"{ENDS} dev lo dir out action block"),
    ("client", f"{ENDS} dir out {ESP} level use"),
    ("r", f"{ENDS} dir in action block"),
    ("server", f"{ENDS} dir in {ESP} level use"),
    ("server", f"{ENDS} dir in tmpl src 10.1.0.1 dst 10.2.0.2 proto esp mode tunnel level use"),
    ("server", f"{ENDS} dir in"),
)


@pytest.mark.parametrize(("label", "words", "proto"), spread(PASSING if SWEEP else PASSING[::3]))
def test_what_no_policy_is_about_or_allows_passes(net: Net, label: str, words: str, proto: str) -> None:
    """Another selector, mark, device or direction, or nothing but optional templates: as without IPsec."""
    policy(net, label, words)
    assert probe(net, proto).outcome is Outcome.CONNECTED


def test_the_smallest_priority_counts(net: Net) -> None:
    """A policy that allows one port before one that blocks everything, and the other way round."""
    policy(net, "client", f"{ENDS} dir out action block priority 20")
    policy(net, "client", f"{ENDS} proto tcp dport 80 dir out priority 10")
    assert probe(net, "tcp").outcome is Outcome.CONNECTED
    assert probe(net, "udp").verdict is Verdict.DROPPED_BY_XFRM
    policy(net, "client", f"{ENDS} dev eth0 dir out action block priority 5")
    assert probe(net, "tcp").verdict is Verdict.DROPPED_BY_XFRM


def test_tcp_asks_before_and_after_it_has_a_port(net: Net) -> None:
    """A policy for a source port lets a socket pass that is bound to it, not one that the kernel gives it."""
    policy(net, "client", f"{ENDS} dir out action block priority 20")
    policy(net, "client", f"{ENDS} proto tcp sport 40000 dir out priority 10")
    assert probe(net, "tcp", sport=40000).outcome is Outcome.CONNECTED
    assert probe(net, "tcp").verdict is Verdict.DROPPED_BY_XFRM


@pytest.mark.parametrize("direction", ["in", "fwd", "out"])
def test_a_default_that_blocks(net: Net, direction: str) -> None:
    """What no policy is about is blocked where that is the default, what one allows is not."""
    label = {"in": "server", "fwd": "r", "out": "client"}[direction]
    net.sh(label, f"ip xfrm policy setdefault {direction} block")
    assert probe(net, "udp").verdict is Verdict.DROPPED_BY_XFRM
    policy(net, label, f"{ENDS} dir {direction}")
    if direction == "fwd":  # the answer is passed on too
        policy(net, label, "src 10.2.0.2 dst 10.1.0.0/16 dir fwd")
    assert probe(net, "udp").outcome is Outcome.CONNECTED


def test_lo_and_devices_with_a_switch_are_spared(net: Net) -> None:
    """disable_xfrm and disable_policy, which lo has of its own, spare a packet the policies."""
    policy(net, "r", "src 0.0.0.0/0 dst 0.0.0.0/0 dir out action block")
    policy(net, "r", "src 0.0.0.0/0 dst 0.0.0.0/0 dir in action block")
    assert probe(net, "tcp", "r", "10.2.0.1").outcome is Outcome.CONNECTED
    policy(net, "server", f"{ENDS} dir in action block")
    net["server"].sysctl("net.ipv4.conf.eth0.disable_policy", 1)
    net["r"].sysctl("net.ipv4.conf.s.disable_xfrm", 1)
    net["r"].sysctl("net.ipv4.conf.c.disable_xfrm", 1)
    try:
        assert probe(net, "tcp").outcome is Outcome.CONNECTED
    finally:
        net["server"].sysctl("net.ipv4.conf.eth0.disable_policy", 0)
        net["r"].sysctl("net.ipv4.conf.s.disable_xfrm", 0)
        net["r"].sysctl("net.ipv4.conf.c.disable_xfrm", 0)


@pytest.mark.parametrize("proto", ["tcp", "udp"] if SWEEP else ["udp"])
def test_nat_is_seen_through(net: Net, proto: str) -> None:
    """What comes in is looked up as it was before DNAT, what leaves again after SNAT."""
    port = PORTS[proto]
    net.sh(
        "r",
        f"iptables -t nat -A PREROUTING -d 10.9.0.1 -p {proto} -j DNAT --to 10.2.0.2:{port};"
        f"iptables -t nat -A POSTROUTING -d 10.2.0.2 -p {proto} -j SNAT --to 10.2.0.1",
    )
    policy(net, "r", "src 10.1.0.2 dst 10.2.0.2 dir fwd action block")
    assert probe(net, proto, dst="10.9.0.1").outcome is Outcome.CONNECTED
    policy(net, "r", "src 10.2.0.1 dst 10.2.0.2 dir out action block")
    assert probe(net, proto, dst="10.9.0.1").verdict is Verdict.DROPPED_BY_XFRM
    net.sh("r", "ip xfrm policy flush")
    policy(net, "r", "src 10.1.0.2 dst 10.9.0.1 dir fwd action block")
    assert probe(net, proto, dst="10.9.0.1").verdict is Verdict.DROPPED_BY_XFRM


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("dst", ["10.9.0.1", "10.2.0.2"] if SWEEP else ["10.2.0.2"])
def test_a_packet_that_output_changed_is_looked_up_again(net: Net, proto: str, dst: str) -> None:
    """DNAT in OUTPUT, of the address or of the port alone: TCP hears nothing of the block, UDP sees EPERM."""
    port = PORTS[proto]
    rule = f"-d {dst} -p {proto} --dport 99 -j DNAT --to 10.2.0.2:{port}"
    net.sh("client", f"iptables -t nat -A OUTPUT {rule}")
    policy(net, "client", f"src 10.1.0.2 dst 10.2.0.2 proto {proto} dport {port} dir out action block")
    answer = probe(net, proto, dst=dst, port=99)
    assert answer.verdict is Verdict.DROPPED_BY_XFRM
    assert answer.outcome is (Outcome.TIMEOUT if proto == "tcp" else Outcome.DENIED)


@pytest.mark.parametrize("proto", list(PORTS) if SWEEP else ["tcp"])
def test_an_answer_may_be_blocked(net: Net, proto: str) -> None:
    """The reply has policies of its own, and so has an error on its way back."""
    policy(net, "server", "src 10.2.0.2 dst 10.1.0.2 dir out action block")
    path = probe(net, proto).paths[0]
    assert (path.verdict, path.failed, path.outcome) == (Verdict.DROPPED_BY_XFRM, 1, Outcome.TIMEOUT)
    net.sh("server", "ip xfrm policy flush")
    policy(net, "client", "src 10.2.0.2 dst 10.1.0.2 dir in action block")
    path = probe(net, proto).paths[0]
    assert (path.verdict, path.failed, path.outcome) == (Verdict.DROPPED_BY_XFRM, 1, Outcome.TIMEOUT)


def test_an_error_is_blocked(net: Net) -> None:
    """Nobody hears of a closed port, or of a rule that rejects, where a policy blocks the error."""
    net.sh("r", "iptables -A FORWARD -p udp -j REJECT --reject-with icmp-host-unreachable")
    assert probe(net, "udp").paths[0].errno == "EHOSTUNREACH"
    policy(net, "r", "src 10.1.0.1 dst 10.1.0.2 proto icmp dir out action block")
    assert probe(net, "udp").outcome is Outcome.TIMEOUT
    assert probe(net, port=81).outcome is Outcome.REFUSED
    policy(net, "server", "src 10.2.0.2 dst 10.1.0.2 dir out action block")
    assert probe(net, port=81).outcome is Outcome.TIMEOUT
    net.sh("server", "ip xfrm policy flush")
    policy(net, "server", f"{ENDS} dir in {ESP}")
    assert probe(net, port=81).verdict is Verdict.DROPPED_BY_XFRM


def test_ipv6(net: Net) -> None:
    """The same of IPv6; a policy for neighbour discovery is named where a neighbour is not known."""
    for label, device, address in (("client", "eth0", "fd01::2/64"), ("r", "c", "fd01::1/64")):
        net[label].address(device, address)
    for proto in ("tcp", "udp", "icmpv6") if SWEEP else ("tcp",):
        flow = net.flow("client", "fd01::1", 22 if proto == "tcp" else 9 if proto == "udp" else None, proto)
        assert net.agree(flow).outcome is (Outcome.CONNECTED if proto == "icmpv6" else Outcome.REFUSED)
        for label, direction in (("client", "out"), ("r", "in")):
            policy(net, label, f"src fd01::2 dst fd01::1 proto {_named(proto)} dir {direction} action block")
            assert net.agree(flow).verdict is Verdict.DROPPED_BY_XFRM
            net.sh(label, "ip xfrm policy flush")
    net.sh("client", "ip -6 neigh flush all; ip -6 neigh del fd01::1 dev eth0 2>/dev/null || true")
    policy(net, "client", "src ::/0 dst ::/0 proto ipv6-icmp dir out action block")
    assert "neighbour discovery" in net.walked(net.flow("client", "fd01::1", 22, "tcp")).paths[0].reason


def _named(proto: str) -> str:
    return "ipv6-icmp" if proto == "icmpv6" else proto


def test_what_ipsec_would_transform_is_unknown(net: Net) -> None:
    """A packet that has to leave by IPsec is not walked, and the policy is named."""
    policy(net, "client", f"{ENDS} dir out priority 3 tmpl src 10.1.0.2 dst 10.2.0.2 proto esp mode tunnel")
    answer = net.walked(net.flow("client", "10.2.0.2", 80, "tcp"))
    assert answer.outcome is Outcome.UNKNOWN
    assert "esp tunnel 10.1.0.2 -> 10.2.0.2" in answer.paths[0].reason


def test_matches_of_ipsec_agree(net: Net) -> None:
    """``-m policy`` in both directions, ``meta secpath`` and ``rt ipsec``, beside a policy that allows."""
    policy(net, "r", f"{ENDS} dir fwd")
    policy(net, "r", f"{ENDS} dir out")
    for way in ("in", "out"):
        for kind, dropped in (("ipsec", False), ("none", True)):
            net.sh("r", f"iptables -F; iptables -A FORWARD -m policy --dir {way} --pol {kind} -p udp -j DROP")
            verdict = probe(net, "udp").verdict
            assert verdict is (Verdict.DROPPED_BY_RULE if dropped else Verdict.DELIVERED)
    net.sh("r", "iptables -F")
    for match, dropped in (
        ("meta secpath exists", False),
        ("meta secpath missing", True),
        ("rt ipsec exists", False),
    ):
        net.sh(
            "r",
            "nft add table ip nt; nft add chain ip nt f '{ type filter hook forward priority 0; }';"
            f"nft add rule ip nt f ip saddr 10.1.0.2 {match} drop",
        )
        verdict = probe(net, "udp").verdict
        assert verdict is (Verdict.DROPPED_BY_RULE if dropped else Verdict.DELIVERED), match
        net.sh("r", "nft delete table ip nt")


def test_what_is_read_is_what_was_put_in(net: Net) -> None:
    """Every field of a policy, and the defaults, come back from the kernel."""
    policy(
        net,
        "r",
        "src 10.1.0.0/16 dst 10.2.0.0/15 proto udp sport 68 dport 67 dev s dir fwd priority 9 mark 3 mask 7 "
        "if_id 5 flag localok flag icmp "
        "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x10 reqid 4 mode tunnel level use tmpl proto ah",
    )
    policy(net, "r", "src fd00::/8 dst ::/0 proto ipv6-icmp type 135 code 0 dir in action block")
    net.sh("r", "ip xfrm policy setdefault fwd block")
    found = in_netns(net["r"].path, _read)
    assert found.blocks == ("fwd",)
    assert found.states == ()
    assert {one.direction: _plain(one) for one in found.policies} == {
        "fwd": XfrmPolicy(
            src="10.1.0.0/16",
            dst="10.2.0.0/15",
            direction="fwd",
            priority=9,
            proto="udp",
            sport=68,
            sport_mask=0xFFFF,
            dport=67,
            dport_mask=0xFFFF,
            device="s",
            mark=3,
            mark_mask=7,
            if_id=5,
            flags=("localok", "icmp"),
            templates=(
                XfrmTemplate(
                    proto="esp", mode="tunnel", src="192.0.2.1", dst="192.0.2.2", spi=16, reqid=4, level="use"
                ),
                XfrmTemplate(proto="ah"),
            ),
        ),
        "in": XfrmPolicy(
            src="fd00::/8",
            dst="::/0",
            direction="in",
            action="block",
            proto="icmpv6",
            sport=135,
            sport_mask=0xFFFF,
            dport=0,
            dport_mask=0xFFFF,
        ),
    }


def _read() -> Xfrm:
    session = Session()
    try:
        return read_xfrm(session)
    finally:
        session.close()


def _plain(one: XfrmPolicy) -> XfrmPolicy:
    """Without the index, which the kernel chooses."""
    return replace(one, index=0)


@pytest.mark.parametrize("seed", range(40 if SWEEP else 1))
def test_random_policies(net: Net, seed: int) -> None:
    """Whatever policies there are, a real packet ends as the walk says, or the walk does not know."""
    choose = random.Random(seed)
    for number in range(choose.randint(1, 6)):
        label = choose.choice(tuple(SPACES))
        ends = [("10.1.0.2", "10.1.0.0/16", "0.0.0.0/0"), ("10.2.0.2", "10.2.0.0/15", "0.0.0.0/0")]
        if choose.random() < 0.3:
            ends.reverse()
        words = f"src {choose.choice(ends[0])} dst {choose.choice(ends[1])}"
        words += choose.choice(
            ("", "", " proto tcp", " proto udp dport 7", " proto icmp type 8", " proto tcp sport 80")
        )
        words += f" dir {choose.choice(SPACES[label])} priority {number * 7 % 5}"
        words += choose.choice(("", "", " action block", " action block", f" {ESP}", f" {ESP} level use"))
        net.sh(label, f"ip xfrm policy add {words} 2>/dev/null || true")
    for proto, port in PORTS.items():
        flow = net.flow("client", "10.2.0.2", port, proto)
        if net.walked(flow).outcome is not Outcome.UNKNOWN:
            probe(net, proto)
