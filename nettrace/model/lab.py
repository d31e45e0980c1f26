"""
The record of a lab: which namespaces it made, who they are, what they are owed.

Lives here: the type that nettrace.lab writes and nettrace.collect reads.
"""

from msgspec import Struct, field

__all__ = ["LAB_RECORD", "LAB_ROOT", "LabNetns", "LabProcess", "LabRecord"]

#: Each lab keeps its record and its nodes' files under LAB_ROOT/NAME/.
LAB_ROOT = "/run/nettrace/labs"
LAB_RECORD = "lab.json"


class LabNetns(Struct, frozen=True, kw_only=True):
    """
    One namespace of a lab.

    ``name`` is what the user calls it (``node-a``, ``hostnames-0``, ``internet``); ``netns``
    the name under /run/netns, which carries the lab's prefix.  ``pod`` is namespace/name of the
    pod whose namespace it is.  ``addresses`` is only a help for people.
    """

    name: str
    netns: str
    role: str
    node: str
    pod: str | None = None
    container: str | None = None
    addresses: tuple[str, ...] = ()


class LabProcess(Struct, frozen=True, kw_only=True):
    """
    One process that a lab started.

    ``started`` is field 22 of /proc/PID/stat (clock ticks after boot): a process of the same
    number that started at another time is somebody else's.  ``netns`` as in LabNetns.
    """

    pid: int
    started: int
    name: str
    netns: str


class LabRecord(Struct, frozen=True, kw_only=True):
    """
    One lab.

    ``root`` is the directory with ``nodes/NODE/...`` (each node's files, as owners leave
    them) and ``manifests/`` (its desired Kubernetes state).  ``pids`` are the processes the
    lab started, ``processes`` the same with what tells them apart.  ``state`` is
    ``building``, ``up`` or ``down``.
    """

    name: str
    topology: str
    root: str
    state: str = "building"
    created: str = ""
    namespaces: tuple[LabNetns, ...] = ()
    pids: tuple[int, ...] = ()
    processes: tuple[LabProcess, ...] = ()
    manifests: str | None = None
    options: dict[str, str] = field(default_factory=dict)
