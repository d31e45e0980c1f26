"""etp-local-no-endpoint: the node has no endpoint of a Service with externalTrafficPolicy Local."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["ETP_LOCAL_NO_ENDPOINT"]

ETP_LOCAL_NO_ENDPOINT = Cause(
    id="etp-local-no-endpoint",
    title="the node has no endpoint of a Service with externalTrafficPolicy Local",
    what=(
        "The Service has externalTrafficPolicy: Local, and no ready pod of it is on the node that was asked."
    ),
    shows="The node port times out on this node and works on others.",
    dies="At the rule that drops what has no local endpoint.",
    proof="`externalTrafficPolicy` and the EndpointSlice's nodeName.",
    repair=(
        "Ask a node that has one (a balancer's health check does), run one on each node, or policy Cluster."
    ),
    owner="The Service's manifest; by design.",
    source="kubernetes#75262, kubernetes#92761",
    candidates=nobody,
)
