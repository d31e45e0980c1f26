"""``nettrace repair plan|apply|confirm|undo|history``."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.options import PacketOptions, Source, duration, lab_option, packet_options, source_options
from nettrace.cli.sink import Sink, output_options
from nettrace.cli.terminal import say

if TYPE_CHECKING:
    from nettrace.app.context import Context
    from nettrace.app.remember import Question
    from nettrace.model.plan import JournalEntry, RepairPlan

__all__ = ["repair"]


@click.group()
def repair() -> None:
    """
    Mend what `nettrace trace` found: the least change, journalled, with its undo.

    CAUSE is the word in brackets of a finding.  It is looked for in the flow that was traced
    last, or in the one that --flow names.
    """


def _finding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what names a repair of a finding: ``--flow``, the packet's options, ``--choice``."""

    @wraps(command)
    def wrapped(*args: Any, flow: tuple[str, str] | None, packet: PacketOptions, **kwargs: Any) -> Any:
        source: Source = kwargs["source"]
        question = packet.question(*flow, source.objects) if flow is not None else None
        return command(*args, question=question, **kwargs)

    made = packet_options(wrapped)
    made = click.option("--choice", type=click.IntRange(1), default=1, help="Which of several repairs.  [1]")(
        made
    )
    return click.option("--flow", nargs=2, metavar="SRC DST", help="The flow, as for trace.")(made)


@repair.command(short_help="Show the commands, their inverses, and what there is to know.")
@click.argument("cause")
@source_options
@output_options
@_finding_options
def plan(cause: str, *, question: "Question | None", choice: int, source: Source, sink: Sink) -> None:
    """Plan the repair of CAUSE and change nothing; -o json=FILE keeps it for `repair apply FILE`."""
    from nettrace.app.repair import plan as run
    from nettrace.render.document import plan_document

    with source.open() as context:
        made = run(context, cause, question=question, choice=choice)
    sink.emit(plan_document(made))


@repair.command("apply", short_help="Apply a plan, prove it, take it back if it does not help.")
@click.argument("cause", metavar="CAUSE|FILE")
@click.option(
    "--confirm-within",
    callback=duration,
    metavar="TIME",
    help="Undo it after this time (60s, 2m) unless `repair confirm` comes first.",
)
@click.option("--yes", is_flag=True, help="Do not ask, also on a terminal.")
@click.option("--probe/--no-probe", default=True, show_default=True, help="Prove it with real connections.")
@click.option("--allow-no-undo", is_flag=True, help="Apply changes that cannot be taken back.")
@source_options
@output_options
@_finding_options
@click.pass_context
def apply_(
    ctx: click.Context,
    cause: str,
    *,
    confirm_within: float | None,
    yes: bool,
    probe: bool,
    allow_no_undo: bool,
    question: "Question | None",
    choice: int,
    source: Source,
    sink: Sink,
) -> None:
    """
    Apply the repair of CAUSE, or the plan in FILE.

    Refused if the state has changed since the plan was made.  Every change is in the journal
    before it is made; afterwards the flow is walked again and probed, and everything is taken
    back if that does not meet the goal.
    """
    from nettrace.app.repair import apply as run
    from nettrace.render.document import plan_document, repair_document

    with source.open() as context:
        made = _plan_of(context, cause, question, choice)
        if not yes and sys.stdin.isatty() and sys.stdout.isatty():
            sink.for_people().emit(plan_document(made))
            if not click.confirm("apply it?"):
                ctx.exit(ExitCode.INTERRUPTED)
        report = run(
            context,
            made,
            confirm_within=confirm_within,
            with_probe=probe,
            consent=allow_no_undo,
            on_event=say,
        )
    sink.emit(repair_document(report))
    ctx.exit(ExitCode.OK if report.kept else ExitCode.PROBLEM)


def _plan_of(context: "Context", cause: str, question: "Question | None", choice: int) -> "RepairPlan":
    """Return the plan that *cause* names: a file if it looks like one, else a finding."""
    from nettrace.app import repair as app

    if "/" in cause or cause.endswith(".json"):
        return app.load_plan(Path(cause))
    return app.plan(context, cause, question=question, choice=choice)


@repair.command(short_help="Keep a repair that waits for confirmation.")
@click.argument("identity", metavar="ID")
@output_options
def confirm(identity: str, *, sink: Sink) -> None:
    """Keep the repair ID for good: the rollback that waits for it is called off."""
    from nettrace.app.repair import confirm as run

    _emit((run(identity),), sink)


@repair.command(short_help="Take a repair back.")
@click.argument("identity", metavar="[ID]", required=False)
@lab_option
@output_options
@click.pass_context
def undo(ctx: click.Context, identity: str | None, *, lab: str | None, sink: Sink) -> None:
    """Take the repair ID back, or the last one that stands: the state is then as it was before."""
    from nettrace.app.repair import undo as run

    entry = run(identity, label=_label(lab))
    _emit((entry,), sink)
    ctx.exit(ExitCode.OK if entry.state in ("undone", "rolled-back") else ExitCode.PROBLEM)


@repair.command(short_help="All repairs in the journal.")
@lab_option
@output_options
def history(*, lab: str | None, sink: Sink) -> None:
    """List all repairs, the newest first; -o wide with their changes."""
    from nettrace.app.repair import history as run

    label = _label(lab)
    _emit(tuple(entry for entry in reversed(run()) if label in (None, entry.plan.context)), sink)


def _label(lab: str | None) -> str | None:
    """Return the journal's word for a lab, None if none was named."""
    if lab is None:
        return None
    from nettrace.lab import find

    return f"lab {lab or find(None).name}"


def _emit(entries: "tuple[JournalEntry, ...]", sink: Sink) -> None:
    from nettrace.render.document import history_document

    sink.emit(history_document(entries))
