"""
LVS by hand: virtual servers that a person made with ipvsadm and keeps in Debian's files.

owes says what these files ask for, plugin has the hooks, topology builds such a director in a lab.
Not here: IPVS itself (nettrace.walk), its causes (nettrace.diagnose), kube-proxy's use of it.
"""

from nettrace_plugins.lvs.plugin import plugin

__all__ = ["plugin"]
