"""
Targets that change a packet or where it goes, of extensions that are kept as text.

Lives here: one function for each, from its options to its effect.
Not here: targets with types of their own (targets), those that change nothing a walk looks at,
translating prefixes (npt).
Sources: net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c, net/ipv6/netfilter/ip6t_*.c, each
called as the target.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import TypeAlias

from msgspec.structs import replace

from nettrace.model.sockets import Socket
from nettrace.model.step import Verdict
from nettrace.model.xt_target import NatRange
from nettrace.parse.iptables import Option
from nettrace.walk.checksum import finish
from nettrace.walk.context import Run, undecided
from nettrace.walk.effect import Effect, bound
from nettrace.walk.extensions import CLASSES, TOS_NAMES, first_of, masked
from nettrace.walk.npt import dnpt, snpt
from nettrace.walk.point import HookPoint
from nettrace.walk.sets import change_set
from nettrace.walk.skb import Skb

__all__ = ["EXTENSION_TARGETS"]

Apply: TypeAlias = Callable[[Run, Skb, HookPoint, Mapping[str, Option]], Effect]

_ALL = 0xFFFFFFFF

_OPTION_KINDS = {"mss": 2, "wscale": 3, "sack-permitted": 4, "sack": 5, "timestamp": 8, "md5": 19}

#: What a peer without the option is taken to accept (TCP_MSS_DEFAULT).
_LEAST_MSS = 536


def _text(options: Mapping[str, Option], name: str) -> str:
    return options[name].values[0]


def _ttl(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """xt_HL.c: kept between 0 and 255."""
    name, option = first_of(options)
    number, old = int(option.values[0], 0), skb.packet.ttl
    new = {"set": number, "inc": min(255, old + number), "dec": max(0, old - number)}[name[-3:]]
    skb.packet = replace(skb.packet, ttl=new)
    return Effect(note=f"TTL {old} -> {new}")


def _set_tos(skb: Skb, new: int) -> Effect:
    old = skb.packet.tos
    skb.packet = replace(skb.packet, tos=new & 0xFF)
    return Effect(note=f"tos {old:#x} -> {new & 0xFF:#x}")


def _tos(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """xt_DSCP.c, tos_tg."""
    name, option = first_of(options)
    text = option.values[0]
    if name == "--set-tos":
        value, mask = (TOS_NAMES[text], 0x3F) if text in TOS_NAMES else masked(text, 0xFF)
    else:
        bits = int(text, 0)
        value, mask = {
            "--and-tos": (0, ~bits & 0xFF),
            "--or-tos": (bits, bits),
            "--xor-tos": (bits, 0),
        }[name]
    return _set_tos(skb, skb.packet.tos & ~mask ^ value)


def _dscp(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    name, option = first_of(options)
    text = option.values[0]
    value = CLASSES[text.upper()] if name == "--set-dscp-class" else int(text, 0)
    return _set_tos(skb, skb.packet.tos & 3 | value << 2)


def _checksum(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """xt_CHECKSUM.c: what a device was to finish is finished now."""
    finish(skb)
    return Effect()


def _ecn(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """ipt_ECN.c; taking the bits out of TCP's header changes nothing that a walk knows to be set."""
    if "--ecn-tcp-cwr" in options or "--ecn-tcp-ece" in options:
        undecided("a rule sets TCP's ECN bits, which are not part of the walk's packet")
    if "--ecn-ip-ect" in options:
        return _set_tos(skb, skb.packet.tos & ~3 | int(_text(options, "--ecn-ip-ect")))
    return Effect()


def _tcpoptstrip(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """xt_TCPOPTSTRIP.c: the bytes become NOPs, and what a SYN does not offer is not used later."""
    names = _text(options, "--strip-options").split(",")
    kinds = frozenset(_OPTION_KINDS[name] if name in _OPTION_KINDS else int(name) for name in names)
    if skb.packet.proto != "tcp":
        return Effect(note="no TCP, nothing done")
    skb.stripped |= kinds
    if "SYN" in skb.packet.tcp_flags:
        run.remembered["stripped"] = 1
        if 2 in kinds and skb.mss is not None:
            skb.mss = _LEAST_MSS
    return Effect(note=f"TCP options {','.join(map(str, sorted(kinds)))} taken out")


def _netmap(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """xt_NETMAP.c: the network part of the address is the rule's, the rest is kept."""
    to = ip_network(_text(options, "--to"), strict=False)
    manip = "dst" if point.hook in ("prerouting", "output") else "src"
    old = ip_address(skb.packet.dst if manip == "dst" else skb.packet.src)
    new = type(old)(int(to.network_address) | int(old) & int(to.hostmask))
    return bound(run, skb, manip, NatRange(lo=str(new)))


def _tproxy(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """xt_TPROXY.c: without a transparent socket the packet is dropped."""
    port = int(_text(options, "--on-port"), 0)
    sockets: tuple[Socket, ...] = run.section(point.ns.name, "sockets")
    wanted = skb.packet.dport
    for one in sockets:
        at = one.port == port if port else wanted is not None and wanted.lo <= one.port <= wanted.hi
        if one.proto == skb.packet.proto and at:
            undecided(
                f"whether the socket at port {one.port} of {point.ns.name} is transparent, "
                "which TPROXY needs, is not in the snapshot"
            )
    return Effect(note=f"no socket listens at port {port}", ends=Verdict.DROPPED_BY_RULE)


def _nfqueue(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    undecided("a program behind NFQUEUE decides about the packet")


def _synproxy(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    if skb.packet.proto != "tcp":
        return Effect()
    undecided("SYNPROXY answers for the server, which is not walked")


def _set(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """xt_set.c, set_target: tests later in the walk see what was added and deleted."""
    notes = []
    for name, adds in (("--add-set", True), ("--del-set", False)):
        if name in options:
            which, directions = options[name].values
            notes.append(change_set(run, skb, point, which, tuple(directions.split(",")), adds=adds))
    if "--map-mark" in options:
        undecided("the mark that an ipset keeps with its entry is not in the snapshot")
    return Effect(note="; ".join(notes))


EXTENSION_TARGETS: dict[str, Apply] = {
    "DNPT": dnpt,
    "DSCP": _dscp,
    "CHECKSUM": _checksum,
    "ECN": _ecn,
    "HL": _ttl,
    "NETMAP": _netmap,
    "NFQUEUE": _nfqueue,
    "SET": _set,
    "SNPT": snpt,
    "SYNPROXY": _synproxy,
    "TCPOPTSTRIP": _tcpoptstrip,
    "TOS": _tos,
    "TPROXY": _tproxy,
    "TTL": _ttl,
}
