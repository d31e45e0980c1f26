"""ipam-range-exhausted: all addresses of the node are given away."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["IPAM_RANGE_EXHAUSTED"]

IPAM_RANGE_EXHAUSTED = Cause(
    id="ipam-range-exhausted",
    title="all addresses of the node are given away",
    what=(
        "Every address of the ranges that the node's pods get theirs from is leased to a sandbox that lives."
    ),
    shows="New pods stay in ContainerCreating: `no IP addresses available in range set`.",
    dies="Nowhere: no pod is made.",
    proof="As many files in /var/lib/cni/networks/NETWORK as the ranges have addresses.",
    repair="A larger podCIDR (--node-cidr-mask-size), or fewer pods a node (maxPods).",
    owner="host-local, and who chose the size of the podCIDR",
    source="rancher#14504, flannel#1416, kubernetes#39557",
    candidates=nobody,
)
