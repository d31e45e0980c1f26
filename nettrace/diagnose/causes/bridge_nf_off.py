"""bridge-nf-off: bridged replies pass conntrack by and are never un-NATed."""

from collections.abc import Iterable, Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import subject_of, sysctl, where
from nettrace.model.change import SysctlSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.step import Stage, Step

__all__ = ["BRIDGE_NF_OFF"]

_NAME = "net.bridge.bridge-nf-call-iptables"


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    for netns in context.visited:
        value = sysctl(snapshot, netns, _NAME)
        if value == "1":
            continue
        steps = [step for step in context.steps if step.netns == netns]
        rewritten = next(_rewritings(steps), None)
        if rewritten is None or all(step.stage is not Stage.BRIDGE for step in steps):
            continue
        place = where(snapshot, netns)
        loaded = value is not None
        yield Candidate(
            cause="bridge-nf-off",
            netns=netns,
            where=place,
            subject=subject_of(snapshot, netns),
            message=(
                f"{place}: the reply crosses the bridge without conntrack, so the client sees the "
                "endpoint's address instead of the one it called"
            ),
            changes=(SysctlSet(netns=netns, name=_NAME, value="1"),) if loaded else (),
            evidence=(
                Evidence(
                    ref=f"{netns}/sysctls/{_NAME}",
                    text=f"{_NAME} = {value}"
                    if loaded
                    else f"{_NAME} is not there: br_netfilter is not loaded",
                    note="what is there",
                ),
                rewritten,
                *_answered(context),
            ),
            safety=Safety.AUTO if loaded else Safety.ADVICE,
            owner="the node's sysctl configuration",
            overwritten="only if something sets it to 0 again: sysctl --system, or br_netfilter loaded anew",
            lasting=(
                f"load br_netfilter at boot (/etc/modules-load.d/) and write {_NAME}=1 "
                "to a file in /etc/sysctl.d/"
            ),
        )


def _rewritings(steps: Iterable[Step]) -> Iterator[Evidence]:
    """Yield the steps at which a packet got another destination."""
    for step in steps:
        if step.before is not None and step.after is not None and step.before.dst != step.after.dst:
            yield Evidence(
                ref=step.why.ref if step.why is not None else "",
                text=f"{step.before.ends()} becomes {step.after.ends()}",
                note="rewritten here; the reply has to come by here to be written back",
            )


def _answered(context: Context) -> tuple[Evidence, ...]:
    """Return the answer as the client gets it, if the request was answered."""
    for failure in context.failures:
        step = failure.step
        if failure.leg is not None and failure.leg.kind != "request" and step is not None and step.before:
            return (
                Evidence(
                    ref=step.why.ref if step.why is not None else "",
                    text=f"{where(context.snapshot, step.netns)} gets {step.before.ends()}",
                    note="and waits for no answer from there",
                ),
            )
    return ()


BRIDGE_NF_OFF = Cause(
    id="bridge-nf-off",
    title="bridged packets pass iptables and conntrack by",
    what=(
        "net.bridge.bridge-nf-call-iptables is 0, or br_netfilter is not loaded: what is bridged from "
        "pod to pod of one node is not seen by conntrack."
    ),
    shows=(
        "A pod that calls a ClusterIP whose endpoint is on the same node times out (DNS, often); "
        "endpoints on other nodes work, so it fails now and then."
    ),
    dies=(
        "The request is DNATed and arrives; the reply is bridged straight to the client, never "
        "un-NATed, and the client resets what it never asked for."
    ),
    proof="sysctl net.bridge.bridge-nf-call-iptables (one a namespace) is 0, with pods on a bridge.",
    repair="modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1",
    owner="The node's sysctl configuration; installers of Kubernetes ask for it.",
    source="kubernetes#38802, kubernetes#65625, flannel#1702, kubernetes-the-hard-way#561",
    candidates=_candidates,
)
