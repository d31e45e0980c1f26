"""
The resolv.conf of whoever lives in a namespace.

Lives here: which file that is.  A network namespace has none of its own: its processes see one in
their mount namespace.
Not here: its grammar (nettrace.parse.resolv_conf).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from nettrace.collect.failure import CollectError
from nettrace.collect.processes import Running
from nettrace.model.resolver import Resolver
from nettrace.model.section import MissingKind
from nettrace.parse.resolv_conf import parse_resolv_conf

__all__ = ["read_resolver"]


def read_resolver(inode: int, netns: str, processes: Iterable[Running], given: str | None) -> Resolver:
    """
    Return what the namespace with that *inode* asks for names.

    *given* is the file, where somebody knows it (a lab).  Otherwise ``/etc/netns/NAME/resolv.conf``
    for one that has a name (*netns*; ip-netns(8)), and then what its first process sees
    (``/proc/PID/root``).  CollectError where there is none or it may not be read.
    """
    denied: OSError | None = None
    for path in _places(inode, netns, processes, given):
        try:
            return parse_resolv_conf(path.read_text(errors="replace"), str(path))
        except PermissionError as error:
            denied = error
        except OSError:
            continue
    if denied is not None:
        raise CollectError(
            MissingKind.DENIED, f"its resolv.conf may not be read: {denied.filename}"
        ) from denied
    raise CollectError(MissingKind.FAILED, "no process in it has a resolv.conf, and /etc/netns has none")


def _places(inode: int, netns: str, processes: Iterable[Running], given: str | None) -> Iterator[Path]:
    if given is not None:
        yield Path(given)
    if netns:
        yield Path("/etc/netns", netns, "resolv.conf")
    for process in processes:
        if process.netns == inode:
            yield Path(f"/proc/{process.pid}/root/etc/resolv.conf")
