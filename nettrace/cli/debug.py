"""``nettrace debug svc/NS/NAME`` and ``nettrace debug pod/NS/NAME``."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from nettrace.cli.codes import ExitCode, of_guide
from nettrace.cli.options import Source, source_options
from nettrace.cli.sink import Sink, output_options
from nettrace.cli.terminal import say

if TYPE_CHECKING:
    from nettrace.app.context import Context
    from nettrace.model.guide import Check

__all__ = ["debug"]


@click.command()
@click.argument("target", metavar="svc/NS/NAME[:PORT]|pod/NS/NAME")
@click.option("--from-pod", metavar="POD", help="Who calls: [NAMESPACE/]NAME.")
@click.option("--from-node", metavar="NODE", help="Who calls: a node.")
@click.option("--external", is_flag=True, help="Somebody outside calls: node ports, balancers.")
@click.option("--yes", is_flag=True, help="Apply repairs without asking, and go on.")
@click.option("--allow-no-undo", is_flag=True, help="With --yes: repairs that cannot be taken back, too.")
@click.option("--no-repair", is_flag=True, help="Offer no repair.")
@click.option("--probe/--no-probe", default=True, show_default=True, help="Real queries and connections.")
@source_options
@output_options
@click.pass_context
def debug(
    ctx: click.Context,
    target: str,
    *,
    from_pod: str | None,
    from_node: str | None,
    external: bool,
    yes: bool,
    allow_no_undo: bool,
    no_repair: bool,
    probe: bool,
    source: Source,
    sink: Sink,
) -> None:
    """
    Go through all that a Service, or a pod's address, depends on, and stop at the first cause.

    svc/NS/NAME: does it not work?

    The object, its name in DNS, its endpoints, the pods, the way to them, kube-proxy, the rules, a pod
    that calls itself, callers from outside.  On a terminal a repair is offered where there is one,
    and the checks go on after it.

    pod/NS/NAME: has it no address, or one that another has?  The node's podCIDR, the CNI configuration
    that counts, the leases, the pod's namespace, its status, its hostPorts.
    """
    from nettrace.app.debug import case_of
    from nettrace.app.debug import debug as run
    from nettrace.model.guide import Check
    from nettrace.model.plan import RepairPlan
    from nettrace.parse.target import parse_target
    from nettrace.render.document import guide_document, plan_document
    from nettrace.render.guide_text import guide_head, verdict_page

    if sum(map(bool, (from_pod, from_node, external))) > 1:
        raise click.UsageError("--from-pod, --from-node and --external exclude each other", ctx)
    if parse_target(target).kind == "pod":
        if from_pod or from_node or external or yes:
            raise click.UsageError("a pod's address is debugged without a client and without repairs", ctx)
        ctx.exit(_debug_pod(target, source, sink, probe=probe))
    if yes and no_repair:
        raise click.UsageError("--yes and --no-repair exclude each other", ctx)
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not no_repair

    def decide(check: Check, planned: RepairPlan) -> bool:
        if yes or not asks:
            return yes
        sink.for_people().emit(plan_document(planned))
        return click.confirm(f"apply it, and go on after {check.id}?")

    with source.open() as context:
        case = case_of(context, target, from_pod=from_pod, from_node=from_node, external=external)
        if sink.streams:
            live = probe and context.live
            sink.show(lambda _: guide_head(case.key, case.client, context.label, live=live))
        report = run(
            context,
            case,
            decide=decide,
            on_check=_shown_by(sink, context),
            on_event=say,
            with_probe=probe,
            consent=allow_no_undo or asks,
            objects=source.objects,
        )
        document = guide_document(report, context.snapshot)
    if sink.streams:
        sink.show(lambda look: verdict_page(document, look))
    else:
        sink.emit(document)
    ctx.exit(of_guide(report))


def _shown_by(sink: Sink, context: "Context") -> "Callable[[Check], None]":
    """Return what shows a check on the page as soon as it is made."""
    from nettrace.render.document import guide_check
    from nettrace.render.guide_text import guide_check_page

    def show(check: "Check") -> None:
        if sink.streams:
            label = context.label
            sink.show(
                lambda look: guide_check_page(guide_check(check, context.snapshot), look, context=label)
            )

    return show


def _debug_pod(target: str, source: Source, sink: Sink, *, probe: bool) -> ExitCode:
    from nettrace.app.debug_pod import debug_pod, pod_case_of
    from nettrace.render.document import pod_document
    from nettrace.render.guide_text import pod_head, pod_verdict_page

    with source.open() as context:
        case = pod_case_of(context, target)
        if sink.streams:
            sink.show(lambda _: pod_head(case.key, case.node, context.label))
        report = debug_pod(context, case, on_check=_shown_by(sink, context), with_probe=probe)
        document = pod_document(report, context.snapshot)
    if sink.streams:
        sink.show(lambda look: pod_verdict_page(document, look))
    else:
        sink.emit(document)
    return of_guide(report)
