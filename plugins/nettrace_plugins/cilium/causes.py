"""
What of Cilium's own is gone on a way whose end only its programs know.

Lives here: routes and programs that the agent has to have made for the pods of a flow, told where the
walk ends UNKNOWN at one of its programs.  No walk proves that they are all there is to mend, so nothing
is changed: what is there, what should be, and the command that an engineer would type.
Not here: which routes are owed (owes), what was left behind (leftovers).
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import differences, route_text
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import where
from nettrace.diagnose.making import evidence_of
from nettrace.model.addr import in_prefix
from nettrace.model.finding import Evidence, Safety
from nettrace.model.kube import Pod
from nettrace.model.owed import OwedRoute
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace_plugins.cilium.facts import PROGRAMS, pod_devices
from nettrace_plugins.cilium.owes import OWNER, pods_on

__all__ = ["CILIUM_PROGRAM_MISSING", "CILIUM_ROUTE_MISSING"]

_RESTART = (
    "cilium-agent makes it anew when it starts: kubectl -n kube-system delete pod -l k8s-app=cilium "
    "--field-selector spec.nodeName=NODE"
)


def _unseen(context: Context) -> bool:
    """Does a branch end at a program of Cilium's?"""
    reasons = (failure.leg.reason for failure in context.failures if failure.leg is not None)
    return any(f" {name}" in reason for reason in reasons for name in PROGRAMS)


def _ends(context: Context) -> frozenset[str]:
    """Return the addresses that the flow is between: what packets bear, and the endpoints that are owed."""
    packets = (packet for step in context.steps for packet in (step.before, step.after) if packet)
    borne = {end for packet in packets for end in (innermost(packet).src, innermost(packet).dst)}
    endpoints = {address for address, _ in context.goal.endpoints or ()}
    return frozenset(end for end in borne | endpoints if end)


def _pods(context: Context) -> Iterator[tuple[str, Pod]]:
    """Yield the node and the pod, of the pods that the flow is between."""
    ends = _ends(context)
    for node in context.snapshot.nodes:
        yield from ((node, pod) for pod in pods_on(context.snapshot, node) if ends.intersection(pod.ips))


def _netns(snapshot: Snapshot, node: str) -> str:
    return snapshot.nodes[node].netns


# --- routes ----------------------------------------------------------------------------


def _routes(context: Context) -> Iterator[Candidate]:
    if not _unseen(context):
        return
    ends = _ends(context)
    passed = {_netns(context.snapshot, node) for node, _ in _pods(context)} | set(context.visited)
    owed = [
        item
        for item in context.owed
        if isinstance(item, OwedRoute)
        and item.owner == OWNER
        and item.netns in passed
        and any(in_prefix(end, item.route.dst) for end in ends)
    ]
    for difference in differences(context.snapshot, owed):
        item = difference.owed
        assert isinstance(item, OwedRoute)  # noqa: S101  (what was asked for)
        place = where(context.snapshot, item.netns)
        what = "has no route to" if difference.restored.absent else "sends elsewhere what is for"
        scope = " scope link" if item.route.scope == "link" else ""
        yield Candidate(
            cause="cilium-route-missing",
            netns=item.netns,
            where=place,
            subject=item.subject or f"node/{place}",
            message=f"{place} {what} {item.about}, as far as can be told past Cilium's programs",
            changes=(),
            evidence=tuple(evidence_of([difference])),
            safety=Safety.KICK,
            owner=OWNER,
            lasting=(
                f"{_RESTART.replace('NODE', place)}; until then: "
                f"ip route replace {route_text(item.route)}{scope}"
            ),
        )


CILIUM_ROUTE_MISSING = Cause(
    id="cilium-route-missing",
    title="a route that Cilium's agent makes for pods is gone",
    what=(
        "With endpoint routes the agent gives each pod a route on its node, with direct node routes one to "
        "each other node's pods. One of them is not there, or leads elsewhere, while others are."
    ),
    shows="One pod, or the pods of one node, cannot be reached; a trace ends UNKNOWN at Cilium's programs.",
    dies="Behind the programs, where the kernel's own routing sends the packet elsewhere.",
    proof="`ip route get POD` on its node leads to no lxc device; from other nodes to the default gateway.",
    repair="The agent's restart; until then the route by hand, as the finding writes it.",
    owner="cilium-agent",
    source="cilium Documentation/network/concepts/routing.rst; pkg/datapath/linux/node.go",
    verdicts=frozenset({Verdict.UNKNOWN}),
    candidates=_routes,
)


# --- programs --------------------------------------------------------------------------


def _programs(context: Context) -> Iterator[Candidate]:
    if not _unseen(context):
        return
    for node, pod in _pods(context):
        netns = _netns(context.snapshot, node)
        hung = {
            device.name: {(one.hook, one.name[:15]) for one in device.bpf if one.name.startswith(PROGRAMS)}
            for device in pod_devices(context.snapshot, netns)
        }
        own = next((d for d in pod_devices(context.snapshot, netns) if _is_of(d.peer, pod)), None)
        others = [found for name, found in hung.items() if own is None or name != own.name]
        if own is None or not others:
            continue
        for hook, name in sorted(set.intersection(*others) - hung[own.name]):
            yield Candidate(
                cause="cilium-program-missing",
                netns=netns,
                where=where(context.snapshot, netns),
                subject=f"pod/{pod.key}",
                message=f"{own.name} of {node} has no program {name} at {hook}, which all other pods' have",
                changes=(),
                evidence=(
                    Evidence(
                        ref=f"{netns}/links/{own.name}",
                        text=", ".join(own.programs) or "no program",
                        note=f"what hangs on the device of pod {pod.key}",
                    ),
                    Evidence(
                        ref=f"{netns}/links",
                        text=f"{hook} {name}",
                        note=f"on the devices of {len(others)} other pods",
                    ),
                ),
                safety=Safety.KICK,
                owner=OWNER,
                lasting=f"{_RESTART.replace('NODE', node)}; or cilium-dbg endpoint regenerate",
            )


def _is_of(peer: object, pod: Pod) -> bool:
    return pod.netns is not None and getattr(peer, "netns", None) == pod.netns


CILIUM_PROGRAM_MISSING = Cause(
    id="cilium-program-missing",
    title="Cilium's program is not on a pod's device",
    what=(
        "The agent hangs the same programs on the device of each pod. On this one a program is missing: its "
        "packets pass without policies, Services and identities, or are dropped for the lack of them."
    ),
    shows="One pod is reached although a policy denies it, or reaches nothing; the others are well.",
    dies="Mostly at another program, which does not know the packet.",
    proof="`nettrace show programs`, or `bpftool net`: the device lacks what the others have.",
    repair="The agent's restart, or `cilium-dbg endpoint regenerate`.",
    owner="cilium-agent",
    source="cilium pkg/datapath/loader; cilium#32411",
    verdicts=frozenset({Verdict.UNKNOWN}),
    candidates=_programs,
)
