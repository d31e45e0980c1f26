"""``nettrace trace SRC DST``."""

from pathlib import Path

import click

from nettrace.cli.codes import of_trace
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

    Reading changes nothing.  Only --probe sends packets, from SRC.
    """
    from nettrace.app.trace import trace as run
    from nettrace.render.document import walk_document

    with source.open() as context:
        question = packet.question(src, dst, source.manifests)
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
