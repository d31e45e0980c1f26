"""``nettrace explain CAUSE``."""

import click

from nettrace.cli.sink import Sink, output_options

__all__ = ["explain"]


@click.command()
@click.argument("cause", required=False)
@output_options
def explain(cause: str | None, *, sink: Sink) -> None:
    """Explain CAUSE, or list all causes."""
    from msgspec.structs import asdict

    from nettrace.app.explain import explain as run
    from nettrace.app.plugins import load_plugins
    from nettrace.render.document import explanation_document
    from nettrace.render.page import columns, plain

    plugins = load_plugins()
    if cause is None:
        rows = [(known.id, known.title) for known in plugins.causes()]
        click.echo(plain(columns(rows)), nl=False)
        return
    sink.emit(explanation_document(asdict(run(plugins, cause).explanation)))
