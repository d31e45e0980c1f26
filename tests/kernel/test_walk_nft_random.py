"""
Random rule sets of native nftables: the walk against what nettrace itself watches, rule by rule.

Tables of two families with chains of all types and hooks, sets, maps, marks, translation, as the oracle
draws them (tests.oracle.nft); UDP, TCP and echo probes go through and to them.  What the client sees and
every rule that its packets meet have to be as the walk says.
"""

import os
import re
from collections.abc import Iterator

import pytest

from nettrace.model.walk import Outcome
from tests.kernel.bed import Bed
from tests.kernel.native import load, watched
from tests.kernel.walkbed import TOPOLOGIES, Net
from tests.oracle.benches import BENCHES
from tests.oracle.generate import Generator
from tests.oracle.nft import NativeRules

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
    rules = NativeRules(Generator(seed), BENCHES["router"], "r", mixed=False)
    told = 0
    for _ in range(RULE_SETS):
        text = loadable(net, rules.table("inet", "one", 0) + rules.table("ip", "two", 1))
        for probe in PROBES:
            # another packet's late answer may be taken for this one's: look twice
            found, certain = disagreement(net, text, probe)
            if found:
                found, certain = disagreement(net, text, probe)
            assert not found, f"{probe}: {found}\n{text}"
            told += certain
    assert told > RULE_SETS * len(PROBES) * 0.7
