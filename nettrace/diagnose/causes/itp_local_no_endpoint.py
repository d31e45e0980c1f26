"""itp-local-no-endpoint: the node has no endpoint of a Service with internalTrafficPolicy Local."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["ITP_LOCAL_NO_ENDPOINT"]

ITP_LOCAL_NO_ENDPOINT = Cause(
    id="itp-local-no-endpoint",
    title="the node has no endpoint of a Service with internalTrafficPolicy Local",
    what="The Service has internalTrafficPolicy: Local, and no ready pod of it is on the client's node.",
    shows="The ClusterIP times out from this node and works from others.",
    dies="At the rule that drops what has no local endpoint.",
    proof="`internalTrafficPolicy` and the EndpointSlice's nodeName.",
    repair="Run a pod on each node, or policy Cluster.",
    owner="The Service's manifest; by design.",
    source="kubernetes#121371",
    candidates=nobody,
)
