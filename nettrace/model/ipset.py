"""ipsets: named sets that iptables rules test against."""

from msgspec import Struct

__all__ = ["IpSet"]


class IpSet(Struct, frozen=True, kw_only=True):
    """
    One set.

    ``members`` are written as ``ipset save`` writes them, options stripped.  ``exceptions``
    are those added with ``nomatch``: what is in them is not in the set, although it may be
    in a wider member.
    """

    name: str
    type: str
    family: int = 4
    members: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
