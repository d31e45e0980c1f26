"""``nettrace schema KIND``."""

import click

__all__ = ["schema"]


@click.command()
@click.argument("kind", required=False)
def schema(kind: str | None) -> None:
    """Print the JSON Schema of KIND, or the names of all kinds."""
    from nettrace.model.errors import UserError
    from nettrace.render.schema import KINDS, render

    if kind is None:
        click.echo("\n".join(KINDS))
        return
    named = {name.lower(): name for name in KINDS}
    if kind.lower() not in named:
        raise UserError(f"there is no kind {kind!r}", hint=f"kinds are {', '.join(KINDS)}")
    click.echo(render(named[kind.lower()]), nl=False)
