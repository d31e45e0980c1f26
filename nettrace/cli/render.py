"""``nettrace render FILE -o FORMAT``."""

import sys
from pathlib import Path

import click

from nettrace.cli.sink import Sink, output_options

__all__ = ["render"]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@output_options
def render(file: Path, *, sink: Sink) -> None:
    """Render FILE, a result that was saved with -o json=FILE; standard input for -."""
    from nettrace.model.errors import UserError
    from nettrace.render import json

    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the result: {error.strerror}", where=str(file)) from error
    sink.emit(json.decode(data, str(file)))
