"""lb-source-ranges: a load balancer's Service lets in only some networks, and the caller is in none."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import step_text, where
from nettrace.diagnose.services import entrance, index_services
from nettrace.model.addr import family_of, in_prefix
from nettrace.model.finding import Evidence, Safety, Severity
from nettrace.model.step import Step, Verdict

__all__ = ["LB_SOURCE_RANGES"]

#: Chains and tables of kube-proxy's that end what no range lets in.
_CHAINS = ("KUBE-PROXY-FIREWALL", "KUBE-FIREWALL", "KUBE-FW-")
_TABLE = "kube-proxy"
_REFUSALS = frozenset(
    {Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED, Verdict.NOT_LISTENING, Verdict.REFUSED}
)


def _is_whose(context: Context, step: Step) -> bool:
    """Is it a rule of kube-proxy's, or does the balancer refuse, which heeds the ranges before?"""
    nodes = {node.netns for node in context.snapshot.nodes.values()}
    own = (step.chain or "").startswith(_CHAINS) or _TABLE in (step.table or "")
    return own or step.netns not in nodes


def _candidates(context: Context) -> Iterator[Candidate]:
    packet = context.walk.flow.packet
    found = entrance(context.snapshot, index_services(context.snapshot.kube, family_of(packet.dst)), packet)
    if found is None or not found.port.source_ranges or packet.dst not in found.port.load_balancer_ips:
        return
    for failure in context.failures:
        step = failure.step
        if failure.verdict not in _REFUSALS or step is None or failure.path.failed != 0:
            continue
        if step.before is None or not _is_whose(context, step):
            continue
        source = innermost(step.before).src
        if any(
            in_prefix(source, one) for one in found.port.source_ranges if family_of(one) == family_of(source)
        ):
            continue
        service, ranges = found.port.service, ", ".join(found.port.source_ranges)
        yield Candidate(
            cause="lb-source-ranges",
            netns=step.netns,
            where=where(context.snapshot, step.netns),
            subject=found.port.subject,
            message=f"{service.key} lets in {ranges} only; {source} is refused, as the Service asks",
            changes=(),
            evidence=(
                Evidence(ref="kube/services", text=f"{service.key}: loadBalancerSourceRanges {ranges}"),
                Evidence(
                    ref=step.why.ref if step.why is not None else "",
                    text=step_text(step),
                    note=f"what {source} meets",
                ),
            ),
            safety=Safety.ADVICE,
            owner="whoever wrote the Service",
            lasting=(
                f"if {source} is to be let in, add its network to spec.loadBalancerSourceRanges of "
                f"{service.key}: kubectl -n {service.namespace} edit service {service.name}"
            ),
        )
        return


LB_SOURCE_RANGES = Cause(
    id="lb-source-ranges",
    title="a Service lets in only some networks, and the caller is in none",
    severity=Severity.WARNING,
    what=(
        "spec.loadBalancerSourceRanges names who may call the load balancer's address. kube-proxy drops what "
        "others send to it: also pods and nodes, and clients whose source was rewritten before."
    ),
    shows="The balancer's address times out for some clients, mostly inside the cluster; others connect.",
    dies="On the node, in KUBE-PROXY-FIREWALL (nftables: firewall-check): dropped silently.",
    proof="The source as the node sees it is in none of spec.loadBalancerSourceRanges.",
    repair="the client's network in spec.loadBalancerSourceRanges, if it is to be let in",
    owner="Whoever wrote the Service.",
    source="kubernetes#109575, kubernetes#85572, kubernetes#62638, kubernetes#119656",
    verdicts=_REFUSALS,
    candidates=_candidates,
)
