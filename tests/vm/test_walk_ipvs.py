"""IPVS walked, and tried: what a walk says of a virtual server is what real connections do."""

import os
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome, Walk
from tests.kernel.bed import Bed
from tests.vm.directors import VIP, VIP6, Director, steps_of

#: All cases; without it a sample.
SWEEP = bool(os.environ.get("NETTRACE_TEST_SWEEP"))


@pytest.fixture(scope="module")
def made() -> Iterator[Director]:
    """A director whose VIP is an address of kube-ipvs0, for all tests here: building it takes seconds."""
    bed = Bed()
    try:
        net = Director(bed)
        yield net
        net.close()
    finally:
        bed.close()


@pytest.fixture
def net(made: Director) -> Director:
    """The director, as it was at first."""
    made.reset()
    return made


sweep = pytest.mark.skipif(not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1")


def sample(*cases: Any) -> tuple[Any, ...]:
    """All cases with NETTRACE_TEST_SWEEP, otherwise the first."""
    return cases if SWEEP else cases[:1]


def shares(walk: Walk) -> dict[str, float]:
    """Endpoint -> the part of all connections that reach it."""
    found: dict[str, float] = {}
    for path in walk.paths:
        name = path.endpoint.netns if path.endpoint is not None else "nobody"
        found[name] = round(found.get(name, 0) + path.probability, 3)
    return found


def hooks(walk: Walk, kind: str) -> list[str]:
    """The hooks of the director that a leg passes, in order, as the steps of rules and IPVS tell."""
    leg = next(leg for leg in walk.paths[0].legs if leg.kind == kind)
    found = [step.hook or "" for step in steps_of(leg, "director") if step.stage in (Stage.HOOK, Stage.IPVS)]
    return [hook for hook, _ in groupby(found)]


def test_masquerading(net: Director) -> None:
    """Three real servers by turns: the client reaches each, a third of its connections one."""
    net.serve()
    walk = net.ask(count=6)
    assert walk.outcome is Outcome.CONNECTED
    assert shares(walk) == {"rs1": 0.333, "rs2": 0.333, "rs3": 0.333}
    assert net.answers(6) == {"rs1": 2, "rs2": 2, "rs3": 2}


def test_the_hooks_of_a_request(net: Director) -> None:
    """PREROUTING, INPUT, IPVS, OUTPUT, POSTROUTING for a request; its answer passes FORWARD as it came."""
    net.serve(weights=(1,))
    for chain in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"):
        net.sh("director", f"iptables -t mangle -A {chain} -p tcp -j MARK --set-mark 0")
    net.sh("director", "iptables -A FORWARD -p tcp -s 10.2.0.11 --sport 8080")
    net.sh("director", "iptables -A FORWARD -p tcp -d 10.2.0.11")
    walk = net.ask()
    assert hooks(walk, "request") == ["prerouting", "input", "output", "postrouting"]
    assert hooks(walk, "reply") == ["prerouting", "forward", "postrouting"]
    counted = net["director"].run("iptables", "-vnxL", "FORWARD").splitlines()[2:]
    answered, asked = (int(line.split()[0]) for line in counted)
    assert answered > 0
    assert asked == 0
    for chain in ("INPUT", "OUTPUT"):
        lines = net["director"].run("iptables", "-t", "mangle", "-vnxL", chain).splitlines()
        assert int(lines[2].split()[0]) > 0


@sweep
def test_a_local_route_instead_of_an_address(netns: Bed) -> None:
    """The Service made by hand: a local route for the VIP."""
    net = Director(netns, dummy=False)
    try:
        net.serve()
        assert shares(net.ask(count=6)) == {"rs1": 0.333, "rs2": 0.333, "rs3": 0.333}
        net["director"].ip(f"route del local {VIP} dev lo")
        assert net.ask().verdict is not Verdict.DELIVERED
    finally:
        net.close()


@pytest.mark.parametrize(
    ("scheduler", "weights", "expected"),
    sample(
        ("wrr", (1, 3, 0), {"rs1": 0.25, "rs2": 0.75}),
        ("rr", (1, 5, 0), {"rs1": 0.5, "rs2": 0.5}),
        ("lc", (1, 5, 1), {"rs1": 0.333, "rs2": 0.333, "rs3": 0.333}),
        ("wlc", (1, 2, 1), {"rs1": 0.25, "rs2": 0.5, "rs3": 0.25}),
        ("sed", (1, 3, 0), {"rs1": 0.25, "rs2": 0.75}),
        ("mh", (1, 1, 0), {"rs1": 0.5, "rs2": 0.5}),
        ("fo", (1, 3, 2), {"rs2": 1.0}),
        ("ovf", (5, 9, 2), {"rs2": 1.0}),
    ),
)
def test_schedulers(
    net: Director, scheduler: str, weights: tuple[int, ...], expected: dict[str, float]
) -> None:
    """Who gets connections, and how many of them; nobody else ever answers."""
    net.serve(scheduler, weights=weights)
    assert shares(net.ask(count=4)) == expected
    assert set(net.answers(8)) <= set(expected)
    if scheduler == "wrr":
        assert net.answers(8) == {"rs1": 2, "rs2": 6}


@sweep
@pytest.mark.parametrize("weights", sample((2, 1, 4), (1, 1, 1), (0, 1, 1)))
def test_source_hashing(net: Director, weights: tuple[int, ...]) -> None:
    """Sh names one real server for each client; where that has weight 0 the client is refused."""
    net.serve("sh", weights=weights)
    for last in range(2, 12 if SWEEP else 6):
        walk = net.agree(net.flow("client", VIP, 80, "tcp", src=net.client(last)))
        assert len(walk.paths) == 1


@sweep
def test_source_hashing_with_fallback_and_ports(net: Director) -> None:
    """sh-fallback finds another one; sh-port goes by the client's port too."""
    net.serve("sh", more="-b sh-fallback", weights=(0, 1, 1))
    for last in range(2, 8 if SWEEP else 5):
        walk = net.agree(net.flow("client", VIP, 80, "tcp", src=net.client(last)))
        assert walk.outcome is Outcome.CONNECTED
    net.ipvs(f"-E -t {VIP}:80 -s sh -b sh-port")
    for port in range(40001, 40008 if SWEEP else 40003):
        walk = net.agree(net.flow("client", VIP, 80, "tcp", sport=port))
        assert len(walk.paths) == 1
    assert sum(shares(net.ask()).values()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("weights", sample((), (0, 0)))
@pytest.mark.parametrize("proto", sample("tcp", "udp"))
@pytest.mark.parametrize("source", sample("client", "director"))
def test_nobody_there(net: Director, proto: str, weights: tuple[int, ...], source: str) -> None:
    """Without a real server that takes it a connection is refused by ICMP port unreachable."""
    net.serve(weights=weights, proto=proto)
    walk = net.ask(source, port=80 if proto == "tcp" else 53, proto=proto)
    assert walk.verdict is Verdict.REFUSED


@sweep
def test_persistence(net: Director) -> None:
    """A client that was here before goes where it went; another one is free."""
    net.serve(more="-p 600")
    assert len(net.ask().paths) == 3
    (first,) = net.answers(3)
    again = net.ask(count=3)
    assert shares(again) == {first: 1.0}
    other = net.agree(net.flow("client", VIP, 80, "tcp", src=net.client(3)))
    assert len(other.paths) == 3


@sweep
def test_persistence_by_network(net: Director) -> None:
    """With a netmask all clients of a network are one."""
    net.serve(more="-p 600 -M 255.255.255.0")
    (first,) = net.answers(2)
    assert shares(net.agree(net.flow("client", VIP, 80, "tcp", src=net.client(3)))) == {first: 1.0}


@sweep
@pytest.mark.parametrize("expire", [0, 1])
def test_persistence_and_weight_0(net: Director, expire: int) -> None:
    """One of weight 0 keeps its clients, unless expire_quiescent_template is set."""
    net["director"].sysctl("net.ipv4.vs.expire_quiescent_template", expire)
    net.serve(more="-p 600")
    (first,) = net.answers(2)
    number = int(first[2:]) + 10
    net.ipvs(f"-e -t {VIP}:80 -r 10.2.0.{number}:8080 -m -w 0")
    found = shares(net.ask(count=2))
    assert (first in found) is not bool(expire)


@pytest.mark.parametrize("conntrack", [0, 1])
def test_conntrack_switch_and_masquerade(net: Director, conntrack: int) -> None:
    """Only with vs.conntrack are IPVS's packets masqueraded; real servers elsewhere need it."""
    net["director"].sysctl("net.ipv4.vs.conntrack", conntrack)
    net["rs1"].ip("route del default")
    try:
        net.masquerade()
        net.serve(weights=(1,))
        walk = net.ask()
        assert (walk.outcome is Outcome.CONNECTED) is bool(conntrack)
    finally:
        net["rs1"].ip("route add default via 10.2.0.1")


@sweep
@pytest.mark.parametrize("conntrack", [0, 1])
def test_rules_about_connections(net: Director, conntrack: int) -> None:
    """With vs.conntrack off the answer is INVALID where it is forwarded, and such a rule drops it."""
    net["director"].sysctl("net.ipv4.vs.conntrack", conntrack)
    net.serve()
    net.sh("director", "iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP")
    walk = net.ask()
    assert (walk.outcome is Outcome.CONNECTED) is bool(conntrack)


@pytest.mark.parametrize(
    ("rule", "connects"),
    sample(
        (f"-A INPUT -d {VIP} -p tcp --dport 80 -j DROP", False),
        (f"-A INPUT -d {VIP} -p tcp --dport 80 -j REJECT", False),
        ("-A INPUT -d 10.2.0.0/24 -j DROP", True),
        ("-A FORWARD -d 10.2.0.0/24 -j DROP", True),
        ("-A FORWARD -s 10.2.0.0/24 -p tcp --sport 8080 -j DROP", False),
        (f"-A FORWARD -s {VIP} -j DROP", True),
        ("-A OUTPUT -d 10.2.0.0/24 -p tcp --dport 8080 -j DROP", False),
        (f"-A OUTPUT -d {VIP} -j DROP", True),
        ("-t mangle -A POSTROUTING -d 10.2.0.0/24 -p tcp -j DROP", False),
        (f"-t raw -A PREROUTING -d {VIP} -j NOTRACK", True),
        ("-t mangle -A OUTPUT -p tcp --dport 8080 -j MARK --set-mark 7", True),
    ),
)
@pytest.mark.parametrize("conntrack", sample(1, 0))
def test_rules_that_decide(net: Director, rule: str, connects: bool, conntrack: int) -> None:
    """INPUT decides about requests, OUTPUT with the real server's address, FORWARD only about answers."""
    net["director"].sysctl("net.ipv4.vs.conntrack", conntrack)
    net.serve()
    net.sh("director", f"iptables {rule}")
    assert (net.ask().outcome is Outcome.CONNECTED) is connects


@pytest.mark.parametrize(
    "rule",
    sample(
        "",
        "-A OUTPUT -d 10.2.0.0/24 -p tcp --dport 8080 -j DROP",
        f"-A OUTPUT -d {VIP} -j DROP",
        "-A INPUT -s 10.2.0.0/24 -p tcp --sport 8080 -j DROP",
        f"-A INPUT -s {VIP} -j DROP",
        "-A FORWARD -j DROP",
        "-A OUTPUT -d 10.2.0.0/24 -p tcp --dport 8080 -j REJECT",
    ),
)
@pytest.mark.parametrize("conntrack", sample(1, 0))
def test_the_directors_own_connections(net: Director, rule: str, conntrack: int) -> None:
    """From the node itself: IPVS in OUTPUT, rules there see the real server; its source is the VIP."""
    net["director"].sysctl("net.ipv4.vs.conntrack", conntrack)
    net.masquerade()
    net.serve()
    if rule:
        net.sh("director", f"iptables {rule}")
    net.ask("director")
    net.ask("director", port=80)


@sweep
def test_a_real_server_on_the_director(net: Director) -> None:
    """A real server that is the director itself, asked from outside and by itself."""
    net.listen("director", 9090)
    net.ipvs(f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r 10.1.0.1:9090 -m")
    assert shares(net.ask()) == {"director": 1.0}
    assert shares(net.ask("director")) == {"director": 1.0}


@sweep
def test_udp(net: Director) -> None:
    """UDP is balanced like TCP; where a real server refuses, the client hears of it."""
    net.serve(proto="udp")
    assert net.ask(port=53, proto="udp", count=3).outcome is Outcome.CONNECTED
    net.ipvs("-C", f"-A -u {VIP}:53 -s rr", f"-a -u {VIP}:53 -r 10.2.0.11:54 -m")
    assert net.ask(port=53, proto="udp").outcome is Outcome.REFUSED


@sweep
def test_real_servers_that_do_not_answer(net: Director) -> None:
    """A closed port is refused, an address of nobody ends as unreachable, no route at once."""
    net.ipvs(f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r 10.2.0.11:8081 -m")
    assert net.ask().outcome is Outcome.REFUSED
    net.ipvs("-C", f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r 10.2.0.99:80 -m")
    assert net.ask().verdict is Verdict.NEIGHBOUR_FAILED
    net.ipvs("-C", f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r 10.9.0.99:80 -m")
    assert net.ask().verdict is Verdict.NO_ROUTE
    assert net.ask("director").verdict is Verdict.NO_ROUTE


@sweep
def test_forwarding_matters_for_the_answer_only(net: Director) -> None:
    """Without ip_forward the request arrives, and its answer is not let through."""
    net["director"].sysctl("net.ipv4.ip_forward", 0)
    net.serve()
    walk = net.ask()
    assert walk.verdict is Verdict.NOT_FORWARDED
    assert walk.paths[0].legs[0].verdict is Verdict.DELIVERED


@sweep
def test_other_ports_of_the_address(net: Director) -> None:
    """A port without a virtual server is the director's own."""
    net.serve()
    assert net.ask(port=81).verdict is Verdict.NOT_LISTENING
    net.listen("director", 81)
    assert net.ask(port=81).outcome is Outcome.CONNECTED


def _past_the_director(netns: Bed) -> Director:
    """A director whose real servers reach the client by another way: its second device on their wire."""
    net = Director(netns, reals=2)
    net.veth("client", "eth1", "wire", "p9")
    net["wire"].ip("link set p9 master br0")
    net["client"].address("eth1", "10.2.0.100/24")
    for label in net.servers:
        net[label].ip("route add 10.1.0.2 via 10.2.0.100")
        for name, value in (("arp_ignore", 1), ("arp_announce", 2)):
            net[label].sysctl(f"net.ipv4.conf.all.{name}", value)
        net.listen(label, 80)
    return net


@sweep
@pytest.mark.parametrize("way", ["route", "tunnel"])
@pytest.mark.parametrize("conntrack", [0, 1])
def test_past_the_director(netns: Bed, way: str, conntrack: int) -> None:
    """By route the packet has another MAC address, by tunnel it is inside another one; it stays as it was."""
    net = _past_the_director(netns)
    try:
        for label in net.servers:
            if way == "tunnel":
                net[label].run("modprobe", "ipip")
                net[label].ip("link set tunl0 up")
            net[label].ip(f"addr add {VIP}/32 dev {'tunl0' if way == 'tunnel' else 'lo'}")
        net.serve(how="-i" if way == "tunnel" else "-g", weights=(1, 1))
        net["director"].sysctl("net.ipv4.vs.conntrack", conntrack)
        walk = net.ask(count=4)
        assert walk.outcome is Outcome.CONNECTED
        assert shares(walk) == {"rs1": 0.5, "rs2": 0.5}
        assert {path.endpoint.address for path in walk.paths if path.endpoint} == {VIP}
        assert "director" not in {step.netns for step in walk.paths[0].legs[1].steps}
        net.sh("director", "iptables -A OUTPUT -p ipencap -j DROP; iptables -A FORWARD -j DROP")
        assert (net.ask().outcome is Outcome.CONNECTED) is (way == "route")
    finally:
        net.close()


@sweep
def test_a_mark(net: Director) -> None:
    """A virtual server by mark takes what a rule marked."""
    net.sh("director", f"iptables -t mangle -A PREROUTING -d {VIP} -p tcp --dport 80 -j MARK --set-mark 7")
    net.ipvs("-A -f 7 -s rr", "-a -f 7 -r 10.2.0.11:8080 -m", "-a -f 7 -r 10.2.0.12:8080 -m")
    assert set(shares(net.ask(count=2))) == {"rs1", "rs2"}


@sweep
def test_sizes(net: Director) -> None:
    """A smaller MTU behind the director: a client is told, and its segments fit."""
    net.serve(weights=(1,))
    net["director"].ip("route add 10.2.0.11 dev s mtu 1300")
    try:
        walk = net.ask()
        assert walk.outcome is Outcome.CONNECTED
        assert any(leg.verdict is Verdict.TOO_BIG for leg in walk.paths[0].legs)
    finally:
        net["director"].ip("route del 10.2.0.11 dev s")


@pytest.mark.parametrize("proto", sample("tcp", "udp"))
def test_ipv6(net: Director, proto: str) -> None:
    """IPv6 goes the same way."""
    port, real = (80, 8080) if proto == "tcp" else (53, 53)
    word = "-t" if proto == "tcp" else "-u"
    net.ipvs(f"-A {word} [{VIP6}]:{port} -s rr")
    assert net.ask(dst=VIP6, port=port, proto=proto).verdict is Verdict.REFUSED
    for number in (11, 12):
        net.ipvs(f"-a {word} [{VIP6}]:{port} -r [fd00:2::{number}]:{real} -m")
    assert set(shares(net.ask(dst=VIP6, port=port, proto=proto, count=2))) == {"rs1", "rs2"}
    net.sh("director", "ip6tables -A FORWARD -s fd00:2::/64 -p tcp --sport 8080 -j DROP")
    net.ask(dst=VIP6, port=port, proto=proto)
    net["director"].ip("-6 route add unreachable fd00:2::/64 metric 1")
    try:
        assert net.ask(dst=VIP6, port=port, proto=proto).verdict is Verdict.NO_ROUTE
    finally:
        net["director"].ip("-6 route del unreachable fd00:2::/64 metric 1")
