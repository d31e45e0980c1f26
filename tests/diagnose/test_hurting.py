"""What is proven and offered to nobody, and what causes want to read."""

from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Cause
from nettrace.model.change import RuleDelete
from nettrace.model.finding import Safety
from nettrace.model.section import NOT_READ, SectionKey
from nettrace.model.step import Verdict
from nettrace.model.walk import Needs
from nettrace.parse.iptables import parse_rule
from tests.diagnose.asking import ask, diagnosed
from tests.diagnose.guided import DENIED, with_section
from tests.diagnose.test_safety import rule
from tests.diagnose.test_search import ON, always, candidate, forward
from tests.diagnose.worlds import World, cluster

CLIENT, OTHER = "pod/client-near", "pod/hostnames-1"
WIDE = "-s 10.244.0.0/16 -j DROP"
WANTED = SectionKey("client-far", "sockets")


def dropped(text: str) -> World:
    """The cluster with a rule first in node-a's FORWARD."""
    return cluster().edited(rule(text))


def taken_away(text: str, **more: Safety) -> Candidate:
    """The candidate that takes that rule away."""
    gone = RuleDelete(
        netns="node-a", backend="nft", table="filter", chain="FORWARD", position=1, rule=parse_rule(text)
    )
    return replace(candidate("made-up", gone), **more)


def test_advice_that_would_open_more_is_said_all_the_same() -> None:
    """A rule that keeps others out as well is the cause: named, with the reason why it stays."""
    made = taken_away(WIDE, safety=Safety.ADVICE)
    found = diagnosed(dropped(WIDE), CLIENT, OTHER, causes=[always(made)])
    assert [finding.cause for finding in found.findings] == ["made-up"]
    (repair,) = found.findings[0].repairs
    assert (repair.safety, repair.changes) == (Safety.ADVICE, ())
    assert "to take it away is no repair: " in str(found.findings[0])
    assert not any(note.startswith("refused: ") for note in found.notes)
    assert found.met is False


def test_the_same_as_a_repair_is_refused() -> None:
    """What is more than advice and hurts is a note, not a finding."""
    found = diagnosed(dropped(WIDE), CLIENT, OTHER, causes=[always(taken_away(WIDE))])
    assert found.findings == ()
    assert any(note.startswith("refused: made-up on node-a would mend it, but ") for note in found.notes)


def test_advice_that_hurts_nobody_needs_no_reason() -> None:
    """A rule that drops this flow only is the cause without any reservation."""
    narrow = "-s 10.244.1.10/32 -d 10.244.2.11/32 -j DROP"
    made = taken_away(narrow, safety=Safety.ADVICE)
    found = diagnosed(dropped(narrow), CLIENT, OTHER, causes=[always(made)])
    assert [finding.cause for finding in found.findings] == ["made-up"]
    assert not found.findings[0].repairs[0].changes


def test_a_repair_that_holds_goes_before() -> None:
    """Where something may be mended, what would only hurt is not named beside it."""
    off = cluster().edited(forward("node-a"))
    opened = rule("-s 10.244.1.0/24 -j ACCEPT")
    hurts = replace(candidate("hurting", ON, opened, rule("-d 10.244.1.11/32 -j DROP")), safety=Safety.ADVICE)
    found = diagnosed(off, CLIENT, OTHER, causes=[always(hurts), always(candidate("mends", ON))])
    assert [finding.cause for finding in found.findings] == ["mends"]


# --- what causes read ------------------------------------------------------------------------


def reading(*verdicts: Verdict) -> Cause:
    """A cause that compares with a section beside the packet's way."""
    made: Cause = replace(always(candidate("mends", ON)), verdicts=frozenset(verdicts))
    return replace(made, reads=lambda context: (WANTED, WANTED))


def test_what_a_cause_reads_is_a_need_once() -> None:
    """A section that nobody has read yet is asked for before the search, each once."""
    world = with_section(cluster().edited(forward("node-a")), *_key(), NOT_READ)
    assert ask(world, CLIENT, OTHER, causes=[reading(), reading()]) == Needs((WANTED,))


def test_what_cannot_be_read_is_not_asked_for_again() -> None:
    """A section that was refused is looked at as it is."""
    world = with_section(cluster().edited(forward("node-a")), *_key(), DENIED)
    found = diagnosed(world, CLIENT, OTHER, causes=[reading()])
    assert [finding.cause for finding in found.findings] == ["mends"]


def test_only_causes_that_apply_read() -> None:
    """A cause of another verdict reads nothing, and a flow that is as it should be reads nothing."""
    off = with_section(cluster().edited(forward("node-a")), *_key(), NOT_READ)
    assert not isinstance(ask(off, CLIENT, OTHER, causes=[reading(Verdict.MARTIAN)]), Needs)
    assert isinstance(ask(off, CLIENT, OTHER, causes=[reading(Verdict.NOT_FORWARDED)]), Needs)
    healthy = with_section(cluster(), *_key(), NOT_READ)
    assert diagnosed(healthy, CLIENT, OTHER, causes=[reading()]).met is True


def _key() -> tuple[str, str]:
    return WANTED.netns, WANTED.name
