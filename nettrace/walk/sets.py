"""
Is a packet in an ipset?

Lives here: hash and bitmap sets of addresses, networks, ports and devices, and lists of sets.
Not here: other dimensions (mac, mark), which are unsure.
Source: ipset(8); net/netfilter/ipset/ip_set_hash_gen.h (the longest prefix decides, and
``nomatch`` turns it around).
"""

from nettrace.model.addr import family_of, in_prefix, prefix_length
from nettrace.model.ipset import IpSet
from nettrace.model.packet import PortRange
from nettrace.model.xt import SetMatch
from nettrace.walk.context import Run
from nettrace.walk.memory import derived
from nettrace.walk.point import Answered, HookPoint, Unsure, in_ports, negated
from nettrace.walk.skb import Skb

__all__ = ["set_matches"]

_DIMENSIONS = ("ip", "net", "port", "iface")


def _by_name(sets: tuple[IpSet, ...]) -> dict[str, IpSet]:
    return {one.name: one for one in sets}


def set_matches(run: Run, skb: Skb, point: HookPoint, match: SetMatch) -> Answered:
    """``-m set --match-set NAME src,dst``."""
    options = [option for option in match.options if "update" not in option]
    if options:
        return Unsure(f"set options {' '.join(options)} are not evaluated")
    sets = derived(_by_name, run.section(point.ns.name, "ipsets"))
    one = sets.get(match.name)
    if one is None:
        return Unsure(f"ipset {match.name} is not in the snapshot")
    return negated(_in_set(skb, point, one, match.directions, sets), match.invert)


def _in_set(
    skb: Skb, point: HookPoint, one: IpSet, directions: tuple[str, ...], sets: dict[str, IpSet]
) -> Answered:
    method, _, dimensions = one.type.partition(":")
    if method == "list":
        return _in_list(skb, point, one, directions, sets)
    if one.family != 4 and "ip" in dimensions:
        return False
    kinds = dimensions.split(",")
    if method not in ("hash", "bitmap") or any(kind not in _DIMENSIONS for kind in kinds):
        return Unsure(f"ipset {one.name} is of type {one.type}, which is not evaluated")
    if len(directions) < len(kinds):
        return False
    if kinds == ["ip"] and method == "hash":
        return (skb.packet.src if directions[0] == "src" else skb.packet.dst) in derived(_plain, one)
    best, inside = -1, False
    for members, verdict in ((one.members, True), (one.exceptions, False)):
        for member in members:
            answer, length = _is_member(skb, point, member, kinds, directions)
            if isinstance(answer, Unsure):
                return answer
            if answer and length >= best:
                best, inside = length, verdict
    return inside


def _plain(one: IpSet) -> frozenset[str]:
    return frozenset(one.members)


def _in_list(
    skb: Skb, point: HookPoint, one: IpSet, directions: tuple[str, ...], sets: dict[str, IpSet]
) -> Answered:
    unsure: Unsure | None = None
    for name in one.members:
        inner = sets.get(name)
        answer = (
            Unsure(f"ipset {name} is not in the snapshot")
            if inner is None
            else _in_set(skb, point, inner, directions, sets)
        )
        if answer is True:
            return True
        if isinstance(answer, Unsure):
            unsure = answer
    return unsure if unsure is not None else False


def _is_member(
    skb: Skb, point: HookPoint, member: str, kinds: list[str], directions: tuple[str, ...]
) -> tuple[Answered, int]:
    """Does the packet fit one entry, and with what length of prefix?"""
    packet = skb.packet
    length = 0
    unsure: Unsure | None = None
    fields = member.split(",")
    if len(fields) != len(kinds):
        return Unsure(f"ipset entry {member} is not understood"), 0
    for kind, field, direction in zip(kinds, fields, directions, strict=False):
        source = direction == "src"
        answer: Answered
        if kind in ("ip", "net"):
            answer = _address_fits(packet.src if source else packet.dst, field)
            if kind == "net" and "-" not in field:
                length += prefix_length(field)
        elif kind == "port":
            proto, _, ports = field.rpartition(":")
            lo, _, hi = ports.partition("-")
            if proto and proto != packet.proto:
                answer = False
            elif not lo.isdecimal() or (hi and not hi.isdecimal()):
                answer = Unsure(f"ipset entry {member} is not understood")
            else:
                answer = in_ports(
                    packet.sport if source else packet.dport,
                    PortRange(int(lo), int(hi or lo)),
                    "source port" if source else "destination port",
                )
        else:
            device = point.in_device if source else point.out_device
            answer = device == field if not field.startswith("physdev:") else Unsure("a physdev in an ipset")
        if answer is False:
            return False, 0
        if isinstance(answer, Unsure):
            unsure = answer
    return (unsure if unsure is not None else True), length


def _address_fits(address: str, field: str) -> bool:
    if family_of(field) != 4:
        return False
    low, dash, high = field.partition("-")
    if not dash:
        return in_prefix(address, field)
    value = [tuple(int(part) for part in one.split(".")) for one in (low, address, high)]
    return value[0] <= value[1] <= value[2]
