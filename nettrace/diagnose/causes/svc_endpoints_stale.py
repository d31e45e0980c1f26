"""svc-endpoints-stale: the EndpointSlices do not follow the pods."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_ENDPOINTS_STALE"]

SVC_ENDPOINTS_STALE = Cause(
    id="svc-endpoints-stale",
    title="the EndpointSlices do not follow the pods",
    what=(
        "Ready pods that the selector matches are not in the Service's EndpointSlices, or the slices have "
        "addresses that no pod has."
    ),
    shows="New pods get no traffic, or connections go to pods that are gone.",
    dies="At an address that nobody has.",
    proof="The slices' addresses beside those of the pods.",
    repair="Look at kube-controller-manager: the endpoint slice controller writes them.",
    owner="The endpoint slice controller.",
    source="the Debug Services page of Kubernetes",
    candidates=nobody,
)
