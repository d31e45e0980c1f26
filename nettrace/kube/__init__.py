"""
What Kubernetes wants of a node, from its objects.

Pure: Services, EndpointSlices and nodes to the rules that kube-proxy owes; targets to flows.
Not here: what is there instead (nettrace.diagnose).
"""
