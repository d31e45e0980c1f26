"""
Every match that can decide a packet's fate, true and false, against the counters of the kernel.

Many rules without a target stand in one chain of a router; one exchange goes through it (or to
it, or from it), and each rule has to have counted what the walk says: the packets that match.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from nettrace.model.flow import Flow
from nettrace.model.section import Known
from nettrace.model.step import Stage
from nettrace.model.walk import Outcome
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import parse_save
from tests.kernel.bed import Bed
from tests.kernel.fragments import MATCHES, Fragment, fitting
from tests.kernel.walkbed import TOPOLOGIES, Net

both_backends = pytest.mark.parametrize("backend", ["nft", "legacy"])

#: Who asks whom: through the router, of the router itself, and by the router.
PROBES = {
    "through": ("client", "10.2.0.2"),
    "to": ("client", "10.1.0.1"),
    "by": ("r", "10.2.0.2"),
}
#: Probe -> where the router sees it.
PLACES = {
    "through": ("PREROUTING", "FORWARD", "POSTROUTING"),
    "to": ("PREROUTING", "INPUT"),
    "by": ("OUTPUT", "POSTROUTING"),
}
PORTS = {"udp": 7, "tcp": 80, "icmp": None}


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """The router, for all tests."""
    bed = Bed()
    found = Net(bed)
    try:
        TOPOLOGIES["router"](found)
        yield found
    finally:
        found.close()
        bed.close()


def words(net: Net, probe: str, proto: str) -> dict[str, Any]:
    """What the braces of a piece stand for."""
    source, dst = PROBES[probe]
    src = "10.2.0.1" if source == "r" else "10.1.0.2"
    return {
        "src": src,
        "dst": dst,
        "port": PORTS[proto] or 1,
        "near": "c",
        "far": "s",
        "mac": net.mac("client", "eth0"),
        "other": "10.9.9.9",
        "src_hex": "0x" + bytes(int(part) for part in src.split(".")).hex(),
        "payload": "probe",
    }


def pieces(table: str, chain: str, proto: str) -> list[Fragment]:
    """What a chain may test of a protocol, with and without ``-p``."""
    return [
        one
        for name in ("", proto)
        for one in fitting(MATCHES, family=4, table=table, chain=chain, proto=name)
        if bool(one.protos) == bool(name)
    ]


def dump(table: str, chain: str, rules: list[str]) -> str:
    """Text for iptables-restore with the rules in one chain."""
    return "\n".join([f"*{table}", *(f"-A {chain} {rule}" for rule in rules), "COMMIT", ""])


def counted(ruleset: XtRuleset, table: str, chain: str) -> dict[int, int]:
    """Rule -> packets."""
    holder = ruleset.tables[table]
    assert isinstance(holder, Known)
    held = holder.value.chains[chain]
    assert isinstance(held, Known)
    return {number: one.packets for number, one in enumerate(held.value.counters or (), 1)}


def compared(
    net: Net, backend: str, flow: Flow, table: str, chain: str, rules: list[str]
) -> tuple[list[str], set[int], set[int], set[int]]:
    """Load, walk, try; what differs, and the rules that matched, did not, and were left open."""
    space = net["r"]
    text = dump(table, chain, rules)

    def load() -> None:
        for one in ("nft", "legacy"):
            space.run(
                "sh",
                "-c",
                f"for t in raw mangle nat filter security; do iptables-{one} -t $t -F; done",
                check=False,
            )
        space.run(f"iptables-{backend}-restore", stdin=text)
        space.run("conntrack", "-F", check=False)

    load()
    walk = net.walked(flow)
    assert walk.outcome is Outcome.CONNECTED, walk.paths[0].reason
    load()
    observed = net.tried(flow, timeout=3)
    assert [one.outcome for one in observed.attempts] == [Outcome.CONNECTED], observed
    real = counted(parse_save(space.run(f"iptables-{backend}-save", "-c")), table, chain)
    steps = [
        step
        for leg in walk.paths[0].legs
        for step in leg.steps
        if step.stage is Stage.HOOK and step.netns == "r" and step.table == table and step.chain == chain
    ]
    left_open = {step.rule for step in steps if step.rule and "if it matches" in step.note}
    said = Counter(step.rule for step in steps if step.rule and step.rule not in left_open)
    wrong = []
    for number, rule in enumerate(rules, 1):
        have, want = real[number], said[number]
        if number in left_open:
            continue
        # how many segments TCP sends is its own affair
        same = bool(have) == bool(want) if flow.packet.proto == "tcp" else have == want
        if not same:
            wrong.append(f"{table} {chain} {flow.packet.proto} {rule}: walk {want}, kernel {have}")
    yes = {number for number in real if said[number] and number not in left_open}
    no = {number for number in real if not said[number] and number not in left_open}
    return wrong, yes, no, {one for one in left_open if one is not None}


@both_backends
@pytest.mark.parametrize("table", ["raw", "mangle", "filter"])
@pytest.mark.parametrize("proto", ["udp", "tcp", "icmp"])
@pytest.mark.parametrize("probe", list(PROBES))
def test_matches(net: Net, backend: str, probe: str, proto: str, table: str) -> None:
    """Each match counts the packets that the walk says it matches."""
    if shutil.which(f"iptables-{backend}-restore") is None:
        pytest.skip(f"needs iptables-{backend}")
    source, dst = PROBES[probe]
    flow = net.flow(source, dst, PORTS[proto], proto)
    given = words(net, probe, proto)
    wrong: list[str] = []
    for chain in PLACES[probe]:
        if (table, chain) in (
            ("raw", "FORWARD"),
            ("raw", "INPUT"),
            ("raw", "POSTROUTING"),
            ("filter", "PREROUTING"),
            ("filter", "POSTROUTING"),
        ):
            continue
        rules = []
        usable = pieces(table, chain, proto)
        for one in usable:
            text = one.text.format(**given)
            rules.append(f"-p {proto} {text}" if one.protos else text)
        different, _, _, left_open = compared(net, backend, flow, table, chain, rules)
        wrong += different
        wrong += [
            f"{table} {chain} {proto} {rules[number - 1]}: left open"
            for number in sorted(left_open)
            if not usable[number - 1].open
        ]
    assert not wrong, "\n".join(wrong)
