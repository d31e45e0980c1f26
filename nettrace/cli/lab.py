"""``nettrace lab up|topologies|down|list|apply|exec|break|heal|demo``."""

import sys
from pathlib import Path
from typing import Any

import click

from nettrace.cli.options import lab_option
from nettrace.cli.sink import Sink, output_options
from nettrace.cli.terminal import say

__all__ = ["lab"]


@click.group()
def lab() -> None:
    """
    Clusters out of network namespaces, to learn and to try things out (root).

    A lab never touches this machine's own namespace and reaches no real network.
    """


@lab.command(short_help="Build a lab.")
@click.argument("topology")
@click.option("--name", help="Its name; the first free of lab1, lab2 ... otherwise.")
@click.option("--nodes", type=click.IntRange(1, 20), default=2, show_default=True, help="How many nodes.")
@click.option(
    "--manifests",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="The Kubernetes objects it is to have, in place of its own.",
)
@click.option(
    "--proxy",
    type=click.Choice(["iptables", "nftables", "ipvs"]),
    help="kube-proxy's mode.  [as in the manifests: iptables]",
)
@click.option("--pod-cidr", metavar="PREFIX", help="The pods' network.")
@click.option("--service-cidr", metavar="PREFIX", help="The Services' network.")
@click.option("--node-net", metavar="PREFIX", help="The nodes' network.")
@click.option("--docker-net", metavar="PREFIX", help="The bridge's network (docker).")
@click.option("--publish", type=click.IntRange(1, 65535), help="The published port (docker).")
def up(topology: str, *, name: str | None, nodes: int, manifests: Path | None, **nets: Any) -> None:
    """
    Build the lab TOPOLOGY in seconds; nothing is left if that fails.

    `nettrace lab topologies` lists them.
    """
    from nettrace.lab import up as run

    given = {option: value for option, value in nets.items() if value is not None}
    record = run(topology, name=name, nodes=nodes, manifests=manifests, progress=say, **given)
    click.echo(f"lab {record.name} is up: {topology}, {len(record.namespaces)} namespaces")
    say(f"next: nettrace show namespaces --lab {record.name}")


@lab.command("topologies", short_help="What can be built.")
def topologies_() -> None:
    """List the topologies of all plugins, a line each."""
    from nettrace.lab.topologies import topologies

    found = topologies()
    width = max((len(name) for name in found), default=0)
    for name, one in found.items():
        click.echo(f"{name:{width}}  {one.summary}")


@lab.command(short_help="Take a lab down.")
@click.argument("name", required=False)
def down(name: str | None) -> None:
    """Take the lab NAME down, or the only one: its namespaces, processes and files."""
    from nettrace.lab import down as run

    click.echo(f"lab {run(name)} is down")


@lab.command("list", short_help="All labs; -o wide with their members.")
@output_options
def list_(*, sink: Sink) -> None:
    """List all labs."""
    from nettrace.lab import list_labs
    from nettrace.render.document import labs_document

    sink.emit(labs_document(list_labs()))


@lab.command(short_help="Add, change or delete objects of a lab that is up.")
@click.option(
    "-f",
    "--filename",
    "files",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    metavar="FILE_OR_DIR",
    help="The objects, YAML or JSON.",
)
@click.option("--delete", is_flag=True, help="Delete these objects.")
@lab_option
def apply(*, files: Path, delete: bool, lab: str | None) -> None:
    """
    Bring a lab to the objects in a manifest, as the controllers of a cluster would.

    Pods, endpoints, DNS, Ingress, balancer and the nodes' rules follow.  What else was changed on
    a node stays.
    """
    from nettrace.lab import apply as run
    from nettrace.lab import find

    done = run(find(lab or None), files, delete=delete, progress=say)
    for note in done.notes:
        say(note)
    for title, word in done.objects:
        click.echo(f"{title} {word}")


@lab.command(
    "exec",
    short_help="Run a command in a member of a lab.",
    context_settings={"ignore_unknown_options": True},
)
@lab_option
@click.argument("who")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_context
def exec_(ctx: click.Context, who: str, argv: tuple[str, ...], *, lab: str | None) -> None:
    """
    Run COMMAND in the namespace of WHO (node-a, a pod, internet), and end with its exit code.

    Options of the command itself stand behind --, as in: lab exec node-a -- ip -d link
    """
    from nettrace.lab import exec_in, find

    sys.stdout.flush()
    ctx.exit(exec_in(find(lab or None), who, argv))


@lab.command("break", short_help="Inject a cause of the catalogue.")
@click.argument("cause", required=False)
@lab_option
@click.option("--node", help="On which node; `all` for every one.")
@click.option("--peer", help="Towards which other node.")
@click.option("--service", metavar="NAMESPACE/NAME", help="Which Service.")
@click.option("--pod", metavar="NAMESPACE/NAME", help="Which pod.")
def break_(cause: str | None, *, lab: str | None, **where: str | None) -> None:
    """
    Break a lab by CAUSE and print what was done; without CAUSE list those that it can have.

    What is not named is the first that fits.  `nettrace lab heal` takes it back.
    """
    from nettrace.lab import break_ as run
    from nettrace.lab import find, possible
    from nettrace.render.command import command

    record = find(lab or None)
    if cause is None:
        click.echo("\n".join(possible(record.topology)))
        return
    done = run(record, cause, **{name: value for name, value in where.items() if value is not None})
    for change in done.changes:
        click.echo(f"{change.netns}: {command(change)}")


@lab.command(short_help="Take injected causes back.")
@click.argument("cause", required=False)
@lab_option
def heal(cause: str | None, *, lab: str | None) -> None:
    """Take CAUSE back, or everything that `lab break` did."""
    from nettrace.lab import find
    from nettrace.lab import heal as run

    record = find(lab or None)
    healed = run(record, cause)
    click.echo(
        f"lab {record.name}: " + (f"healed of {', '.join(healed)}" if healed else "nothing was broken")
    )


@lab.command(short_help="The main job, live: break a Service, find out why, repair it, undo.")
@output_options
@click.pass_context
def demo(ctx: click.Context, *, sink: Sink) -> None:
    """Build a lab, break a NodePort in it, trace, repair, prove it, undo, take the lab down."""
    from nettrace.cli.demo import run

    ctx.exit(run(sink))
