"""bridge-address-missing: the bridge lacks the address that its pods have for a gateway."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.nearby import peer_netns, pod_ports
from nettrace.diagnose.look import addresses_in, holder_of, link_in, subject_of, where
from nettrace.model.addr import family_of, in_prefix, network_of
from nettrace.model.change import AddressAdd
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Address
from nettrace.model.routes import Route
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict

__all__ = ["BRIDGE_ADDRESS_MISSING"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    for netns in snapshot.namespaces:
        asked: dict[tuple[str, str, int], list[str]] = {}
        for port in pod_ports(snapshot, netns):
            bridge = link_in(snapshot, netns, port.master)
            pod = peer_netns(port)
            if bridge is None or bridge.kind != "bridge" or pod is None:
                continue
            for gateway, length in _gateways(snapshot, pod):
                asked.setdefault((bridge.name, gateway, length), []).append(pod)
        for (bridge_name, gateway, length), pods in asked.items():
            near = any(one in context.visited for one in (netns, *pods))
            if near and holder_of(snapshot, gateway) is None:
                yield _candidate(snapshot, netns, bridge_name, f"{gateway}/{length}", pods)


def _gateways(snapshot: Snapshot, pod: str) -> Iterator[tuple[str, int]]:
    """Yield the gateways of a pod's default routes that lie in its own network, and that network's length."""
    section = snapshot.section(SectionKey(pod, "routes"))
    routes: tuple[Route, ...] = section.value if isinstance(section, Known) else ()
    for route in routes:
        for hop in route.nexthops if route.dst == "0.0.0.0/0" else ():
            for own in addresses_in(snapshot, pod):
                if family_of(own.address) != 4 or own.device != hop.device or hop.via is None:
                    continue
                if own.prefixlen < 31 and in_prefix(hop.via, network_of(own.address, own.prefixlen)):
                    yield hop.via, own.prefixlen


def _candidate(snapshot: Snapshot, netns: str, bridge: str, text: str, pods: list[str]) -> Candidate:
    place = where(snapshot, netns)
    address, _, length = text.partition("/")
    pod = pods[0]
    own = next(a for a in addresses_in(snapshot, pod) if a.prefixlen == int(length))
    new = Address(device=bridge, address=address, prefixlen=int(length))
    held = [f"{a.address}/{a.prefixlen}" for a in addresses_in(snapshot, netns) if a.device == bridge]
    return Candidate(
        cause="bridge-address-missing",
        netns=netns,
        where=place,
        subject=subject_of(snapshot, netns),
        message=f"{bridge} on {place} lacks {address}, the gateway of its pods",
        changes=(AddressAdd(netns=netns, address=new),),
        evidence=(
            Evidence(
                ref=f"{netns}/addresses",
                text=f"{bridge} has {', '.join(sorted(held)) or 'no address'}",
                note="what is there",
            ),
            Evidence(
                ref=f"{pod}/routes/254/0.0.0.0/0",
                text=f"default via {address}",
                note=f"the route of {pod}; {len(pods)} pods of this bridge have the same gateway",
            ),
            Evidence(
                ref=f"{pod}/addresses",
                text=f"{own.address}/{own.prefixlen}",
                note=f"the network of {pod}",
            ),
        ),
        safety=Safety.GUARDED,
        owner="the CNI plugin that made the bridge",
        overwritten="the CNI plugin gives the bridge the same address with the next pod that it starts",
        lasting="find what takes it away: a network manager has to leave the bridge alone",
    )


BRIDGE_ADDRESS_MISSING = Cause(
    id="bridge-address-missing",
    title="the pods' bridge lacks the gateway's address",
    what=(
        "The bridge has lost the address that all its pods have for a gateway, and with it the route to "
        "them. Nobody answers the pods' ARP for it."
    ),
    shows="No route to host after 3 s for all that is not on the same bridge; its pods reach each other.",
    dies="In the pod: nobody answers ARP for the gateway. Towards the pods: the node has no route to them.",
    proof="`ip addr show BRIDGE` lacks the address that `ip route` in the pod has after `default via`.",
    repair="ip addr add GATEWAY/LENGTH dev BRIDGE, both as the pods have them",
    owner="The CNI plugin that made the bridge.",
    source="kubernetes#67183",
    verdicts=frozenset({Verdict.NEIGHBOUR_FAILED, Verdict.NO_ROUTE, Verdict.LEFT_SNAPSHOT}),
    candidates=_candidates,
)
