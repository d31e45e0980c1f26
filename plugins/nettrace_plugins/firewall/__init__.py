"""
The host's firewalls: ufw and firewalld, as owners of rules.

Pure.  How each is recognised, what its chains are, the commands by which it is told otherwise, and the
causes that are its own.  What it drops is what somebody told it: it is named and never taken away.
"""

from nettrace_plugins.firewall.plugin import firewalld, ufw

__all__ = ["firewalld", "ufw"]
