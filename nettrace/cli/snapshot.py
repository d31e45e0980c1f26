"""``nettrace snapshot -o FILE``."""

import sys
from pathlib import Path

import click

from nettrace.cli.options import Source, source_options
from nettrace.cli.terminal import say

__all__ = ["snapshot"]


@click.command()
@click.option(
    *("-o", "file"),
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="Where to; packed if it ends in .gz, standard output for -.",
)
@click.option("--node", metavar="NODE", help="Only what this node knows: its own namespaces and files.")
@source_options
def snapshot(file: Path, *, node: str | None, source: Source) -> None:
    """
    Read everything, and write it into FILE for --from, here or on another machine.

    The file names every address and rule of the node: it is readable by its owner only.
    """
    from nettrace.app.snapshot import save, take
    from nettrace.parse.snapshot_file import encode_snapshot

    with source.open() as context:
        taken = take(context, node=node)
    if str(file) == "-":
        sys.stdout.buffer.write(encode_snapshot(taken))
        sys.stdout.flush()
        return
    size = save(taken, file)
    say(f"{len(taken.namespaces)} namespaces of {len(taken.nodes)} nodes, {size:,} bytes: {file}")
