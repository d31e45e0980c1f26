"""
Calico: what calico-node (Felix, BIRD) puts on a node, and how it goes missing.

Pure, but for the topology.  From the Nodes' annotations, Calico's objects and the pods: routes to pods and
to other nodes' blocks, neighbours and forwarding entries of its tunnels, sysctls and masquerade rules that
are owed, and the causes that only Calico has.
"""

from nettrace_plugins.calico.plugin import plugin

__all__ = ["plugin"]
