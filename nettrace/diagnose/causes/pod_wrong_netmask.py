"""pod-wrong-netmask: a pod takes the pods of other nodes for its neighbours."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import addresses_in, where
from nettrace.model.addr import family_of, in_prefix, network_of, prefix_contains
from nettrace.model.change import AddressAdd, AddressDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Address
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict

__all__ = ["POD_WRONG_NETMASK"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    for netns in dict.fromkeys(f.netns for f in context.failures if f.netns):
        if netns not in snapshot.namespaces or snapshot.namespaces[netns].role not in ("pod", "container"):
            continue
        for own in addresses_in(snapshot, netns):
            cidr, node = _pod_cidr(snapshot, netns, own)
            if cidr:
                yield _candidate(snapshot, netns, own, cidr, node)


def _pod_cidr(snapshot: Snapshot, netns: str, own: Address) -> tuple[str, str]:
    """Return the pod CIDR of the pod's node, and the node, where the pod's own network is wider."""
    node = snapshot.namespaces[netns].node
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    for one in nodes if family_of(own.address) == 4 else ():
        for cidr in one.pod_cidrs if one.name == node else ():
            network = network_of(own.address, own.prefixlen)
            if family_of(cidr) != 4 or not in_prefix(own.address, cidr) or network == cidr:
                continue
            if prefix_contains(network, cidr):
                return cidr, one.name
    return "", ""


def _candidate(snapshot: Snapshot, netns: str, own: Address, cidr: str, node: str) -> Candidate:
    length = int(cidr.partition("/")[2])
    new = Address(device=own.device, address=own.address, prefixlen=length, scope=own.scope)
    return Candidate(
        cause="pod-wrong-netmask",
        netns=netns,
        where=where(snapshot, netns),
        subject=f"netns/{netns}",
        message=(
            f"{netns} has {own.address}/{own.prefixlen} while the pods of {node} are in {cidr}: it looks for "
            "the pods of other nodes on its own bridge"
        ),
        # the right one first: with its last address a device loses its default route
        changes=(AddressAdd(netns=netns, address=new), AddressDelete(netns=netns, address=own)),
        evidence=(
            Evidence(
                ref=f"{netns}/addresses",
                text=f"{own.device} {own.address}/{own.prefixlen}",
                note="what is there",
            ),
            Evidence(ref="kube/nodes", text=f"Node {node}: podCIDR {cidr}", note="the network of its pods"),
        ),
        safety=Safety.GUARDED,
        owner="the CNI plugin that made the pod's device",
        overwritten="not for this pod; new pods get what the CNI configuration says",
        lasting=f"correct the subnet in {node}'s CNI configuration (/etc/cni/net.d), and make its pods anew",
    )


POD_WRONG_NETMASK = Cause(
    id="pod-wrong-netmask",
    title="a pod takes the pods of other nodes for its neighbours",
    what=(
        "The pod's address has a wider netmask than its node's pod CIDR (a /16 where the node has a /24): "
        "it asks for the pods of other nodes by ARP on its own bridge, and does not send to the gateway."
    ),
    shows="No route to host after 3 s for the addresses of pods on other nodes; Services work.",
    dies="In the pod: nobody on the bridge answers ARP for a pod of another node.",
    proof="`ip addr` in the pod has a shorter prefix than the Node's podCIDR.",
    repair="ip addr add ADDRESS/LENGTH, then ip addr del the other, in the pod; the CNI configuration",
    owner="The CNI configuration.",
    source="flannel#1549, plugins#629, flannel#1437",
    verdicts=frozenset({Verdict.NEIGHBOUR_FAILED}),
    candidates=_candidates,
)
