"""
Random rule sets of native nftables: the walk against nft trace, rule by rule.

Tables of two families with chains of all types and hooks, sets, maps, marks, translation; UDP, TCP
and echo probes go through and to them.  What the client sees and every rule that its packets
meet have to be as the walk says.
"""

import os
import random
import re
from collections.abc import Iterator

import pytest

from nettrace.model.walk import Outcome
from tests.kernel.bed import Bed
from tests.kernel.native import load, watched
from tests.kernel.walkbed import TOPOLOGIES, Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

#: Rule sets for each seed; every one gets one probe of each kind.
RULE_SETS = 3
SEEDS = (4, 5)

PROBES: tuple[tuple[str, str, int | None, str], ...] = (
    ("client", "10.2.0.2", 7, "udp"),
    ("client", "10.1.0.1", 7, "udp"),
    ("client", "10.2.0.2", None, "icmp"),
    ("client", "10.2.0.2", 80, "tcp"),
    ("client", "10.1.0.1", 80, "tcp"),
    ("r", "10.2.0.2", 7, "udp"),
    ("r", "10.2.0.2", 80, "tcp"),
)

#: Hook -> (type, priorities that it may have there).
BASES: dict[str, tuple[tuple[str, range], ...]] = {
    "prerouting": (
        ("filter", range(-340, -301)),
        ("filter", range(-190, -101)),
        ("nat", range(-120, -81)),
    ),
    "input": (("filter", range(-90, 90)), ("nat", range(90, 120))),
    "forward": (("filter", range(-90, 90)),),
    "output": (
        ("filter", range(-340, -301)),
        ("route", range(-190, -101)),
        ("nat", range(-120, -81)),
        ("filter", range(1, 90)),
    ),
    "postrouting": (("filter", range(-90, 90)), ("nat", range(90, 120)), ("filter", range(130, 200))),
}
SOURCES = (
    "10.1.0.2",
    "10.1.0.0/24",
    "10.2.0.0/16",
    "10.1.0.0-10.1.0.9",
    "@nets",
    "@seen",
    "{ 10.1.0.2, 10.2.0.2 }",
)
TARGETS = ("10.2.0.2", "10.2.0.0/24", "10.1.0.1", "10.2.0.2-10.2.0.7", "@nets", "{ 10.1.0.1, 10.2.0.0/25 }")
PORTS = ("7", "80", "7-9", "1-1023", "{ 7, 80 }", "{ 1-8, 70-90 }", "@ports")

SETS = """
  set nets { type ipv4_addr; flags interval; elements = { 10.2.0.0/25, 10.1.0.1-10.1.0.3 } }
  set ports { type inet_service; elements = { 7, 443 } }
  set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.2.0.0/24 . 7-9, 10.1.0.1 . 80 } }
  set exact { type ipv4_addr . inet_proto . inet_service; elements = { 10.2.0.2 . tcp . 80, 10.1.0.1 . udp . 7 } }
  set seen { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1h; }
  map marks { type ipv4_addr : mark; flags interval; elements = { 10.1.0.0/24 : 0x11, 10.2.0.2 : 0x12 } }
"""


class Rules:
    """Random rule sets, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def maybe(self, chance: float) -> bool:
        """Draw yes or no."""
        return self.random.random() < chance

    def pick(self, *choices: str) -> str:
        """Draw one of several."""
        return self.random.choice(choices)

    def negated(self) -> str:
        """Draw a negation, seldom."""
        return "!= " if self.maybe(0.2) else ""

    def ruleset(self) -> str:
        """Two tables; the priorities of the one are even, of the other odd."""
        return self.table("inet", "one", 0) + self.table("ip", "two", 1)

    def table(self, family: str, name: str, odd: int) -> str:
        """Base chains at some hooks, and user chains for each kind of them."""
        lines = [f"table {family} {name} {{", SETS]
        own: dict[str, list[str]] = {}
        bodies: list[str] = []
        for hook, bases in BASES.items():
            for number, (kind, priorities) in enumerate(bases):
                if not self.maybe(0.55):
                    continue
                base = f"{hook}_{number}"
                early = priorities.start < -300
                names = [f"{base}_{letter}" for letter in "ab"]
                for index, user in enumerate(names):
                    later = names[index + 1 :]
                    rules = [self.rule(hook, kind, early, later) for _ in range(self.random.randint(1, 3))]
                    own[user] = rules
                priority = self.random.choice([one for one in priorities if one % 2 == odd])
                policy = "drop" if kind == "filter" and self.maybe(0.05) else "accept"
                rules = [self.rule(hook, kind, early, names) for _ in range(self.random.randint(1, 5))]
                bodies.append(
                    f"  chain {base} {{ type {kind} hook {hook} priority {priority}; policy {policy};\n    "
                    + "\n    ".join(rules)
                    + "\n  }"
                )
        lines += [f"  chain {user} {{\n    " + "\n    ".join(own[user]) + "\n  }" for user in reversed(own)]
        return "\n".join([*lines, *bodies, "}", ""])

    def rule(self, hook: str, kind: str, early: bool, later: list[str]) -> str:
        """One rule."""
        words = [self.match(hook, early) for _ in range(self.random.choice((0, 1, 1, 1, 2, 2, 3)))]
        if self.maybe(0.3):
            words.append("counter")
        return " ".join([*words, self.statement(hook, kind, early, later)])

    def match(self, hook: str, early: bool) -> str:
        """One test."""
        no = self.negated()
        choices = [
            f"ip saddr {no}{self.pick(*SOURCES)}",
            f"ip daddr {no}{self.pick(*TARGETS)}",
            f"tcp dport {no}{self.pick(*PORTS)}",
            f"udp dport {no}{self.pick(*PORTS)}",
            f"tcp sport {no}{self.pick('80', '1-1023')}",
            f"udp sport {no}{self.pick('7', '1-100')}",
            f"meta l4proto {{ tcp, udp }} th dport {no}{self.pick(*PORTS)}",
            f"meta l4proto {{ tcp, udp }} ip daddr . th dport {no}@pairs",
            f"meta l4proto {{ tcp, udp }} ip daddr . meta l4proto . th dport {no}@exact",
            "meta l4proto tcp ip saddr . tcp dport { 10.1.0.2 . 80, 10.2.0.2 . 1-9 }",
            f"ip protocol {no}{self.pick('tcp', 'udp', 'icmp')}",
            f"meta l4proto {no}{self.pick('tcp', 'udp', 'icmp', '{ tcp, icmp }')}",
            self.pick(
                "tcp flags syn",
                "tcp flags & (syn | ack) == syn",
                "tcp flags ! syn",
                "tcp flags ack / ack,rst",
            ),
            f"icmp type {no}{self.pick('echo-request', 'echo-reply', '{ echo-request, destination-unreachable }')}",
            f"meta mark {no}{self.pick('0', '0x1', '0x10', '{ 0x0, 0x12 }', '0x1-0x11')}",
            f"meta mark & 0x3 {self.pick('==', '!=')} {self.pick('0', '1')}",
            f"ip ttl {self.pick('64', '< 64', '>= 63', '{ 60-63, 255 }')}",
            f"ip dscp {no}{self.pick('cs0', 'cs1', 'cs6')}",
            f"ip length {self.pick('> 50', '< 84', '60')}",
            f"meta length {self.pick('> 50', '<= 84')}",
            f"meta nfproto {no}ipv4",
            self.pick("meta protocol ip", "meta pkttype host"),
            "tcp option maxseg size > 1000",
            f"fib daddr type {no}{self.pick('local', 'unicast', '{ local, broadcast }')}",
            f"fib saddr type {no}{self.pick('local', 'unicast')}",
            f"jhash ip saddr . ip daddr mod 4 seed 0x17 {self.pick('0', '< 2', '{ 1, 3 }')}",
            f"jhash ip daddr . ip protocol mod 3 seed 0x99 offset 5 {self.pick('5', '6', '7')}",
            "ip frag-off & 0x1fff == 0",
            f"th sport . th dport {no}{{ 7 . 7, 80 . 80 }}" if self.maybe(0.1) else "ip version 4",
        ]
        if hook in ("prerouting", "input", "forward"):
            choices += [f"iifname {no}{self.pick('c', 's', 'lo', 'c*', '{ c, lo }')}", f"iif {no}lo"] * 2
        if hook == "prerouting":
            choices.append(f"fib saddr . iif oif {self.pick('missing', 'exists', 'c', 'lo')}")
        if hook in ("output", "postrouting", "forward"):
            choices += [f"oifname {no}{self.pick('c', 's', 'lo', 's*', '{ s, lo }')}", f"oif {no}lo"] * 2
        if hook == "postrouting":
            choices.append("rt ip nexthop 10.2.0.2")
        if not early:
            choices += [
                f"ct state {no}{self.pick('new', 'established', 'established,related', 'invalid', 'untracked', '{ new, related }')}",
                f"ct state {self.pick('new', 'established')}",
                f"ct direction {self.pick('original', 'reply')}",
                f"ct status {self.pick('dnat', 'snat', 'confirmed', 'seen-reply', 'assured', '! dnat')}",
                f"ct mark {no}{self.pick('0', '0x5', '0x10')}",
                f"ct original ip daddr {no}{self.pick('10.2.0.2', '10.1.0.1', '10.2.0.0/16')}",
                f"ct reply ip saddr {no}{self.pick('10.2.0.2', '10.1.0.1')}",
                "meta l4proto { tcp, udp } ct original proto-dst 7",
                f"ct protocol {self.pick('tcp', 'udp')}",
            ]
        return self.random.choice(choices)

    def statement(self, hook: str, kind: str, early: bool, later: list[str]) -> str:
        """What the rule does."""
        if later and self.maybe(0.3):
            user = self.random.choice(later)
            return self.pick(
                f"jump {user}",
                f"jump {user}",
                f"goto {user}",
                f"ip saddr vmap {{ 10.1.0.2 : jump {user}, 10.2.0.0/16 : accept }}",
                f"meta l4proto vmap {{ tcp : goto {user}, udp : jump {user} }}",
                f"ip protocol . ip ttl vmap {{ tcp . 64 : jump {user}, udp . 63 : continue }}",
            )
        if self.maybe(0.12):
            return self.pick("return", "counter", "continue")
        if kind == "nat":
            return self.nat(hook)
        marks = [
            "meta mark set 0x1",
            "meta mark set 0x10",
            "meta mark set meta mark | 0x2",
            "meta mark set meta mark & 0xfffffffe ^ 0x3",
            "meta mark set ip saddr map @marks",
            "meta mark set ip protocol map { tcp : 0x10, udp : 0x1 }",
            "meta mark set jhash ip saddr mod 8 seed 0x5 offset 16",
            "add @seen { ip saddr }",
            "update @seen { ip daddr timeout 2h }",
            "ip ttl set 33" if self.maybe(0.3) else "ip dscp set cs1",
            "tcp option maxseg size set 1200",
            "log group 9",
        ]
        if not early:
            marks += ["ct mark set 0x5", "ct mark set meta mark", "meta mark set ct mark"]
        if early and self.maybe(0.15):
            return "notrack"
        if self.maybe(0.5):
            return self.random.choice(marks)
        if hook in ("input", "forward", "output") and self.maybe(0.2):
            return self.pick(
                "reject",
                "reject with icmpx host-unreachable",
                "reject with icmpx admin-prohibited",
                "meta l4proto tcp reject with tcp reset",
            )
        return self.pick("accept", "accept", "drop" if self.maybe(0.4) else "counter")

    def nat(self, hook: str) -> str:
        """A translation, or none."""
        if self.maybe(0.2):
            return self.pick("accept", "counter", "meta mark set 0x1")
        proto = self.pick("meta l4proto { tcp, udp } ", "meta l4proto { tcp, udp } ", "")
        if hook in ("prerouting", "output"):
            to = self.pick("10.2.0.2", "10.2.0.1", "10.1.0.1")
            port = self.pick(":7", ":80", "") if proto else ""
            choices = [f"{proto}dnat ip to {to}{port}"] * 2
            choices.append(
                "meta l4proto udp dnat ip addr . port to th dport map { 7 : 10.2.0.2 . 7, 9 : 10.1.0.1 . 7 }"
            )
            choices.append("dnat ip to ip daddr map { 10.1.0.1 : 10.2.0.2, 10.2.0.2 : 10.1.0.1 }")
            if hook == "prerouting":
                choices.append(f"{proto}redirect to :80" if proto else "redirect")
            return self.random.choice(choices)
        to = self.pick("10.2.0.1", "10.1.0.1")
        ports = ":4000-4100" if proto and self.maybe(0.3) else ""
        choices = [f"{proto}snat ip to {to}{ports}"]
        if hook == "postrouting":
            choices += ["masquerade", "masquerade fully-random", "masquerade random,persistent"]
        return self.random.choice(choices)


@pytest.fixture
def net(netns: Bed) -> Iterator[Net]:
    """The router, without limits on ICMP errors."""
    found = Net(netns)
    try:
        TOPOLOGIES["router"](found)
        for label in found.spaces:
            found[label].sysctl("net.ipv4.icmp_ratelimit", 0)
            found.sh(label, "sysctl -qw net.ipv4.icmp_msgs_per_sec=100000 || true")
        yield found
    finally:
        found.close()


def loadable(net: Net, text: str) -> str:
    """Leave out the rules that nft refuses: tests of two protocols, statements where they may not be."""
    while True:
        said = net["server"].run("sh", "-c", "nft -c -f - 2>&1 || true", stdin=text)
        wrong = {int(number) for number in re.findall(r"/dev/stdin:(\d+):", said)}
        if not wrong:
            return text
        text = "\n".join(line for number, line in enumerate(text.split("\n"), 1) if number not in wrong)


def disagreement(net: Net, text: str, probe: tuple[str, str, int | None, str]) -> tuple[str, bool]:
    """Load, walk, try and compare: what differs, and whether the walk could tell at all."""
    load(net, "r", text)
    source, dst, port, proto = probe
    flow = net.flow(source, dst, port, proto)
    answer = net.walked(flow)
    if answer.outcome is Outcome.UNKNOWN:
        reason = answer.paths[0].reason
        ours = " in inet one" in reason or " in ip two" in reason
        excused = not ours or "the kernel chooses" in reason or "length of the answer" in reason
        return ("" if excused else reason), False
    try:
        watched(net, flow)
    except AssertionError as error:
        return str(error), True
    return "", True


@pytest.mark.parametrize("seed", SEEDS)
def test_random_rule_sets(net: Net, seed: int) -> None:
    """On random rule sets the kernel does what the walk says, rule by rule."""
    rules = Rules(seed)
    told = 0
    for _ in range(RULE_SETS):
        text = loadable(net, rules.ruleset())
        for probe in PROBES:
            # another packet's late answer may be taken for this one's: look twice
            found, certain = disagreement(net, text, probe)
            if found:
                found, certain = disagreement(net, text, probe)
            assert not found, f"{probe}: {found}\n{text}"
            told += certain
    assert told > RULE_SETS * len(PROBES) * 0.7
