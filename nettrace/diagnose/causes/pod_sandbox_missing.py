"""pod-sandbox-missing: the pod has no network namespace on its node."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["POD_SANDBOX_MISSING"]

POD_SANDBOX_MISSING = Cause(
    id="pod-sandbox-missing",
    title="the pod has no network namespace on its node",
    what=(
        "The pod is bound to the node, and the node has no sandbox for it: the runtime could not make "
        "one, or lost it."
    ),
    shows="The pod stays in ContainerCreating: FailedCreatePodSandBox.",
    dies="Nowhere: there is nobody to send to.",
    proof=(
        "`crictl pods --name NAME` shows none that is Ready; no namespace on the node has the pod's "
        "control group."
    ),
    repair="See in the pod's events and the log of kubelet why; recreate the pod.",
    owner="kubelet and the container runtime",
    source="Kubernetes documentation, Debug Pods",
    candidates=nobody,
)
