"""``nettrace expect``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.options import Source, source_options
from nettrace.cli.sink import Sink, output_options
from nettrace.cli.terminal import say

if TYPE_CHECKING:
    from nettrace.app.expect import Question, Wanted

__all__ = ["expect"]


@click.command()
@click.option("--node", default="", metavar="NODE", help="The node; the only one if there is one.")
@click.option(
    "--proxy",
    type=click.Choice(["iptables", "nftables", "ipvs"]),
    help="kube-proxy's mode.  [as it runs there, or as configured]",
)
@click.option("--family", type=click.Choice(["4", "6"]), help="IPv4 or IPv6.  [4; --diff: both if used]")
@click.option("--kube-version", default="", metavar="V", help="kube-proxy's version, such as 1.30.")
@click.option(
    "--kube-proxy-config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A KubeProxyConfiguration, or the ConfigMap with one.",
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="ADDR",
    help="An address of the node's devices (for nodePortAddresses); may be given several times.",
)
@click.option(
    "--diff", is_flag=True, help="Compare with what the node has, and say what each difference means."
)
@source_options
@output_options
@click.pass_context
def expect(
    ctx: click.Context,
    *,
    node: str,
    proxy: str | None,
    family: str | None,
    kube_version: str,
    kube_proxy_config: Path | None,
    addresses: tuple[str, ...],
    diff: bool,
    source: Source,
    sink: Sink,
) -> None:
    """
    Print what kube-proxy owes a node, as iptables-save would print it there.

    With --manifests alone no node is looked at; --lab and --from bring a node's own state.  --from
    takes a snapshot, or the text of iptables-save or nft list ruleset.  --diff exits with 1 if there
    are differences, with 3 if something that is needed could not be read.
    """
    from nettrace.app.expect import Question, owed_of
    from nettrace.render.expect_document import expected_document

    question = Question(
        node=node,
        mode=proxy or "",
        version=kube_version,
        config=kube_proxy_config,
        addresses=addresses,
    )
    found, label = _found(question, source, int(family or 4), diff=diff)
    for remark in found.remarks:
        say(f"note: {remark}")
    if not diff:
        sink.emit(expected_document(owed_of(found, int(family or 4))))
        ctx.exit(ExitCode.OK)
    from nettrace.app.expect_diff import compare, families_of
    from nettrace.model.errors import UserError
    from nettrace.render.expect_document import diff_document

    if found.there is None:
        raise UserError(
            f"the rules that {found.node} has are not known",
            where=label,
            hint="run it on that node, or give --lab, or --from with a snapshot or the text of iptables-save",
            code=3,
        )
    families = (int(family),) if family else families_of(found.kube) if found.netns else (4,)
    report = compare(found, found.there, families, label)
    sink.emit(diff_document(report))
    if report.departures:
        ctx.exit(ExitCode.PROBLEM)
    ctx.exit(ExitCode.UNKNOWN if report.missing else ExitCode.OK)


def _found(question: "Question", source: Source, family: int, *, diff: bool) -> "tuple[Wanted, str]":
    """Find the objects and the node's state in what the command line names."""
    from nettrace.app.expect import wanted
    from nettrace.app.node_rules import is_dump, read_dump

    dumps = [path for path in source.from_files if is_dump(path)]
    if dumps:
        if len(source.from_files) > 1:
            raise click.UsageError("--from: one dump at a time", click.get_current_context())
        return wanted(question, None, source.manifests, read_dump(dumps[0], family)), f"file {dumps[0].name}"
    if source.lab is None and not source.from_files and source.manifests is not None and not diff:
        return wanted(question, None, source.manifests), f"manifests {source.manifests}"
    with source.open() as context:
        return wanted(question, context, source.manifests), context.label
