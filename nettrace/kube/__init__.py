"""
What Kubernetes wants of a node, from its objects.

Pure: targets to flows (resolve), and Services, EndpointSlices and nodes to the rules that
kube-proxy owes (iptables): which ports it serves (services), which endpoints take their
traffic (endpoints), by which settings (settings), in which rules (frame, dispatch_rules,
service_chains), under which names (names, describe).
Not here: what is there instead (nettrace.diagnose).
"""
