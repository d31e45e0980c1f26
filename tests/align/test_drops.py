"""Drops of the kernel beside the walk's verdicts."""

import re
from pathlib import Path as File

import pytest

from nettrace.align.drops import REASONS, accepts, drop_text, is_noise, with_drops
from nettrace.model.observation import Attempt, Comparison, Drop
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Leg, Outcome, Path

SENT = Packet(src="10.0.0.1", dst="10.0.0.2", proto="tcp")
DOCS = File(__file__).parents[2] / "docs" / "verdicts.md"


def step(netns: str, stage: Stage = Stage.HOOK, *, stops: bool = False) -> Step:
    """One step."""
    return Step(node="n", netns=netns, stage=stage, verdict="x", before=SENT, stops=stops)


def path(verdict: Verdict, *steps: Step, kind: str = "request") -> Path:
    """A branch of one leg."""
    outcome = Outcome.CONNECTED if verdict is Verdict.DELIVERED else Outcome.TIMEOUT
    return Path(
        probability=1.0,
        legs=(Leg(kind=kind, steps=steps, verdict=verdict),),
        verdict=verdict,
        outcome=outcome,
    )


def drop(netns: str, reason: str, function: str = "", leg: str = "request") -> Drop:
    """One drop."""
    return Drop(leg=leg, netns=netns, reason=reason, function=function)


def compared(
    branch: Path, *drops: Drop, outcome: Outcome = Outcome.TIMEOUT, watched: bool = True
) -> Comparison:
    """Hold drops against a branch."""
    attempt = Attempt(outcome=outcome, delay=0.0, drops=drops)
    return with_drops(Comparison(attempt=0, path=0, checked={}), branch, attempt, watched=watched)


def test_every_verdict_is_in_the_table_and_the_docs_say_the_same() -> None:
    """Each verdict has its reasons and functions, and docs/verdicts.md lists exactly these."""
    assert set(REASONS) == set(Verdict)
    rows = re.findall(r"^\| `([A-Z_]+)` \|[^|]*\|([^|]*)\|([^|]*)\|$", DOCS.read_text(), re.MULTILINE)
    assert len(rows) == len(Verdict)
    for name, reasons, functions in rows:
        kernel = REASONS[Verdict[name]]
        assert set(re.findall(r"`(\w+)`", reasons)) == kernel.reasons, name
        assert set(re.findall(r"`(\w+)`", functions)) == kernel.functions, name


@pytest.mark.parametrize(
    ("verdict", "reason", "function", "fits"),
    [
        (Verdict.DROPPED_BY_RULE, "NETFILTER_DROP", "nft_do_chain", True),
        (Verdict.DROPPED_BY_RULE, "IP_RPFILTER", "", False),
        (Verdict.BLACKHOLED, "NOT_SPECIFIED", "ip_error", True),
        (Verdict.BLACKHOLED, "NOT_SPECIFIED", "ip_error.part.0", True),
        (Verdict.BLACKHOLED, "NOT_SPECIFIED", "br_flood", False),
        (Verdict.BLACKHOLED, "NOT_SPECIFIED", "", True),
        (Verdict.DROPPED_BY_RULE, "NOT_SPECIFIED", "nft_do_chain", False),
        (Verdict.DELIVERED, "NO_SOCKET", "tcp_v4_rcv", False),
    ],
)
def test_a_reason_fits_a_verdict(verdict: Verdict, reason: str, function: str, fits: bool) -> None:
    """A reason of its own speaks for itself; NOT_SPECIFIED only together with its function."""
    assert accepts(verdict, reason, function) is fits


def test_a_drop_where_the_walk_stops_agrees() -> None:
    """The step that stops is marked, in the right namespace with a fitting reason."""
    branch = path(Verdict.DROPPED_BY_RULE, step("a"), step("b", stops=True))
    found = compared(branch, drop("b", "NETFILTER_DROP"))
    assert found.checked == {"request": (None, True)}
    assert found.parted is None
    assert compared(branch, drop("", "NETFILTER_DROP")).parted is None  # a place that nobody knows


@pytest.mark.parametrize("one", [drop("a", "NETFILTER_DROP"), drop("b", "IP_RPFILTER")])
def test_a_drop_elsewhere_or_for_another_reason_parts(one: Drop) -> None:
    """Both are told, and where."""
    branch = path(Verdict.DROPPED_BY_RULE, step("a"), step("b", stops=True))
    found = compared(branch, one)
    assert found.parted is not None
    assert (found.parted.step, found.parted.netns) == (1, "b")
    assert found.parted.observed == drop_text(one)


def test_no_drop_parts_only_where_there_has_to_be_one() -> None:
    """A rule that drops is seen; a dead neighbour may outlast the watch; without a watch nothing is."""
    for verdict, parts in ((Verdict.DROPPED_BY_RULE, True), (Verdict.NEIGHBOUR_FAILED, False)):
        branch = path(verdict, step("a", stops=True))
        assert (compared(branch).parted is not None) is parts
        assert compared(branch, watched=False).parted is None


def test_a_drop_that_the_walk_does_not_predict_parts() -> None:
    """At the last step in that namespace, or the last of all."""
    branch = path(Verdict.DELIVERED, step("a"), step("a"), step("b"))
    for netns, index in (("a", 1), ("c", 2)):
        found = compared(branch, drop(netns, "IP_RPFILTER"))
        assert found.parted is not None
        assert found.parted.step == index


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (drop("b", "PACKET_SOCK_ERROR"), "request"),
        (drop("b", "TCP_RESET", leg="reply"), "reply"),
        (drop("b", "NOT_SPECIFIED", "tcp_v4_rcv"), "request"),
        (drop("b", "NO_SOCKET", "ping_rcv", leg="reply"), "reply"),
        (drop("b", "NO_SOCKET", "tcp_v4_rcv", leg="reply"), "reply"),
        (drop("c", "OTHERHOST"), "request"),
        (drop("a", "NETFILTER_DROP", leg="data"), "request"),
    ],
)
def test_what_says_nothing_of_the_way_does_not_part(one: Drop, kind: str) -> None:
    """Copies, a socket's own matter, a client that has gone, what follows the handshake."""
    branch = path(Verdict.DELIVERED, step("a"), step("b"), kind=kind)
    assert compared(branch, one, outcome=Outcome.CONNECTED).parted is None


def test_a_failed_second_lookup_in_output_is_netfilters_drop() -> None:
    """Of a packet that was sent here; of a forwarded one it is not."""
    for first, agrees in ((Stage.SEND, True), (Stage.RECEIVE, False)):
        branch = path(Verdict.NO_ROUTE, step("a", first), step("a", Stage.ROUTE, stops=True))
        assert (compared(branch, drop("a", "NETFILTER_DROP")).parted is None) is agrees


def test_a_walk_that_does_not_know_is_not_contradicted() -> None:
    """UNKNOWN and LEFT_SNAPSHOT agree with any drop."""
    for verdict in (Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT):
        assert compared(path(verdict, step("a")), drop("a", "IP_RPFILTER")).parted is None


def test_a_stop_that_is_no_step_is_left_alone() -> None:
    """A leg may end between two steps."""
    assert compared(path(Verdict.LOOP, step("a")), drop("a", "IP_INHDR")).checked == {}


def test_drops_in_words() -> None:
    """Place, device, reason and function, as far as they are known."""
    full = Drop(leg="request", netns="a", device="eth0", reason="R", function="f")
    assert drop_text(full) == "dropped it in a at eth0: R (f)"
    assert drop_text(drop("", "R")) == "dropped it: R"
    assert is_noise("QUEUE_PURGE", "")
    assert not is_noise("NO_SOCKET", "tcp_v4_rcv")
