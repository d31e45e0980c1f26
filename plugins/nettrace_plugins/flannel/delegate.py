"""
flannel's CNI plugin: it reads what flanneld left, and hands on to another.

Lives here: the settings that it hands on (meta/flannel of the CNI project, flannel_linux.go).
"""

from ipaddress import ip_interface

from nettrace.model.cni import CniPlugin
from nettrace.model.snapshot import Snapshot
from nettrace.parse.cni import parse_plugin
from nettrace_plugins.flannel.facts import SUBNET_ENV, node_files

__all__ = ["delegated"]


def delegated(snapshot: Snapshot, node: str, plugin: CniPlugin) -> CniPlugin:
    """Return the plugin bridge, or the one named, with host-local and the node's subnet."""
    path = str(plugin.settings.get("subnetFile") or SUBNET_ENV)
    text = node_files(snapshot, node).get(path)
    if text is None:
        return _unable(plugin, f"there is no {path}: flanneld has not written it", path)
    words = dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)
    try:
        subnet = str(ip_interface(words["FLANNEL_SUBNET"].strip('"')).network)
    except (KeyError, ValueError):
        return _unable(plugin, f"{path} names no FLANNEL_SUBNET", path)
    given = plugin.settings.get("delegate")
    settings = dict(given) if isinstance(given, dict) else {}
    settings.setdefault("type", "bridge")
    if settings["type"] == "bridge":
        settings.setdefault("isGateway", True)
    ipam = plugin.settings.get("ipam")
    base = dict(ipam) if isinstance(ipam, dict) else {}
    settings["ipam"] = {**base, "type": base.get("type", "host-local"), "subnet": subnet}
    return parse_plugin(settings, source=path)


def _unable(plugin: CniPlugin, problem: str, path: str) -> CniPlugin:
    return CniPlugin(type=plugin.type, settings=plugin.settings, problem=problem, source=path)
