"""dns-wrong-clusterdns: the pod asks another DNS server than the cluster's."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["DNS_WRONG_CLUSTERDNS"]

DNS_WRONG_CLUSTERDNS = Cause(
    id="dns-wrong-clusterdns",
    title="the pod asks another DNS server than the cluster's",
    what="The nameserver in the pod's resolv.conf is not the address of the cluster's DNS Service.",
    shows="No cluster name resolves in the pods of this node.",
    dies="At an address that is no DNS server.",
    proof="/etc/resolv.conf of the pod beside the ClusterIP of kube-system/kube-dns.",
    repair="Correct clusterDNS in kubelet's configuration and restart the pods.",
    owner="kubelet's configuration, or the pod's dnsConfig.",
    source="the Debug Services page of Kubernetes, kubernetes#87852",
    candidates=nobody,
)
