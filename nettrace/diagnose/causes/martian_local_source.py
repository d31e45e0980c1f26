"""martian-local-source: a node has an address for its own that belongs to a pod."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.nearby import nearby
from nettrace.diagnose.look import addresses_in, subject_of, where
from nettrace.model.change import AddressDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.kube import Pod
from nettrace.model.section import Known

__all__ = ["MARTIAN_LOCAL_SOURCE"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    nodes = {node.netns for node in snapshot.nodes.values()}
    section = snapshot.kube.pods
    pods: tuple[Pod, ...] = section.value if isinstance(section, Known) else ()
    named = {ip: f"pod {pod.key}" for pod in pods if not pod.host_network for ip in pod.ips}
    for netns in dict.fromkeys(name for name in nearby(context) if name in nodes):
        for own in addresses_in(snapshot, netns):
            holders = [
                name
                for name, other in snapshot.namespaces.items()
                if other.role in ("pod", "container")
                and any(
                    a.address == own.address and a.scope == "global" for a in addresses_in(snapshot, name)
                )
            ]
            if not holders and own.address not in named:
                continue
            place = where(snapshot, netns)
            owner = named.get(own.address) or holders[0]
            text = f"{own.address}/{own.prefixlen} dev {own.device}"
            yield Candidate(
                cause="martian-local-source",
                netns=netns,
                where=place,
                subject=subject_of(snapshot, netns),
                message=f"{place} has {text}, which is the address of {owner}",
                changes=(AddressDelete(netns=netns, address=own),),
                evidence=(
                    Evidence(ref=f"{netns}/addresses", text=text, note="what is there"),
                    *(
                        Evidence(
                            ref=f"{holder}/addresses", text=f"{holder} has {own.address}", note="whose it is"
                        )
                        for holder in holders[:1]
                    ),
                    *(
                        (Evidence(ref="kube/pods", text=f"{named[own.address]} has {own.address}"),)
                        if own.address in named
                        else ()
                    ),
                ),
                safety=Safety.GUARDED,
                owner="whoever put the address there",
                overwritten="put there again, if a program did it: see `ip monitor address`",
                lasting="find what adds it: a load balancer that puts its address on nodes, a script",
            )


MARTIAN_LOCAL_SOURCE = Cause(
    id="martian-local-source",
    title="a node takes a pod's address for its own",
    what=(
        "The node has an address that belongs to a pod. What is for the pod ends on the node itself, and "
        "what comes from it is dropped as a martian: nothing that comes in may have a local source."
    ),
    shows="One pod is refused or times out on its own node, in both directions; others work.",
    dies="At the routing decision of the node: delivered to itself, or dropped (fib_validate_source).",
    proof="`ip route get POD` says local; `ip addr` has the address; `martian source` with log_martians.",
    repair="ip addr del ADDRESS dev DEVICE on the node",
    owner="Whoever put the address there.",
    source="kubernetes#72236, the loopback problem of cloud load balancers",
    candidates=_candidates,
)
