"""
Canal: flannel's network between the nodes, Calico's routes and policies on each.

Pure, but for the lab's topology.  What it owes and what can go wrong is flannel's and Calico's, whose
plugins say it; here is only what tells that the two are one system.
"""

from nettrace_plugins.canal.plugin import plugin

__all__ = ["plugin"]
