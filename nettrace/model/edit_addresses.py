"""
Addresses of devices, changed in the model, with the routes that the kernel keeps for them.

Lives here: adding and deleting an IPv4 address.
Not here: routes that come and go with a device (edit_links), secondary and IPv6 addresses, which no
cause is about.
"""

from nettrace.model.addr import family_of, network_of
from nettrace.model.change import AddressAdd, AddressDelete
from nettrace.model.edit_links import kernel_routes, marked, without_device
from nettrace.model.edit_tables import known_section, put_section, same_route
from nettrace.model.links import Address, Link
from nettrace.model.routes import TABLE_LOCAL, NextHop, Route
from nettrace.model.snapshot import Snapshot

__all__ = ["add_address", "delete_address", "same_address"]

#: From wide to narrow.
_SCOPES = ("global", "site", "link", "host")


def same_address(one: Address, other: Address) -> bool:
    """Does a device hold only one of the two (net/ipv4/devinet.c, __inet_insert_ifa, find_matching_ifa)?"""
    return (one.device, one.address, one.prefixlen) == (other.device, other.address, other.prefixlen)


def add_address(snapshot: Snapshot, change: AddressAdd) -> Snapshot:
    """
    Return *snapshot* with an address more, and the kernel's routes for it if its device is up.

    net/ipv4/devinet.c, __inet_insert_ifa; net/ipv4/fib_frontend.c, fib_add_ifaddr; fib_sync_up revives next
    hops that died with the device's last address.
    """
    new = change.address
    link, addresses = _of(snapshot, change)
    if any(same_address(one, new) for one in addresses):
        raise ValueError(f"{change.netns}: {new.device} already has {new.address}/{new.prefixlen}")
    beside = [one for one in addresses if (one.device, one.prefixlen) == (new.device, new.prefixlen)]
    if any(_network(one) == _network(new) for one in beside):
        raise ValueError(f"{change.netns}: {new.address} would be a secondary address of {new.device}")
    snapshot = put_section(snapshot, change.netns, "addresses", _with(addresses, new))
    routes: tuple[Route, ...] = known_section(snapshot, change.netns, "routes")
    made = [_local(new), *(kernel_routes((new,), link) if link.up else [])]
    fresh = [route for route in made if not any(same_route(route, old) for old in routes)]
    back = tuple(marked(route, link.name, dead=False) if link.up else route for route in routes)
    return put_section(snapshot, change.netns, "routes", (*back, *fresh))


def _with(addresses: tuple[Address, ...], new: Address) -> tuple[Address, ...]:
    """Put a primary address behind the last one of its device whose scope is no wider than its own."""
    place = next((i for i, one in enumerate(addresses) if one.device == new.device), len(addresses))
    for index, one in enumerate(addresses):
        own = one.device == new.device and family_of(one.address) == 4 and not one.secondary
        if own and _SCOPES.index(new.scope) <= _SCOPES.index(one.scope):
            place = index + 1
    return (*addresses[:place], new, *addresses[place:])


def delete_address(snapshot: Snapshot, change: AddressDelete) -> Snapshot:
    """
    Return *snapshot* with an address less, and without the routes that hung on it.

    net/ipv4/fib_frontend.c, fib_del_ifaddr; fib_semantics.c, fib_sync_down_addr (routes that prefer it as
    source); fib_disable_ip (all of a device's, with its last address).
    """
    gone = change.address
    link, addresses = _of(snapshot, change)
    if not any(same_address(one, gone) for one in addresses):
        raise ValueError(f"{change.netns}: {gone.device} has no {gone.address}/{gone.prefixlen}")
    left = tuple(one for one in addresses if not same_address(one, gone))
    own = [one for one in left if one.device == gone.device and family_of(one.address) == 4]
    if any(one.secondary and _network(one) == _network(gone) for one in own):
        raise ValueError(f"{change.netns}: {gone.device} has secondary addresses of {gone.address}'s network")
    snapshot = put_section(snapshot, change.netns, "addresses", left)
    kept = [route for one in own for route in (_local(one), *kernel_routes((one,), link))]
    lost = [_local(gone), *kernel_routes((gone,), link)]
    elsewhere = any(one.address == gone.address for one in left)

    def left_of(route: Route) -> Route | None:
        if family_of(route.dst) != 4:
            return route
        if any(same_route(route, one) for one in lost):
            return route if any(same_route(route, one) for one in kept) else None
        if not elsewhere and route.prefsrc == gone.address:
            return None
        return route if own else without_device(route, gone.device)

    routes: tuple[Route, ...] = known_section(snapshot, change.netns, "routes")
    remaining = tuple(route for route in map(left_of, routes) if route is not None)
    return put_section(snapshot, change.netns, "routes", remaining)


def _of(snapshot: Snapshot, change: AddressAdd | AddressDelete) -> tuple[Link, tuple[Address, ...]]:
    """Return the device and all addresses; ValueError for what is not modelled or not read."""
    one = change.address
    if family_of(one.address) != 4 or one.secondary or one.peer not in (None, one.address) or one.flags:
        raise ValueError(f"{change.netns}: {one.address} is an address of a kind that is not changed")
    link = next((x for x in known_section(snapshot, change.netns, "links") if x.name == one.device), None)
    if link is None:
        raise ValueError(f"{change.netns} has no device {one.device}")
    return link, known_section(snapshot, change.netns, "addresses")


def _network(address: Address) -> str:
    return network_of(address.address, address.prefixlen)


def _local(address: Address) -> Route:
    """Return the route by which the address is delivered (fib_add_ifaddr)."""
    return Route(
        dst=f"{address.address}/32",
        table=TABLE_LOCAL,
        type="local",
        nexthops=(NextHop(device=address.device),),
        prefsrc=address.address,
        scope="host",
        protocol="kernel",
    )
