"""podcidr-duplicate: two nodes have the same part of the pods' network."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["PODCIDR_DUPLICATE"]

PODCIDR_DUPLICATE = Cause(
    id="podcidr-duplicate",
    title="two nodes have the same part of the pods' network",
    what=(
        "The podCIDRs of two Nodes are the same or overlap, so that both give the same addresses to their "
        "pods."
    ),
    shows="Now and then the wrong pod answers, or none: routes to that network flap between the nodes.",
    dies="On the other node, which has no such pod or another one.",
    proof="`kubectl get nodes -o jsonpath='{.items[*].spec.podCIDR}'` has one twice.",
    repair=(
        "Delete one of the Nodes and let it join again; machines that were cloned need a machine-id of "
        "their own."
    ),
    owner="kube-controller-manager, or the network's own allocator",
    source="flannel#805, flannel#1129, flannel#1289, flannel#813, flannel#1549",
    candidates=nobody,
)
