"""dns-no-record: the DNS server has no record for the Service."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["DNS_NO_RECORD"]

DNS_NO_RECORD = Cause(
    id="dns-no-record",
    title="the DNS server has no record for the Service",
    what="The server answers, with no such name, or with an address that is not the Service's.",
    shows="The Service's name does not resolve or leads elsewhere, while its address works.",
    dies="Nowhere, or at an address that the Service has no more.",
    proof="The answer beside `spec.clusterIP`.",
    repair="Look at CoreDNS's log: it cannot reach the API server, or serves another domain.",
    owner="CoreDNS and its Corefile.",
    source="the Debug Services page of Kubernetes",
    candidates=nobody,
)
