"""Causes at a pod's device, which answers no ARP or has no route, and at VXLAN ends that nobody knows."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference, differences
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedFdb, OwedNeighbour, OwedRoute, OwedSysctl
from nettrace.model.section import SectionKey
from nettrace.model.step import Verdict
from nettrace_plugins.calico.facts import OWNER, all_pods
from nettrace_plugins.calico.words import GATEWAY

__all__ = ["CALICO_PROXY_ARP_OFF", "CALICO_VTEP_MISSING", "CALICO_WORKLOAD_ROUTE_MISSING"]

_OVERWRITTEN = "Felix writes the same when it next starts"
_RESTART = (
    "restart calico-node on this node: kubectl -n calico-system delete pod -l k8s-app=calico-node "
    "--field-selector spec.nodeName=NODE"
)


def _restart(node: str, more: str = "") -> str:
    return _RESTART.replace("NODE", node) + more


def _own(context: Context, kind: type) -> Iterator[Difference]:
    for difference in context.differences:
        if isinstance(difference.owed, kind) and difference.owed.owner == OWNER:
            yield difference


def _answering(context: Context) -> Iterator[OwedSysctl]:
    """
    Yield what lets nodes answer ARP to the pods that failing packets pass through.

    The node itself need not be passed: a pod that finds no gateway sends it nothing.
    """
    pods = {f"pod/{pod.key}" for pod in all_pods(context.snapshot) if pod.netns in context.visited}
    for item in context.owed:
        own = isinstance(item, OwedSysctl) and item.owner == OWNER and item.subject in pods
        if isinstance(item, OwedSysctl) and own and item.name.endswith(".proxy_arp"):
            yield item


def _proxy_arp(context: Context) -> Iterator[Candidate]:
    for difference in differences(context.snapshot, list(_answering(context))):
        owed = difference.owed
        place = where(context.snapshot, owed.netns)
        unanswered = [
            Evidence(
                ref=f"{failure.step.netns}/neighbours",
                text=f"nobody answers for {GATEWAY} on {failure.step.device}",
                note="where it dies",
            )
            for failure in context.failures
            if failure.step is not None and failure.verdict is Verdict.NEIGHBOUR_FAILED
        ][:1]
        yield owed_candidate(
            context,
            "calico-proxy-arp-off",
            [difference],
            f"{place} does not answer ARP for the gateway {GATEWAY} of {owed.subject.replace('/', ' ', 1)}",
            safety=Safety.AUTO,
            overwritten="Felix sets it when it starts, and when the device comes up",
            lasting=_restart(place, "; if it goes again, see what runs sysctl --system after it"),
            before=unanswered,
        )


def _reads_sysctls(context: Context) -> Iterator[SectionKey]:
    for netns in {item.netns for item in _answering(context)}:
        yield SectionKey(netns, "sysctls")


def _route(context: Context) -> Iterator[Candidate]:
    for difference in _own(context, OwedRoute):
        owed = difference.owed
        if not isinstance(owed, OwedRoute) or not owed.subject.startswith("pod/"):
            continue
        address = owed.route.dst.partition("/")[0]
        packets = (step.after or step.before for step in context.steps)
        asked = {end for p in packets if p and (i := innermost(p)) for end in (i.src, i.dst)}
        if address not in asked:
            continue
        place = where(context.snapshot, owed.netns)
        what = "has no route to" if difference.restored.absent else "sends elsewhere what is for"
        yield owed_candidate(
            context,
            "calico-workload-route-missing",
            [difference],
            f"{place} {what} its own {difference.about} ({address})",
            safety=Safety.GUARDED,
            overwritten=_OVERWRITTEN,
            lasting=_restart(place, "; see in its log why it does not program the endpoint"),
        )


def _vtep(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedFdb | OwedNeighbour) or owed.owner != OWNER:
            continue
        place = where(context.snapshot, owed.netns)
        lacks = (
            f"to which node {owed.entry.mac} leads"
            if isinstance(owed, OwedFdb)
            else f"the MAC of {owed.entry.address}"
        )
        yield owed_candidate(
            context,
            "calico-vtep-missing",
            [difference],
            f"{place} does not know {lacks}: {difference.about}"
            if difference.restored.absent
            else f"{place} has it wrong {lacks}: {difference.about}",
            safety=Safety.GUARDED,
            overwritten=_OVERWRITTEN,
            lasting=_restart(place),
        )


CALICO_PROXY_ARP_OFF = Cause(
    id="calico-proxy-arp-off",
    title="a Calico pod's gateway is not answered for",
    what=(
        f"A Calico pod has the gateway {GATEWAY}, which nobody has: its node answers ARP for it on the "
        "pod's device, because of the device's sysctl proxy_arp. With 0 the pod finds no gateway."
    ),
    shows="From this pod nothing can be reached: No route to host after 3 s. To it nothing is answered.",
    dies="At the neighbour, in the pod.",
    proof=f"`ip neigh` in the pod has {GATEWAY} FAILED; `sysctl net.ipv4.conf.caliX.proxy_arp` is 0.",
    repair="sysctl -w net.ipv4.conf.caliX.proxy_arp=1",
    owner="calico-node (Felix), and the CNI plugin when it makes the pod.",
    source="calico#4186, calico#8689, calico#1947",
    reads=_reads_sysctls,
    candidates=_proxy_arp,
)

CALICO_WORKLOAD_ROUTE_MISSING = Cause(
    id="calico-workload-route-missing",
    title="a Calico node has no route to its own pod",
    what=(
        "With Calico a node reaches each of its pods by a route of its own to the pod's device. Without it "
        "the packet ends in the block's blackhole, or leaves by the default gateway."
    ),
    shows="One pod cannot be reached from anywhere, and what it sends is not answered.",
    dies="At the routing decision of the pod's node.",
    proof="`ip route get POD` on its node does not name a device cali*.",
    repair="ip route replace POD dev caliX scope link",
    owner="calico-node (Felix).",
    source="calico#4186, calicoctl#256",
    candidates=_route,
)

CALICO_VTEP_MISSING = Cause(
    id="calico-vtep-missing",
    title="a Calico node does not know a peer's VXLAN end",
    what=(
        "Nothing is learned on vxlan.calico: Felix tells it each peer's MAC address, and to which node that "
        "leads."
    ),
    shows="Pods of one peer cannot be reached: a timeout, or No route to host after 3 s.",
    dies="In the VXLAN device, or at its neighbour.",
    proof="`bridge fdb show dev vxlan.calico`, `ip neigh show dev vxlan.calico` lack the peer.",
    repair="bridge fdb replace MAC dev vxlan.calico dst NODEIP; ip neigh replace VTEP lladdr MAC",
    owner="calico-node (Felix).",
    source="calico#9450, calico#4857",
    candidates=_vtep,
)
