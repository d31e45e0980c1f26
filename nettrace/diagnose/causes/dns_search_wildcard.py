"""dns-search-wildcard: a search domain answers for any name, before the cluster's own."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["DNS_SEARCH_WILDCARD"]

DNS_SEARCH_WILDCARD = Cause(
    id="dns-search-wildcard",
    title="a search domain answers for any name",
    what=(
        "One of the client's search domains has a wildcard record and is tried before the cluster's: a short "
        "name leads there."
    ),
    shows="A short name leads to a strange address; the full name with a dot at its end does not.",
    dies="Nowhere: it goes to whoever has that address.",
    proof="The name with that search domain resolves, and it is tried before NAME.NAMESPACE.svc.DOMAIN.",
    repair="drop that search domain from the pod's dnsConfig or the node's resolv.conf, or use the full name",
    owner="Whoever runs that domain; the pod's dnsConfig.",
    source="kubernetes#64924, k3s#6561",
    candidates=nobody,
)
