"""
The interface for plugins: hook specifications and the types they use.

Pure.  A plugin teaches nettrace one network system: detect, name, owes, causes, topologies,
transit.  docs/plugins.md shows how to write one.
Not here: finding and loading plugins (nettrace.app.plugins).
"""

from nettrace.plugin_api.hookspecs import PROJECT, hookimpl, hookspec
from nettrace.plugin_api.types import ApiKind, Detection, Topology

__all__ = ["PROJECT", "ApiKind", "Detection", "Topology", "hookimpl", "hookspec"]
