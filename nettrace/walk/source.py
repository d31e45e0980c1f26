"""
Choosing an address of one's own: for a socket that has none, for MASQUERADE, for ARP.

Lives here: inet_select_addr and its callers' ways to ask it.
Sources: net/ipv4/devinet.c (inet_select_addr), net/ipv4/fib_semantics.c (fib_result_prefsrc).
"""

from nettrace.model.addr import in_prefix
from nettrace.model.links import Address
from nettrace.model.routes import NextHop, Route
from nettrace.walk.namespace import Namespace

__all__ = ["SCOPES", "first_address", "select_address", "source_for"]

#: include/uapi/linux/rtnetlink.h, enum rt_scope_t
SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}


def _scope(address: Address) -> int:
    return SCOPES.get(address.scope, 0)


def select_address(ns: Namespace, device: str, near: str | None, scope: int = 0) -> str | None:
    """
    Return the address of *device* that the kernel would use towards *near*; None if it has none.

    The first primary address in the same subnet as *near*, else the first; without any that
    is wide enough, one of another device.
    """
    localnet = SCOPES["link"] if ns.conf_max(device, "route_localnet")[0] else SCOPES["host"]
    first: str | None = None
    for one in ns.addresses(device):
        if one.secondary or min(_scope(one), localnet) > scope:
            continue
        if near is None or in_prefix(near, f"{one.peer or one.address}/{one.prefixlen}"):
            return one.address
        first = first or one.address
    if first is not None:
        return first
    for name, link in sorted(ns.links.items(), key=lambda item: item[1].index):
        if not link.up and name != "lo":
            continue
        for one in ns.addresses(name):
            if not one.secondary and _scope(one) != SCOPES["link"] and _scope(one) <= scope:
                return one.address
    return None


def source_for(ns: Namespace, route: Route, hop: NextHop | None, dst: str) -> str | None:
    """Return the source a socket without one gets on *route* (fib_result_prefsrc)."""
    if route.prefsrc is not None:
        return route.prefsrc
    if route.type == "local":
        return dst
    if hop is None or hop.device is None:
        return None
    return select_address(ns, hop.device, hop.via, SCOPES.get(route.scope, 0))


def first_address(ns: Namespace, device: str) -> str | None:
    """Return the first primary address of *device* (nf_nat_redirect_ipv4)."""
    return next((one.address for one in ns.addresses(device) if not one.secondary), None)
