"""pod-ip-stale: the pod's status has another address than the pod."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["POD_IP_STALE"]

POD_IP_STALE = Cause(
    id="pod-ip-stale",
    title="the pod's status has another address than the pod",
    what=(
        "status.podIPs of the Pod and the addresses in its network namespace are not the same: the "
        "sandbox was made anew and kubelet has not said so, or kubelet does not run."
    ),
    shows="Services and everybody who asks the API go to the wrong address.",
    dies="At an address that nobody has, or in another pod.",
    proof="`kubectl get pod -o wide` beside `ip addr` inside the pod.",
    repair="Restart kubelet on the node; recreate the pod.",
    owner="kubelet",
    source="Kubernetes API, PodStatus: podIPs",
    candidates=nobody,
)
