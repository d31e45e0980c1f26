"""
Groups that import a command when it is called, and end every error as a user can read it.

Lives here: finding commands by name, and the one place where exceptions become exit codes.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.terminal import complain

__all__ = ["LazyGroup", "RootGroup"]


class LazyGroup(click.Group):
    """
    A group whose commands are named by ``module:attribute`` and imported on first use.

    The short help stands beside the name, so that the list of commands imports none of them.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order they were given."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command if it is one of the lazy ones."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their short help, importing none."""
        rows = [(name, words) for name, (_, words) in self._lazy.items()]
        if not rows:
            super().format_commands(ctx, formatter)
            return
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class RootGroup(LazyGroup):
    """The outermost group: whatever goes wrong inside ends with a message and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run, and exit with the code of what happened."""
        code: int
        try:
            result = super().main(
                args,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
            code = result if isinstance(result, int) else ExitCode.OK
        except BaseException as error:  # noqa: BLE001  (the one place that has to see them all)
            code = _ended(error)
        sys.exit(code)


def _ended(error: BaseException) -> int:
    """Tell the user about *error* and return the exit code for it."""
    from nettrace.model.errors import UserError

    match error:
        case SystemExit(code=code):
            return code if isinstance(code, int) else ExitCode.FAILED
        case KeyboardInterrupt() | click.Abort():
            complain("interrupted", kind="")
            return ExitCode.INTERRUPTED
        case UserError():
            complain(error.what, where=error.where, hint=error.hint)
            return error.code
        case click.ClickException():
            context = getattr(error, "ctx", None)
            place = context.command_path if context is not None else ""
            words = error.format_message()
            complain(
                words[:1].lower() + words[1:].rstrip("."),
                where=place,
                hint=f"{place} --help" if place else "",
            )
            return ExitCode.FAILED
        case BrokenPipeError():
            # Whoever read our output has seen enough; the interpreter must not complain again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return ExitCode.OK
    if os.environ.get("NETTRACE_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    complain(
        f"this is a bug in nettrace: {type(error).__name__}: {error}",
        hint="run it again with NETTRACE_DEBUG=1 and report what it prints, with `nettrace snapshot -o FILE`",
    )
    return ExitCode.FAILED
