"""
The guided Service flow: one check after the other, each answered from the state and the kernel.

Lives here: the use case behind `nettrace debug`: whom to call as, answering what the checks ask for,
repairs on the way.
Not here: the checks (nettrace.diagnose.guide).
"""

from collections.abc import Callable

from nettrace.app.context import Context
from nettrace.app.guide_driver import Driver
from nettrace.app.remember import CONNECTED, Question, remember
from nettrace.app.repair import apply, plan
from nettrace.diagnose.guide import Case, checks_for
from nettrace.diagnose.guide.objects import endpoints, find_service, node_of, pod_netns, pods
from nettrace.model.change import NoUndo
from nettrace.model.errors import UserError
from nettrace.model.finding import Safety
from nettrace.model.guide import Check, CheckState, GuideReport, RepairDone
from nettrace.model.kube import Pod
from nettrace.model.object_source import ObjectSource
from nettrace.model.plan import RepairPlan
from nettrace.model.report import RepairReport
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.parse.target import Target, parse_target

__all__ = ["Decide", "case_of", "debug"]

#: Shown a check that failed and the plan for it: shall it be applied?
Decide = Callable[[Check, RepairPlan], bool]


def debug(
    context: Context,
    case: Case,
    *,
    decide: Decide = lambda check, planned: False,
    on_check: Callable[[Check], None] = lambda check: None,
    on_event: Callable[[str], None] = lambda text: None,
    on_repair: Callable[[RepairReport], None] = lambda report: None,
    confirm_within: float | None = None,
    consent: bool = False,
    objects: ObjectSource | None = None,
    with_probe: bool = True,
) -> GuideReport:
    """
    Go through the checks up to the first cause.

    *decide* is asked whether its repair is to be applied; after one that was kept the check is made
    again, and the flow goes on.  *on_check* sees every check as soon as it is made, *on_repair* every
    repair; *confirm_within* are the seconds in which it is undone unless it is confirmed.  Real queries
    and connections are made on a live *context*, unless *with_probe* is false.  *consent*: repairs that
    cannot be undone may be offered too.  *objects*: where they come from, for a ``repair plan``
    later on: the flow with a cause is remembered as one that was traced is.
    """
    done: list[Check] = []
    repairs: list[RepairDone] = []
    driver = Driver(context, with_probe=with_probe)
    leaf = ""
    for one in checks_for(case):
        tried_: set[tuple[str, tuple[str, str] | None]] = set()
        while True:
            found = driver.run(one.run(case))
            done.append(found)
            on_check(found)
            leaf = found.cause if found.state is CheckState.PROBLEM else ""
            if not leaf or (leaf, found.flow) in tried_:
                break
            tried_.add((leaf, found.flow))  # the same may be wrong on another node, for another flow
            question = _question(case, found, objects)
            if context.live:
                remember(context.label, question)
            planned = _offer(driver.context, found, question, on_event, consent=consent)
            if planned is None or not decide(found, planned):
                break
            report = apply(
                driver.context,
                planned,
                confirm_within=confirm_within,
                consent=consent,
                on_event=on_event,
            )
            on_repair(report)
            mended = RepairDone(
                cause=found.findings[0].cause,
                entry=report.entry.id if report.entry is not None else "",
                kept=report.kept,
                reason=report.reason,
            )
            repairs.append(mended)
            if not mended.kept:
                break
            driver = Driver(driver.context.again(), with_probe=with_probe)
        if found.state is CheckState.PROBLEM:
            break
    return GuideReport(
        service=case.key,
        client=case.client,
        context=context.label,
        checks=tuple(done),
        leaf=leaf,
        live=driver.probes,
        repairs=tuple(repairs),
    )


def _question(case: Case, found: Check, objects: ObjectSource | None) -> Question:
    """Return the flow that a check's cause is about."""
    source, target = found.flow or (case.client, case.subject)
    return Question(source=source, target=target, sport=found.sport, goal=CONNECTED, objects=objects)


def _offer(
    context: Context,
    found: Check,
    question: Question,
    on_event: Callable[[str], None],
    *,
    consent: bool,
) -> RepairPlan | None:
    """Plan the repair of a check's cause; None where nothing is to be applied."""
    finding = found.findings[0]
    repair = next(iter(finding.repairs), None)
    if repair is None or repair.safety is Safety.ADVICE or not repair.changes or not context.live:
        return None
    cause = finding.alternatives[0] if found.id == "kube-proxy" and finding.alternatives else finding.cause
    try:
        planned = plan(context, cause, question=question)
    except UserError as error:
        on_event(f"no repair is offered: {error.what}")
        return None
    final = next((one.command for one in planned.changes if isinstance(one.undo, NoUndo)), "")
    if final and not consent:
        on_event(f"no repair is offered: cannot be undone: {final} (--allow-no-undo applies it all the same)")
        return None
    return planned


# --- the case ------------------------------------------------------------------------------


def case_of(
    context: Context,
    service: str,
    *,
    from_pod: str | None = None,
    from_node: str | None = None,
    external: bool = False,
) -> Case:
    """
    Return the case that the command line names.

    *service* is a target text (``svc/NS/NAME[:port[/proto]]``).  Without a client the first pod
    that is not one of the Service's own is taken, one of its namespace if there is one, else a node.
    UserError for a client that is not there.
    """
    target = parse_target(service)
    if target.kind not in (None, "svc"):
        raise UserError(f"{service!r} is no Service", where=service, hint="svc/NAMESPACE/NAME[:port]")
    namespace = target.namespace or "default"
    snapshot = context.snapshot
    if external:
        outside = [name for name, netns in snapshot.namespaces.items() if netns.role == "outside"]
        client, netns, pod = "internet", outside[0] if outside else "", None
    elif from_node is not None:
        client, netns, pod = _node(snapshot, from_node)
    elif from_pod is not None:
        client, netns, pod = _pod(context, from_pod, namespace)
    else:
        client, netns, pod = _somebody(context, target, namespace)
    return Case(
        namespace=namespace,
        name=target.name,
        client=client,
        netns=netns,
        client_namespace=pod.namespace if pod is not None else "default",
        client_pod=pod.key if pod is not None else None,
        port=target.port,
        proto=target.proto,
        external=external,
    )


def _node(snapshot: Snapshot, name: str) -> tuple[str, str, Pod | None]:
    wanted = name.removeprefix("node/")
    if wanted not in snapshot.nodes:
        known = ", ".join(sorted(snapshot.nodes)) or "none"
        raise UserError(f"there is no node {wanted!r}", where=name, hint=f"nodes: {known}")
    return f"node/{wanted}", snapshot.nodes[wanted].netns, None


def _pod(context: Context, text: str, namespace: str) -> tuple[str, str, Pod | None]:
    wanted = parse_target(text if text.startswith("pod/") else f"pod/{text}")
    snapshot = _with_addresses(context)
    space = wanted.namespace or namespace
    found = next(
        (p for p in pods(snapshot) or () if (p.namespace, p.name) == (space, wanted.name)), None
    ) or next((p for p in pods(snapshot) or () if p.name == wanted.name and wanted.namespace is None), None)
    if found is None:
        known = ", ".join(p.key for p in (pods(snapshot) or ())[:8]) or "none is known"
        raise UserError(f"there is no pod {space}/{wanted.name}", where=text, hint=f"pods: {known}")
    netns = pod_netns(snapshot, found)
    if netns is None:
        raise UserError(
            f"the pod {found.key} is not on a node that was read",
            where=text,
            hint=f"it is on {found.node_name or 'no node yet'}: run it there, or take another pod",
        )
    return f"pod/{found.key}", netns, found


def _with_addresses(context: Context) -> Snapshot:
    """Return the state with the addresses by which pods are found, if no object says where they live."""
    known = pods(context.snapshot) or ()
    if any(pod.netns is None for pod in known):
        context.read_unread([SectionKey(name, "addresses") for name in context.snapshot.namespaces])
    return context.snapshot


def _somebody(context: Context, target: Target, namespace: str) -> tuple[str, str, Pod | None]:
    """Choose who calls, where nobody was named."""
    snapshot = _with_addresses(context)
    service = find_service(snapshot, namespace, target.name)
    own = {b.address for _, b in endpoints(snapshot, service)} if service is not None else set()
    ready = [p for p in pods(snapshot) or () if p.phase == "Running" and not p.host_network]
    ready.sort(key=lambda pod: (pod.namespace != namespace, pod.namespace == "kube-system", pod.key))
    for pod in ready:
        netns = pod_netns(snapshot, pod)
        if netns is not None and not own.intersection(pod.ips) and node_of(snapshot, netns) is not None:
            return f"pod/{pod.key}", netns, pod
    if snapshot.nodes:
        return _node(snapshot, min(snapshot.nodes))
    raise UserError(
        "there is nobody to call the Service: no pod and no node was read",
        where=context.label,
        hint="--from-pod POD, --from-node NODE or --external",
    )
