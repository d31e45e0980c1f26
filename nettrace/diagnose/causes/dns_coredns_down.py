"""dns-coredns-down: the cluster's DNS has no endpoint."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["DNS_COREDNS_DOWN"]

DNS_COREDNS_DOWN = Cause(
    id="dns-coredns-down",
    title="the cluster's DNS has no endpoint",
    what="The Service kube-system/kube-dns exists and has no ready endpoint.",
    shows="No name resolves: refused, or no answer from the nameserver.",
    dies="At the rule that rejects what has no endpoints.",
    proof="Its EndpointSlice is empty.",
    repair="Look at the pods of CoreDNS: `kubectl -n kube-system get pods -l k8s-app=kube-dns`.",
    owner="The Deployment coredns.",
    source="coredns#3662, kubeadm#1056",
    candidates=nobody,
)
