"""
Is a packet in an ipset?  And what a SET rule puts in and takes out.

Lives here: all types of hash, bitmap and list sets.
Not here: the options of the match that only count (matches).
Sources: ipset(8); net/netfilter/ipset/ip_set_hash_gen.h (the longest prefix decides, and
``nomatch`` turns it around), ip_set_core.c (ip_set_test), ip_set_getport.c, and the file of each
type.
"""

from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.addr import address_text, address_value, family_of, in_prefix, network_of, prefix_length
from nettrace.model.ipset import IpSet
from nettrace.model.packet import Packet, PortRange
from nettrace.model.xt_match import SetMatch
from nettrace.parse.iptables import ICMP_NAMES
from nettrace.walk.context import Run, undecided
from nettrace.walk.memory import derived
from nettrace.walk.point import Answered, HookPoint, Unsure, in_ports, negated
from nettrace.walk.skb import Skb

__all__ = ["change_set", "set_matches"]

_DIMENSIONS = ("ip", "net", "port", "iface", "mark", "mac")
_COUNTING = ("--update-counters", "--update-subcounters", "!")

#: What ip_set_get_ip4_port and ip_set_get_ip6_port take ports from.
_PORTS = ("tcp", "udp", "sctp", "udplite")


class _Query(NamedTuple):
    """What a set is asked: the packet, the sides of its dimensions, whether ``nomatch`` turns around."""

    skb: Skb
    point: HookPoint
    sides: tuple[str, ...]
    returns_nomatch: bool = False


def _by_name(sets: tuple[IpSet, ...]) -> dict[str, IpSet]:
    return {one.name: one for one in sets}


def _held(run: Run, netns: str, name: str) -> IpSet | None:
    """Return a set as it is now in this walk."""
    changed: IpSet | None = run.ipsets.get((netns, name))
    if changed is not None:
        return changed
    return derived(_by_name, run.section(netns, "ipsets")).get(name)


def set_matches(run: Run, skb: Skb, point: HookPoint, match: SetMatch) -> Answered:
    """``-m set --match-set NAME src,dst``; tests of an entry's counters are open once it is found."""
    one = _held(run, point.ns.name, match.name)
    if one is None:
        return Unsure(f"ipset {match.name} is not in the snapshot")
    query = _Query(skb, point, match.directions, "--return-nomatch" in match.options)
    answer = _in_set(run, query, one)
    counts = [
        option
        for option in match.options
        if option.startswith("--") and option not in (*_COUNTING, "--return-nomatch")
    ]
    if answer is True and counts:
        return Unsure(f"the counters of ipset {match.name}'s entries are not in the snapshot")
    return negated(answer, match.invert)


def _in_set(run: Run, query: _Query, one: IpSet) -> Answered:
    """ip_set_test: too few sides or another family is no match."""
    method, _, dimensions = one.type.partition(":")
    if method == "list":
        return _in_list(run, query, one)
    kinds = dimensions.split(",")
    if method not in ("hash", "bitmap") or any(kind not in _DIMENSIONS for kind in kinds):
        return Unsure(f"ipset {one.name} is of type {one.type}, which is not evaluated")
    packet = query.skb.packet
    if len(query.sides) < len(kinds):
        return False
    if one.family != packet.family and ("ip" in kinds or "net" in kinds):
        return False
    if kinds == ["ip"] and method == "hash" and one.mask is None:
        return _address(packet, query.sides[0]) in derived(_plain, one)
    if one.type == "bitmap:port" and packet.proto not in ("tcp", "udp"):
        return False
    return _in_members(query, one, kinds)


def _in_members(query: _Query, one: IpSet, kinds: list[str]) -> Answered:
    """
    Look for the most specific entry.

    Of ``net,iface`` the most specific network ends the search, whatever its device (``multi``).
    """
    if kinds == ["net", "iface"]:
        one = _of_longest(query, one)
    best: tuple[int, ...] = ()
    inside: bool | None = None
    for members, verdict in ((one.members, True), (one.exceptions, False)):
        for member in members:
            answer, lengths = _is_member(query, one, member, kinds)
            if isinstance(answer, Unsure):
                return answer
            if answer and (inside is None or lengths >= best):
                best, inside = lengths, verdict
    if query.returns_nomatch and "net" in kinds:
        return inside is False
    return inside is True


def _of_longest(query: _Query, one: IpSet) -> IpSet:
    address = _address(query.skb.packet, query.sides[0])
    networks = {member: member.partition(",")[0] for member in (*one.members, *one.exceptions)}
    lengths = [prefix_length(net) for net in networks.values() if in_prefix(address, net)]
    if not lengths:
        return replace(one, members=(), exceptions=())
    longest = max(lengths)

    def kept(members: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(member for member in members if prefix_length(networks[member]) == longest)

    return replace(one, members=kept(one.members), exceptions=kept(one.exceptions))


def _plain(one: IpSet) -> frozenset[str]:
    return frozenset(one.members)


def _in_list(run: Run, query: _Query, one: IpSet) -> Answered:
    """list_set_ktest: in order, the first set that has the packet."""
    unsure: Unsure | None = None
    for name in one.members:
        inner = _held(run, query.point.ns.name, name)
        answer = (
            Unsure(f"ipset {name} is not in the snapshot") if inner is None else _in_set(run, query, inner)
        )
        if answer is True:
            return True
        if isinstance(answer, Unsure):
            unsure = answer
    return unsure if unsure is not None else False


def _address(packet: Packet, side: str) -> str:
    return packet.src if side == "src" else packet.dst


def _is_member(query: _Query, one: IpSet, member: str, kinds: list[str]) -> tuple[Answered, tuple[int, ...]]:
    """Does the packet fit one entry, and with what lengths of prefixes?"""
    lengths: list[int] = []
    unsure: Unsure | None = None
    fields = member.split(",")
    if one.type == "bitmap:ip,mac" and len(fields) == 1:
        kinds = ["ip"]  # without a MAC address yet: the first packet's is taken over
    if len(fields) != len(kinds):
        return Unsure(f"ipset entry {member} is not understood"), ()
    for kind, field, side in zip(kinds, fields, query.sides, strict=False):
        answer = _fits(query, one, member, kind, field, side)
        if answer is False:
            return False, ()
        if isinstance(answer, Unsure):
            unsure = answer
        if kind == "net" and "-" not in field:
            lengths.append(prefix_length(field))
    return (unsure if unsure is not None else True), tuple(lengths)


def _fits(query: _Query, one: IpSet, member: str, kind: str, field: str, side: str) -> Answered:
    packet = query.skb.packet
    if kind in ("ip", "net"):
        return _address_fits(_masked(_address(packet, side), one), field, one)
    if kind == "port":
        return _port_fits(packet, side, field, member)
    if kind == "mark":
        mask = one.markmask if one.markmask is not None else 0xFFFFFFFF
        return packet.mark & mask == int(field, 0)
    if kind == "mac":
        return _mac_fits(query, field, side)
    device = query.point.in_device if side == "src" else query.point.out_device
    if device is None or field.startswith("physdev:"):
        return False  # entries for bridge ports are met by nothing that iptables asks
    return device.startswith(field) if member in one.wildcards else device == field


def _mac_fits(query: _Query, field: str, side: str) -> Answered:
    """Only a packet that came in has a frame's addresses."""
    if query.point.in_device is None or query.point.ns.link(query.point.in_device).kind == "loopback":
        return False
    held = query.skb.source_mac if side == "src" else query.skb.dest_mac
    if not held:
        return Unsure("the MAC addresses of the frame are not known")
    return held.lower() == field.lower()


def _port_fits(packet: Packet, side: str, field: str, member: str) -> Answered:
    proto, _, ports = field.rpartition(":")
    if proto and {"ipv6-icmp": "icmpv6"}.get(proto, proto) != packet.proto:
        return False
    if packet.proto in ("icmp", "icmpv6"):
        wanted = _icmp(packet.proto, ports)
        if wanted is None:
            return Unsure(f"ipset entry {member} is not understood")
        return wanted == (packet.icmp_type, packet.icmp_code or 0)
    lo, _, hi = ports.partition("-")
    if not lo.isdecimal() or (hi and not hi.isdecimal()):
        return Unsure(f"ipset entry {member} is not understood")
    held = packet.sport if side == "src" else packet.dport
    if packet.proto not in _PORTS:
        held = PortRange(0, 0)
    which = "source port" if side == "src" else "destination port"
    return in_ports(held, PortRange(int(lo), int(hi or lo)), which)


def _icmp(proto: str, text: str) -> tuple[int, int] | None:
    """``8/0`` or ``echo-request``."""
    kind, slash, code = text.partition("/")
    if slash and kind.isdecimal() and code.isdecimal():
        return int(kind), int(code)
    known = ICMP_NAMES["icmp" if proto == "icmp" else "icmp6"].get(text)
    return None if known is None else (known[0], known[1] or 0)


def _masked(address: str, one: IpSet) -> str:
    """Return what the set's ``netmask`` or ``bitmask`` leaves of an address."""
    if one.mask is None or one.mask.isdecimal():
        return address if one.mask is None else network_of(address, int(one.mask)).partition("/")[0]
    value, mask = address_value(address), address_value(one.mask)
    return address_text(value & mask, family_of(address))


def _address_fits(address: str, field: str, one: IpSet) -> bool:
    if family_of(field) != family_of(address):
        return False
    low, dash, high = field.partition("-")
    if not dash:
        return in_prefix(address, _masked(field, one) if one.mask is not None else field)
    return address_value(low) <= address_value(address) <= address_value(high)


# --- SET ---------------------------------------------------------------------------------------


def change_set(run: Run, skb: Skb, point: HookPoint, name: str, sides: tuple[str, ...], *, adds: bool) -> str:
    """Put the packet's entry into a set of this walk, or take it out; return what was done."""
    one = _held(run, point.ns.name, name)
    if one is None:
        undecided(f"ipset {name} is not in the snapshot", f"{point.ns.name}/ipsets")
    kinds = one.type.partition(":")[2].split(",")
    if one.type.startswith("list:") or any(kind not in ("ip", "net", "port") for kind in kinds):
        undecided(f"what a packet adds to ipset {name} of type {one.type} is not walked")
    if len(sides) < len(kinds) or (one.family != skb.packet.family and kinds != ["port"]):
        return "nothing done"
    member = ",".join(_entry(skb.packet, one, kind, side) for kind, side in zip(kinds, sides, strict=False))
    left = tuple(held for held in one.members if held != member)
    run.ipsets[point.ns.name, name] = replace(one, members=(*left, member) if adds else left)
    return f"{member} {'added to' if adds else 'deleted from'} {name}"


def _entry(packet: Packet, one: IpSet, kind: str, side: str) -> str:
    """Return a field of the packet's entry; a network has the longest length that the set knows."""
    if kind == "port":
        port = packet.sport if side == "src" else packet.dport
        proto = "" if one.type == "bitmap:port" else f"{packet.proto}:"
        if packet.proto in ("icmp", "icmpv6"):
            return f"{proto}{packet.icmp_type}/{packet.icmp_code or 0}"
        return f"{proto}{port or 0}"
    address = _masked(_address(packet, side), one)
    if kind == "ip":
        return address
    lengths = [
        prefix_length(field)
        for member in (*one.members, *one.exceptions)
        for field, which in zip(member.split(","), one.type.partition(":")[2].split(","), strict=False)
        if which == "net"
    ]
    network = network_of(address, max(lengths, default=32 if packet.family == 4 else 128))
    return network.removesuffix("/32" if packet.family == 4 else "/128")
