"""
Who is at the other end: namespaces by the numbers that another namespace gives them.

Lives here: RTM_GETNSID.  A device whose peer is elsewhere carries an IFLA_LINK_NETNSID, a number
that means something only in the namespace that reports it (net/core/net_namespace.c).
"""

import os
import struct
from collections.abc import Collection, Sequence

from nettrace.collect.session import Session
from nettrace.collect.wire import attribute, attributes

__all__ = ["Candidates", "names_of"]

_RTM_GETNSID = 90
_NETNSA_NSID, _NETNSA_FD = 1, 3
_S32 = struct.Struct("=i")
_RTGENMSG = bytes(4)  # family and padding

#: Candidates: (name, path, inode) of each namespace that has a name here.
Candidates = Sequence[tuple[str, str, int]]


def names_of(session: Session, wanted: Collection[int], candidates: Candidates) -> dict[int, str]:
    """
    Return namespace id -> name for the ids *wanted*, as far as *candidates* have them.

    Asks one candidate after another and stops once all ids are named; put the likeliest first.
    """
    left = set(wanted)
    found: dict[int, str] = {}
    for name, path, inode in candidates:
        if not left:
            break
        number = _id_of(session, path, inode)
        if number in left:
            left.discard(number)
            found[number] = name
    return found


def _id_of(session: Session, path: str, inode: int) -> int | None:
    """Return the id that the session's namespace has for the one at *path*, None if it has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # gone meanwhile, or not ours to open: its end stays without a name
    try:
        if inode and os.fstat(descriptor).st_ino != inode:
            return None
        request = _RTGENMSG + attribute(_NETNSA_FD, struct.pack("=I", descriptor))
        answer = attributes(session.rtnetlink.ask(_RTM_GETNSID, request), len(_RTGENMSG))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    number: int = _S32.unpack_from(answer[_NETNSA_NSID])[0]
    return number if number >= 0 else None  # -1: none assigned
