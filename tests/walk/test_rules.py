"""Chains: jump, goto, return, policy, what cannot be told, draws, the index of long chains."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrace.model.packet import Packet, PortRange
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Needs, Outcome
from nettrace.model.xt import XtChain
from nettrace.parse.iptables import parse_rule
from nettrace.walk import Limits, walk
from nettrace.walk.context import Run
from nettrace.walk.index import candidates
from nettrace.walk.matches import header_matches, match_matches
from nettrace.walk.namespace import namespace
from nettrace.walk.point import HookPoint
from nettrace.walk.skb import Skb
from tests.walk.worlds import TO_SERVER, one_path, router, walked

SYN = "-A FORWARD -p tcp -m tcp --tcp-flags SYN,ACK SYN"


def hooks(steps: tuple[Step, ...], netns: str = "r") -> list[tuple[str | None, int | None, str]]:
    """The rules that were met: (chain, number, what it did)."""
    return [
        (step.chain, step.rule, step.verdict)
        for step in steps
        if step.stage is Stage.HOOK and step.netns == netns
    ]


def test_jump_return_and_policy() -> None:
    """A chain that ends goes back behind the jump; RETURN does so at once; then the policy."""
    world = router()
    world["r"].filter(
        "-A FORWARD -j A",
        "-A FORWARD -p tcp -j B",
        "-A A -p udp -j DROP",
        "-A B -p tcp -j RETURN",
        "-A B -j DROP",
    )
    path = one_path(world, TO_SERVER)
    assert hooks(path.request.steps) == [
        ("FORWARD", 1, "A"),
        ("FORWARD", 2, "B"),
        ("B", 1, "RETURN"),
        ("FORWARD", 0, "policy ACCEPT"),
    ]


def test_goto_does_not_come_back() -> None:
    """After goto the end of the chain is the end of the one that was gone from."""
    world = router()
    world["r"].filter(
        "-P FORWARD DROP", "-A FORWARD -j A", "-A FORWARD -p tcp -j ACCEPT", "-A A -g B", "-A A -j DROP",
        "-A B -p udp -j DROP",
    )  # fmt: skip
    path = one_path(world, TO_SERVER)
    assert hooks(path.request.steps) == [("FORWARD", 1, "A"), ("A", 1, "B"), ("FORWARD", 2, "ACCEPT")]


def test_goto_from_a_built_in_chain_ends_at_the_policy() -> None:
    """A goto in FORWARD itself leaves the policy to decide."""
    world = router()
    world["r"].filter("-P FORWARD DROP", "-A FORWARD -g A", "-A FORWARD -j ACCEPT", "-A A -p udp -j ACCEPT")
    path = one_path(world, TO_SERVER)
    assert path.verdict is Verdict.DROPPED_BY_RULE
    assert path.failing_step is not None
    assert (path.failing_step.chain, path.failing_step.rule) == ("FORWARD", 0)
    assert path.failing_step.why is not None
    assert path.failing_step.why.ref == "r/xt/nft/filter/FORWARD/0"


def test_accept_ends_one_table_only() -> None:
    """ACCEPT in mangle does not keep filter from dropping."""
    world = router()
    world["r"].filter("-A FORWARD -j ACCEPT", table="mangle")
    world["r"].filter("-A FORWARD -j DROP")
    assert one_path(world, TO_SERVER).verdict is Verdict.DROPPED_BY_RULE


def test_a_drop_names_its_rule() -> None:
    """The step that ends a leg points at the rule and quotes it."""
    world = router()
    world["r"].filter("-A FORWARD -p udp -j DROP", "-A FORWARD -p tcp -m tcp --dport 80 -j DROP")
    step = one_path(world, TO_SERVER).failing_step
    assert step is not None
    assert step.why is not None
    assert step.stops
    assert step.why.ref == "r/xt/nft/filter/FORWARD/2"
    assert step.why.text == "-A FORWARD -p tcp -m tcp --dport 80 -j DROP"


def test_what_only_logs_is_passed_with_a_note() -> None:
    """A match that cannot be told does not matter where the target changes nothing."""
    world = router()
    world["r"].filter("-A FORWARD -m limit --limit 1/sec -j LOG", "-A FORWARD -m limit --limit 1/sec")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    assert "if it matches" in next(step.note for step in path.request.steps if step.chain == "FORWARD")


def test_what_cannot_be_told_is_unknown_where_it_matters() -> None:
    """A limited ACCEPT in front of a drop makes the verdict UNKNOWN, and names the rule."""
    world = router()
    world["r"].filter("-P FORWARD DROP", "-A FORWARD -m limit --limit 1/sec -j ACCEPT")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "rule 1 of FORWARD" in path.reason
    assert path.failing_step is not None
    assert path.failing_step.why is not None
    assert path.failing_step.why.ref == "r/xt/nft/filter/FORWARD/1"


def test_what_cannot_be_told_is_passed_over_where_the_rest_does_not_match() -> None:
    """An unknown match beside one that is false is no reason for doubt."""
    world = router()
    world["r"].filter("-A FORWARD -s 10.9.9.9 -m string --algo bm --string x -j DROP")
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


@pytest.mark.parametrize("target", ["-j HMARK --hmark-tuple src --hmark-mod 2", "-j NFQUEUE --queue-num 5"])
def test_targets_that_are_not_understood(target: str) -> None:
    """A target that may change the packet's fate makes it UNKNOWN; one that only counts does not."""
    world = router()
    world["r"].filter(f"-A PREROUTING {target}", table="raw")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN
    world["r"].filter("-A PREROUTING -j CT --helper ftp", table="raw")
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


@pytest.mark.parametrize(
    "rule",
    [
        "-m geoip --source-country XX -j DROP",
        "-p tcp -m ndpi --proto dns -j ACCEPT",
        "-j DELUDE",
        "-j ECHO --x y",
    ],
)
def test_extensions_that_nobody_knows_are_named(rule: str) -> None:
    """Of an extension that iptables does not come with the verdict is UNKNOWN, with rule and extension."""
    world = router()
    world["r"].filter("-P FORWARD DROP", "-A FORWARD -s 10.9.9.9 -j DROP", f"-A FORWARD {rule}")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "rule 2 of FORWARD" in path.reason
    assert any(name in path.reason for name in ("geoip", "ndpi", "DELUDE", "ECHO"))
    assert path.failing_step is not None
    assert path.failing_step.why is not None
    assert path.failing_step.why.ref == "r/xt/nft/filter/FORWARD/2"


def test_draws_are_exact() -> None:
    """The branches of ``statistic`` have the kernel's 31-bit shares, and add up to one."""
    world = router()
    world["r"].filter(
        f"{SYN} -m statistic --mode random --probability 0.33333333349 -j DROP",
        f"{SYN} -m statistic --mode random --probability 0.5 -j REJECT",
    )
    answer = walked(world, TO_SERVER)
    first = Fraction(715827883, 2**31)
    assert [path.probability for path in answer.paths] == [
        float(first),
        float((1 - first) / 2),
        float((1 - first) / 2),
    ]
    assert [path.outcome for path in answer.paths] == [Outcome.TIMEOUT, Outcome.REFUSED, Outcome.CONNECTED]
    assert answer.outcome is Outcome.MIXED
    assert answer.verdict is Verdict.DROPPED_BY_RULE
    assert answer.paths[0].draws == ("FORWARD rule 1: 715827883/2147483648",)


@pytest.mark.parametrize(
    ("rule", "shares"),
    [
        ("--mode nth --every 4 --packet 0", [0.25, 0.75]),
        ("--mode nth ! --every 4 --packet 0", [0.75, 0.25]),
        ("--mode random ! --probability 0.25", [0.75, 0.25]),
        ("--mode random --probability 1", [1.0]),
        ("--mode random --probability 0", [1.0]),
    ],
)
def test_other_draws(rule: str, shares: list[float]) -> None:
    """``nth``, negation, and chances that are none."""
    world = router()
    world["r"].filter(f"{SYN} -m statistic {rule} -j DROP")
    assert [path.probability for path in walked(world, TO_SERVER).paths] == shares


def test_a_draw_that_nothing_depends_on_is_not_made() -> None:
    """A rule whose other tests are false draws nothing."""
    world = router()
    world["r"].filter("-A FORWARD -m statistic --mode random --probability 0.5 -p udp -j DROP")
    assert len(walked(world, TO_SERVER).paths) == 1


def test_too_many_branches_are_said_to_be_too_many() -> None:
    """What the limit cuts off is one UNKNOWN path with the rest of the probability."""
    world = router()
    world["r"].filter(*[f"{SYN} -m statistic --mode random --probability 0.1 -j DROP"] * 20)
    answer = walk(world.snapshot(), TO_SERVER, limits=Limits(branches=5))
    assert not isinstance(answer, Needs)
    assert len(answer.paths) == 6
    assert answer.paths[-1].outcome is Outcome.UNKNOWN
    assert sum(path.probability for path in answer.paths) == pytest.approx(1)


def test_chains_that_jump_in_a_circle_end() -> None:
    """A damaged dump whose chains call each other is UNKNOWN, not endless."""
    world = router()
    world["r"].filter("-A FORWARD -j A", "-A A -j B", "-A B -j A")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_a_chain_that_is_not_there() -> None:
    """A jump to a chain that the snapshot does not hold is UNKNOWN."""
    world = router()
    world["r"].filter("-A FORWARD -j A", "-A A -j RETURN")
    snapshot = world.snapshot().with_section(SectionKey("r", "xt/nft/filter/A"), Known(None))
    path = one_path(snapshot, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "A" in path.reason


def test_chains_are_asked_for_as_they_are_needed() -> None:
    """First what the built-in chains hold, then what they jump to, with the siblings of a short chain."""
    world = router()
    world["r"].filter(
        "-A FORWARD -p tcp -j A", "-A FORWARD -j B", "-A A -j RETURN", "-A B -j DROP", "-A C -j DROP"
    )
    snapshot = world.snapshot()
    for chain in ("FORWARD", "INPUT", "A", "B", "C"):
        snapshot = snapshot.with_section(SectionKey("r", f"xt/nft/filter/{chain}"), NOT_READ)
    first = walk(snapshot, TO_SERVER)
    assert isinstance(first, Needs)
    assert {key.name for key in first.keys} == {"xt/nft/filter/FORWARD", "xt/nft/filter/INPUT"}
    whole = world.snapshot()
    for key in first.keys:
        snapshot = snapshot.with_section(key, whole.section(key))
    second = walk(snapshot, TO_SERVER)
    assert isinstance(second, Needs)
    assert {key.name for key in second.keys} == {"xt/nft/filter/A", "xt/nft/filter/B"}


def test_a_chain_that_cannot_be_read() -> None:
    """A chain that nettrace cannot read makes the verdict UNKNOWN with its reason."""
    world = router()
    world["r"].filter("-A FORWARD -j DROP")
    reason = Missing(MissingKind.UNSUPPORTED, "a match nobody can print")
    snapshot = world.snapshot().with_section(SectionKey("r", "xt/nft/filter/FORWARD"), reason)
    path = one_path(snapshot, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "a match nobody can print" in path.reason


# --- the index ------------------------------------------------------------------------------

addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.0.0/24", "0.0.0.0/0"])
specs = st.builds(
    lambda dst, invert, port, source: " ".join(
        [
            *([f"{'! ' if invert else ''}-d {dst}"] if dst else []),
            *([f"-s {source}"] if source else []),
            *([f"-p tcp -m tcp --dport {port}"] if port else []),
            "-j ACCEPT",
        ]
    ),
    st.none() | addresses,
    st.booleans(),
    st.none() | st.sampled_from(["80", "81", "80:82", "443"]),
    st.none() | addresses,
)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(specs, min_size=17, max_size=60),
    st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "9.9.9.9"]),
    st.sampled_from([PortRange(80, 80), PortRange(82, 82), PortRange(79, 81), PortRange(1000, 2000)]),
    st.integers(0, 20),
)
def test_the_index_leaves_out_no_rule_that_matches(
    texts: list[str], dst: str, dport: PortRange, start: int
) -> None:
    """Every rule that matches a packet is among the candidates, in order, each once."""
    chain = XtChain(rules=tuple(parse_rule(text) for text in texts))
    packet = Packet(src="10.0.0.1", dst=dst, proto="tcp", sport=PortRange(1, 1), dport=dport)
    found = list(candidates(chain, packet, start))
    assert found == sorted(set(found))
    assert all(number >= start for number in found)
    run = Run(snapshot=router().snapshot(), flow=TO_SERVER, limits=Limits())
    point = HookPoint(namespace(run, "r"), "forward", "c", "s")
    skb = Skb(packet, "r")
    for number, rule in enumerate(chain.rules[start:], start):
        may_match = header_matches(skb, point, rule) and all(
            match_matches(run, skb, point, match) is not False for match in rule.matches
        )
        assert not may_match or number in found


def test_a_chain_of_ten_thousand_rules_is_not_walked_rule_by_rule() -> None:
    """KUBE-SERVICES with 10,000 Services costs a handful of tests."""
    rules = [f"-d 10.{n >> 8}.{n & 255}.1/32 -p tcp -m tcp --dport 80 -j ACCEPT" for n in range(10_000)]
    chain = XtChain(rules=tuple(parse_rule(rule) for rule in rules))
    packet = Packet(src="10.0.0.1", dst="10.5.7.1", proto="tcp", dport=PortRange(80, 80))
    assert list(candidates(chain, packet, 0)) == [5 * 256 + 7]
