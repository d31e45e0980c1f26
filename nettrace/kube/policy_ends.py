"""
Who the two ends of a flow are, as network policies see them.

Lives here: pod, node or neither, by address; which selectors, blocks and ports hold for an end.
Not here: what follows from it (policy.py).
"""

from collections.abc import Mapping

from msgspec import Struct

from nettrace.kube.selectors import Labels, Truth, Unsure, all_of, selects
from nettrace.model.addr import in_prefix
from nettrace.model.kube import Kube, KubeNode, Pod
from nettrace.model.policy import NAMESPACE_NAME, AdminPeer, AdminPort, IpBlock, PolicyPeer, PolicyPort
from nettrace.model.policy_verdict import PolicyFlow
from nettrace.model.section import Known

__all__ = [
    "DEFINED",
    "Cluster",
    "End",
    "admin_peer_matches",
    "admin_port_matches",
    "cluster_of",
    "is_subject",
    "peer_matches",
    "port_matches",
]

#: The protocols that the specification speaks of.
DEFINED = ("tcp", "udp", "sctp")

#: Phases in which a pod has given its address back.
_OVER = ("Succeeded", "Failed")


class End(Struct, frozen=True, kw_only=True):
    """One end.  ``pod`` is set for pods with an address of their own, ``node`` for a node's address."""

    address: str
    pod: Pod | None = None
    node: str | None = None

    @property
    def words(self) -> str:
        """``pod shop/web``, ``node node-a``, or the address."""
        if self.pod is not None:
            return f"pod {self.pod.key}"
        return f"node {self.node} ({self.address})" if self.node else self.address


class Cluster(Struct, frozen=True, kw_only=True):
    """The objects by what they are looked up with."""

    pods: Mapping[str, Pod]
    nodes: Mapping[str, str]  # address -> node
    node_labels: Mapping[str, KubeNode] | None  # None: not known
    namespaces: Mapping[str, Mapping[str, str]] | None

    def end(self, address: str) -> End:
        """Return who has *address*.  Pods of a node's own network are that node."""
        pod = self.pods.get(address)
        if pod is not None:
            return End(address=address, pod=pod)
        return End(address=address, node=self.nodes.get(address))

    def namespace_labels(self, name: str) -> Labels:
        """Return a namespace's labels; the one with its name is always known."""
        own = {NAMESPACE_NAME: name}
        if self.namespaces is None:
            return Labels(known=own, unread="the Namespaces were not read")
        if name not in self.namespaces:
            return Labels(known=own, unread=f"there is no Namespace {name} among the objects")
        return Labels(known={**self.namespaces[name], **own})


def cluster_of(kube: Kube, node_addresses: Mapping[str, str]) -> Cluster:
    """
    Return the cluster of *kube*; its pods have to be Known.

    *node_addresses* are further addresses of nodes (bridges, tunnels) and their nodes' names.
    """
    pods = kube.pods.value if isinstance(kube.pods, Known) else ()
    nodes = kube.nodes.value if isinstance(kube.nodes, Known) else None
    names = dict(node_addresses)
    names |= {a: node.name for node in nodes or () for a in (*node.internal_ips, *node.external_ips)}
    names |= {a: pod.node_name for pod in pods if pod.host_network and pod.node_name for a in pod.ips}
    return Cluster(
        pods={a: p for p in pods if not p.host_network and p.phase not in _OVER for a in p.ips},
        nodes=names,
        node_labels={node.name: node for node in nodes} if nodes is not None else None,
        namespaces={n.name: n.labels for n in kube.namespaces.value}
        if isinstance(kube.namespaces, Known)
        else None,
    )


# --- NetworkPolicy ---------------------------------------------------------------------


def peer_matches(cluster: Cluster, namespace: str, peer: PolicyPeer, end: End) -> Truth:
    """Is *end* the peer that a policy of *namespace* names?"""
    if peer.ip_block is not None:
        return _in_block(peer.ip_block, end.address)
    if end.pod is None:
        return False
    if peer.namespace_selector is None:
        where: Truth = end.pod.namespace == namespace
    else:
        where = selects(peer.namespace_selector, cluster.namespace_labels(end.pod.namespace))
    own = Labels(known=end.pod.labels)
    return all_of((where, peer.pod_selector is None or selects(peer.pod_selector, own)))


def _in_block(block: IpBlock, address: str) -> bool:
    return in_prefix(address, block.cidr) and not any(in_prefix(address, one) for one in block.excepted)


def port_matches(port: PolicyPort, flow: PolicyFlow, destination: Pod | None) -> Truth:
    """Is the flow for *port*?  A name is looked up among the destination's container ports."""
    if port.protocol.lower() != flow.proto:
        return False
    if port.port is None:
        return True
    if flow.port is None:
        return Unsure("the destination port is open")
    if isinstance(port.port, str):
        return _is_named(port.port, (port.protocol,), flow.port, destination)
    last = port.end_port if port.end_port is not None else port.port
    return port.port <= flow.port <= last


def _is_named(name: str, protocols: tuple[str, ...], number: int, pod: Pod | None) -> bool:
    return pod is not None and any(
        (one.name, one.container_port) == (name, number) and one.protocol in protocols
        for container in pod.containers
        for one in container.ports
    )


# --- policies of the cluster's administrator -------------------------------------------


def is_subject(cluster: Cluster, subject: AdminPeer, pod: Pod) -> Truth:
    """Is the policy with this subject about *pod*?"""
    return admin_peer_matches(cluster, subject, End(address="", pod=pod))


def admin_peer_matches(cluster: Cluster, peer: AdminPeer, end: End) -> Truth:
    """Is *end* the peer that an admin policy names?"""
    if peer.unread:
        return Unsure(f"the peer has {peer.unread}, which is not evaluated")
    if peer.networks:
        return any(in_prefix(end.address, one) for one in peer.networks)
    if peer.node_selector is not None:
        if end.node is None:
            return False
        if cluster.node_labels is None or end.node not in cluster.node_labels:
            return Unsure(f"the labels of node {end.node} were not read")
        return selects(peer.node_selector, Labels(known=cluster.node_labels[end.node].labels))
    if end.pod is None or peer.namespace_selector is None:
        return False
    where = selects(peer.namespace_selector, cluster.namespace_labels(end.pod.namespace))
    own = Labels(known=end.pod.labels)
    return all_of((where, peer.pod_selector is None or selects(peer.pod_selector, own)))


def admin_port_matches(port: AdminPort, flow: PolicyFlow, destination: Pod | None) -> Truth:
    """Is the flow for *port* of an admin policy?"""
    if flow.proto not in DEFINED or (port.protocol and port.protocol.lower() != flow.proto):
        return False
    if flow.port is None:
        return Unsure("the destination port is open")
    if port.name:
        return _is_named(port.name, (flow.proto.upper(),), flow.port, destination)
    return port.first is not None and port.last is not None and port.first <= flow.port <= port.last
