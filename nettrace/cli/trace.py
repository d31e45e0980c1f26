"""``nettrace trace SRC DST``."""

from pathlib import Path

import click

from nettrace.cli.codes import of_ingress, of_trace
from nettrace.cli.options import PacketOptions, Source, packet_options, source_options
from nettrace.cli.sink import Sink, output_options

__all__ = ["trace"]


@click.command()
@click.argument("src")
@click.argument("dst")
@click.option("--probe", is_flag=True, help="Make real connections afterwards, and compare.")
@click.option(
    "--count", type=click.IntRange(1, 10_000), default=None, help="How many of them; implies --probe.  [1]"
)
@click.option(
    "--pcap",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the probe's frames on every device (pcapng); implies --probe.",
)
@click.option("--frames", is_flag=True, help="Show them, dissected by tshark; implies --probe.")
@click.option("--crafted", is_flag=True, help="Send single packets by a raw socket instead; implies --probe.")
@packet_options
@source_options
@output_options
@click.pass_context
def trace(
    ctx: click.Context,
    src: str,
    dst: str,
    *,
    probe: bool,
    count: int | None,
    pcap: Path | None,
    frames: bool,
    crafted: bool,
    packet: PacketOptions,
    source: Source,
    sink: Sink,
) -> None:
    """
    Walk a packet from SRC to DST through the state as it is, and its reply back.

    DST may be ingress/NAMESPACE/NAME[:HOST/PATH]: the flow to the controller, the rule, the flow on.
    Reading changes nothing.  Only --probe sends packets, from SRC.
    """
    from nettrace.app.trace import trace as run
    from nettrace.parse.target import parse_ingress
    from nettrace.render.document import walk_document

    through = parse_ingress(dst)
    if through is not None:
        if pcap is not None or frames or crafted or packet != PacketOptions.plain():
            raise click.UsageError(
                "an Ingress is two flows: give the packet's options to a trace of one of them"
            )
        from nettrace.app.ingress import trace_ingress
        from nettrace.render.ingress_document import ingress_document

        with source.open() as context:
            joined = trace_ingress(
                context, src, through, with_probe=probe or count is not None, count=count or 1
            )
            shown = ingress_document(joined, context.snapshot)
        sink.emit(shown)
        ctx.exit(of_ingress(joined))
    with source.open() as context:
        question = packet.question(src, dst, source.objects)
        report = run(
            context,
            question,
            with_probe=probe or count is not None or pcap is not None or frames or crafted,
            count=count or 1,
            pcap=pcap,
            dissected=frames,
            crafted=crafted,
        )
        document = walk_document(report, context.snapshot)
    sink.emit(document)
    ctx.exit(of_trace(report))
