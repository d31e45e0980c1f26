"""``nettrace expect``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.options import Source, source_options
from nettrace.cli.sink import Sink, output_options
from nettrace.cli.terminal import say

if TYPE_CHECKING:
    from nettrace.app.expect import Question
    from nettrace.app.expect_node import Owing

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
    "--owner",
    "owners",
    multiple=True,
    metavar="NAME",
    help="Only what it owes: kube-proxy, or a system as `show systems` calls it; several times.",
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
    owners: tuple[str, ...],
    diff: bool,
    source: Source,
    sink: Sink,
) -> None:
    """
    Print what kube-proxy and the network systems owe a node, as the tools print it there.

    With --manifests alone no node is looked at, and only kube-proxy's part is told, as iptables-save
    would print it; --lab and --from bring a node's own state.  --from takes a snapshot, or the text of
    iptables-save or nft list ruleset.  --diff exits with 1 if there are differences, with 3 if something
    that is needed could not be read.
    """
    from nettrace.app.expect import Question, owed_of
    from nettrace.render.expect_document import claims_document, expected_document

    question = Question(
        node=node,
        mode=proxy or "",
        version=kube_version,
        config=kube_proxy_config,
        addresses=addresses,
    )
    one = int(family or 4)
    found, label = _found(question, source, owners, one, diff=diff)
    for remark in found.remarks:
        say(f"note: {remark}")
    if not diff:
        sink.emit(
            expected_document(owed_of(found.proxy, one), found.claims)
            if found.proxy is not None
            else claims_document(found.node, one, found.claims)
        )
        ctx.exit(ExitCode.OK)
    from nettrace.app.expect_diff import compare_node
    from nettrace.render.expect_document import diff_document

    report = compare_node(found, int(family) if family else None, label)
    sink.emit(diff_document(report, found.snapshot))
    if report.departures:
        ctx.exit(ExitCode.PROBLEM)
    ctx.exit(ExitCode.UNKNOWN if report.missing else ExitCode.OK)


def _found(
    question: "Question", source: Source, owners: tuple[str, ...], family: int, *, diff: bool
) -> "tuple[Owing, str]":
    """Find the objects and the node's state in what the command line names."""
    from nettrace.app.expect_node import owing
    from nettrace.app.node_rules import is_dump, read_dump

    dumps = [path for path in source.from_files if is_dump(path)]
    if dumps:
        if len(source.from_files) > 1:
            raise click.UsageError("--from: one dump at a time", click.get_current_context())
        there = read_dump(dumps[0], family)
        found = owing(question, None, source.manifests, there=there, owners=owners)
        return found, f"file {dumps[0].name}"
    if source.lab is None and not source.from_files and source.manifests is not None and not diff:
        return owing(question, None, source.manifests, owners=owners), f"manifests {source.manifests}"
    with source.open() as context:
        return owing(question, context, source.manifests, owners=owners), context.label
