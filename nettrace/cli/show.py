"""``nettrace show WHAT``."""

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.options import Source, source_options
from nettrace.cli.sink import Sink, output_options

__all__ = ["show"]

_WHAT = (
    "namespaces",
    "links",
    "routes",
    "rules",
    "sets",
    "services",
    "ipvs",
    "offloads",
    "xfrm",
    "conntrack",
    "sockets",
    "policies",
    "programs",
    "systems",
)


@click.command()
@click.argument("what", type=click.Choice(_WHAT))
@click.argument("of", required=False, metavar="[NETNS|NODE]")
@source_options
@output_options
@click.pass_context
def show(ctx: click.Context, what: str, of: str | None, *, source: Source, sink: Sink) -> None:
    """
    List WHAT of every namespace, or of one.

    A section that could not be read is listed with the reason, and the exit code is 3.  ``systems`` are the
    network systems of each node: why they are thought to be there, and whether what they owe it is.
    ``programs`` are those of BPF on devices and cgroups, with the node's maps, ``offloads`` what
    devices do in the kernel's place, ``xfrm`` IPsec's policies and states, without keys.
    """
    if what == "systems":
        ctx.exit(_systems(of, source, sink))
    if what == "programs":
        ctx.exit(_programs(of, source, sink))
    from nettrace.app.show import service_tables
    from nettrace.app.show import show as run
    from nettrace.render.shown import show_document

    with source.open() as context:
        snapshot = run(context, what, of=of)
        tables = service_tables(context) if what == "services" else ()
        document = show_document(what, snapshot, context.label, tables=tables)
    sink.emit(document)
    ctx.exit(ExitCode.UNKNOWN if document.missing else ExitCode.OK)


def _systems(of: str | None, source: Source, sink: Sink) -> ExitCode:
    from nettrace.app.systems import systems
    from nettrace.render.shown import systems_document

    with source.open() as context:
        found = systems(context, of=of)
        document = systems_document(found.found, found.asked, found.missing, context.label)
    sink.emit(document)
    if any(one.differs for one in found.found):
        return ExitCode.PROBLEM
    unknown = document.missing or any(one.unknown for one in found.found)
    return ExitCode.UNKNOWN if unknown else ExitCode.OK


def _programs(of: str | None, source: Source, sink: Sink) -> ExitCode:
    from nettrace.app.show import programs
    from nettrace.render.shown_bpf import programs_document

    with source.open() as context:
        snapshot, words = programs(context, of=of)
        document = programs_document(snapshot, words, context.label)
    sink.emit(document)
    return ExitCode.UNKNOWN if document.missing else ExitCode.OK
