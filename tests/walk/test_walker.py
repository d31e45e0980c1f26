"""The walk as a whole: what it needs, what it refuses, and what always holds."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nettrace.model.packet import Packet
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Needs, Outcome, Walk
from nettrace.walk import walk
from tests.walk.worlds import TO_SERVER, World, flow, one_path, pod_network, router, walked

SECTIONS = (
    "links", "addresses", "routes", "rules", "neighbours", "fdb", "sysctls", "sockets", "conntrack",
    "ipsets", "nft",
)  # fmt: skip
BUILT_IN = {"raw", "mangle", "nat", "filter"}


def nothing_read(whole: Snapshot) -> Snapshot:
    """The same namespaces with every section NOT_READ."""
    empty: dict[str, Any] = dict.fromkeys((*SECTIONS, "xt_nft", "xt_legacy"), NOT_READ)
    return replace(whole, namespaces={name: replace(one, **empty) for name, one in whole.namespaces.items()})


def read(whole: Snapshot, partly: Snapshot, key: SectionKey) -> Snapshot:
    """What a reader would do: the section, and of a rule set only which chains there are."""
    section: Any = whole.section(key)
    if key.name in ("xt/nft", "xt/legacy") and isinstance(section, Known):
        tables = {
            table: Known(replace(held.value, chains=dict.fromkeys(held.value.chains, NOT_READ)))
            for table, held in section.value.tables.items()
        }
        section = Known(replace(section.value, tables=tables))
    return partly.with_section(key, section)


def lazily(whole: Snapshot, asked: Any) -> tuple[Walk, list[tuple[SectionKey, ...]]]:
    """Walk from nothing, reading what is needed; the answer and the rounds."""
    partly = nothing_read(whole)
    rounds: list[tuple[SectionKey, ...]] = []
    while True:
        answer = walk(partly, asked)
        if not isinstance(answer, Needs):
            return answer, rounds
        rounds.append(answer.keys)
        for key in answer.keys:
            partly = read(whole, partly, key)


def test_it_asks_for_each_section_once_and_in_few_rounds() -> None:
    """Reading as asked gives the same answer as knowing everything, in few rounds without repeats."""
    world = router()
    world["r"].filter("-A FORWARD -j A", "-A A -j B", "-A B -j ACCEPT")
    whole = world.snapshot()
    answer, rounds = lazily(whole, TO_SERVER)
    assert answer == walked(whole, TO_SERVER)
    keys = [key for one in rounds for key in one]
    assert len(keys) == len(set(keys))
    assert len(rounds) <= 8


def test_branches_are_asked_for_together() -> None:
    """What several branches need is asked for in one round."""
    world = pod_network()
    world["node"].nat(
        "-A PREROUTING -d 10.96.0.1/32 -p tcp -j SVC",
        "-A SVC -m statistic --mode random --probability 0.5 -j S1",
        "-A SVC -j S2",
        "-A S1 -p tcp -j DNAT --to-destination 10.244.1.3:9376",
        "-A S2 -p tcp -j DNAT --to-destination 10.244.1.4:9376",
    )
    answer, rounds = lazily(world.snapshot(), flow("pod1", "10.96.0.1", 80))
    assert answer.outcome is Outcome.CONNECTED
    assert ("node", "xt/nft/nat/S1") in {(key.netns, key.name) for one in rounds for key in one}
    with_both = [one for one in rounds if {key.name for key in one} >= {"xt/nft/nat/S1", "xt/nft/nat/S2"}]
    assert len(with_both) == 1
    assert len(rounds) <= 10


def test_conntrack_and_sets_are_read_only_where_they_matter() -> None:
    """With a free source port nobody asks for the conntrack table; without a set match for no set."""
    _, rounds = lazily(router().snapshot(), TO_SERVER)
    names = {key.name for one in rounds for key in one}
    assert not names & {"conntrack", "ipsets"}
    _, rounds = lazily(router().snapshot(), flow("client", "10.2.0.2", 80, sport=5555))
    assert "conntrack" in {key.name for one in rounds for key in one}


@pytest.mark.parametrize(
    ("asked", "about"),
    [
        (flow("client", "fd00::1", None, "icmp"), "icmp is not for fd00::1"),
        (flow("client", "10.2.0.2", None, "sctp"), "port"),
        (flow("client", "10.2.0.2", None, "6"), "tcp"),
        (flow("client", "10.2.0.2", None, "quic"), "quic"),
        (flow("client", "10.2.0.2", None, "47"), "47"),
        (flow("client", "10.2.0.2", None, "tcp"), "port"),
        (flow("nobody", "10.2.0.2", 80), "nobody"),
        (flow("client", "224.0.0.1", 80, "udp"), "224.0.0.1"),
        (flow("client", "255.255.255.255", 80, "udp"), "255.255.255.255"),
    ],
)
def test_what_is_not_walked(asked: Any, about: str) -> None:
    """What the walk does not do is UNKNOWN with a sentence."""
    path = one_path(router(), asked)
    assert path.outcome is Outcome.UNKNOWN
    assert about in path.reason


def test_an_empty_snapshot() -> None:
    """A snapshot without anything is UNKNOWN, not an error."""
    answer = walk(Snapshot(), TO_SERVER)
    assert isinstance(answer, Walk)
    assert answer.outcome is Outcome.UNKNOWN


def test_unknown_in_one_branch_does_not_spoil_the_others() -> None:
    """A branch that cannot be told leaves the others certain."""
    world = router()
    world["r"].filter(
        "-A FORWARD -p tcp -m tcp --tcp-flags SYN,ACK SYN -m statistic --mode random --probability 0.25 -j A",
        "-A A -m limit --limit 1/sec -j DROP",
    )
    answer = walked(world, TO_SERVER)
    assert [(path.probability, path.outcome) for path in answer.paths] == [
        (0.25, Outcome.UNKNOWN),
        (0.75, Outcome.CONNECTED),
    ]
    assert answer.outcome is Outcome.MIXED


def test_the_same_question_has_the_same_answer() -> None:
    """The walk is a function: asked twice it answers the same, and changes nothing."""
    snapshot = pod_network().snapshot()
    asked = flow("pod1", "10.244.1.3", 9376)
    assert walk(snapshot, asked) == walk(snapshot, asked)


# --- what always holds ----------------------------------------------------------------------------------


@dataclass
class Fault:
    """Something that may be done to a world."""

    netns: str
    what: str
    value: Any = None


RULES = [
    "-P FORWARD DROP",
    "-A FORWARD -i cni0 -j ACCEPT",
    "-A FORWARD -o cni0 -j ACCEPT",
    "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-A FORWARD -p tcp -m tcp --dport 9376 -j REJECT --reject-with tcp-reset",
    "-A FORWARD -m statistic --mode random --probability 0.25 -j REJECT",
    "-A FORWARD -m limit --limit 1/sec -j DROP",
    "-A INPUT -p icmp -j DROP",
    "-A OUTPUT -p tcp -j REJECT",
    "-A FORWARD -j A",
    "-A A -m statistic --mode nth --every 3 --packet 0 -j DROP",
    "-A A -j RETURN",
]
NAT = [
    "-A PREROUTING -d 10.96.0.1/32 -p tcp -j SVC",
    "-A OUTPUT -d 10.96.0.1/32 -p tcp -j SVC",
    "-A SVC -m statistic --mode random --probability 0.33333333349 -j DNAT --to-destination 10.244.1.2:9376",
    "-A SVC -p tcp -j DNAT --to-destination 10.244.1.3-10.244.1.4:9376",
    "-A SVC -p tcp -j DNAT --to-destination 10.244.1.77:9376",
    "-A POSTROUTING -j MASQUERADE --random-fully",
    "-A POSTROUTING -s 10.244.0.0/16 -o eth0 -j SNAT --to-source 192.168.50.11:2000-2010",
    "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9376",
]
SYSCTLS = [
    ("node", "net.ipv4.ip_forward", "0"),
    ("node", "net.bridge.bridge-nf-call-iptables", "0"),
    ("node", "net.ipv4.conf.all.rp_filter", "1"),
    ("pod1", "net.ipv4.conf.all.rp_filter", "2"),
    ("node", "net.ipv4.conf.all.route_localnet", "1"),
    ("pod2", "net.ipv4.conf.eth0.arp_ignore", "8"),
]
worlds = st.fixed_dictionaries(
    {
        "filter": st.lists(st.sampled_from(RULES), max_size=6),
        "nat": st.lists(st.sampled_from(NAT), max_size=6),
        "sysctls": st.lists(st.sampled_from(SYSCTLS), max_size=3),
        "ports": st.lists(
            st.sampled_from([("hairpin", False), ("isolated", True), ("state", 0)]), max_size=2
        ),
        "down": st.sampled_from([None, "veth1", "veth2", "cni0", "eth0"]),
        "route": st.sampled_from(
            [None, ("default", "eth0", "192.168.50.100"), ("10.96.0.0/12", "cni0", None)]
        ),
    }
)
flows = st.sampled_from(
    [
        flow("pod1", "10.96.0.1", 80),
        flow("pod1", "10.244.1.3", 9376),
        flow("pod1", "10.244.1.4", 53, "udp"),
        flow("pod2", "192.168.50.100", 80),
        flow("node", "10.96.0.1", 80),
        flow("node", "127.0.0.1", 80),
        flow("outside", "192.168.50.11", 80),
        flow("outside", "10.244.1.2", proto="icmp"),
        flow("node", "10.96.0.1", 80, src="10.9.9.9", device="eth0"),
        flow("pod1", "10.96.0.1", 80, sport=5555),
    ]
)


def build(parts: dict[str, Any]) -> World:
    """A pod network with these parts changed."""
    world = pod_network()
    node = world["node"]
    node.filter(*parts["filter"])
    node.nat(*parts["nat"])
    for netns, name, value in parts["sysctls"]:
        world[netns].sysctl(name, value)
    for attribute, value in parts["ports"]:
        node.port("veth2", **{attribute: value})
    if parts["down"]:
        node.change(parts["down"], up=False)
    if parts["route"]:
        node.route(*parts["route"])
    world["outside"].route("default", "eth0", "192.168.50.11")
    return world


@settings(deadline=None, max_examples=150)
@given(worlds, flows)
def test_a_walk_ends_and_its_chances_add_up(parts: dict[str, Any], asked: Any) -> None:
    """Whatever the world, the walk ends, its probabilities sum to one, and each path is consistent."""
    answer = walked(build(parts), asked)
    assert sum(path.probability for path in answer.paths) == pytest.approx(1)
    for path in answer.paths:
        assert path.legs
        assert (path.failed is None) == (path.verdict is Verdict.DELIVERED)
        if path.failed is not None:
            assert path.legs[path.failed].verdict is path.verdict
            assert path.reason
        if path.outcome is Outcome.CONNECTED:
            assert path.endpoint is not None
            assert path.failed is None
        if path.verdict is Verdict.UNKNOWN:
            assert path.outcome is Outcome.UNKNOWN
        for leg in path.legs:
            stops = [step for step in leg.steps if step.stops]
            assert len(stops) <= 1
            if leg.verdict not in (Verdict.DELIVERED, Verdict.LEFT_SNAPSHOT):
                assert leg.steps[-1].stops, leg.steps[-1]


@settings(deadline=None, max_examples=60)
@given(worlds, flows)
def test_reading_as_needed_changes_nothing(parts: dict[str, Any], asked: Any) -> None:
    """A walk that asks for what it needs answers like one that was given everything."""
    whole = build(parts).snapshot()
    answer, rounds = lazily(whole, asked)
    assert answer == walked(whole, asked)
    keys = [key for one in rounds for key in one]
    assert len(keys) == len(set(keys))


removable = st.tuples(
    st.sampled_from(["node", "pod1", "pod2", "outside"]), st.sampled_from([*SECTIONS, "xt/nft", "xt/legacy"])
)


@settings(deadline=None, max_examples=150)
@given(worlds, flows, st.lists(removable, min_size=1, max_size=3))
def test_knowing_less_never_makes_sure(
    parts: dict[str, Any], asked: Any, removed: list[tuple[str, str]]
) -> None:
    """Taking state away turns answers into UNKNOWN, never UNKNOWN or a failure into an arrival."""
    whole = build(parts).snapshot()
    before = walked(whole, asked)
    less = whole
    for netns, section in removed:
        less = less.with_section(SectionKey(netns, section), Missing(MissingKind.DENIED, "taken away"))
    after = walked(less, asked)
    known = {(path.verdict, path.outcome, path.errno) for path in before.paths}
    for path in after.paths:
        if path.outcome is not Outcome.UNKNOWN:
            assert (path.verdict, path.outcome, path.errno) in known


def test_the_packet_of_a_step_is_the_one_before_it() -> None:
    """Each step that changed the packet holds both; the next one begins with what came out."""
    world = router()
    world["r"].nat("-A PREROUTING -d 10.1.0.1/32 -p tcp -j DNAT --to-destination 10.2.0.2")
    path = one_path(world, flow("client", "10.1.0.1", 80))
    current: Packet | None = None
    for step in path.request.steps:
        if current is not None:
            assert step.before == current
        current = step.after or step.before
    changed: list[Any] = [step.verdict for step in path.request.steps if step.after is not None]
    assert changed == ["dnat", "accept"]
