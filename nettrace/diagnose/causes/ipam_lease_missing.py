"""ipam-lease-missing: a pod's address is not leased to it."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["IPAM_LEASE_MISSING"]

IPAM_LEASE_MISSING = Cause(
    id="ipam-lease-missing",
    title="a pod's address is not leased to it",
    what=(
        "The pod has an address that host-local has not written down for it, so it gives the address to "
        "the next pod. Somebody deleted the files, or the directory of leases is another one now."
    ),
    shows="Nothing, until another pod gets the same address.",
    dies="Anywhere, later: in the wrong pod.",
    proof=(
        "No file in /var/lib/cni/networks/NETWORK is called as the pod's address, or it names another "
        "container."
    ),
    repair="Recreate the pod.",
    owner="host-local",
    source="kubernetes#57280, flannel#1549",
    candidates=nobody,
)
