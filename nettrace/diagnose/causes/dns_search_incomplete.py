"""dns-search-incomplete: the pod's search list lacks the cluster's domains."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["DNS_SEARCH_INCOMPLETE"]

DNS_SEARCH_INCOMPLETE = Cause(
    id="dns-search-incomplete",
    title="the pod's search list lacks the cluster's domains",
    what=(
        "The pod's resolv.conf has no search domain NAMESPACE.svc.DOMAIN, or ndots is so small that names "
        "with dots are not searched for."
    ),
    shows="The full name of the Service resolves, NAME and NAME.NAMESPACE do not.",
    dies="Nowhere: another name is asked for.",
    proof="/etc/resolv.conf of the pod.",
    repair="dnsPolicy: ClusterFirst; with dnsConfig, its searches and `ndots:5` as well.",
    owner="The pod's dnsPolicy and dnsConfig, kubelet's clusterDomain.",
    source="the Debug Services page of Kubernetes",
    candidates=nobody,
)
