"""
Which real server takes a new connection of a virtual server?

Lives here: the schedulers of IPVS, as shares or as the one that they name.
Not here: affinity and connections that are there already (ipvs_conns).
Sources: net/netfilter/ipvs/ip_vs_rr.c, ip_vs_wrr.c, ip_vs_lc.c, ip_vs_wlc.c, ip_vs_sh.c, ip_vs_dh.c,
ip_vs_mh.c, ip_vs_fo.c, ip_vs_ovf.c and their like.

Where a scheduler goes by turns or by counts that change with every connection, a real server's share
is what it gets over time: equal for rr and lc, by weight for the others.  sh and dh look into a table
of 256 places (CONFIG_IP_VS_SH_TAB_BITS, CONFIG_IP_VS_DH_TAB_BITS as every distribution has them),
filled in the kernel's order of real servers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from ipaddress import ip_address
from typing import NamedTuple

from nettrace.model.ipvs import NO_SCHEDULER, RealServer, VirtualServer
from nettrace.model.packet import Packet
from nettrace.walk.context import undecided

__all__ = ["Share", "shares"]

_PLACES = 256
_GOLDEN = 0x61C88647  # GOLDEN_RATIO_32 of include/linux/hash.h


class Share(NamedTuple):
    """A real server, or nobody (the packet is refused), and how often."""

    part: Fraction
    server: RealServer | None


def shares(server: VirtualServer, packet: Packet, ref: str) -> list[Share]:
    """
    Return who may take a new connection that begins with *packet*; the parts add up to 1.

    Undecided for a scheduler that nobody knows, and where it is not known whether a real server
    still takes connections (between its two thresholds).  *ref* is where the server is.
    """
    if server.scheduler == NO_SCHEDULER:
        return [Share(Fraction(1), None)]
    choose = _SCHEDULERS.get(server.scheduler)
    if choose is None:
        undecided(f"how IPVS's scheduler {server.scheduler} chooses is not known", ref, server.scheduler)
    found = choose(server, packet, {one: _open(one, ref) for one in server.real_servers})
    together: dict[RealServer | None, Fraction] = {}
    for one in found:
        together[one.server] = together.get(one.server, Fraction(0)) + one.part
    return [Share(part, one) for one, part in together.items()]


_Open = Mapping[RealServer, bool]


def _open(real: RealServer, ref: str) -> bool:
    """
    Does it take connections: has it a weight, and is it not overloaded?

    Overloaded it is from the upper threshold on, until it comes below the lower one, or below three
    quarters of the upper one (ip_vs_dest_update_overload and ip_vs_unbind_dest).
    """
    if real.weight <= 0:
        return False
    held = real.active + real.inactive
    if not real.upper or (held < real.lower if real.lower else held * 4 < real.upper * 3):
        return True
    if held >= real.upper:
        return False
    undecided(
        f"{real.address} has {held} connections, between its thresholds {real.lower} and {real.upper}: "
        "whether it takes new ones depends on which it crossed last",
        ref,
    )


def _by(weights: Sequence[tuple[RealServer, int]]) -> list[Share]:
    total = sum(weight for _, weight in weights)
    if not total:
        return [Share(Fraction(1), None)]
    return [Share(Fraction(weight, total), real) for real, weight in weights]


def _equal(server: VirtualServer, packet: Packet, takes: _Open) -> list[Share]:
    return _by([(real, 1) for real in server.real_servers if takes[real]])


def _weighted(server: VirtualServer, packet: Packet, takes: _Open) -> list[Share]:
    return _by([(real, real.weight) for real in server.real_servers if takes[real]])


def _maglev(server: VirtualServer, packet: Packet, takes: _Open) -> list[Share]:
    """A place in its table stays one's who is overloaded; only mh-fallback looks for another."""
    weighed = [(real, real.weight) for real in server.real_servers if real.weight > 0]
    if "mh-fallback" in server.flags:
        return _weighted(server, packet, takes)
    return [Share(part, real if real is not None and takes[real] else None) for part, real in _by(weighed)]


def _highest(server: VirtualServer, packet: Packet, takes: _Open) -> list[Share]:
    """fo: the first one of the highest weight."""
    open_ones = [real for real in server.real_servers if takes[real]]
    return [Share(Fraction(1), max(open_ones, key=lambda real: real.weight, default=None))]


def _overflow(server: VirtualServer, packet: Packet, takes: _Open) -> list[Share]:
    """ovf: the first one of the highest weight that has not more active connections than that."""
    open_ones = [real for real in server.real_servers if takes[real] and real.active <= real.weight]
    return [Share(Fraction(1), max(open_ones, key=lambda real: real.weight, default=None))]


# --- tables ------------------------------------------------------------------------------


def _folded(address: str) -> int:
    """All bits of an address in 32 (the first lines of ip_vs_sh_hashkey)."""
    packed = ip_address(address).packed
    found = 0
    for at in range(0, len(packed), 4):
        found ^= int.from_bytes(packed[at : at + 4])
    return found


def _place(address: str, port: int, offset: int) -> int:
    """ip_vs_sh_hashkey, ip_vs_dh_hashkey: hash_32() to eight bits."""
    mixed = (_folded(address) + port) * _GOLDEN & 0xFFFFFFFF
    return (offset + (mixed >> 24)) % _PLACES


def _table(server: VirtualServer, *, weighted: bool) -> list[RealServer | None]:
    """Return who has which place; with *weighted* as many in a row as the weight says, at least one."""

    def turns() -> Iterator[RealServer | None]:
        while True:
            for real in server.real_servers or (None,):
                yield from (real,) * (max(real.weight, 1) if real is not None and weighted else 1)

    one = turns()
    return [next(one) for _ in range(_PLACES)]


def _source_hash(server: VirtualServer, packet: Packet, takes: _Open) -> list[Share]:
    """sh: by the client's address, with sh-port by its port too; sh-fallback tries further places."""
    table = _table(server, weighted=True)
    port = 0
    if "sh-port" in server.flags and packet.sport is not None:
        if packet.sport.single is None:
            return _by_places(server, table, takes)
        port = packet.sport.single
    first = _place(packet.src, port, 0)
    offsets = [0]
    if "sh-fallback" in server.flags:
        offsets += [(offset + first) % _PLACES for offset in range(_PLACES)]
    for offset in offsets:
        real = table[_place(packet.src, port, offset)]
        if real is not None and takes[real]:
            return [Share(Fraction(1), real)]
    return [Share(Fraction(1), None)]


def _by_places(server: VirtualServer, table: Sequence[RealServer | None], takes: _Open) -> list[Share]:
    """Return the shares where the kernel chooses the port that the place depends on."""
    found = [
        Share(Fraction(1, _PLACES), real if real is not None and takes[real] else None) for real in table
    ]
    if "sh-fallback" not in server.flags or all(one.server is None for one in found):
        return found
    taken = [one for one in found if one.server is not None]
    return [Share(Fraction(1, len(taken)), one.server) for one in taken]


def _target_hash(server: VirtualServer, packet: Packet, takes: _Open) -> list[Share]:
    """dh: by the address that was asked for."""
    real = _table(server, weighted=False)[_place(packet.dst, 0, 0)]
    return [Share(Fraction(1), real if real is not None and takes[real] else None)]


_SCHEDULERS: Mapping[str, Callable[[VirtualServer, Packet, _Open], list[Share]]] = {
    "rr": _equal,
    "lc": _equal,
    "wrr": _weighted,
    "wlc": _weighted,
    "sed": _weighted,
    "nq": _weighted,
    "lblc": _weighted,
    "lblcr": _weighted,
    "twos": _weighted,
    "mh": _maglev,
    "fo": _highest,
    "ovf": _overflow,
    "sh": _source_hash,
    "dh": _target_hash,
}
