"""healthcheck-nodeport-failing: a balancer takes a node out that has endpoints, for its question is lost."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["HEALTHCHECK_NODEPORT_FAILING"]

HEALTHCHECK_NODEPORT_FAILING = Cause(
    id="healthcheck-nodeport-failing",
    title="the balancer's question for a Service's health gets no answer on a node",
    what=(
        "Of a LoadBalancer Service with externalTrafficPolicy Local, the balancer asks each node at "
        "spec.healthCheckNodePort whether it has an endpoint. kube-proxy answers there; a firewall in INPUT "
        "or a kube-proxy that does not serve the port makes the node look unhealthy."
    ),
    shows="The balancer sends nothing to a node that has ready pods; with all nodes so, nobody answers.",
    dies="The question in INPUT of the node, or for want of a listener; not the Service's own packets.",
    proof="`curl http://NODE:HEALTHCHECKNODEPORT/healthz` gets no answer, and the node port has one.",
    repair="let the balancer reach healthCheckNodePort in INPUT; else restart kube-proxy on this node",
    owner="The node's firewall; kube-proxy.",
    source="kubernetes#80579, kubernetes#42888, kube-router#455",
    candidates=nobody,
)
