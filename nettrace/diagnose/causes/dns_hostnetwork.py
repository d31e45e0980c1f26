"""dns-hostnetwork: the pod uses the node's DNS configuration."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["DNS_HOSTNETWORK"]

DNS_HOSTNETWORK = Cause(
    id="dns-hostnetwork",
    title="the pod uses the node's DNS configuration",
    what=(
        "A pod in the node's network with dnsPolicy ClusterFirst, or one with dnsPolicy Default, has the "
        "node's resolv.conf."
    ),
    shows="Cluster names do not resolve, other names do.",
    dies="Nowhere: another server is asked.",
    proof="The pod's spec, and its resolv.conf.",
    repair="dnsPolicy: ClusterFirstWithHostNet.",
    owner="The pod's manifest.",
    source="kubernetes#35761, kubernetes#17406",
    candidates=nobody,
)
