"""ipam-leaked-ips: addresses are leased to sandboxes that are gone."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["IPAM_LEAKED_IPS"]

IPAM_LEAKED_IPS = Cause(
    id="ipam-leaked-ips",
    title="addresses are leased to sandboxes that are gone",
    what=(
        "host-local keeps one file for each address it gave away, and removes it when the runtime asks. "
        "After a crash, a reboot or a forced removal nobody asks: the lease stays."
    ),
    shows=(
        "New pods stay in ContainerCreating: `no IP addresses available in range set`, though few pods run."
    ),
    dies="Nowhere: no pod is made.",
    proof=(
        "The container id in the lease's file is that of no sandbox (`crictl pods -q --no-trunc`), its "
        "address in no namespace."
    ),
    repair="Delete the leases whose container is gone.",
    owner="host-local",
    source="kubernetes#57280, k3s#5885, kube-router#383, opensvc#234, deckhouse#4306",
    candidates=nobody,
)
