"""svc-selector-mismatch: the Service's selector matches no pod."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_SELECTOR_MISMATCH"]

SVC_SELECTOR_MISMATCH = Cause(
    id="svc-selector-mismatch",
    title="the Service's selector matches no pod",
    what="No pod in the Service's namespace has all labels of `spec.selector`.",
    shows="Connections to the Service are refused at once.",
    dies="At the rule that rejects what has no endpoints.",
    proof="`kubectl get pods -l SELECTOR` is empty; the nearest pods differ in a label.",
    repair="Correct the selector, or the pods' labels.",
    owner="The Service's and the pods' manifests.",
    source="the Debug Services page of Kubernetes, kubernetes#78994",
    candidates=nobody,
)
