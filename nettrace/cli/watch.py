"""``nettrace watch [TARGET]``."""

import sys
from typing import TYPE_CHECKING

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.options import Source, duration, source_options
from nettrace.cli.sink import Sink, output_options
from nettrace.cli.terminal import say

if TYPE_CHECKING:
    from nettrace.model.dropped import DropSeen

__all__ = ["watch"]


@click.command()
@click.argument("target", required=False)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N drops.")
@click.option("--for", "seconds", callback=duration, metavar="TIME", help="End after 30s, 2m ...")
@click.option("--all", "everything", is_flag=True, help="Also multicast, duplicates and copies.")
@click.option(
    "--trace", "confirm", is_flag=True, help="Trace the rules for the next packet like a dropped one."
)
@source_options
@output_options
@click.pass_context
def watch(
    ctx: click.Context,
    target: str | None,
    *,
    count: int | None,
    seconds: float | None,
    everything: bool,
    confirm: bool,
    source: Source,
    sink: Sink,
) -> None:
    """
    Show what is being dropped right now, of packets from or to TARGET if one is given, and why.

    Each line has the kernel's reason, and what the walk of the dropped header predicts.  Only
    --trace changes anything: a table of its own traces rules, which the kernel removes with it.
    With --for or --count: exit 0 if nothing was dropped, 1 if something was, 3 if that cannot be told.
    """
    from nettrace.app.watch import Wish
    from nettrace.app.watch import watch as run
    from nettrace.model.dropped import DropSeen

    if len(sink.outputs) > 1 or sink.outputs[0].file is not None:
        raise click.UsageError("watch writes one format, on standard output", ctx)
    if sink.outputs[0].format not in ("table", "wide", "json"):
        raise click.UsageError("watch writes table, wide or json", ctx)
    wish = Wish(target=target, count=count, seconds=seconds, everything=everything, confirm=confirm)
    reopen = source.open if source.lab is None and not source.from_files else None
    seen = unsure = False
    with source.open() as context:
        for one in run(context, wish, reopen=reopen):
            if isinstance(one, DropSeen):
                seen = True
                _show(one, sink)
            else:
                unsure = True
                say(f"note: {one}")
    ctx.exit(ExitCode.PROBLEM if seen else ExitCode.UNKNOWN if unsure else ExitCode.OK)


def _show(seen: "DropSeen", sink: Sink) -> None:
    from nettrace.render.document import drop_document

    document = drop_document(seen)
    if sink.outputs[0].format != "json":
        sink.emit(document)
        return
    from nettrace.render.json import one_line

    sys.stdout.write(one_line(document))
    sys.stdout.flush()
