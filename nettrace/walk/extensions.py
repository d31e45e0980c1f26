"""
Matches on what a packet's headers and its frame say, of extensions that are kept as text.

Lives here: one function for each, from its options to yes, no or unsure.
Not here: matches with types of their own (matches), those on what the kernel keeps about
connections and sockets (extensions_state), programs over bytes (bytecode).
Sources: net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c, net/ipv6/netfilter/ip6t_*.c, each
called as the match.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import TypeAlias

from nettrace.parse.iptables import Option
from nettrace.walk.bytecode import bpf_matches, hex_string, string_in, u32_matches
from nettrace.walk.context import Run
from nettrace.walk.octets import length_of, octets, uses_ecn
from nettrace.walk.point import Answered, HookPoint, Unsure, negated
from nettrace.walk.skb import BROADCAST, Skb

__all__ = ["CLASSES", "HEADER_TESTS", "TOS_NAMES", "Options", "Test", "first_of", "masked", "number_range"]

Options: TypeAlias = Mapping[str, Option]
Test: TypeAlias = Callable[[Run, Skb, HookPoint, Options], Answered]

#: Devices whose frames have no Ethernet header (ARPHRD_*).
_NO_ETHERNET = ("loopback", "tun", "ipip", "sit", "gre", "ip6tnl", "ip6gre", "wireguard", "vti", "ppp")

#: --dscp-class (iptables' extensions/dscp_helper.c)
CLASSES = {
    **{f"CS{n}": 8 * n for n in range(8)},
    **{f"AF{a}{b}": 8 * a + 2 * b for a in range(1, 5) for b in range(1, 4)},
    "BE": 0,
    "EF": 46,
}

TOS_NAMES = {
    "Minimize-Delay": 0x10,
    "Maximize-Throughput": 0x08,
    "Maximize-Reliability": 0x04,
    "Minimize-Cost": 0x02,
    "Normal-Service": 0x00,
}

#: ip6t_ipv6header.h, by iptables' names
_HEADERS = {"hop": 128, "dst": 64, "route": 32, "frag": 16, "auth": 8, "esp": 4, "none": 2, "prot": 1}
#: What it lists them by: /etc/protocols first, then its own long names.
_HEADERS |= {
    "hop-by-hop": 128,
    "ipv6-opts": 64,
    "ipv6-route": 32,
    "ipv6-frag": 16,
    "ah": 8,
    "ipv6-nonxt": 2,
    "protocol": 1,
    "0": 128,
    "60": 64,
    "43": 32,
    "44": 16,
    "51": 8,
    "50": 4,
    "59": 2,
    "255": 1,
}


def number_range(text: str, most: int) -> tuple[int, int]:
    """``5``, ``5:7``, ``5:`` or ``:7``."""
    low, colon, high = text.partition(":")
    first = int(low, 0) if low else 0
    return first, (int(high, 0) if high else most) if colon else first


def first_of(options: Options) -> tuple[str, Option]:
    """Return the one option that is needed; ValueError if there is none."""
    for found in options.items():
        return found
    raise ValueError("an option is missing")


def masked(text: str, full: int) -> tuple[int, int]:
    """``VALUE/MASK`` or ``VALUE``."""
    value, _, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if mask else full


def _of_protocol(*protocols: str) -> Test:
    """Only the walk's own protocols have their fields in the packet; of others just the number is known."""

    def test(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
        if skb.packet.proto not in protocols:
            return False
        if not options:
            return True
        return Unsure(f"the {skb.packet.proto} header is not part of the walk's packet")

    return test


def _no_such_header(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """The walk's packets have no IPv6 extension headers, and ipv6_find_hdr finds none."""
    return False


def _ipv6header(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    wanted = options["--header"]
    flags = sum(_HEADERS[name] for name in wanted.values[0].split(","))
    held = {"50": _HEADERS["esp"], "esp": _HEADERS["esp"], "59": _HEADERS["none"]}.get(
        skb.packet.proto, _HEADERS["prot"]
    )
    if "--soft" in options:
        differs = (held ^ flags ^ (0xFF if wanted.invert else 0)) & flags
        return not differs
    return (held == flags) != wanted.invert


def _dscp(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    name, option = first_of(options)
    text = option.values[0]
    wanted = CLASSES[text.upper()] if name == "--dscp-class" else int(text, 0)
    return (skb.packet.tos >> 2 == wanted) != option.invert


def _tos(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    option = options["--tos"]
    text = option.values[0]
    value, mask = (TOS_NAMES[text], 0x3F) if text in TOS_NAMES else masked(text, 0xFF)
    return (skb.packet.tos & mask == value) != option.invert


def _ttl(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    name, option = first_of(options)
    wanted = int(option.values[0], 0)
    held = skb.packet.ttl
    answers = {"eq": held == wanted, "lt": held < wanted, "gt": held > wanted}
    return answers[name[-2:]] != option.invert


def _ecn(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    packet = skb.packet
    codepoint = options.get("--ecn-ip-ect")
    if codepoint is not None and (packet.tos & 3 == int(codepoint.values[0])) == codepoint.invert:
        return False
    if "--ecn-tcp-ece" not in options and "--ecn-tcp-cwr" not in options:
        return True
    if packet.proto != "tcp":
        return False
    if uses_ecn(run) is None:
        return Unsure("whether the connection uses ECN is not certain")
    return all(option.invert for name, option in options.items() if name.startswith("--ecn-tcp"))


def _length(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    option = options["--length"]
    low, high = number_range(option.values[0], 65535)
    least, most = length_of(run, skb)
    if low <= least and most <= high:
        return not option.invert
    if most < low or high < least:
        return option.invert
    return Unsure(f"the packet has {least} to {most} bytes")


def _iprange(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    for name, address in (("--src-range", skb.packet.src), ("--dst-range", skb.packet.dst)):
        option = options.get(name)
        if option is None:
            continue
        low, _, high = option.values[0].partition("-")
        first, last = ip_address(low), ip_address(high or low)
        held = ip_address(address)
        if first.version != held.version or last.version != held.version:
            return False
        if (int(first) <= int(held) <= int(last)) == option.invert:
            return False
    return True


def _mac(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    option = options["--mac-source"]
    if point.in_device is None or point.ns.link(point.in_device).kind in _NO_ETHERNET:
        return False
    if not skb.source_mac:
        return Unsure("the sender's MAC address is not known")
    return (skb.source_mac.lower() == option.values[0].lower()) != option.invert


def _eui64(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """ip6t_eui64: the source's interface identifier is made of the MAC that the frame came from."""
    if point.in_device is None or point.ns.link(point.in_device).kind in _NO_ETHERNET:
        return False
    if not skb.source_mac:
        return Unsure("the sender's MAC address is not known")
    mac = bytes.fromhex(skb.source_mac.replace(":", ""))
    identifier = bytes([mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]])
    return ip_address(skb.packet.src).packed[8:] == identifier


def _pkttype(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """A packet that is sent, looped back or bridged by br_netfilter is for this host too."""
    option = options["--pkt-type"]
    held = "broadcast" if skb.dest_mac == BROADCAST else "unicast"
    return (option.values[0] == held) != option.invert


def _devgroup(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    for name, device in (("--src-group", point.in_device), ("--dst-group", point.out_device)):
        option = options.get(name)
        if option is None:
            continue
        # iptables prints names of /etc/iproute2/group, which everywhere begins with 0 default
        value, mask = masked(option.values[0].replace("default", "0"), 0xFFFFFFFF)
        group = 0 if device is None else point.ns.link(device).group
        if (group & mask == value) == option.invert:
            return False
    return True


def _tcpmss(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """A segment without the option is as one outside of the range."""
    option = options["--mss"]
    packet = skb.packet
    if packet.proto != "tcp":
        return False
    if 2 in skb.stripped or (skb.mss is None and "SYN" not in packet.tcp_flags):
        return option.invert
    if skb.mss is None:
        return Unsure("the MSS that the client announces is not known")
    if run.leg == "request" and run.flow.origin.device is not None:
        return Unsure("the MSS that a client outside of the snapshot announces is not known")
    low, high = number_range(option.values[0], 65535)
    return (low <= skb.mss <= high) != option.invert


def _u32(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    option = options["--u32"]
    return negated(u32_matches(option.values[0], octets(run, skb)), option.invert)


def _bpf(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    option = options.get("--bytecode")
    if option is None:
        return Unsure("a pinned BPF program is not in the snapshot")
    return bpf_matches(option.values[0], octets(run, skb))


def _string(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    plain, hexed = options.get("--string"), options.get("--hex-string")
    option = plain or hexed
    if option is None:
        raise ValueError("--string is missing")
    pattern = option.values[0].encode() if plain is not None else hex_string(option.values[0])
    first = int(options["--from"].values[0]) if "--from" in options else 0
    last = int(options["--to"].values[0]) if "--to" in options else 65535
    found = string_in(pattern, octets(run, skb), first, last, fold="--icase" in options)
    return negated(found, option.invert)


HEADER_TESTS: dict[str, Test] = {
    "ah": _of_protocol("ah", "51"),
    "bpf": _bpf,
    "devgroup": _devgroup,
    "dscp": _dscp,
    "dst": _no_such_header,
    "ecn": _ecn,
    "esp": _of_protocol("esp", "50"),
    "eui64": _eui64,
    "frag": _no_such_header,
    "hbh": _no_such_header,
    "hl": _ttl,
    "ipcomp": _of_protocol("ipcomp", "108"),
    "iprange": _iprange,
    "ipv6header": _ipv6header,
    "length": _length,
    "mac": _mac,
    "mh": _of_protocol("mh", "135"),
    "pkttype": _pkttype,
    "rt": _no_such_header,
    "srh": _no_such_header,
    "string": _string,
    "tcpmss": _tcpmss,
    "tos": _tos,
    "ttl": _ttl,
    "u32": _u32,
}
