"""hairpin-off: a bridge port that may not send a frame back where it came from."""

from collections.abc import Iterator
from itertools import takewhile

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import bridge_port, subject_of, where
from nettrace.model.change import LinkSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Link
from nettrace.model.step import Verdict
from nettrace.model.walk import Leg

__all__ = ["HAIRPIN_OFF"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        leg, step = failure.leg, failure.step
        if failure.verdict is not Verdict.BRIDGE_DROPPED or leg is None or step is None:
            continue
        port = _port(context, leg, step.netns)
        if port is None or port.port is None or port.port.hairpin or (step.netns, port.name) in seen:
            continue
        seen.add((step.netns, port.name))
        place = where(snapshot, step.netns)
        behind = port.peer.netns if port.peer is not None else None
        ends = step.before.ends() if step.before is not None else "the packet"
        yield Candidate(
            cause="hairpin-off",
            netns=step.netns,
            where=place,
            subject=f"netns/{behind}" if behind else subject_of(snapshot, step.netns),
            message=(
                f"{behind or port.name} cannot reach itself through its Service: "
                f"bridge port {port.name} on {place} has hairpin off"
            ),
            changes=(LinkSet(netns=step.netns, device=port.name, attribute="hairpin", value="on"),),
            evidence=(
                Evidence(
                    ref=f"{step.netns}/links/{port.name}",
                    text=f"{port.name} master {port.master} hairpin off",
                    note="what is there",
                ),
                Evidence(
                    ref=step.why.ref if step.why is not None else "",
                    text=f"{ends} came in by {port.name} and has to leave by it",
                    note="dropped by the bridge",
                ),
                *_configured(context, step.node),
            ),
            safety=Safety.AUTO,
            owner="the CNI plugin that made the port",
            overwritten="not for this port; ports of new pods are made by the CNI configuration",
            lasting='set "hairpinMode": true in the bridge plugin\'s CNI configuration',
        )


def _port(context: Context, leg: Leg, netns: str) -> Link | None:
    """Return the bridge port by which the packet came in: the last one that the leg shows there."""
    there = takewhile(lambda step: step.netns == netns, reversed(leg.steps))
    ports = (bridge_port(context.snapshot, netns, step.device) for step in there)
    return next((port for port in ports if port is not None), None)


def _configured(context: Context, node: str) -> Iterator[Evidence]:
    """Yield what the CNI configuration says about it, if that was read."""
    state = context.snapshot.nodes.get(node)
    files = getattr(state.files, "value", {}) if state is not None else {}
    for path in sorted(files):
        if path.startswith("/etc/cni/net.d/") and '"hairpinMode"' in files[path]:
            wanted = '"hairpinMode":true' in "".join(files[path].split())
            said = "hairpinMode is true" if wanted else "hairpinMode is not true"
            yield Evidence(ref=f"node:{node}/files", text=f"{path}: {said}", note="CNI configuration")


HAIRPIN_OFF = Cause(
    id="hairpin-off",
    title="a bridge port may not send frames back where they came from",
    what=(
        "hairpin mode is off on the bridge port of a pod. When the pod calls a Service and is itself "
        "the endpoint, the packet has to leave the bridge by the port it came in by."
    ),
    shows="A pod that calls its own Service times out, in 1 of N connections; other Services work.",
    dies="In the bridge: it refuses to send a frame back out of its ingress port.",
    proof="`bridge -d link` shows hairpin off for the port, and the bridge is not promiscuous.",
    repair="bridge link set dev PORT hairpin on",
    owner="The CNI plugin that made the port (hairpinMode in its configuration), or kubelet.",
    source="kubernetes#13375, kubernetes#20475, kube-router#637, the Debug Services page of Kubernetes",
    verdicts=frozenset({Verdict.BRIDGE_DROPPED}),
    candidates=_candidates,
)
