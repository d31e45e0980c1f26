"""
What belongs to a node rather than to one of its namespaces: files that owners leave, processes.

Lives here: which files and processes are looked at, size caps, and leaving secrets out.
Not here: what they mean (plugins and causes).
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from nettrace.collect.processes import Running, command_line
from nettrace.model.cni import CONF_DIRECTORIES
from nettrace.model.snapshot import Process

__all__ = ["node_processes", "read_files"]

_CONF_SUFFIXES = (".conf", ".conflist", ".json")

#: Below a node's root: CNI's directories, and what owners of the packet path leave there.
_PATTERNS = (
    *(f"{directory[1:]}/*{suffix}" for directory in CONF_DIRECTORIES for suffix in _CONF_SUFFIXES),
    "etc/calico/confd/config/bird*.cfg",
    "etc/default/ufw",
    "etc/docker/daemon.json",
    "etc/ipvsadm.rules",
    "etc/firewalld/firewalld.conf",
    "etc/kube-flannel/net-conf.json",
    "etc/network/interfaces.d/*",
    "etc/sysconfig/ipvsadm",
    "etc/sysctl.d/*.conf",
    "etc/ufw/ufw.conf",
    "run/flannel/subnet.env",
    "var/lib/calico/mtu",
    "var/lib/calico/nodename",
    "var/lib/cni/results/*",
    "var/lib/docker/containers/*/config.v2.json",
    "var/lib/docker/containers/*/hostconfig.json",
)
_DATA_DIRECTORY = "var/lib/cni/networks"  # host-local's own default
_FILE_CAP = 1 << 20  # bytes
_FILES_CAP = 4096  # files of one node

#: Options whose value is not kept.
_SECRET = re.compile(r"(?i)(token|passw|secret|credential|auth|key)")


def read_files(root: Path, *, everything: bool = False) -> dict[str, str]:
    """
    Return absolute path, as the node sees it, -> text, of the files below *root*.

    With *everything* all files below it, else those that owners of the packet path leave.
    Files larger than 1 MiB are left out, and commands and environments of containers, since
    they hold secrets.  PermissionError if a directory may not be read.
    """
    found: dict[str, str] = {}
    for path in _all(root) if everything else _chosen(root):
        if len(found) >= _FILES_CAP:
            break
        try:
            if not path.is_file() or path.stat().st_size > _FILE_CAP:
                continue
            text = path.read_text(errors="replace")
        except FileNotFoundError:
            continue  # removed meanwhile
        found[f"/{path.relative_to(root)}"] = _without_secrets(path, text)
    return found


def _all(root: Path) -> Iterable[Path]:
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            yield from _all(path)
        else:
            yield path


def _chosen(root: Path) -> Iterable[Path]:
    leases = [_DATA_DIRECTORY]
    for pattern in _PATTERNS:
        for path in sorted(_glob(root, pattern.split("/"))):
            yield path
            if path.parent.name.startswith(("net.d", "cni-network")):
                leases += _data_directories(path)
    for directory in dict.fromkeys(leases):
        for name in ("[0-9a-f]*", "last_reserved_ip.*"):
            yield from sorted(_glob(root, [*directory.strip("/").split("/"), "*", name]))


def _data_directories(path: Path) -> Iterable[str]:
    """Yield where a network configuration has host-local keep its leases."""
    try:
        conf = json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError):
        return  # whoever reads it says so
    pending = [conf]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if value.get("type") == "host-local" and isinstance(value.get("dataDir"), str):
                yield value["dataDir"]
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _glob(root: Path, parts: list[str]) -> Iterable[Path]:
    """As Path.glob(), which hides that a directory may not be read."""
    head, *rest = parts
    if not any(mark in head for mark in "*[?"):
        matches = [root / head]
    else:
        try:
            matches = [path for path in root.iterdir() if path.match(head)]
        except (FileNotFoundError, NotADirectoryError):
            return []
    return matches if not rest else [path for match in matches for path in _glob(match, rest)]


def _without_secrets(path: Path, text: str) -> str:
    if path.parent.name == "results":
        return _without_conf(text)
    if path.name != "config.v2.json":
        return text
    try:
        record = json.loads(text)
    except ValueError:
        return text  # half-written; whoever reads it says so
    config = record.get("Config") if isinstance(record, dict) else None
    if isinstance(config, dict):
        for name in ("Env", "Cmd", "Entrypoint"):
            config.pop(name, None)
        return json.dumps(record)
    return text


def _without_conf(text: str) -> str:
    """Leave the configuration out that libcni keeps beside each result: it stands in its own file."""
    try:
        record = json.loads(text)
    except ValueError:
        return text
    if isinstance(record, dict):
        record.pop("config", None)
        return json.dumps(record)
    return text


def node_processes(processes: Iterable[Running], names: Mapping[int, str], node: str) -> tuple[Process, ...]:
    """
    Return the processes that live in the namespaces *names* (inode -> name).

    Arguments are kept of those in the namespace called *node*, the node's own, without values
    that look secret; what runs in pods is listed by name only.
    """
    found = []
    for process in processes:
        netns = names.get(process.netns)
        if netns is None:
            continue
        arguments = command_line(process.pid)
        if not arguments:
            continue  # a kernel thread, or gone
        shown = _masked(arguments) if netns == node else ()
        found.append(Process(pid=process.pid, name=process.name, cmdline=shown, netns=netns))
    return tuple(found)


def _masked(arguments: tuple[str, ...]) -> tuple[str, ...]:
    shown, hide = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hide and not argument.startswith("-"):
            shown.append("***")
            hide = False
            continue
        secret = argument.startswith("-") and bool(_SECRET.search(name))
        shown.append(f"{name}=***" if secret and equals else argument)
        hide = secret and not equals
    return tuple(shown)
