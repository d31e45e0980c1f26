"""svc-missing: there is no such Service."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_MISSING"]

SVC_MISSING = Cause(
    id="svc-missing",
    title="there is no such Service",
    what="No Service of that name exists in any namespace that was read.",
    shows="The name does not resolve (NXDOMAIN).",
    dies="Nowhere: no packet is sent.",
    proof="`kubectl get svc -A` does not list it.",
    repair="Create the Service, or correct the name.",
    owner="Whoever deploys the application.",
    source="the Debug Services page of Kubernetes",
    candidates=nobody,
)
