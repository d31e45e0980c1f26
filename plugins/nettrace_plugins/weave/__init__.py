"""
Weave Net: what it puts on a node, and how it goes missing.

Pure, but for the lab's topology.  From its bridge, its CNI configuration and the Nodes: the masquerade
chain, the ways through its policy controller's chains, where its peers are, and the cause that a peer
is not connected.
"""

from nettrace_plugins.weave.plugin import plugin

__all__ = ["plugin"]
