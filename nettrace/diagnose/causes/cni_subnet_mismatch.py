"""cni-subnet-mismatch: the CNI configuration gives addresses outside the node's podCIDR."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["CNI_SUBNET_MISMATCH"]

CNI_SUBNET_MISMATCH = Cause(
    id="cni-subnet-mismatch",
    title="the CNI configuration gives addresses outside the node's podCIDR",
    what=(
        "The ranges in the CNI configuration are not within the podCIDR of the Node: it was written for "
        "another node or another cluster."
    ),
    shows=(
        "Pods of the node talk to each other and to nobody else: the other nodes route its podCIDR, not "
        "these addresses."
    ),
    dies="On the way back: no route to the pod's address, or one to another node.",
    proof="The subnet in the conflist beside spec.podCIDR of the Node.",
    repair="Write the node's podCIDR into the configuration, and recreate its pods.",
    owner="whoever wrote the configuration",
    source="flannel#1549, plugins#629",
    candidates=nobody,
)
