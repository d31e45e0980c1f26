"""
Policy rules and routes of all tables.

Lives here: what ``ip rule`` and ``ip route show table all`` print, typed.
Not here: choosing a route (nettrace.walk).
"""

from msgspec import Struct

__all__ = ["TABLE_DEFAULT", "TABLE_LOCAL", "TABLE_MAIN", "NextHop", "PolicyRule", "Route"]

# include/uapi/linux/rtnetlink.h, enum rt_class_t
TABLE_DEFAULT = 253
TABLE_MAIN = 254
TABLE_LOCAL = 255


class NextHop(Struct, frozen=True, kw_only=True):
    """One way out.  ``via`` is None for a destination on the link itself."""

    device: str | None
    via: str | None = None
    weight: int = 1
    onlink: bool = False
    dead: bool = False  # RTNH_F_DEAD, which ip(8) shows as dead: the kernel passes over it


class Route(Struct, frozen=True, kw_only=True):
    """
    One route.

    ``dst`` is a prefix, ``0.0.0.0/0`` for the default route.  ``type`` is ``unicast``,
    ``local``, ``broadcast``, ``anycast``, ``multicast``, ``blackhole``, ``unreachable``,
    ``prohibit`` or ``throw``.  ``scope`` is ``global``, ``site``, ``link``, ``host`` or ``nowhere``.
    ``more`` holds attributes without a field of their own as words of ip-route(8)
    (``("advmss", "1360")``), so that a route can be put back as it was.
    """

    dst: str
    table: int = TABLE_MAIN
    type: str = "unicast"
    nexthops: tuple[NextHop, ...] = ()
    prefsrc: str | None = None
    metric: int = 0
    tos: int = 0
    scope: str = "global"
    protocol: str = "boot"
    mtu: int | None = None
    more: tuple[str, ...] = ()


class PolicyRule(Struct, frozen=True, kw_only=True):
    """
    One ``ip rule``, or one ``ip -6 rule`` if ``family`` is 6: each family has rules of its own.

    ``action`` is ``lookup``, ``goto``, ``nop``, ``blackhole``, ``unreachable`` or ``prohibit``.
    A selector that is None is not tested.  ``unknown`` names selectors that nettrace
    cannot evaluate; such a rule makes the lookup unknown where it would be reached.
    """

    priority: int
    family: int = 4
    action: str = "lookup"
    table: int | None = None
    goto: int | None = None
    invert: bool = False
    src: str | None = None
    dst: str | None = None
    iif: str | None = None
    oif: str | None = None
    fwmark: int | None = None
    fwmask: int = 0xFFFFFFFF
    tos: int | None = None
    ipproto: str | None = None
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    suppress_prefixlen: int | None = None
    unknown: tuple[str, ...] = ()
