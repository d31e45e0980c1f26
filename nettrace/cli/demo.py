"""
The main job, live: break a NodePort, see it fail, learn why, repair it, prove it, undo.

Lives here: the story of ``nettrace lab demo``.  Every line of it is a use case of nettrace.app
that a user can run as the command shown; nothing is canned.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from nettrace.app import repair
from nettrace.app.context import Context, open_context
from nettrace.app.remember import Question, forget
from nettrace.app.trace import probe, trace, walk_of
from nettrace.cli.codes import ExitCode
from nettrace.cli.sink import Sink
from nettrace.lab import break_, down, find, list_labs, up
from nettrace.model.errors import UserError
from nettrace.model.observation import Observed
from nettrace.model.walk import Outcome
from nettrace.render.command import command
from nettrace.render.document import plan_document, repair_document, walk_document

__all__ = ["run"]

CAUSE = "kube-postrouting-missing"
QUESTION = Question(source="internet", target="node/node-a:30080")

#: Real connections at each check: that a share of one third never shows has a chance of (2/3)^24.
TRIES = 24


class _Unexpected(Exception):
    """A step of the demonstration did not go as it should."""


def run(sink: Sink) -> int:
    """
    Play the demonstration and return the exit code.

    0: every step went as it should; 1: one did not, and which.  The lab is taken down in any case.
    """
    began = time.monotonic()
    click.echo("A Kubernetes network of two nodes, made of network namespaces on this machine; a NodePort")
    click.echo("that stops working; why; the repair, and the proof.  Nothing leaves this machine.")
    try:
        with _lab() as name:
            _story(sink, name)
    except _Unexpected as error:
        click.echo(f"\nthe demonstration did not go as it should: {error}", err=True)
        return ExitCode.PROBLEM
    click.echo(f"\nThat was the main job, in {time.monotonic() - began:.0f} s.  Try it yourself:")
    click.echo("  nettrace lab up flannel-vxlan --name shop      and then any of the commands above")
    click.echo("  nettrace lab break CAUSE --lab shop            `nettrace explain` lists the causes")
    return ExitCode.OK


@contextmanager
def _lab() -> Iterator[str]:
    """Build the lab under a free name, and take it down whatever happens."""
    taken = {record.name for record in list_labs()}
    name = "demo" if "demo" not in taken else f"demo-{os.getpid()}"
    _chapter(1, "a cluster", f"nettrace lab up flannel-vxlan --name {name}")
    began = time.monotonic()
    record = up("flannel-vxlan", name=name)
    pods = [member.name for member in record.namespaces if member.role == "pod"]
    click.echo(
        f"  up in {time.monotonic() - began:.1f} s: node-a, node-b, a client outside, {len(pods)} pods:"
    )
    click.echo(f"  {', '.join(pods)}")
    click.echo("  flannel's VXLAN between the nodes, kube-proxy's iptables rules, real listeners, real DNS")
    try:
        yield name
    finally:
        _chapter(9, "the lab goes, without a trace", f"nettrace lab down {name}")
        down(name)
        forget(f"lab {name}")
        click.echo("  down")


def _story(sink: Sink, name: str) -> None:
    ask = f"{QUESTION.source} {QUESTION.target} --lab {name}"
    with open_context(lab=name) as context:
        _chapter(2, "NodePort 30080 works", f"nettrace trace {ask} --count {TRIES}")
        _expect(_connect(context), {Outcome.CONNECTED}, "the healthy NodePort answers")

        _chapter(3, "something flushes a chain of kube-proxy's", f"nettrace lab break {CAUSE} --lab {name}")
        for step in break_(find(name), CAUSE, node="node-a").steps:
            click.echo(f"  node-a # {command(step.change)}")

        _chapter(4, "now it fails for some, and no log says why", f"nettrace trace {ask} --count {TRIES}")
        broken = context.again()
        _expect(_connect(broken), {Outcome.CONNECTED, Outcome.TIMEOUT}, "the broken NodePort fails for some")

        _chapter(5, "why", f"nettrace trace {ask}")
        report = trace(broken, QUESTION)
        sink.emit(walk_document(report, broken.snapshot))
        if not report.findings or report.findings[0].cause != CAUSE:
            raise _Unexpected(f"{CAUSE} is not the first finding")

        _chapter(6, "the least change that mends it", f"nettrace repair plan {CAUSE} --lab {name}")
        planned = repair.plan(context.again(), CAUSE)
        sink.emit(plan_document(planned))

        _chapter(
            7, "apply it: journalled, walked again, proven", f"nettrace repair apply {CAUSE} --lab {name}"
        )
        done = repair.apply(context.again(), planned)
        sink.emit(repair_document(done))
        if not done.kept:
            raise _Unexpected(f"the repair was taken back: {done.reason}")
        _expect(_connect(context.again()), {Outcome.CONNECTED}, "the repaired NodePort answers")

        _chapter(8, "and back: the node is as it was, fault and all", f"nettrace repair undo --lab {name}")
        try:
            entry = repair.undo(done.entry.id)
        except UserError as error:
            raise _Unexpected(error.what) from error
        click.echo(f"  repair {entry.id}: {entry.state}")
        _expect(_connect(context.again()), {Outcome.CONNECTED, Outcome.TIMEOUT}, "the fault is back")


def _connect(context: Context) -> Observed:
    """Make the real connections, and say how they ended."""
    observed = probe(context, walk_of(context, QUESTION), count=TRIES)
    answered: dict[str, int] = {}
    for attempt in observed.attempts:
        if attempt.outcome is Outcome.CONNECTED:
            answered[attempt.answered_by or "?"] = answered.get(attempt.answered_by or "?", 0) + 1
    for outcome, times in sorted(observed.outcomes.items()):
        by = (
            ", ".join(f"{who} {n}" for who, n in sorted(answered.items()))
            if outcome is Outcome.CONNECTED
            else ""
        )
        click.echo(
            f"  real connections: {outcome.value} {times} of {len(observed.attempts)}"
            + (f"   answered by {by}" if by else "")
        )
    return observed


def _expect(observed: Observed, wanted: set[Outcome], claim: str) -> None:
    if set(observed.outcomes) != wanted:
        seen = ", ".join(sorted(outcome.value for outcome in observed.outcomes))
        raise _Unexpected(f"{claim}: seen {seen}")


def _chapter(number: int, title: str, command: str) -> None:
    click.echo(f"\n{number}  {title}")
    click.echo(f"   $ {command}")
