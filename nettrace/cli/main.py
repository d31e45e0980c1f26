"""
``nettrace``: the root of all commands.

Lives here: their names and one line about each.
"""

import sys
from typing import Any

import click

from nettrace import __version__
from nettrace.cli.group import RootGroup
from nettrace.cli.options import Source, source_options

__all__ = ["main", "root"]

_COMMANDS = {
    "trace": ("nettrace.cli.trace:trace", "Walk a packet from SRC to DST and say why it does not arrive."),
    "expect": ("nettrace.cli.expect:expect", "Print what kube-proxy owes a node."),
    "debug": ("nettrace.cli.debug:debug", "Find out step by step why a Service does not work."),
    "check": ("nettrace.cli.check:check", "Hold a cluster against what is expected of it; for pipelines."),
    "watch": ("nettrace.cli.watch:watch", "Show what is being dropped right now, and why."),
    "repair": ("nettrace.cli.repair:repair", "Plan, apply and undo the change that mends it."),
    "show": ("nettrace.cli.show:show", "List links, routes, rules, services and the like."),
    "snapshot": ("nettrace.cli.snapshot:snapshot", "Write the whole state into a file."),
    "explain": ("nettrace.cli.explain:explain", "What a cause is, how it shows, how it is repaired."),
    "lab": ("nettrace.cli.lab:lab", "Build, break and heal clusters out of network namespaces."),
    "render": ("nettrace.cli.render:render", "A saved result in another format."),
    "schema": ("nettrace.cli.schema:schema", "The JSON Schema of a kind of result."),
    "doctor": ("nettrace.cli.doctor:doctor", "What this machine has of what nettrace needs."),
}


@click.group(
    cls=RootGroup,
    lazy=_COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="nettrace", message="%(prog)s %(version)s")
@click.option("--ascii", "ascii_only", is_flag=True, help="The application with ASCII symbols only.")
@source_options
@click.pass_context
def root(ctx: click.Context, *, ascii_only: bool, source: Source) -> None:
    """
    Why does this packet not arrive, and what has to change so that it does?

    Without a command, on a terminal: the application, on this machine, --lab or --from.

    \b
    Targets are [kind/][namespace/]name[:port[/proto]]:
      nettrace trace pod/default/client svc/default/web:http
      nettrace trace internet node/node-b:30080 --lab
      nettrace trace netns/pod-a 10.96.0.10:53/udp

    Exit codes: 0 as expected, 1 a problem was found, 2 could not run, 3 inconclusive,
    130 interrupted.
    """  # noqa: D301  (click reads the backspace: keep these lines)
    given = ascii_only or source != Source(None, (), None)
    if ctx.invoked_subcommand is not None:
        if given:
            name = ctx.invoked_subcommand
            raise click.UsageError(f"options of {name} stand behind it: nettrace {name} ...", ctx)
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        from nettrace.cli.tui import run

        run(source, ascii_only=ascii_only)
    elif given:
        raise click.UsageError("the application needs a terminal", ctx)
    else:
        raise click.exceptions.NoArgsIsHelpError(ctx)


def main() -> None:
    """Run the command line of this process, and exit."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a name that the locale has no letters for
    root.main(prog_name="nettrace")
