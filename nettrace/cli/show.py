"""``nettrace show WHAT``."""

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.options import Source, source_options
from nettrace.cli.sink import Sink, output_options

__all__ = ["show"]

_WHAT = ("namespaces", "links", "routes", "rules", "sets", "services", "conntrack", "sockets", "policies")


@click.command()
@click.argument("what", type=click.Choice(_WHAT))
@click.argument("of", required=False, metavar="[NETNS|NODE]")
@source_options
@output_options
@click.pass_context
def show(ctx: click.Context, what: str, of: str | None, *, source: Source, sink: Sink) -> None:
    """
    List WHAT of every namespace, or of one.

    A section that could not be read is listed with the reason, and the exit code is 3.
    """
    from nettrace.app.show import show as run
    from nettrace.render.shown import show_document

    with source.open() as context:
        snapshot = run(context, what, of=of)
        document = show_document(what, snapshot, context.label)
    sink.emit(document)
    ctx.exit(ExitCode.UNKNOWN if document.missing else ExitCode.OK)
