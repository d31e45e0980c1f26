"""
kube-router: what it puts on a node, and how it goes missing.

Pure, but for the lab's topology.  From its CNI configuration and the Nodes: the routes to the other
nodes' pods that BGP brings, the masquerade rule, the accepts for its bridge, and the cause that BGP
is down.
"""

from nettrace_plugins.kube_router.plugin import plugin

__all__ = ["plugin"]
