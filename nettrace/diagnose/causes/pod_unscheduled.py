"""pod-unscheduled: the pod is on no node yet."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["POD_UNSCHEDULED"]

POD_UNSCHEDULED = Cause(
    id="pod-unscheduled",
    title="the pod is on no node yet",
    what="No node was chosen for the pod, so nobody has been asked to make a network for it.",
    shows="The pod stays Pending, without an address.",
    dies="Nowhere: there is no pod to send to.",
    proof="`kubectl get pod -o wide` shows no node; its events say FailedScheduling.",
    repair="Make a node that it fits on: `kubectl describe pod` says what it lacks.",
    owner="kube-scheduler",
    source="Kubernetes documentation, Debug Pods: my pod stays pending",
    candidates=nobody,
)
