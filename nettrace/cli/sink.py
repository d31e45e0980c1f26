"""
Where documents go: formats, files, colours.

Lives here: ``-o FORMAT[=FILE]``, ``--color``, ``--ascii`` and writing.
Not here: the formats (nettrace.render).
"""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import click

from nettrace.cli.terminal import speaks_unicode, wants_colour, width

if TYPE_CHECKING:
    from nettrace.render.contract import Document
    from nettrace.render.page import Look, Page

__all__ = ["FORMATS", "Sink", "output_options"]

FORMATS = ("table", "wide", "json", "yaml", "markdown", "junit", "sarif", "github", "svg", "html")

Command: TypeAlias = Callable[..., Any]


class Output(NamedTuple):
    """One format, and its file if it has one."""

    format: str
    file: Path | None


class Sink(NamedTuple):
    """Everything that was said about output."""

    outputs: tuple[Output, ...]
    colour: str
    ascii: bool

    def for_people(self) -> "Sink":
        """Return the sink that shows a document to whoever sits at the terminal."""
        return self._replace(outputs=(Output("table", None),))

    def emit(self, document: "Document") -> None:
        """Write *document* in every format that was asked for."""
        for one in self.outputs:
            if one.file is None:
                sys.stdout.write(self._rendered(document, one.format, to_terminal=True))
                sys.stdout.flush()
                continue
            text = self._rendered(document, one.format, to_terminal=False)
            _write(one.file, text)

    @property
    def streams(self) -> bool:
        """Is a person to see it on standard output, and nothing else asked for?"""
        return [one for one in self.outputs if one.file is None and one.format in ("table", "wide")] == list(
            self.outputs
        )

    def show(self, lay_out: "Callable[[Look], Page]") -> None:
        """Write a page that is part of a document, as soon as there is one."""
        from nettrace.render import text

        look = self._look(self.outputs[0].format, to_terminal=True)
        sys.stdout.write(text.written(lay_out(look), colour=wants_colour(self.colour, sys.stdout)))
        sys.stdout.flush()

    def _look(self, name: str, *, to_terminal: bool) -> "Look":
        from nettrace.render.page import Look

        ascii_only = self.ascii or (to_terminal and not speaks_unicode(sys.stdout))
        return Look(width=width() if to_terminal else 100, wide=name == "wide", ascii=ascii_only)

    def _rendered(self, document: "Document", name: str, *, to_terminal: bool) -> str:
        if name in ("table", "wide"):
            from nettrace.render import text

            look = self._look(name, to_terminal=to_terminal)
            colour = wants_colour(self.colour, sys.stdout) if to_terminal else self.colour == "always"
            return text.render(document, look, colour=colour)
        from nettrace.render.formats import in_format

        return in_format(document, name)


def _write(file: Path, text: str) -> None:
    from nettrace.model.errors import UserError

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write the result: {error.strerror}", where=str(file), hint="give a writable file to -o"
        ) from error


def _outputs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Output, ...]:
    """Read the values of ``-o``; at most one of them may go to standard output."""
    found = []
    for value in values or ("table",):
        name, _, file = value.partition("=")
        if name not in FORMATS:
            raise click.BadParameter(f"{name!r} is no format: {', '.join(FORMATS)}", ctx, param)
        if "=" in value and not file:
            raise click.BadParameter(f"{value!r} names no file", ctx, param)
        found.append(Output(name, Path(file) if file and file != "-" else None))
    if sum(one.file is None for one in found) > 1:
        raise click.BadParameter("two formats on standard output: give one of them a file", ctx, param)
    return tuple(found)


def output_options(command: Command) -> Command:
    """Add ``-o``, ``--color`` and ``--ascii``; the command gets them as ``sink``."""

    @wraps(command)
    def wrapped(*args: Any, output: tuple[Output, ...], color: str, ascii_only: bool, **kwargs: Any) -> Any:
        return command(*args, sink=Sink(output, color, ascii_only), **kwargs)

    options = [
        click.option(
            *("-o", "output"),
            metavar="FORMAT[=FILE]",
            multiple=True,
            callback=_outputs,
            help=f"{', '.join(FORMATS)}; may be given several times.",
        ),
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            show_default=True,
            help="Colours; auto heeds NO_COLOR.",
        ),
        click.option("--ascii", "ascii_only", is_flag=True, help="No symbols outside ASCII."),
    ]
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
