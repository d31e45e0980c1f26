"""
Cilium: programs of BPF on devices and cgroups, and what their maps say.

Pure, the topology aside.  What a program does with a packet nobody can tell from outside: the walk ends
there.  What is told instead: the Service table, identities, endpoints and connections, out of the maps;
which devices, chains and programs are Cilium's; what it, and kube-proxy before it, left behind.
"""

from nettrace_plugins.cilium.plugin import plugin

__all__ = ["plugin"]
