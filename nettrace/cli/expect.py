"""``nettrace expect``."""

from pathlib import Path

import click

from nettrace.cli.codes import ExitCode
from nettrace.cli.options import Source, source_options
from nettrace.cli.sink import Sink, output_options
from nettrace.cli.terminal import say

__all__ = ["expect"]


@click.command()
@click.option("--node", default="", metavar="NODE", help="The node; the only one if there is one.")
@click.option(
    "--proxy",
    type=click.Choice(["iptables", "nftables", "ipvs"]),
    help="kube-proxy's mode.  [as it runs there, or as configured]",
)
@click.option("--family", type=click.Choice(["4", "6"]), default="4", show_default=True, help="IPv4 or IPv6.")
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
@source_options
@output_options
@click.pass_context
def expect(
    ctx: click.Context,
    *,
    node: str,
    proxy: str | None,
    family: str,
    kube_version: str,
    kube_proxy_config: Path | None,
    addresses: tuple[str, ...],
    source: Source,
    sink: Sink,
) -> None:
    """
    Print what kube-proxy owes a node, as iptables-save would print it there.

    With --manifests alone no node is looked at; --lab and --from bring a node's own state.
    """
    from nettrace.app.expect import Question, owed_of, wanted
    from nettrace.render.expect_document import expected_document

    question = Question(
        node=node,
        mode=proxy or "",
        version=kube_version,
        config=kube_proxy_config,
        addresses=addresses,
    )
    if source.lab is None and not source.from_files and source.manifests is not None:
        found = wanted(question, None, source.manifests)
    else:
        with source.open() as context:
            found = wanted(question, context, source.manifests)
    for remark in found.remarks:
        say(f"note: {remark}")
    sink.emit(expected_document(owed_of(found, int(family))))
    ctx.exit(ExitCode.OK)
