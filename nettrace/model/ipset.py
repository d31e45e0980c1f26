"""ipsets: named sets that iptables rules test against."""

from msgspec import Struct

__all__ = ["IpSet"]


class IpSet(Struct, frozen=True, kw_only=True):
    """
    One set.

    ``members`` are written as ``ipset save`` writes them, options stripped.  ``exceptions``
    are those added with ``nomatch``: what is in them is not in the set, although it may be
    in a wider member.  ``wildcards`` are those of ``members`` and ``exceptions`` whose device
    is only the beginning of a name.  ``mask`` is what addresses are masked with before they are
    kept and looked up: a length (``netmask``) or an address (``bitmask``); ``markmask`` the same
    for marks.
    """

    name: str
    type: str
    family: int = 4
    members: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    wildcards: tuple[str, ...] = ()
    mask: str | None = None
    markmask: int | None = None
