"""
What a cluster's control plane does, as far as the packet path depends on it.

Lives here: from the manifests a person writes to the objects an API server would hold:
pods placed and addressed, Services with addresses, EndpointSlices, Nodes; the records of DNS.
All of it is text and values; nothing here touches a namespace.
Not here: devices and rules (nettrace.lab.topologies).
"""
