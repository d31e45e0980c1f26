"""svc-wrong-namespace: the Service is in another namespace."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_WRONG_NAMESPACE"]

SVC_WRONG_NAMESPACE = Cause(
    id="svc-wrong-namespace",
    title="the Service is in another namespace",
    what="A Service of that name exists, in a namespace other than the one that was asked for.",
    shows="The short name does not resolve; NAME.NAMESPACE does.",
    dies="Nowhere: the client's search list has its own namespace only.",
    proof="`kubectl get svc -A` lists it elsewhere.",
    repair="Call it NAME.NAMESPACE, or deploy it where its clients look for it.",
    owner="The client's configuration.",
    source="the Debug Services page of Kubernetes",
    candidates=nobody,
)
