"""kubeproxy-not-running: kube-proxy does not run on the node."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["KUBEPROXY_NOT_RUNNING"]

KUBEPROXY_NOT_RUNNING = Cause(
    id="kubeproxy-not-running",
    title="kube-proxy does not run on the node",
    what="No process kube-proxy is on the node, and the rules that it owes are not there or not up to date.",
    shows="All Services are dead or stale on this node; pod addresses work.",
    dies="Past the Services' rules: the packet keeps the Service's address.",
    proof="No process, nobody listens on port 10256 (healthz).",
    repair="Start it, and look at its log: configuration, access to the API server.",
    owner="The DaemonSet kube-proxy, or the unit on the node.",
    source="kubernetes#35641, kubernetes#61005",
    candidates=nobody,
)
