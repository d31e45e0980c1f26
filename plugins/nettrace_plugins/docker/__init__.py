"""
Docker: what dockerd puts on a host, and how it goes missing.

Pure.  From the records of running containers: published ports and masquerade rules that are
owed, and the cause that only Docker has.
"""

from nettrace_plugins.docker.plugin import plugin

__all__ = ["plugin"]
