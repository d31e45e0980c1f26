"""
The causes of flows that a network policy denies: the same repair, different mistakes behind it.

Lives here: their words.  Not here: telling them apart (nettrace.diagnose.policy_denials).
"""

from nettrace.diagnose.cause import Cause
from nettrace.diagnose.policy_denials import denials
from nettrace.model.step import Verdict

__all__ = [
    "DNS_POLICY_EGRESS_BLOCKED",
    "NETPOL_DEFAULT_DENY",
    "NETPOL_HOSTNETWORK",
    "NETPOL_NAMESPACE_LABEL",
    "NETPOL_SERVICE_PORT",
]

_VERDICTS = frozenset({Verdict.REJECTED, Verdict.DROPPED_BY_RULE})
_DIES = "In the pod's own chain of table filter, on the pod's node."
_REPAIR = (
    "a NetworkPolicy that allows this flow and nothing else; until it is there, a rule in the pod's chain "
    "that counts the flow as allowed"
)
_OWNER = "Whoever writes the policies of that namespace."

NETPOL_DEFAULT_DENY = Cause(
    id="netpol-default-deny",
    title="a network policy isolates the pod, and no rule allows the flow",
    what=(
        "As soon as one NetworkPolicy selects a pod, everything in that direction is denied that no rule of "
        "any policy allows.  Policies only add up: the one that is missing has to be added."
    ),
    shows="A timeout where the plugin drops (Calico, Cilium), a refusal where it rejects (kube-router, k3s).",
    dies=_DIES,
    proof="The verdict on the objects, and the rule of the pod's chain that refuses the packet.",
    repair=_REPAIR,
    owner=_OWNER,
    source="k0s#1483, calico#4919, kubernetes#58908",
    verdicts=_VERDICTS,
    candidates=denials("netpol-default-deny"),
)

DNS_POLICY_EGRESS_BLOCKED = Cause(
    id="dns-policy-egress-blocked",
    title="a network policy for egress leaves DNS out",
    what=(
        "A policy isolates the pod for egress and allows what the pod calls, but not the DNS servers that it "
        "asks first: UDP and TCP port 53 of the pods k8s-app=kube-dns in kube-system."
    ),
    shows="Every name times out or fails, addresses work.",
    dies=_DIES,
    proof="The verdict on the objects for port 53, and the rule that refuses the query.",
    repair=_REPAIR,
    owner=_OWNER,
    source="website#38267, website#54997, k3s#3361",
    verdicts=_VERDICTS,
    candidates=denials("dns-policy-egress-blocked"),
)

NETPOL_SERVICE_PORT = Cause(
    id="netpol-service-port",
    title="a network policy names the Service's port instead of the pod's",
    what="Policies see packets after kube-proxy's DNAT: the port that counts is the pod's, the targetPort.",
    shows="The pod's port is denied although a rule allows the port of the Service.",
    dies=_DIES,
    proof="A rule that allows the same peer at the Service's port, which differs from the target port.",
    repair="the pod's port in the policy; " + _REPAIR,
    owner=_OWNER,
    source="website#8295, calico#8049, cilium#1299, kube-router#905",
    verdicts=_VERDICTS,
    candidates=denials("netpol-service-port"),
)

NETPOL_NAMESPACE_LABEL = Cause(
    id="netpol-namespace-label",
    title="a network policy selects namespaces by a label that none has",
    what=(
        "namespaceSelector looks at the labels of the Namespace object.  The name alone is no label before "
        "Kubernetes 1.21; since then it is kubernetes.io/metadata.name."
    ),
    shows="Pods of another namespace are denied although a rule seems to name it.",
    dies=_DIES,
    proof="The selector, and the labels that the Namespaces have.",
    repair="label the namespace, or select it by kubernetes.io/metadata.name; " + _REPAIR,
    owner=_OWNER,
    source="calico#3849, calico#4493",
    verdicts=_VERDICTS,
    candidates=denials("netpol-namespace-label"),
)

NETPOL_HOSTNETWORK = Cause(
    id="netpol-hostnetwork",
    title="a network policy names a pod of its node's network",
    what=(
        "A pod with hostNetwork sends with an address of its node.  Most plugins cannot tell it from "
        "the node, so a podSelector never matches it."
    ),
    shows="Ingress controllers, the API server or agents are denied although a rule selects their pods.",
    dies=_DIES,
    proof="The pod's hostNetwork, and the address that the packet comes from.",
    repair="an ipBlock with the nodes' addresses; " + _REPAIR,
    owner=_OWNER,
    source="felix#1361, calico#4667, kube-router#1135",
    verdicts=_VERDICTS,
    candidates=denials("netpol-hostnetwork"),
)
