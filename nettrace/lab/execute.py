"""
Running a command inside a lab.

Lives here: whom a name means, and a command in that namespace with what belongs to it: its own
/sys, so that tools see its devices, and a pod's resolv.conf, so that names are asked of the
cluster's DNS.  Both are seen by that command only (mount_namespaces(7)).
"""

import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from nettrace.lab.tools import need_tools, netns_path
from nettrace.model.errors import UserError
from nettrace.model.lab import LabNetns, LabRecord

__all__ = ["exec_in", "who_is"]

#: $1 is the resolv.conf or "", the rest the command.  A machine without /etc/resolv.conf keeps none.
_SCRIPT = """resolv_conf=$1; shift
mount -t sysfs sysfs /sys 2>/dev/null
[ -n "$resolv_conf" ] && [ -e /etc/resolv.conf ] && mount --bind "$resolv_conf" /etc/resolv.conf
exec "$@"
"""


def who_is(record: LabRecord, who: str) -> LabNetns:
    """
    Return the namespace that *who* names: a node, a pod as ``name`` or ``namespace/name``, ``internet``.

    UserError if nobody is called so, or several pods are.
    """
    wanted = who.removeprefix("pod/").removeprefix("node/")
    found = [entry for entry in record.namespaces if wanted in _names(entry)]
    if len(found) == 1:
        return found[0]
    if found:
        pods = ", ".join(entry.pod or entry.name for entry in found)
        raise UserError(f"{who!r} is several: {pods}", hint="write namespace/name")
    names = ", ".join(entry.name for entry in record.namespaces)
    raise UserError(f"there is no {who!r} in the lab {record.name!r}", hint=f"there is {names}")


def _names(entry: LabNetns) -> set[str]:
    names = {entry.name}
    if entry.pod:
        names |= {entry.pod, entry.pod.rpartition("/")[2]}
    return names


def exec_in(record: LabRecord, who: str, argv: Sequence[str]) -> int:
    """
    Run a command in a namespace of the lab, with this process's input and output.

    Returns its exit status, 128 + N if signal N ended it, 127 if there is no such command.  An
    interrupt at the terminal is the command's to handle.
    """
    entry = who_is(record, who)
    if not argv:
        raise UserError("no command to run", hint=f"nettrace lab exec {who} -- ip addr")
    need_tools(("nsenter", "unshare"))
    if not Path(netns_path(entry.netns)).exists():
        raise UserError(
            f"the namespace {entry.netns} of the lab {record.name!r} is gone",
            hint=f"build the lab anew: nettrace lab down {record.name}",
        )
    enter = ["nsenter", f"--net={netns_path(entry.netns)}", "unshare", "--mount"]
    command = [*enter, "sh", "-c", _SCRIPT, f"lab exec {entry.name}", _resolv_conf(record, entry), *argv]
    at_terminal = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    with subprocess.Popen(command) as process:
        # Only now: what is ignored when a process starts stays ignored in it (signal(7)).
        if at_terminal:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            status = process.wait()
        finally:
            if at_terminal:
                signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status


def _resolv_conf(record: LabRecord, entry: LabNetns) -> str:
    if entry.pod is None:
        return ""
    path = Path(record.root) / "pods" / entry.pod / "etc/resolv.conf"
    return str(path) if path.exists() else ""
