"""nodeport-addresses-excluded: kube-proxy serves NodePorts on other addresses than the one that is called."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import where
from nettrace.diagnose.node_ports import excluded
from nettrace.diagnose.services import entrance, index_services
from nettrace.model.addr import family_of
from nettrace.model.finding import Evidence, Safety, Severity
from nettrace.model.step import Verdict

__all__ = ["NODEPORT_ADDRESSES_EXCLUDED"]


def _candidates(context: Context) -> Iterator[Candidate]:
    packet = context.walk.flow.packet
    found = entrance(context.snapshot, index_services(context.snapshot.kube, family_of(packet.dst)), packet)
    served = excluded(context.snapshot, packet.dst) if found is not None and found.way == "node" else ""
    if found is None or not served:
        return
    for failure in context.failures:
        step = failure.step
        if step is None or failure.path.failed != 0:
            continue
        yield Candidate(
            cause="nodeport-addresses-excluded",
            netns=step.netns,
            where=where(context.snapshot, step.netns),
            subject=found.port.subject,
            message=(
                f"kube-proxy serves NodePorts on {served} only, and {packet.dst} is not among them: port "
                f"{packet.dport} of {found.port.service.key} is refused there as its configuration asks"
            ),
            changes=(),
            evidence=(
                Evidence(
                    ref="kube/proxy", text=f"nodePortAddresses: {served}", note="kube-proxy's configuration"
                ),
                Evidence(
                    ref=step.why.ref if step.why is not None else "",
                    text=failure.leg.reason if failure.leg is not None else "",
                    note="what the packet meets instead",
                ),
            ),
            safety=Safety.ADVICE,
            owner="kube-proxy's configuration",
            lasting=(
                f"call an address in {served}, or add {packet.dst}'s network to nodePortAddresses of "
                "kube-proxy's configuration (ConfigMap kube-system/kube-proxy) and restart it"
            ),
        )
        return


NODEPORT_ADDRESSES_EXCLUDED = Cause(
    id="nodeport-addresses-excluded",
    title="kube-proxy serves NodePorts on other addresses of the node",
    severity=Severity.WARNING,
    what=(
        "nodePortAddresses of kube-proxy's configuration (or `primary`, the default of mode nftables) names "
        "the addresses on which NodePorts are served; the one that is called is another of the node."
    ),
    shows="A NodePort is refused on one address of a node and answers on another, or on none.",
    dies="On the node: no rule translates it, and no socket waits at that port.",
    proof="The address is in none of nodePortAddresses; no rule leads from it to KUBE-NODEPORTS.",
    repair="call an address that is served, or nodePortAddresses in kube-proxy's configuration",
    owner="kube-proxy's configuration.",
    source="kubernetes#111863, KEP-3866",
    verdicts=frozenset({Verdict.NOT_LISTENING, Verdict.REFUSED, Verdict.DROPPED_BY_RULE, Verdict.REJECTED}),
    candidates=_candidates,
)
