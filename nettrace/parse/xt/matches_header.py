"""
Matches on the packet's own headers and device: tcp, udp, sctp, dccp, icmp, multiport, physdev, addrtype.

Lives here: a grammar and a writer for each.
Not here: matches on what the kernel remembers (matches_state).
"""

from collections.abc import Callable, Mapping
from typing import Any

from nettrace.model.packet import PortRange
from nettrace.model.xt_match import Addrtype, Icmp, Match, Multiport, Negatable, Physdev, Ports, Tcp, Udp
from nettrace.parse.xt.options import Given, Grammar, flag, negatable, ports
from nettrace.parse.xt.values import (
    negatable_text,
    negated,
    number,
    ordered,
    port_range,
    port_range_text,
    ports_text,
)

__all__ = ["GRAMMARS", "ICMP_NAMES", "WRITERS"]

_PORT_ALIASES = {"--source-port": "--sport", "--destination-port": "--dport"}

#: In the order in which iptables prints them (libxt_tcp.c, tcp_flag_names).
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")

#: In the order in which iptables prints them (libxt_addrtype.c, rtn_names).
_TYPES = (
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
)

#: Names that people type; iptables prints numbers (libxt_icmp.h).  None: any code.
_ICMP_NAMES: dict[str, tuple[int, int | None]] = {
    "any": (255, None),
    "echo-reply": (0, None),
    "pong": (0, None),
    "destination-unreachable": (3, None),
    "network-unreachable": (3, 0),
    "host-unreachable": (3, 1),
    "protocol-unreachable": (3, 2),
    "port-unreachable": (3, 3),
    "fragmentation-needed": (3, 4),
    "source-quench": (4, None),
    "redirect": (5, None),
    "echo-request": (8, None),
    "ping": (8, None),
    "router-advertisement": (9, None),
    "router-solicitation": (10, None),
    "time-exceeded": (11, None),
    "ttl-exceeded": (11, None),
    "parameter-problem": (12, None),
    "timestamp-request": (13, None),
    "timestamp-reply": (14, None),
}

_ICMP6_NAMES: dict[str, tuple[int, int | None]] = {
    "destination-unreachable": (1, None),
    "no-route": (1, 0),
    "address-unreachable": (1, 3),
    "port-unreachable": (1, 4),
    "packet-too-big": (2, None),
    "time-exceeded": (3, None),
    "parameter-problem": (4, None),
    "echo-request": (128, None),
    "ping": (128, None),
    "echo-reply": (129, None),
    "pong": (129, None),
    "router-solicitation": (133, None),
    "router-advertisement": (134, None),
    "neighbour-solicitation": (135, None),
    "neighbor-solicitation": (135, None),
    "neighbour-advertisement": (136, None),
    "neighbor-advertisement": (136, None),
    "redirect": (137, None),
}


#: Match -> its names of types, with their codes.
ICMP_NAMES: Mapping[str, Mapping[str, tuple[int, int | None]]] = {
    "icmp": _ICMP_NAMES,
    "icmp6": _ICMP6_NAMES,
}


def _ports(given: Given, name: str) -> Ports | None:
    """Return a port test; one that every port passes is none, and is not printed."""
    test = ports(given, name)
    return None if test == Ports(PortRange(0, 65535)) else test


def _flag_set(text: str) -> frozenset[str]:
    if text == "ALL":
        return frozenset(_FLAGS)
    names = frozenset() if text == "NONE" else frozenset(text.split(","))
    if not names <= frozenset(_FLAGS):
        raise ValueError(f"{text} is not a list of TCP flags")
    return names


def _flag_text(flags: frozenset[str]) -> str:
    return ",".join(name for name in _FLAGS if name in flags) or "NONE"


def _read_tcp(given: Given) -> Tcp:
    flags, flags_invert = None, False
    if "--tcp-flags" in given:
        (mask, wanted), flags_invert = given["--tcp-flags"].values, given["--tcp-flags"].invert
        flags = (_flag_set(mask), _flag_set(wanted))
    if "--syn" in given:
        if flags is not None:
            raise ValueError("--syn and --tcp-flags exclude each other")
        flags, flags_invert = (_flag_set("FIN,SYN,RST,ACK"), _flag_set("SYN")), given["--syn"].invert
    option = negatable(given, "--tcp-option")
    return Tcp(
        sport=_ports(given, "--sport"),
        dport=_ports(given, "--dport"),
        flags=flags,
        flags_invert=flags_invert,
        option=None if option is None else number(option.value, 255),
        option_invert=option is not None and option.invert,
    )


def _write_tcp(match: Tcp) -> str:
    text = "tcp" + ports_text("--sport", match.sport) + ports_text("--dport", match.dport)
    if match.option is not None:
        text += f" {negated(match.option_invert)}--tcp-option {match.option}"
    if match.flags is not None:
        mask, wanted = match.flags
        text += f" {negated(match.flags_invert)}--tcp-flags {_flag_text(mask)} {_flag_text(wanted)}"
    return text


def _read_ports(proto: str) -> Callable[[Given], Match]:
    def read(given: Given) -> Udp:
        chunks = given.get("--chunk-types")
        return Udp(
            proto=proto,
            sport=_ports(given, "--sport"),
            dport=_ports(given, "--dport"),
            chunk_types=None if chunks is None else " ".join(chunks.values),
            chunk_invert=chunks is not None and chunks.invert,
            packet_types=negatable(given, "--dccp-types"),
            option=negatable(given, "--dccp-option"),
        )

    return read


def _write_ports(match: Udp) -> str:
    text = match.proto + ports_text("--sport", match.sport) + ports_text("--dport", match.dport)
    if match.chunk_types is not None:
        text += f" {negated(match.chunk_invert)}--chunk-types {match.chunk_types}"
    return (
        text
        + negatable_text("--dccp-types", match.packet_types)
        + negatable_text("--dccp-option", match.option)
    )


def _read_icmp(
    proto: str, option: str, names: Mapping[str, tuple[int, int | None]]
) -> Callable[[Given], Match]:
    def read(given: Given) -> Icmp:
        wanted = negatable(given, option)
        if wanted is None:
            return Icmp(proto=proto)
        if wanted.value in names:
            icmp_type, icmp_code = names[wanted.value]
        else:
            type_text, separator, code_text = wanted.value.partition("/")
            icmp_type = number(type_text, 255)
            icmp_code = number(code_text, 255) if separator else None
        if proto == "icmp" and icmp_type == 255:
            icmp_code = None  # 255 is any type, whatever the code (icmp_type_code_match() in ip_tables.c)
        return Icmp(proto=proto, icmp_type=icmp_type, icmp_code=icmp_code, invert=wanted.invert)

    return read


def _write_icmp(match: Icmp) -> str:
    if match.icmp_type is None:
        return match.proto
    option = "--icmp-type" if match.proto == "icmp" else "--icmpv6-type"
    wanted = "any" if match.proto == "icmp" and match.icmp_type == 255 else str(match.icmp_type)
    code = "" if match.icmp_code is None else f"/{match.icmp_code}"
    return f"{match.proto} {negated(match.invert)}{option} {wanted}{code}"


def _read_multiport(given: Given) -> Multiport:
    if len(given) != 1:
        raise ValueError("multiport takes one option")
    ((name, option),) = given.items()
    ranges = tuple(port_range(text) for text in option.values[0].split(","))
    return Multiport(name.removeprefix("--"), ranges, option.invert)


def _write_multiport(match: Multiport) -> str:
    return f"multiport {negated(match.invert)}--{match.kind} " + ",".join(map(port_range_text, match.ranges))


def _wanted(given: Given, name: str) -> bool | None:
    option = given.get(name)
    return None if option is None else not option.invert


def _read_physdev(given: Given) -> Physdev:
    return Physdev(
        physin=negatable(given, "--physdev-in"),
        physout=negatable(given, "--physdev-out"),
        is_in=_wanted(given, "--physdev-is-in"),
        is_out=_wanted(given, "--physdev-is-out"),
        is_bridged=_wanted(given, "--physdev-is-bridged"),
    )


def _write_physdev(match: Physdev) -> str:
    def test(option: str, wanted: bool | None) -> str:
        return "" if wanted is None else f" {negated(not wanted)}{option}"

    return (
        "physdev"
        + test("--physdev-is-in", match.is_in)
        + negatable_text("--physdev-in", match.physin)
        + test("--physdev-is-out", match.is_out)
        + negatable_text("--physdev-out", match.physout)
        + test("--physdev-is-bridged", match.is_bridged)
    )


def _types(given: Given, name: str) -> Negatable | None:
    types = negatable(given, name)
    return None if types is None else Negatable(",".join(ordered(types.value, _TYPES)), types.invert)


def _read_addrtype(given: Given) -> Addrtype:
    return Addrtype(
        _types(given, "--src-type"),
        _types(given, "--dst-type"),
        flag(given, "--limit-iface-in"),
        flag(given, "--limit-iface-out"),
    )


def _write_addrtype(match: Addrtype) -> str:
    return (
        "addrtype"
        + negatable_text("--src-type", match.src_type)
        + negatable_text("--dst-type", match.dst_type)
        + (" --limit-iface-in" if match.limit_iface_in else "")
        + (" --limit-iface-out" if match.limit_iface_out else "")
    )


_PORT_OPTIONS = {"--sport": 1, "--dport": 1}
_PHYSDEV = ("--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged")

GRAMMARS: dict[str, Grammar[Match]] = {
    "tcp": Grammar(
        {**_PORT_OPTIONS, "--tcp-flags": 2, "--syn": 0, "--tcp-option": 1}, _read_tcp, _PORT_ALIASES
    ),
    "udp": Grammar(_PORT_OPTIONS, _read_ports("udp"), _PORT_ALIASES),
    "sctp": Grammar({**_PORT_OPTIONS, "--chunk-types": 2}, _read_ports("sctp"), _PORT_ALIASES),
    "dccp": Grammar(
        {**_PORT_OPTIONS, "--dccp-types": 1, "--dccp-option": 1}, _read_ports("dccp"), _PORT_ALIASES
    ),
    "icmp": Grammar({"--icmp-type": 1}, _read_icmp("icmp", "--icmp-type", _ICMP_NAMES)),
    "icmp6": Grammar(
        {"--icmpv6-type": 1},
        _read_icmp("icmp6", "--icmpv6-type", _ICMP6_NAMES),
        {"--icmp6-type": "--icmpv6-type"},
    ),
    "multiport": Grammar(
        {"--sports": 1, "--dports": 1, "--ports": 1},
        _read_multiport,
        {"--source-ports": "--sports", "--destination-ports": "--dports"},
    ),
    "physdev": Grammar({"--physdev-in": 1, "--physdev-out": 1, **dict.fromkeys(_PHYSDEV, 0)}, _read_physdev),
    "addrtype": Grammar(
        {"--src-type": 1, "--dst-type": 1, "--limit-iface-in": 0, "--limit-iface-out": 0}, _read_addrtype
    ),
}

WRITERS: dict[type, Callable[[Any], str]] = {
    Addrtype: _write_addrtype,
    Icmp: _write_icmp,
    Multiport: _write_multiport,
    Physdev: _write_physdev,
    Tcp: _write_tcp,
    Udp: _write_ports,
}
