"""
IPv6 prefixes translated without state: one network for another, and no checksum becomes wrong.

Lives here: the targets SNPT and DNPT of ip6tables.
Not here: NETMAP and NAT, which conntrack remembers (extension_targets, nat).
Sources: net/ipv6/netfilter/ip6t_NPT.c (ip6t_npt_map_pfx, ip6t_snpt_tg, ip6t_dnpt_tg), RFC 6296.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.addr import address_text, address_value, in_prefix
from nettrace.model.packet import Packet
from nettrace.model.step import Verdict
from nettrace.parse.iptables import Option
from nettrace.walk.context import Run
from nettrace.walk.effect import Effect
from nettrace.walk.icmp6 import HEADER_FIELD, PARAMETER_PROBLEM, send_error6
from nettrace.walk.point import HookPoint
from nettrace.walk.skb import Skb

__all__ = ["Mapped", "dnpt", "mapped", "snpt"]

#: 0xffff and 0 are the same to a sum of ones' complement; an address gets the latter.
_ONES = 0xFFFF


class Mapped(NamedTuple):
    """An address of the new network; not *neutral*: it makes checksums wrong."""

    address: str
    neutral: bool


def mapped(address: str, src_pfx: str, dst_pfx: str) -> Mapped:
    """
    Return *address* with the prefix *dst_pfx*; what *src_pfx* was is made up for in another word of it.

    Prefixes of up to 48 bits leave that to the subnet, longer ones to the first word of the
    interface identifier that is not 0xffff.  Where there is none the prefix alone has changed.
    """
    before, after = (prefix.partition("/") for prefix in (src_pfx, dst_pfx))
    length = max(int(before[2]), int(after[2]))
    host = (1 << (128 - length)) - 1
    value = address_value(address) & host | address_value(after[0]) & ~host
    words = _words(value)
    free = [3] if length <= 48 else [at for at in range(4, 8) if words[at] != _ONES]
    if not free:
        return Mapped(address_text(value, 6), neutral=False)
    gone, come = (sum(_words(address_value(prefix[0]))) for prefix in (before, after))
    words[free[0]] = (words[free[0]] + gone - come) % _ONES
    whole = int.from_bytes(b"".join(word.to_bytes(2) for word in words))
    return Mapped(address_text(whole, 6), neutral=True)


def _words(value: int) -> list[int]:
    return [value >> shift & 0xFFFF for shift in range(112, -1, -16)]


def snpt(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """Translate the source, and in an error the destination of what it is about."""
    return _translate(run, skb, options, "src", "dst")


def dnpt(run: Run, skb: Skb, point: HookPoint, options: Mapping[str, Option]) -> Effect:
    """Translate the destination, and in an error the source of what it is about."""
    return _translate(run, skb, options, "dst", "src")


def _translate(run: Run, skb: Skb, options: Mapping[str, Option], side: str, quoted: str) -> Effect:
    src_pfx, dst_pfx = options["--src-pfx"].values[0], options["--dst-pfx"].values[0]
    old: str = getattr(skb.packet, side)
    new = mapped(old, src_pfx, dst_pfx)
    skb.packet = replace(skb.packet, **{side: new.address})
    if not new.neutral:
        send_error6(run, skb, PARAMETER_PROBLEM, HEADER_FIELD)  # about what it is by now
        note = f"no word of {old} can make up for another prefix"
        return Effect(note=note, ends=Verdict.DROPPED_BY_RULE)
    if skb.packet.is_icmp_error and skb.packet.inner is not None:
        skb.packet = replace(skb.packet, inner=_quoted(skb.packet.inner, quoted, src_pfx, dst_pfx))
    return Effect(note=f"{side} {old} -> {new.address}")


def _quoted(inner: Packet, side: str, src_pfx: str, dst_pfx: str) -> Packet:
    """What an error quotes is translated if it is of the network (icmpv6_bounced_ipv6hdr)."""
    address: str = getattr(inner, side)
    if not in_prefix(address, src_pfx):
        return inner
    return replace(inner, **{side: mapped(address, src_pfx, dst_pfx).address})
