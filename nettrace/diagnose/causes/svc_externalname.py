"""svc-externalname: an ExternalName Service has no address."""

from nettrace.diagnose.cause import Cause, nobody
from nettrace.model.finding import Severity

__all__ = ["SVC_EXTERNALNAME"]

SVC_EXTERNALNAME = Cause(
    id="svc-externalname",
    title="an ExternalName Service has no address",
    what=(
        "A Service of type ExternalName is an alias in DNS (a CNAME) and nothing else: no address, no "
        "endpoints, no rules."
    ),
    shows="The name resolves to another name; NetworkPolicies and ports of the Service do nothing.",
    dies="Wherever the other name leads.",
    proof="`spec.type` is ExternalName.",
    repair="Nothing, if that is meant; otherwise a Service with a selector.",
    owner="The Service's manifest.",
    source="kubernetes#86895",
    severity=Severity.INFO,
    candidates=nobody,
)
