"""svc-port-not-listed: the Service has no such port."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_PORT_NOT_LISTED"]

SVC_PORT_NOT_LISTED = Cause(
    id="svc-port-not-listed",
    title="the Service has no such port",
    what="The port that is asked for is not in `spec.ports` of the Service.",
    shows=(
        "Connections time out (no rule knows the port), or are refused where kube-proxy rejects the rest of "
        "the Services' network."
    ),
    dies="Past the Service's rules: the packet keeps the Service's address and leaves by the default route.",
    proof="`kubectl get svc` lists other ports.",
    repair="Use a port that it has, or add the port to the Service.",
    owner="The Service's manifest.",
    source="kube-aws#1128",
    candidates=nobody,
)
