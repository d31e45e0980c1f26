"""svc-named-port-mismatch: no container declares a port of the name that targetPort has."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_NAMED_PORT_MISMATCH"]

SVC_NAMED_PORT_MISMATCH = Cause(
    id="svc-named-port-mismatch",
    title="no container declares a port of the name that targetPort has",
    what=(
        "`targetPort` is a name, and no container of the selected pods has a port of that name (and "
        "protocol)."
    ),
    shows="The Service has endpoints without that port: connections are refused.",
    dies="At the rule that rejects what has no endpoints.",
    proof="`targetPort` beside the pods' `containerPort` names.",
    repair="Give the container's port that name, or use its number.",
    owner="The Service's and the pods' manifests.",
    source="the Debug Services page of Kubernetes",
    candidates=nobody,
)
