"""podcidr-missing: the node was given no part of the pods' network."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["PODCIDR_MISSING"]

PODCIDR_MISSING = Cause(
    id="podcidr-missing",
    title="the node was given no part of the pods' network",
    what=(
        "The Node has no podCIDR, or the agent of its network has not written its part down: flannel's "
        "CNI plugin reads /run/flannel/subnet.env, which flanneld writes once it knows the podCIDR."
    ),
    shows=(
        "New pods of the node stay in ContainerCreating: `open /run/flannel/subnet.env: no such file or "
        "directory`."
    ),
    dies="Nowhere: no pod is made.",
    proof="spec.podCIDR of the Node is empty; /run/flannel/subnet.env is not there.",
    repair=(
        "Start kube-controller-manager with --allocate-node-cidrs and --cluster-cidr; then restart the "
        "network's agent."
    ),
    owner="kube-controller-manager, or the network's agent",
    source="flannel#823, kubernetes#75572",
    candidates=nobody,
)
