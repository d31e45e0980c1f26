"""
Choosing an IPv6 address of one's own: for a socket that has none, for MASQUERADE, for an ICMP error.

Lives here: ipv6_dev_get_saddr with its rules in the kernel's order, and link-local addresses.
Not here: IPv4 (source).
Sources: net/ipv6/addrconf.c (ipv6_get_saddr_eval), net/ipv6/addrlabel.c (the labels that the
kernel begins with; those that ``ip addrlabel`` adds are not part of a snapshot), RFC 6724.
"""

from typing import NamedTuple

from nettrace.model.addr import address_value, in_prefix, is_link_local, is_multicast
from nettrace.model.links import Address
from nettrace.model.routes import NextHop, Route
from nettrace.walk.context import undecided
from nettrace.walk.namespace import Namespace

__all__ = ["first_address6", "link_local_of", "select_address6", "source_for6", "usable6"]

# net/ipv6.h: __ipv6_addr_src_scope
_NODE, _LINK, _SITE, _GLOBAL = 1, 2, 5, 14

#: ip6addrlbl_init_table
_LABELS = (
    ("::1/128", 0),
    ("2002::/16", 2),
    ("::ffff:0:0/96", 4),
    ("::/96", 3),
    ("fec0::/10", 11),
    ("fc00::/7", 5),
    ("2001::/32", 6),
    ("2001:10::/28", 7),
    ("3ffe::/16", 12),
)

#: Addresses that are preferred even if deprecated (ipv6_saddr_preferred).
_ALWAYS = ("::1/128", "::ffff:0:0/96", "::/96")


def usable6(ns: Namespace, address: Address) -> bool:
    """
    Is an address assigned for good?  Not one that somebody else has too.

    Undecided for one whose duplicate detection is still under way: a second later it is another.
    """
    if "tentative" not in address.flags or "optimistic" in address.flags:
        return True
    if "dadfailed" in address.flags:
        return False
    undecided(
        f"{address.address} of {ns.name} is still tentative: duplicate address detection is under way",
        f"{ns.name}/addresses/{address.address}",
    )


def _scope(address: str) -> int:
    if is_multicast(address):
        return (address_value(address) >> 112) & 0xF
    if address == "::1" or is_link_local(address):
        return _LINK  # loopback counts as link-local here
    return _SITE if in_prefix(address, "fec0::/10") else _GLOBAL


def _label(address: str) -> int:
    return next((label for prefix, label in _LABELS if in_prefix(address, prefix)), 1)


def _common(one: str, other: str) -> int:
    """Return the number of leading bits that are equal (ipv6_addr_diff)."""
    return 128 - (address_value(one) ^ address_value(other)).bit_length()


class _Rated(NamedTuple):
    """The answers of ipv6_get_saddr_eval, most important first."""

    same: bool
    scope: int
    preferred: bool
    device: bool
    label: bool
    privacy: bool
    orchid: bool
    prefix: int
    sure: bool


def _rated(ns: Namespace, one: Address, device: str | None, dst: str) -> _Rated:
    scope, wanted = _scope(one.address), _scope(dst)
    temporary = ns.conf(one.device, "use_tempaddr", family=6)[0] >= 2
    kept = any(in_prefix(one.address, prefix) for prefix in _ALWAYS)
    orchid = in_prefix(one.address, "2001:10::/28") == in_prefix(dst, "2001:10::/28")
    return _Rated(
        same=one.address == dst,
        scope=-scope if scope >= wanted else scope - 128,
        preferred=kept or not one.flags & {"deprecated", "optimistic"},
        device=device is None or one.device == device,
        label=_label(one.address) == _label(dst),
        privacy=("temporary" in one.flags) == temporary,
        orchid=orchid,
        prefix=min(_common(one.address, dst), one.prefixlen),
        sure="optimistic" not in one.flags,
    )


def select_address6(ns: Namespace, device: str | None, dst: str) -> str | None:
    """
    Return the address that packets to *dst* get when they leave by *device*; None if there is none.

    Candidates are the addresses of all devices, for a destination on the link those of *device*.
    """
    near = device is not None and (
        _scope(dst) <= _LINK or ns.conf_max(device, "use_oif_addrs_only", family=6)[0]
    )
    if near and device is not None:
        devices = [device]
    else:
        devices = [link.name for link in sorted(ns.links.values(), key=lambda one: one.index)]
    best: tuple[_Rated, str] | None = None
    for name in devices:
        for one in ns.addresses6(name):
            if not usable6(ns, one):
                continue
            rated = _rated(ns, one, device, dst)
            if best is None or rated > best[0]:
                best = rated, one.address
    return best[1] if best is not None else None


def source_for6(ns: Namespace, route: Route | None, hop: NextHop | None, dst: str) -> str | None:
    """Return the source a socket without one gets on *route* (ip6_route_get_saddr)."""
    if route is not None and route.prefsrc is not None:
        return route.prefsrc
    return select_address6(ns, hop.device if hop is not None else None, dst)


def link_local_of(ns: Namespace, device: str) -> str | None:
    """Return the link-local address of *device* that ND may use (ipv6_get_lladdr)."""
    mine = [one for one in ns.addresses6(device) if is_link_local(one.address)]
    return next((one.address for one in reversed(mine) if usable6(ns, one)), None)


def first_address6(ns: Namespace, device: str, dst: str) -> str | None:
    """Return the address of *device* that REDIRECT takes: of *dst*'s scope (nf_nat_redirect_ipv6)."""
    wanted = _scope(dst)
    return next(
        (one.address for one in ns.addresses6(device) if usable6(ns, one) and _scope(one.address) == wanted),
        None,
    )
