"""``nettrace doctor``."""

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.sink import Sink, output_options

__all__ = ["doctor"]


@click.command()
@output_options
@click.pass_context
def doctor(ctx: click.Context, *, sink: Sink) -> None:
    """Look at privilege, tools and kernel, and say what does not work without which; changes nothing."""
    from nettrace.app.doctor import examine
    from nettrace.render.contract_state import DoctorDocument

    checks = examine()
    sink.emit(DoctorDocument(checks=checks))
    states = {check.state for check in checks}
    ctx.exit(
        ExitCode.PROBLEM if "missing" in states else ExitCode.UNKNOWN if "unknown" in states else ExitCode.OK
    )
