"""
The walk against the kernel on random rule sets of IPv6: the same end, and the same rules on the way.

A router, or a node with pods on a bridge, gets random raw, mangle, nat and filter tables; UDP, TCP
and echo probes go through it and to it.  What the client sees has to be as the walk says, and the kernel's
counters have to have counted exactly the rules that the walk's steps name.
Not here: IPv4, which tests.oracle draws and watches (its states have much more in them).
"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from nettrace.align.outcome import compare
from nettrace.model.flow import Flow
from nettrace.model.section import Known
from nettrace.model.step import Stage
from nettrace.model.walk import Outcome, Walk
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import parse_save
from tests.kernel.bed import Bed
from tests.kernel.walkbed import Net
from tests.kernel.walkbed6 import TOPOLOGIES6

#: Rule sets for each seed; every one gets one probe of each kind.
RULE_SETS = 4
SEEDS = range(4)


class Bench(NamedTuple):
    """A topology, whose rules are random, with which words, and the probes that meet them."""

    topology: str
    label: str
    probes: tuple[tuple[str, str, int | None, str], ...]
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    devices: tuple[str, ...]
    to: tuple[str, ...]
    by: tuple[str, ...]
    ports: tuple[str, ...]
    physdevs: tuple[str, ...] = ()
    #: (namespace, device, address, namespace whose device of the same wire has it, that device):
    #: known for good, since rules that drop ICMPv6 would stop neighbour discovery for seconds.
    neighbours: tuple[tuple[str, str, str, str, str], ...] = ()


ROUTER6 = Bench(
    "router",
    "r",
    (
        ("client", "fd00:2::2", 7, "udp"),
        ("client", "fd00:2::2", 9, "udp"),
        ("client", "fd00:1::1", 7, "udp"),
        ("client", "fd00:2::2", None, "icmpv6"),
        ("client", "fd00:2::2", 80, "tcp"),
        ("r", "fd00:2::2", 7, "udp"),
    ),
    ("fd00:1::2", "fd00:1::/64", "fd00:2::/32", "fd00::/8"),
    ("fd00:2::2", "fd00:2::/64", "fd00:1::/32", "fd00:1::1"),
    ("c", "s", "lo", "c+"),
    ("[fd00:2::2]", "[fd00:2::1]", "[fd00:1::1]"),
    ("[fd00:2::1]", "[fd00:1::1]"),
    ("7", "9"),
    neighbours=(
        ("client", "eth0", "fd00:1::1", "r", "c"),
        ("r", "c", "fd00:1::2", "client", "eth0"),
        ("r", "s", "fd00:2::2", "server", "eth0"),
        ("server", "eth0", "fd00:2::1", "r", "s"),
    ),
)
PODS6 = Bench(
    "pods",
    "node",
    (
        ("pod1", "fd00:244:1::3", 53, "udp"),
        ("pod1", "fd00:244:1::3", 54, "udp"),
        ("pod1", "fd00:244:1::1", 53, "udp"),
        ("pod1", "fd00:50::100", 53, "udp"),
        ("pod1", "fd00:244:1::4", None, "icmpv6"),
        ("pod1", "fd00:244:1::3", 9376, "tcp"),
        ("node", "fd00:244:1::3", 53, "udp"),
    ),
    ("fd00:244:1::2", "fd00:244:1::/64", "fd00:50::/64", "fd00:244:1::3"),
    ("fd00:244:1::3", "fd00:244:1::/64", "fd00:244:1::2", "fd00:50::100", "fd00:244:1::1"),
    ("cni0", "eth0", "lo", "cni+"),
    ("[fd00:244:1::3]", "[fd00:244:1::4]", "[fd00:244:1::1]", "[fd00:244:1::2]", "[fd00:50::100]"),
    ("[fd00:244:1::1]", "[fd00:50::11]"),
    ("53", "54"),
    ("veth1", "veth2", "veth+"),
    neighbours=(
        *(
            (f"pod{one}", "eth0", f"fd00:244:1::{address}", where, device)
            for one in (1, 2, 3)
            for address, where, device in (
                (1, "node", "cni0"),
                (2, "pod1", "eth0"),
                (3, "pod2", "eth0"),
                (4, "pod3", "eth0"),
            )
            if where != f"pod{one}"
        ),
        *(("node", "cni0", f"fd00:244:1::{one + 1}", f"pod{one}", "eth0") for one in (1, 2, 3)),
        ("node", "eth0", "fd00:50::100", "outside", "eth0"),
        ("outside", "eth0", "fd00:50::11", "node", "eth0"),
    ),
)

BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
#: Which user-defined chains a built-in chain may jump to; each may jump to those after it.
OWN = {"nat": {"PREROUTING": "ABC", "OUTPUT": "ABC", "INPUT": "XYZ", "POSTROUTING": "XYZ"}}

IN, OUT = ("PREROUTING", "INPUT", "FORWARD"), ("FORWARD", "OUTPUT", "POSTROUTING")


class Rules:
    """Random rule sets, the same for the same seed."""

    def __init__(self, seed: int, bench: Bench) -> None:
        self.random = random.Random(seed)
        self.bench = bench

    def maybe(self, chance: float) -> bool:
        """Draw yes or no."""
        return self.random.random() < chance

    def pick(self, *choices: str) -> str:
        """Draw one of several."""
        return self.random.choice(choices)

    def negated(self) -> str:
        """Draw a negation, seldom."""
        return "! " if self.maybe(0.2) else ""

    def ruleset(self) -> str:
        """iptables-restore text of all four tables."""
        return "".join(self.table(table) for table in BUILT_IN)

    def table(self, table: str) -> str:
        """All chains of a table."""
        own = sorted({chain for chains in OWN.get(table, {"": "ABC"}).values() for chain in chains})
        lines = [f"*{table}"]
        for chain in BUILT_IN[table]:
            drop = table in ("filter", "mangle") and self.maybe(0.06)
            lines.append(f":{chain} {'DROP' if drop else 'ACCEPT'} [0:0]")
        lines += [f":{chain} - [0:0]" for chain in own]
        for chain in BUILT_IN[table]:
            for _ in range(self.random.randint(0, 5)):
                lines.append(self.rule(table, chain, chain))
        for chain in own:
            home = next((one for one, chains in OWN.get(table, {}).items() if chain in chains), "FORWARD")
            for _ in range(self.random.randint(1, 4)):
                lines.append(self.rule(table, chain, home))
        return "\n".join([*lines, "COMMIT", ""])

    def rule(self, table: str, chain: str, home: str) -> str:
        """One rule; *home* is the built-in chain that decides what is allowed in it."""
        proto = self.pick("", "", "udp", "tcp", "ipv6-icmp")
        words = [f"-A {chain}"]
        if self.maybe(0.25):
            words.append(f"{self.negated()}-s {self.pick(*self.bench.sources)}")
        if self.maybe(0.25):
            words.append(f"{self.negated()}-d {self.pick(*self.bench.destinations)}")
        own = len(chain) == 1
        if self.maybe(0.15) and (own or chain in IN):
            words.append(f"{self.negated()}-i {self.pick(*self.bench.devices)}")
        if self.maybe(0.15) and (own or chain in OUT):
            words.append(f"{self.negated()}-o {self.pick(*self.bench.devices)}")
        if proto:
            words.append(f"-p {proto}")
        words += self.matches(table, chain, proto)
        words.append(self.target(table, chain, home, proto))
        return " ".join(words)

    def matches(self, table: str, chain: str, proto: str) -> list[str]:
        """Some tests that fit together."""
        found: list[str] = []
        if proto == "udp" and self.maybe(0.5):
            found.append(
                f"-m udp {self.negated()}--{self.pick('dport', 'sport')} {self.pick(*self.bench.ports, '1:100')}"
            )
        if proto == "tcp" and self.maybe(0.4):
            found.append(
                self.pick(
                    "-m tcp --dport 80",
                    "-m tcp ! --dport 81:90",
                    "-m tcp --sport 80",
                    "-m tcp --tcp-flags SYN,ACK SYN",
                    "-m tcp --tcp-flags ACK ACK",
                    "-m multiport --ports 80,443",
                )
            )
        if proto == "ipv6-icmp" and self.maybe(0.4):
            found.append(f"-m icmp6 {self.negated()}--icmpv6-type {self.pick('128', '129', '1/4', '1')}")
        if self.maybe(0.3):
            found.append(
                f"-m mark {self.negated()}--mark {self.pick('0x1/0x1', '0x2/0x3', '0x0', '0x10/0x10')}"
            )
        if table != "raw" and self.maybe(0.3):
            states = self.pick(
                "NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "UNTRACKED", "DNAT", "SNAT"
            )
            found.append(f"-m conntrack {self.negated()}--ctstate {states}")
        if table != "raw" and self.maybe(0.12):
            found.append(
                self.pick(
                    "-m conntrack --ctdir REPLY",
                    "-m conntrack --ctdir ORIGINAL",
                    f"-m conntrack --ctorigdst {self.bench.to[0].strip('[]')}",
                    f"-m conntrack ! --ctreplsrc {self.bench.to[0].strip('[]')}",
                    "-m connmark --mark 0x1/0x1",
                    "-m connmark ! --mark 0x1/0x1",
                )
            )
        if self.maybe(0.12):
            found.append(
                f"-m addrtype {self.negated()}--{self.pick('src', 'dst')}-type {self.pick('LOCAL', 'UNICAST')}"
            )
        if table in ("raw", "mangle") and chain == "PREROUTING" and self.maybe(0.2):
            found.append(f"-m rpfilter {self.pick('', '--loose', '--invert')}")
        if self.bench.physdevs and table != "nat" and self.maybe(0.2):
            found.append(f"-m physdev {self.physdev(chain)}")
        if self.maybe(0.1):
            found.append("-m comment --comment x")
        return found

    def physdev(self, chain: str) -> str:
        """A test of bridge ports; going out is known in FORWARD and POSTROUTING only."""
        device = self.pick(*self.bench.physdevs)
        if chain in ("FORWARD", "POSTROUTING"):
            return self.negated() + self.pick(
                "--physdev-is-bridged", f"--physdev-out {device}", f"--physdev-in {device}"
            )
        return self.negated() + self.pick(f"--physdev-in {device}", "--physdev-is-in")

    def target(self, table: str, chain: str, home: str, proto: str) -> str:
        """A target that the table allows."""
        later = [one for one in OWN.get(table, {}).get(home, "ABC") if len(chain) > 1 or one > chain]
        if later and self.maybe(0.3):
            return f"-{self.pick('j', 'j', 'j', 'g')} {self.random.choice(later)}"
        if self.maybe(0.12):
            return self.pick("-j RETURN", "")
        if table == "nat":
            return self.nat(home, proto)
        if table == "raw":
            return (
                self.pick("-j CT --notrack", "-j ACCEPT", "", "-j MARK --set-xmark 0x10/0x10")
                if self.maybe(0.9)
                else "-j DROP"
            )
        if table == "mangle":
            return self.pick(
                "-j MARK --set-xmark 0x1/0x1",
                "-j MARK --set-xmark 0x2/0xffffffff",
                "-j MARK --set-xmark 0x3/0x0",
                "-j CONNMARK --set-xmark 0x1/0xffffffff",
                "-j CONNMARK --save-mark",
                "-j CONNMARK --restore-mark",
                "-j ACCEPT",
                "-j DROP" if self.maybe(0.2) else "-j NFLOG",
            )
        if self.maybe(0.2):
            with_ = self.pick("icmp6-port-unreachable", "icmp6-adm-prohibited", "icmp6-no-route")
            return "-j REJECT --reject-with " + ("tcp-reset" if proto == "tcp" and self.maybe(0.5) else with_)
        return self.pick("-j ACCEPT", "-j ACCEPT", "", "-j DROP" if self.maybe(0.5) else "-j NFLOG")

    def nat(self, home: str, proto: str) -> str:
        """A translation, or none."""
        ports = proto in ("udp", "tcp")
        if self.maybe(0.25):
            return self.pick("-j ACCEPT", "")
        if home in ("PREROUTING", "OUTPUT"):
            to = self.pick(*self.bench.to)
            port = self.pick(*(f":{one}" for one in self.bench.ports), ":80", "") if ports else ""
            if ports and self.maybe(0.2) and home == "PREROUTING":
                return f"-j REDIRECT --to-ports {self.pick(*self.bench.ports)}"
            return f"-j DNAT --to-destination {to}{port}"
        if home == "INPUT" or self.maybe(0.4):
            to = self.pick(*self.bench.by)
            return f"-j SNAT --to-source {to}{':4000-4100' if ports and self.maybe(0.3) else ''}"
        return f"-j MASQUERADE{self.pick('', ' --random-fully')}"


@pytest.fixture
def net(netns: Bed) -> Iterator[Net]:
    """A network that is being built."""
    found = Net(netns)
    try:
        yield found
    finally:
        found.close()


def set_up(net: Net, bench: Bench) -> None:
    """Build the bench's topology, without limits on ICMP errors, and quiet."""
    TOPOLOGIES6[bench.topology](net)
    for label, device, address, where, far in bench.neighbours:
        net[label].ip(f"-6 neigh replace {address} lladdr {net.mac(where, far)} dev {device} nud permanent")
    for label, space in net.spaces.items():
        space.sysctl("net.ipv6.icmp.ratelimit", 0)
        net.sh(label, "for one in /proc/sys/net/ipv6/conf/*/router_solicitations; do echo 0 > $one; done")
        net.sh(label, "sysctl -qw net.ipv4.icmp_msgs_per_sec=100000 || true")


def predicted(walk: Walk, label: str) -> Counter[tuple[str, str, int]]:
    """(table, chain, rule) -> how often the walk's packets met it; rule 0 is the policy."""
    return Counter(
        (step.table or "", step.chain or "", step.rule or 0)
        for leg in walk.paths[0].legs
        for step in leg.steps
        if step.stage is Stage.HOOK
        and step.netns == label
        and step.rule is not None
        and "if it matches" not in step.note
    )


def counted(ruleset: XtRuleset) -> Counter[tuple[str, str, int]]:
    """The same from the kernel's counters; policies of chains without rules are left out."""
    found: Counter[tuple[str, str, int]] = Counter()
    for table, section in ruleset.tables.items():
        assert isinstance(section, Known)
        for name, held in section.value.chains.items():
            assert isinstance(held, Known)
            chain = held.value
            for number, counters in enumerate(chain.counters or (), 1):
                found[table, name, number] = counters.packets
            if chain.policy_counters and (chain.rules or chain.policy != "ACCEPT"):
                found[table, name, 0] = chain.policy_counters.packets
    return +found


def load(net: Net, bench: Bench, text: str) -> None:
    """Load rules with counters at zero, and forget all connections."""
    net[bench.label].run("ip6tables-restore", stdin=text)
    net[bench.label].run("conntrack", "-F", check=False)


def difference(net: Net, bench: Bench, text: str, flow: Flow) -> str:
    """Load, walk, try; what differs, "" if nothing does."""
    load(net, bench, text)
    walk = net.walked(flow)
    if walk.outcome is Outcome.UNKNOWN or len(walk.paths) != 1:
        return ""  # e.g. a test of the client's port, which the kernel is free to choose
    path = walk.paths[0]
    slow = path.delay is not None
    load(net, bench, text)
    silent = path.outcome is Outcome.TIMEOUT and not slow
    observed = net.tried(flow, timeout=0.4 if silent else 3.6)
    agreement = compare(walk, observed)
    if not agreement.agrees:
        return f"{agreement.differences} walk: {path.verdict} {path.reason} kernel: {observed}"
    if flow.packet.proto == "tcp" or slow:
        return ""  # how many segments TCP sends is its own affair
    real = counted(parse_save(net[bench.label].run("ip6tables-save", "-c")))
    said = predicted(walk, bench.label)
    if path.errno == "EPERM" or (path.failed is not None and path.legs[path.failed].kind != "request"):
        # what is answered to a lost answer, or after send() has failed, is not walked: the
        # client does not hear of it
        real &= said
    if real != said:
        return f"rules: kernel only {dict(real - said)}, walk only {dict(said - real)}; {path.verdict} {path.reason}"
    return ""


@pytest.mark.parametrize("bench", [ROUTER6, PODS6], ids=["router6", "pods6"])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_rule_sets(net: Net, seed: int, bench: Bench) -> None:
    """On random rule sets the kernel does what the walk says, rule by rule."""
    set_up(net, bench)
    time.sleep(2.5)  # until the hosts have told the wire which multicasts they listen to
    rules = Rules(seed, bench)
    for _ in range(RULE_SETS):
        text = rules.ruleset()
        for source, dst, port, proto in bench.probes:
            flow = net.flow(source, dst, port, proto)
            # a late packet of the probe before may be counted too: look twice
            found = difference(net, bench, text, flow) and difference(net, bench, text, flow)
            assert not found, f"{flow.packet.proto} {flow.packet.dst}:{port} from {source}: {found}\n{text}"
