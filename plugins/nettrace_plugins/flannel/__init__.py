"""
flannel: what flanneld puts on a node, and how it goes missing.

Pure.  From the Nodes' annotations, their pod CIDRs and /run/flannel/subnet.env: routes,
neighbours, forwarding entries and masquerade rules that are owed, and the causes that only
flannel has.
"""

from nettrace_plugins.flannel.plugin import plugin

__all__ = ["plugin"]
