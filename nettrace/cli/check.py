"""``nettrace check [FILE]``."""

import sys
from pathlib import Path

import click

from nettrace.cli.codes import FAIL_ON, of_check
from nettrace.cli.options import Source, source_options
from nettrace.cli.sink import Sink, output_options

__all__ = ["check"]

_ALL = "all"


class _Sample(click.ParamType[int]):
    """A number of pods, or ``all`` (-1)."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if value == _ALL:
            return -1
        text = str(value)
        if not text.isdecimal() or not 1 <= int(text) <= 10_000:
            self.fail(f"{text!r} is neither a number of pods nor all", param, ctx)
        return int(text)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option(
    "--via",
    type=click.Choice(["model", "probe", "both"]),
    help="Walk, make real connections, or both; instead of what FILE says.",
)
@click.option(
    "--sample",
    type=_Sample(),
    default=2,
    show_default=True,
    metavar="N|all",
    help="Pods of each node that the invariants are asked of.",
)
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="inconclusive",
    show_default=True,
    help="The least that does not end with 0.",
)
@source_options
@output_options
@click.pass_context
def check(
    ctx: click.Context,
    file: Path | None,
    *,
    via: str | None,
    sample: int,
    fail_on: str,
    source: Source,
    sink: Sink,
) -> None:
    """
    Hold the cluster against the expectations in FILE, or against what holds in every cluster.

    Without FILE the invariants are asked: the rules and goals of the Kubernetes network model, and the
    health of the nodes.  Only probes send packets.

    Exit codes: 0 as expected, 1 a problem, 2 an expectation that cannot be asked, 3 inconclusive.
    """
    from nettrace.app.check import check as run
    from nettrace.app.check import load_checks
    from nettrace.model.check import Via
    from nettrace.render.check_document import check_document

    checks = load_checks(file)
    with source.open() as context:
        try:
            report = run(
                context,
                checks,
                sample=None if sample < 0 else sample,
                via=Via(via) if via is not None else None,
                on_progress=_progress if sys.stderr.isatty() else _silent,
            )
        finally:
            _wipe()
        document = check_document(report, context.snapshot)
    sink.emit(document)
    ctx.exit(of_check(report, fail_on))


def _progress(phase: str, done: int, whole: int) -> None:
    """Show how far it is on one line of the terminal; a later call writes over it."""
    if done % 10 == 0 or done == whole:
        sys.stderr.write(f"\r\x1b[K{phase} {done} of {whole}")
        sys.stderr.flush()


def _silent(phase: str, done: int, whole: int) -> None:
    """Say nothing: nobody watches."""


def _wipe() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
