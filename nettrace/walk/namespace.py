"""
One namespace as the stages read it: sections with their indexes.

Lives here: devices by name, addresses, sysctls, neighbours, forwarding database.
Not here: routes (routing), rule sets (rules), sockets (deliver).
"""

from collections.abc import Mapping
from typing import Any

from nettrace.model.addr import family_of
from nettrace.model.links import Address, FdbEntry, Link, Neighbour
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Netns
from nettrace.walk.context import Run, Wanted, undecided
from nettrace.walk.memory import derived
from nettrace.walk.sysctls import DEFAULTS

__all__ = ["NEIGHBOURHOOD", "Namespace", "namespace", "together"]

#: What a namespace that a packet enters is asked for in one go.
NEIGHBOURHOOD = (
    "links",
    "addresses",
    "routes",
    "rules",
    "neighbours",
    "fdb",
    "sysctls",
    "xfrm",
    "xt/nft",
    "xt/legacy",
    "nft",
)


def _by_name(links: tuple[Link, ...]) -> dict[str, Link]:
    return {link.name: link for link in links}


def _by_index(links: tuple[Link, ...]) -> dict[int, Link]:
    return {link.index: link for link in links}


def _ports(links: tuple[Link, ...]) -> dict[str, tuple[Link, ...]]:
    masters = {link.master for link in links if link.master}
    return {name: tuple(link for link in links if link.master == name) for name in masters}


def _addresses(addresses: tuple[Address, ...]) -> dict[str, tuple[Address, ...]]:
    return _by_device(addresses, 4)


def _addresses6(addresses: tuple[Address, ...]) -> dict[str, tuple[Address, ...]]:
    return _by_device(addresses, 6)


def _by_device(addresses: tuple[Address, ...], family: int) -> dict[str, tuple[Address, ...]]:
    found: dict[str, list[Address]] = {}
    for one in addresses:
        if family_of(one.address) == family:
            found.setdefault(one.device, []).append(one)
    return {device: tuple(ones) for device, ones in found.items()}


def _owned(addresses: tuple[Address, ...]) -> frozenset[str]:
    return frozenset(one.address for one in addresses)


def _neighbours(entries: tuple[Neighbour, ...]) -> dict[tuple[str, str], Neighbour]:
    return {(one.device, one.address): one for one in entries if one.state != "proxy"}


def _proxies(entries: tuple[Neighbour, ...]) -> frozenset[tuple[str, str]]:
    return frozenset((one.device, one.address) for one in entries if one.state == "proxy")


def _fdb(entries: tuple[FdbEntry, ...]) -> dict[str, tuple[FdbEntry, ...]]:
    found: dict[str, list[FdbEntry]] = {}
    for one in entries:
        found.setdefault(one.mac.lower(), []).append(one)
    return {mac: tuple(ones) for mac, ones in found.items()}


class Namespace:
    """A namespace of a run's snapshot; every property raises Wanted or Undecided if it is missing."""

    __slots__ = ("_conf", "_links", "name", "netns", "run", "standing")

    def __init__(self, run: Run, netns: Netns) -> None:
        self.run = run
        self.netns = netns
        self.name = netns.name
        self.standing: Any = {}  # what nettrace.walk.hooks made of the rule sets
        self._links: dict[str, Link] | None = None
        self._conf: dict[tuple[str, str, int], tuple[int, str]] = {}

    def _read(self, name: str) -> object:
        return self.run.section(self.name, name, along=NEIGHBOURHOOD)

    @property
    def links(self) -> dict[str, Link]:
        """Devices by name."""
        if self._links is None:
            found: tuple[Link, ...] = self._read("links")  # type: ignore[assignment]
            self._links = derived(_by_name, found)
        return self._links

    def link(self, name: str) -> Link:
        """Return a device; undecided if the snapshot speaks of it without holding it."""
        found = self.links.get(name)
        if found is None:
            undecided(
                f"{self.name} has no device {name}, though its state speaks of one", f"{self.name}/links"
            )
        return found

    def link_by_index(self, index: int) -> Link | None:
        """Return the device of an ifindex."""
        found: tuple[Link, ...] = self._read("links")  # type: ignore[assignment]
        return derived(_by_index, found).get(index)

    def ports(self, bridge: str) -> tuple[Link, ...]:
        """Return the ports of a bridge."""
        found: tuple[Link, ...] = self._read("links")  # type: ignore[assignment]
        return derived(_ports, found).get(bridge, ())

    def addresses(self, device: str) -> tuple[Address, ...]:
        """Return the IPv4 addresses of a device, in the kernel's order."""
        return self.all_addresses.get(device, ())

    @property
    def all_addresses(self) -> dict[str, tuple[Address, ...]]:
        """IPv4 addresses by device."""
        found: tuple[Address, ...] = self._read("addresses")  # type: ignore[assignment]
        return derived(_addresses, found)

    def addresses6(self, device: str) -> tuple[Address, ...]:
        """Return the IPv6 addresses of a device, in the kernel's order."""
        return self.all_addresses6.get(device, ())

    @property
    def all_addresses6(self) -> dict[str, tuple[Address, ...]]:
        """IPv6 addresses by device."""
        found: tuple[Address, ...] = self._read("addresses")  # type: ignore[assignment]
        return derived(_addresses6, found)

    def owns(self, address: str) -> bool:
        """Is *address* configured on any device (inet_lookup_ifaddr_rcu)?"""
        found: tuple[Address, ...] = self._read("addresses")  # type: ignore[assignment]
        return address in derived(_owned, found)

    def neighbour(self, device: str, address: str) -> Neighbour | None:
        """Return the neighbour entry for *address* on *device*."""
        found: tuple[Neighbour, ...] = self._read("neighbours")  # type: ignore[assignment]
        return derived(_neighbours, found).get((device, address))

    def proxies(self, device: str, address: str) -> bool:
        """Does *device* answer for *address* on behalf of somebody else (``ip neigh add proxy``)?"""
        found: tuple[Neighbour, ...] = self._read("neighbours")  # type: ignore[assignment]
        return (device, address) in derived(_proxies, found)

    def fdb(self, mac: str) -> tuple[FdbEntry, ...]:
        """Return the forwarding-database entries for *mac*, of all bridges and tunnels."""
        found: tuple[FdbEntry, ...] = self._read("fdb")  # type: ignore[assignment]
        return derived(_fdb, found).get(mac.lower(), ())

    @property
    def sysctls(self) -> Mapping[str, str]:
        """Sysctls by dotted name."""
        found: Mapping[str, str] = self._read("sysctls")  # type: ignore[assignment]
        return found

    def sysctl(self, name: str) -> str:
        """
        Return the text of a sysctl.

        One that is not in a section that was read has the kernel's default where
        nettrace.walk.sysctls knows one; otherwise the walk cannot go on.
        """
        found = self.sysctls.get(name)
        if found is None:
            found = DEFAULTS.get(name)
        if found is None:
            undecided(f"sysctl {name} of {self.name} is not in the snapshot", f"{self.name}/sysctls/{name}")
        return found

    def number(self, name: str) -> int:
        """Return a sysctl that is a number."""
        value = self.sysctl(name)
        try:
            return int(value)
        except ValueError:
            undecided(f"sysctl {name} of {self.name} is {value!r}", f"{self.name}/sysctls/{name}", value)

    def conf(self, device: str, what: str, *, family: int = 4) -> tuple[int, str]:
        """
        Return ``net.ipv4.conf.DEVICE.WHAT`` (of IPv6 if *family* is 6) and the sysctl's name.

        A device's own dots are written as slashes, as sysctl(8) does.
        """
        held = self._conf.get((device, what, family))
        if held is not None:
            return held
        name = f"net.ipv{family}.conf.{device.replace('.', '/')}.{what}"
        value = self.sysctls.get(name)
        if value is None:
            value = DEFAULTS.get(f"net.ipv{family}.conf.*.{what}")
        if value is None:
            undecided(f"sysctl {name} of {self.name} is not in the snapshot", f"{self.name}/sysctls/{name}")
        held = self._conf[device, what, family] = int(value), name
        return held

    def conf_max(self, device: str, what: str, *, family: int = 4) -> tuple[int, str]:
        """IN_DEV_MAXCONF and IN_DEV_ORCONF: the larger of ``all`` and the device's, and its name."""
        every, one = self.conf("all", what, family=family), self.conf(device, what, family=family)
        return one if one[0] >= every[0] else every

    def mtu6(self, device: str) -> int:
        """Return the MTU that IPv6 uses on a device: its own, or a smaller one (ip6_mtu, cnf.mtu6)."""
        mtu = self.link(device).mtu
        found = self.sysctls.get(f"net.ipv6.conf.{device.replace('.', '/')}.mtu")
        return min(mtu, int(found)) if found is not None else mtu

    def conf_both(self, device: str, what: str) -> bool:
        """IN_DEV_ANDCONF: set for all and for the device."""
        return bool(self.conf("all", what)[0] and self.conf(device, what)[0])


def namespace(run: Run, name: str) -> Namespace:
    """Return the view of a namespace of the run's snapshot; undecided if it has none of that name."""
    found: Namespace | None = run.views.get(name)
    if found is None:
        netns = run.snapshot.namespaces.get(name)
        if netns is None:
            undecided(f"namespace {name} is not in the snapshot", name)
        found = run.views[name] = Namespace(run, netns)
    return found


def together(run: Run, names: tuple[str, ...], sections: tuple[str, ...]) -> None:
    """Ask at once for the sections of several namespaces that were not read."""
    keys = [SectionKey(name, section) for name in names for section in sections]
    wanted = [key for key in keys if run.unread(key)]
    if wanted:
        raise Wanted(wanted)
