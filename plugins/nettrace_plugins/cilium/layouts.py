"""
The bytes of Cilium's maps: which layouts there are, and how each is taken apart.

Lives here: keys and values as Cilium 1.8 to 1.18 lay them out, told apart by their sizes.  Nothing is
guessed: a map of other sizes is none of these.
Not here: what entries mean together (services, identities).
Source: cilium/cilium bpf/lib/common.h, bpf/lib/eps.h, pkg/maps/lbmap.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from msgspec import Struct

from nettrace.model.bpf import BpfMap, BpfState, short_name
from nettrace.model.section import Known, Missing

__all__ = [
    "BACKENDS",
    "CONNECTIONS",
    "ENDPOINTS",
    "IPCACHE",
    "MAPS",
    "REVERSE",
    "SERVICES",
    "Bytes",
    "called",
    "named",
    "pairs",
    "sizes",
    "unknown",
]

SERVICES = ("cilium_lb4_services_v2", "cilium_lb6_services_v2")
BACKENDS = tuple(
    f"cilium_lb{family}_backends{version}" for family in (4, 6) for version in ("", "_v2", "_v3")
)
REVERSE = ("cilium_lb4_reverse_nat", "cilium_lb6_reverse_nat")
CONNECTIONS = ("cilium_ct4_global", "cilium_ct_any4_global", "cilium_ct6_global", "cilium_ct_any6_global")
IPCACHE = ("cilium_ipcache", "cilium_ipcache_v2")
ENDPOINTS = ("cilium_lxc",)

#: All that are taken apart here.
MAPS = (*SERVICES, *BACKENDS, *REVERSE, *CONNECTIONS, *IPCACHE, *ENDPOINTS)

#: (key, value) in bytes of each kind of map, in all layouts.
_SIZES: dict[tuple[str, ...], frozenset[tuple[int, int]]] = {
    SERVICES: frozenset({(12, 12), (24, 12)}),
    # v1 has ids of 2 bytes; v3 adds the cluster's id
    BACKENDS: frozenset({(2, 8), (4, 8), (4, 12), (2, 20), (4, 20), (4, 24)}),
    REVERSE: frozenset({(2, 6), (2, 18)}),
    CONNECTIONS: frozenset({(14, 56), (38, 56)}),
    # v2 has room for a tunnel's end of IPv6
    IPCACHE: frozenset({(24, 12), (24, 24)}),
    ENDPOINTS: frozenset({(20, 48)}),
}
#: cilium_lb4_reverse_sk, whose name is cut to the same 15 bytes as that of cilium_lb4_reverse_nat.
_SOCKETS = frozenset({(16, 8), (24, 20), (32, 20), (32, 24)})


class Bytes(Struct, frozen=True):
    """A key or a value, and the byte order of the machine that it was read on."""

    raw: bytes
    order: str = "little"

    def number(self, at: int, size: int) -> int:
        """Return a number in the machine's order."""
        return int.from_bytes(self.raw[at : at + size], "big" if self.order == "big" else "little")

    def network(self, at: int, size: int) -> int:
        """Return a number in network order."""
        return int.from_bytes(self.raw[at : at + size], "big")

    def address(self, at: int, size: int) -> str:
        """Return an address of 4 or 16 bytes."""
        return str(ip_address(self.raw[at : at + size]))

    def mac(self, at: int) -> str:
        """Return a MAC address."""
        return self.raw[at : at + 6].hex(":")


def called(state: BpfState, names: tuple[str, ...]) -> Iterator[BpfMap]:
    """Yield the maps that have one of these names, as far as the kernel keeps it."""
    short = {short_name(name) for name in names}
    for one in state.maps:
        if one.name not in short:
            continue
        pinned = one.pinned.rsplit("/", 1)[-1]
        if pinned in MAPS and pinned not in names:
            continue
        if names is REVERSE and (pinned.endswith("_reverse_sk") or sizes(one) in _SOCKETS):
            continue
        yield one


def named(one: BpfMap) -> str:
    """Name a map in a sentence: ``cilium_lb4_services_v2 (map 17)``, cut where nothing says the rest."""
    pinned = one.pinned.rsplit("/", 1)[-1]
    return f"{pinned if pinned.startswith(one.name) else one.name} (map {one.id})"


def sizes(one: BpfMap) -> tuple[int, int]:
    """Return the sizes of key and value."""
    return one.key_size, one.value_size


def unknown(one: BpfMap, names: tuple[str, ...]) -> str:
    """Say why a map of these names cannot be taken apart; "" if it can."""
    if sizes(one) not in _SIZES[names]:
        return (
            f"{named(one)} has keys of {one.key_size} bytes and values of {one.value_size}: "
            "a layout that is not known"
        )
    if isinstance(one.entries, Missing):
        return f"{named(one)}: {one.entries.reason or one.entries.kind.value}"
    return ""


def pairs(state: BpfState, one: BpfMap) -> Iterator[tuple[Bytes, Bytes]]:
    """Yield the entries of a map."""
    for entry in one.entries.value if isinstance(one.entries, Known) else ():
        key, value = bytes.fromhex(entry.key), bytes.fromhex(entry.value)
        yield Bytes(key, state.byteorder), Bytes(value, state.byteorder)
