"""
Pods by the real CNI plugins: what a container runtime does when a pod comes and when it goes.

Lives here: calling the plugins of a network configuration one after the other, and the cache that
libcni keeps of what they answered.  They run in the node's namespace and keep their files below the
lab's directory, as on a node below /.
Not here: which configuration a node has (topologies), what its files mean (nettrace.parse.cni).

CNI specification 1.0.0, sections 2 to 4; the cache is that of libcni/api.go.
"""

import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nettrace.collect.netns import in_netns
from nettrace.lab.blueprint import Attachment
from nettrace.lab.tools import netns_path
from nettrace.model.errors import UserError

__all__ = [
    "PLUGIN_DIRECTORIES",
    "Attachment",
    "PluginFailed",
    "attach",
    "attach_all",
    "detach",
    "find_plugin",
]
__all__ += ["pod_args"]

#: Where distributions and kubeadm install the plugins.
PLUGIN_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")

_DATA_DIRECTORY = "/var/lib/cni/networks"  # host-local's own default
_CACHE = "var/lib/cni/results"
_PATIENCE = 60.0  # seconds for one plugin


class PluginFailed(UserError):
    """A plugin refused; ``what`` has its name and its words, ``code`` its error code."""

    def __init__(self, what: str, *, where: str, code: int = 0) -> None:
        super().__init__(what, where=where)
        self.code = code


def find_plugin(name: str) -> str:
    """Return the path of a plugin; UserError if it is not installed."""
    for directory in PLUGIN_DIRECTORIES:
        path = Path(directory, name)
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise UserError(
        f"the CNI plugin {name} is not installed",
        where=", ".join(PLUGIN_DIRECTORIES),
        hint="on Debian: apt-get install containernetworking-plugins",
    )


def attach(conf: Mapping[str, Any], one: Attachment, root: Path) -> dict[str, Any]:
    """
    Join a sandbox to the network *conf* (a conflist) and return the last plugin's result.

    *root* is the directory of the node's files.  PluginFailed with a plugin's own words, after what the
    plugins before it did was taken back.
    """
    result: dict[str, Any] | None = None
    for plugin in conf["plugins"]:
        try:
            result = _call("ADD", conf, plugin, one, root, result)
        except PluginFailed:
            detach(conf, one, root, quietly=True)
            raise
    _cache(conf, one, root, result or {})
    return result or {}


def attach_all(found: Sequence[Attachment], root: Path) -> None:
    """Attach the sandboxes of one node, one after the other; *root* is the lab's directory."""
    for one in found:
        attach(one.conf, one, root / one.home)


def detach(conf: Mapping[str, Any], one: Attachment, root: Path, *, quietly: bool = False) -> None:
    """Take a sandbox off its network again, the plugins in the opposite order."""
    path = _cache_path(conf, one, root)
    result = json.loads(path.read_text())["result"] if path.exists() else None
    for plugin in reversed(conf["plugins"]):
        try:
            _call("DEL", conf, plugin, one, root, result)
        except PluginFailed:
            if not quietly:
                raise
    path.unlink(missing_ok=True)


def _call(
    command: str,
    conf: Mapping[str, Any],
    plugin: Mapping[str, Any],
    one: Attachment,
    root: Path,
    previous: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
    """Run one plugin in the node's namespace; its answer, None for one that gives none."""
    given = dict(plugin) | {"name": conf["name"], "cniVersion": conf.get("cniVersion", "0.4.0")}
    if previous is not None:
        given["prevResult"] = previous
    capabilities = plugin.get("capabilities", {})
    if capabilities.get("portMappings") and one.ports:
        given["runtimeConfig"] = {"portMappings": list(one.ports)}
    ipam = plugin.get("ipam")
    if isinstance(ipam, Mapping) and ipam.get("type") == "host-local":
        directory = str(ipam.get("dataDir", _DATA_DIRECTORY)).lstrip("/")
        given["ipam"] = {**ipam, "dataDir": str(root / directory)}
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": one.container,
        "CNI_NETNS": netns_path(one.netns),
        "CNI_IFNAME": one.ifname,
        "CNI_PATH": ":".join(PLUGIN_DIRECTORIES),
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in (("IgnoreUnknown", "1"), *one.args)),
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    }
    done = in_netns(
        netns_path(one.node), _run, find_plugin(str(plugin["type"])), environment, json.dumps(given)
    )
    try:
        answer = json.loads(done.stdout) if done.stdout.strip() else None
    except ValueError:
        answer = None
    if done.returncode:
        said = answer if isinstance(answer, dict) else {}
        words = said.get("msg") or done.stderr.strip() or f"exit status {done.returncode}"
        details = f": {said['details']}" if said.get("details") else ""
        raise PluginFailed(f"{plugin['type']}: {words}{details}", where=one.node, code=said.get("code", 0))
    return answer if isinstance(answer, dict) else None


def _run(path: str, environment: Mapping[str, str], text: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [path],
        input=text,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
        start_new_session=True,
    )


def _cache_path(conf: Mapping[str, Any], one: Attachment, root: Path) -> Path:
    return root / _CACHE / f"{conf['name']}-{one.container}-{one.ifname}"


def _cache(conf: Mapping[str, Any], one: Attachment, root: Path, result: Mapping[str, Any]) -> None:
    path = _cache_path(conf, one, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    held: dict[str, Any] = {
        "kind": "cniCacheV1",
        "containerId": one.container,
        "config": base64.b64encode(json.dumps(conf).encode()).decode(),
        "ifName": one.ifname,
        "networkName": conf["name"],
        "netns": netns_path(one.netns),
        "cniArgs": [list(pair) for pair in (("IgnoreUnknown", "1"), *one.args)],
        "result": dict(result),
    }
    if one.ports:
        held["capabilityArgs"] = {"portMappings": list(one.ports)}
    path.write_text(json.dumps(held))


def pod_args(namespace: str, name: str, container: str, uid: str) -> Sequence[tuple[str, str]]:
    """Return the CNI_ARGS that containerd and CRI-O give for a pod."""
    return (
        ("K8S_POD_NAMESPACE", namespace),
        ("K8S_POD_NAME", name),
        ("K8S_POD_INFRA_CONTAINER_ID", container),
        ("K8S_POD_UID", uid),
    )
