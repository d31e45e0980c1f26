"""
What Kubernetes wants of a node, from its objects.

Pure: targets to flows (resolve), and Services, EndpointSlices and nodes to the rules that
kube-proxy owes (expect, expected; iptables): which ports it serves (services), which endpoints
take their traffic (endpoints), by which settings and in which version (settings, traits), in
which rules (frame, dispatch_rules, service_chains; xlb_rules for 1.20), under which names
(names, describe).
Not here: what is there instead (nettrace.diagnose).
"""
