"""duplicate-ip: two pods have the same address."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["DUPLICATE_IP"]

DUPLICATE_IP = Cause(
    id="duplicate-ip",
    title="two pods have the same address",
    what=(
        "Two pods of the cluster have the same IP address; who is reached depends on whose ARP reply came "
        "last."
    ),
    shows="Now and then refused, reset, or answered by the wrong pod.",
    dies="Anywhere: in the wrong pod.",
    proof="Two pods with one `status.podIP`, two MAC addresses for one IP.",
    repair="Delete the younger of the two pods; look at the IPAM's leases.",
    owner="The CNI plugin's IPAM.",
    source="flannel#1549, plugins#629",
    candidates=nobody,
)
