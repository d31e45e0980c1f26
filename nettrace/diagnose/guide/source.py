"""
Do the pods see who calls them: is the client's own address kept on the way through the Service?

What is rewritten on purpose (a NodePort with policy Cluster, a pod that calls itself) is said and passes.
Of a node it is asked the other way round: is its call told from a pod's?
"""

from msgspec import Struct

from nettrace.diagnose.causes.clustercidr_wrong import CLUSTERCIDR_WRONG, held_networks, too_wide
from nettrace.diagnose.causes.masquerade_all import MASQUERADE_ALL
from nettrace.diagnose.causes.taken_for_pods import MASQUERADE, taken_for_pods
from nettrace.diagnose.difference_xt import shown
from nettrace.diagnose.goal import original_source
from nettrace.diagnose.guide.case import Case, Heading, advice
from nettrace.diagnose.guide.flow import tried
from nettrace.diagnose.guide.objects import find_service
from nettrace.diagnose.guide.request import Asking, diagnosed, state
from nettrace.diagnose.look import rule_ref
from nettrace.kube.settings import local_detector
from nettrace.model.addr import in_prefix
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import Axis, Check
from nettrace.model.kube import KubeProxyConfig
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Outcome, Path, Walk
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Jump

__all__ = ["kept"]

_TITLE = Heading("source", Axis.RULES, "Do its pods see who calls?")
_ONLY_PODS = "only between pods is the caller's own address kept, whatever the Service"


class _Rewritten(Struct, frozen=True, kw_only=True):
    """One branch that arrives with another source address than it left with."""

    path: Path
    sent: str
    seen: str
    end: str


def kept(case: Case) -> Asking[Check]:
    """Compare the source that each branch of the client's call arrives with to the one that it left with."""
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    if service is None:
        return _TITLE.unknown(f"{case.key} is not known")
    if case.external:
        return _TITLE.skipped(_ONLY_PODS)
    if service.headless or not service.cluster_ips or not case.ports(service):
        return _TITLE.skipped("it has no address of its own: nothing is rewritten on the way")
    target = case.target(case.ports(service)[0])
    if case.client_pod is None or any(node.netns == case.netns for node in snapshot.nodes.values()):
        return (yield from _told_apart(case, target))
    flow = yield from tried(case.client, target)
    arrived = [p for p in flow.walk.paths if p.outcome is Outcome.CONNECTED and p.endpoint is not None]
    if not arrived or any(not p.endpoint.source for p in arrived if p.endpoint is not None):
        return _TITLE.unknown(f"what arrives cannot be told: {flow.result}", checked=(flow.words,))
    lost = _rewritten(case, flow.walk, arrived)
    if not lost:
        return _TITLE.passed(f"{original_source(arrived[0])} arrives as it was sent", checked=(flow.words,))
    finding = _why(case, snapshot, lost[0])
    if finding is None:
        words = f"{lost[0].sent} arrives at {lost[0].end} as {lost[0].seen}; who asks for that is not known"
        return _TITLE.unknown(words, checked=(flow.words,))
    return _TITLE.problem(finding, checked=(flow.words,), flow=(case.client, target))


def _told_apart(case: Case, target: str) -> Asking[Check]:
    """Look whether the rules on a node's way take it for a pod."""
    walk, _ = yield from diagnosed(case.client, target)
    snapshot = yield from state()
    taken = next((found for path in walk.paths for found in taken_for_pods(snapshot, path)), None)
    if taken is None:
        return _TITLE.skipped(_ONLY_PODS)
    finding = advice(
        CLUSTERCIDR_WRONG,
        too_wide(taken),
        subject=case.subject,
        where=taken.node,
        evidence=(taken.evidence, *_cidrs(snapshot)),
    )
    return _TITLE.problem(finding, flow=(case.client, target))


def _rewritten(case: Case, walk: Walk, arrived: list[Path]) -> list[_Rewritten]:
    found = []
    for path in arrived:
        end, sent = path.endpoint, original_source(path)
        if end is None or end.netns == walk.flow.origin.netns or not sent or end.source == sent:
            continue  # a pod that calls itself has to be answered by its node
        found.append(_Rewritten(path=path, sent=sent, seen=end.source, end=f"{end.address}:{end.port}"))
    return found


def _why(case: Case, snapshot: Snapshot, lost: _Rewritten) -> Finding | None:
    """Return which setting of kube-proxy asks for it, by its rule or by its configuration."""
    config = snapshot.kube.proxy.value if isinstance(snapshot.kube.proxy, Known) else None
    marking = _marking(snapshot, lost.path)
    arrives = Evidence(ref="", text=f"{lost.sent} arrives at {lost.end} as {lost.seen}", note="the walk")
    seen = [arrives]
    if marking is not None:
        seen.append(marking[1])
    rule = marking[0] if marking is not None else None
    unconditional = rule is not None and rule.src is None and rule.in_device is None
    if unconditional or (rule is None and config is not None and config.masquerade_all):
        if config is not None:
            text = f"masqueradeAll: {str(config.masquerade_all).lower()}"
            seen.append(Evidence(ref="kube/proxy", text=text, note="kube-proxy's configuration"))
        return advice(
            MASQUERADE_ALL,
            f"kube-proxy masquerades all that calls {case.key}: its pods see {lost.seen}, not {lost.sent}",
            subject=case.subject,
            where=lost.path.request.steps[0].node,
            evidence=tuple(seen),
        )
    wrong = _cidr(snapshot, config, rule, lost)
    if wrong:
        return advice(
            CLUSTERCIDR_WRONG,
            f"kube-proxy takes {wrong} for the cluster's pods, and {lost.sent} is a pod: calls of {case.key} "
            f"arrive as {lost.seen}",
            subject=case.subject,
            where=lost.path.request.steps[0].node,
            evidence=(*seen, *_cidrs(snapshot)),
        )
    return None


def _marking(snapshot: Snapshot, path: Path) -> tuple[XtRule, Evidence] | None:
    """Return the rule of a Service's chain that marked the request for masquerading."""
    for step in path.request.steps:
        if step.table != "nat" or not step.rule or step.chain is None or step.backend is None:
            continue
        chain = snapshot.chain(step.netns, step.backend, "nat", step.chain)
        if not step.chain.startswith("KUBE-") or chain is None or step.rule > len(chain.rules):
            continue
        rule = chain.rules[step.rule - 1]
        if isinstance(rule.target, Jump) and rule.target.chain == MASQUERADE:
            ref = rule_ref(step.netns, step.backend, "nat", step.chain, step.rule)
            return rule, Evidence(ref=ref, text=shown(step.chain, rule), note="this asks for it")
    return None


def _cidr(snapshot: Snapshot, config: KubeProxyConfig | None, rule: XtRule | None, lost: _Rewritten) -> str:
    """Return the prefix that kube-proxy takes for all pods and that the client is not in, "" if none."""
    if rule is not None:
        tested = rule.src.value if rule.src is not None and rule.src.invert else ""
    else:
        nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
        node = next((n for n in nodes if n.name == lost.path.request.steps[0].node), None)
        detector = local_detector(config, node, 4) if config is not None and node is not None else None
        tested = detector.src or "" if detector is not None else ""
    return tested if tested and not in_prefix(lost.sent, tested) else ""


def _cidrs(snapshot: Snapshot) -> tuple[Evidence, ...]:
    """Return what kube-proxy is told, and what the Nodes have."""
    proxy = snapshot.kube.proxy
    told = ", ".join(proxy.value.cluster_cidrs) or "none" if isinstance(proxy, Known) else "not read"
    configured = Evidence(ref="kube/proxy", text=f"clusterCIDR: {told}", note="kube-proxy's configuration")
    return configured, held_networks(snapshot)
