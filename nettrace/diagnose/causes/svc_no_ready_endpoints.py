"""svc-no-ready-endpoints: the Service's pods are not ready."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_NO_READY_ENDPOINTS"]

SVC_NO_READY_ENDPOINTS = Cause(
    id="svc-no-ready-endpoints",
    title="the Service's pods are not ready",
    what="The selector matches pods, and none of them is Ready, so that the Service has no endpoint.",
    shows="Connections are refused at once; now and then in rollouts.",
    dies="At the rule that rejects what has no endpoints.",
    proof="The EndpointSlice has its addresses with ready: false.",
    repair="Look why the readiness probe fails: `kubectl describe pod`.",
    owner="The application and its readiness probe.",
    source="KEP-1669, the Debug Services page of Kubernetes, kubernetes#98570",
    candidates=nobody,
)
