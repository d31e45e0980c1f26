"""A trace for people."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from nettrace.model.observation import Agreement, Comparison, Parting
from nettrace.model.report import TraceReport
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.render.document import walk_document
from nettrace.render.page import Look
from nettrace.render.text import render

EXPECTED = Path(__file__).parent / "expected"


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("broken-80", Look()),
        ("broken-120", Look(width=120)),
        ("broken-ascii", Look(ascii=True)),
        ("broken-wide", Look(width=120, wide=True)),
    ],
)
def test_a_broken_nodeport_reads_as_recorded(report: TraceReport, name: str, look: Look) -> None:
    """The page of a failing NodePort is the one in expected/, at each width and in ASCII."""
    assert render(walk_document(report), look) == (EXPECTED / f"{name}.txt").read_text()


def test_lines_keep_to_the_width(report: TraceReport) -> None:
    """At 80 columns nothing but a heading or a word that cannot be broken is longer."""
    lines = render(walk_document(report), Look()).splitlines()
    assert not [text for text in lines if len(text) > 80 and not text.startswith("request")]


def test_ascii_means_ascii(report: TraceReport) -> None:
    """With the ASCII symbols a page of ASCII names holds nothing else."""
    assert render(walk_document(report), Look(ascii=True)).isascii()


def test_two_marks_tell_the_fault_from_the_end(report: TraceReport) -> None:
    """The step that the repair is about carries `!` and the cause, the one that ended the leg `x`."""
    lines = render(walk_document(report), Look()).splitlines()
    assert [text.split()[:2] for text in lines if " ! " in text] == [["!", "POSTROUTING"]]
    assert [text.split()[:3] for text in lines if " x " in text] == [["internet", "x", "eth0"]]


def test_a_single_branch_needs_no_counting(report: TraceReport) -> None:
    """One branch is shown without branches, others, or shares."""
    walk = replace(
        report.walk,
        paths=(replace(report.walk.paths[2], probability=1.0),),
        verdict=Verdict.DELIVERED,
        outcome=Outcome.CONNECTED,
    )
    text = render(walk_document(replace(report, walk=walk, findings=(), observed=None, agreement=None)))
    assert "branches:" not in text
    assert "others" not in text
    assert "connected   (walked 1 branch, 0 unknown)" in text


def test_what_is_unknown_says_what_is_needed(report: TraceReport) -> None:
    """An UNKNOWN branch is marked with a question mark and its reason, never as well or broken."""
    first = report.walk.paths[2]
    leg = replace(first.legs[0], verdict=Verdict.UNKNOWN, reason="conntrack is not known: no privilege")
    path = replace(
        first, legs=(leg,), verdict=Verdict.UNKNOWN, outcome=Outcome.UNKNOWN, failed=0, endpoint=None
    )
    walk = replace(report.walk, paths=(path,), verdict=Verdict.UNKNOWN, outcome=Outcome.UNKNOWN)
    text = render(
        walk_document(replace(report, walk=walk, findings=(), goal_met=None, observed=None, agreement=None))
    )
    assert "? UNKNOWN: conntrack is not known: no privilege" in text
    assert "? unknown   (walked 1 branch, 1 unknown)" in text
    assert ": undecided" in text


def test_unequal_branches_are_counted_in_per_cent(report: TraceReport) -> None:
    """Where branches are not drawn alike, the share is that of connections, not of branches."""
    paths = [replace(path, probability=p) for path, p in zip(report.walk.paths, (0.2, 0.2, 0.6), strict=True)]
    text = render(walk_document(replace(report, walk=replace(report.walk, paths=tuple(paths)))))
    assert "timeout  in 40% of connections" in text
    assert "connected  in 60% of connections" in text


def test_a_probe_that_differs_says_so(report: TraceReport) -> None:
    """A disagreement between walk and kernel is told with the prediction and every difference."""
    assert report.agreement is not None
    agreement = replace(report.agreement, agrees=False, differences=("refused was never predicted",))
    text = render(walk_document(replace(report, agreement=agreement)))
    assert "differs from the walk, which says mixed" in text
    assert "refused was never predicted" in text


def test_names_cannot_forge_lines(report: TraceReport) -> None:
    """A hostile comment, name or answer stays inside its line and its colours."""
    evil = "\x1b[31m\nerror[forged]: \u202edetrevni"
    finding = replace(report.findings[0], message=evil, where=evil, subject=evil)
    path = replace(report.walk.paths[0], reason=evil, draws=(evil,))
    walk = replace(report.walk, paths=(path, *report.walk.paths[1:]))
    hostile = walk_document(replace(report, walk=walk, findings=(finding,), goal=evil, notes=(evil,)))
    for colour in (False, True):
        text = render(hostile, colour=colour)
        assert not [one for one in text.splitlines() if one.startswith("error[forged]")]
        assert "\u202e" not in text
    assert "\x1b" not in render(hostile)


def test_steps_that_were_seen_have_a_tick(report: TraceReport) -> None:
    """With watched steps each row tells whether it was seen so, and one line counts them all."""
    steps = len(report.walk.paths[0].request.steps)
    checked: dict[str, tuple[bool | None, ...]] = {"request": (*[True] * (steps - 1), False)}
    parting = Parting(
        leg="request", step=steps - 1, netns="node-a", predicted="one thing", observed="another"
    )
    comparison = Comparison(attempt=0, path=0, checked=checked, parted=parting)
    agreement = Agreement(
        agrees=False, predicted=Outcome.MIXED, differences=("they part there",), comparisons=(comparison,)
    )
    text = render(walk_document(replace(report, agreement=agreement)), Look(ascii=True))
    request = text[text.index("\nrequest") : text.index("\nreply")].splitlines()
    assert any(" + " in one for one in request)
    assert f"x parts from the walk; agrees in {steps - 1} of {steps} steps" in text
    assert "they part there" in text


def test_what_could_not_be_watched_is_said(report: TraceReport) -> None:
    """A note of the observation stands below what was observed."""
    assert report.observed is not None
    observed = replace(report.observed, notes=("node-a was not watched: that needs root",))
    assert "node-a was not watched: that needs root" in render(
        walk_document(replace(report, observed=observed)), Look(width=100)
    )
