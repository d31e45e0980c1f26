"""etp-local-hostname-mismatch: a pod is on the node, and kube-proxy there does not take it for local."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["ETP_LOCAL_HOSTNAME_MISMATCH"]

ETP_LOCAL_HOSTNAME_MISMATCH = Cause(
    id="etp-local-hostname-mismatch",
    title="kube-proxy and the EndpointSlices call the node by different names",
    what=(
        "An endpoint is local where the nodeName in its EndpointSlice is kube-proxy's own node name: "
        "--hostname-override, else the machine's host name. Where these two differ, by a domain or "
        "by a cloud's name, no endpoint is local on that node, and policy Local drops everything."
    ),
    shows="A Service with externalTrafficPolicy Local times out even on the nodes that its pods are on.",
    dies="At the rule that drops what has no local endpoint.",
    proof=(
        "The rule says 'has no local endpoints', and the address of a ready endpoint is in a namespace of "
        "this very node."
    ),
    repair="give kube-proxy the Node's name (hostnameOverride), and restart it on this node",
    owner="kube-proxy's configuration.",
    source="metallb#345, weave#3568, cke#139, kubernetes#48437, kubernetes#80579",
    candidates=nobody,
)
