"""svc-ipfamily-mismatch: the Service and its pods have no IP family in common."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_IPFAMILY_MISMATCH"]

SVC_IPFAMILY_MISMATCH = Cause(
    id="svc-ipfamily-mismatch",
    title="the Service and its pods have no IP family in common",
    what="The Service has an address of one IP family only, and what calls it or serves it has the other.",
    shows="The name has an AAAA record only (or an A record only); there are no endpoints of the family.",
    dies="Nowhere, or at the rule that rejects what has no endpoints.",
    proof="`spec.ipFamilies` beside `status.podIPs`.",
    repair="Set `ipFamilyPolicy: PreferDualStack`, or the family that the pods have.",
    owner="The Service's manifest.",
    source="kubernetes#94505, kubernetes#121631",
    candidates=nobody,
)
