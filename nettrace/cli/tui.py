"""
``nettrace`` without a command: the application.

Lives here: what the terminal can do, and what is printed when the application has ended.
"""

import os
import sys

import click

from nettrace.cli.options import Source
from nettrace.cli.terminal import speaks_unicode

__all__ = ["run"]


def run(source: Source, *, ascii_only: bool) -> None:
    """Open the application on *source*; returns when the user leaves it."""
    if os.environ.get("NO_COLOR") == "":
        del os.environ["NO_COLOR"]  # textual asks whether it is there, everybody else what it says
    from nettrace.tui.app import NettraceApp
    from nettrace.tui.keys import actions_of_user
    from nettrace.tui.session import Where

    where = Where(source.lab, source.from_files, source.objects)
    app = NettraceApp(
        where, ascii_only=ascii_only or not speaks_unicode(sys.stdout), actions=actions_of_user()
    )
    said = app.run()
    app.session.close()
    if said:
        click.echo(said, nl=False)
