"""
The CNI project's own plugins: bridge, ptp, portmap, firewall, host-local.

Pure.  From the CNI configurations of a node and the sandboxes its runtime remembers: the hostPorts,
masquerade and accepts that these plugins owe, and how hostPorts go wrong.
"""

from nettrace_plugins.cni.plugin import plugin

__all__ = ["plugin"]
