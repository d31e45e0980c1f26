"""
Connection tracking: the entries of a namespace.

Lives here: ctnetlink to model types.  Numbers from include/uapi/linux/netfilter/
nfnetlink_conntrack.h, nf_conntrack_common.h and nf_conntrack_tcp.h.
"""

import socket
from collections.abc import Mapping
from pathlib import Path

from nettrace.collect.failure import CollectError
from nettrace.collect.modules import has_module
from nettrace.collect.session import Session
from nettrace.collect.wire import attributes, be32, nfgenmsg
from nettrace.model.protocol import protocol_name
from nettrace.model.section import MissingKind
from nettrace.model.sockets import ConntrackEntry, Tuple

__all__ = ["read_conntrack"]

_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET

# enum ctattr_type
_ORIG, _REPLY, _STATUS, _PROTOINFO, _TIMEOUT, _MARK, _ZONE = 1, 2, 3, 4, 7, 8, 18
# enum ctattr_tuple, ctattr_ip, ctattr_l4proto
_TUPLE_IP, _TUPLE_PROTO, _TUPLE_ZONE = 1, 2, 3
_V4_SRC, _V4_DST, _V6_SRC, _V6_DST = 1, 2, 3, 4
_NUM, _SPORT, _DPORT = 1, 2, 3
_ICMP_ID, _ICMP_TYPE, _ICMP_CODE, _ICMPV6_ID, _ICMPV6_TYPE, _ICMPV6_CODE = 4, 5, 6, 7, 8, 9

#: enum ip_conntrack_status, bit by bit
_STATUS_NAMES = (
    "expected",
    "seen_reply",
    "assured",
    "confirmed",
    "src_nat",
    "dst_nat",
    "seq_adjust",
    "src_nat_done",
    "dst_nat_done",
    "dying",
    "fixed_timeout",
    "template",
    "untracked",
    "helper",
    "offload",
    "hw_offload",
)
_TCP_STATES = (
    "none",
    "syn_sent",
    "syn_recv",
    "established",
    "fin_wait",
    "close_wait",
    "last_ack",
    "time_wait",
    "close",
    "syn_sent2",
)
# enum sctp_conntrack
_SCTP_STATES = (
    "none",
    "closed",
    "cookie_wait",
    "cookie_echoed",
    "established",
    "shutdown_sent",
    "shutdown_recd",
    "shutdown_ack_sent",
)
#: Protocol -> its attribute in CTA_PROTOINFO, and its states; the state is the first attribute there.
_STATES = {"tcp": (1, _TCP_STATES), "sctp": (3, _SCTP_STATES)}


def read_conntrack(session: Session) -> tuple[ConntrackEntry, ...]:
    """
    Read all entries of the session's namespace; none, without asking, where nothing is tracked.

    CollectError(UNSUPPORTED) if asking would load a module, OSError from the kernel.
    """
    if _count() == 0:
        return ()
    if not has_module("nf_conntrack_netlink"):
        raise CollectError(
            MissingKind.UNSUPPORTED,
            "entries exist, but reading them would load the module nf_conntrack_netlink",
        )
    return tuple(_entry(payload) for payload in session.netfilter.dump(_GET, nfgenmsg()))


def _count() -> int:
    try:
        return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())
    except FileNotFoundError:
        return 0  # nf_conntrack is not loaded


def _entry(payload: bytes) -> ConntrackEntry:
    found = attributes(payload, 4)
    proto, original = _tuple(found[_ORIG])
    _, reply = _tuple(found[_REPLY])
    zone, side = _zone(found)
    status = be32(found[_STATUS]) if _STATUS in found else 0
    return ConntrackEntry(
        proto=proto,
        original=original,
        reply=reply,
        state=_state(proto, found.get(_PROTOINFO)),
        status=frozenset(name for bit, name in enumerate(_STATUS_NAMES) if status & 1 << bit),
        mark=be32(found[_MARK]) if _MARK in found else 0,
        zone=int.from_bytes(zone, "big"),
        zone_side=side,
        timeout=be32(found[_TIMEOUT]) if _TIMEOUT in found else None,
    )


def _zone(found: Mapping[int, bytes]) -> tuple[bytes, str | None]:
    """Return the zone's number, and the direction that it holds for if that is only one."""
    if _ZONE in found:
        return found[_ZONE], None
    for kind, side in ((_ORIG, "original"), (_REPLY, "reply")):
        both = attributes(found[kind])
        if _TUPLE_ZONE in both:
            return both[_TUPLE_ZONE], side
    return b"", None


def _tuple(payload: bytes) -> tuple[str, Tuple]:
    both = attributes(payload)
    ends, layer4 = attributes(both[_TUPLE_IP]), attributes(both[_TUPLE_PROTO])
    if _V4_SRC in ends:
        src, dst = (socket.inet_ntop(socket.AF_INET, ends[at]) for at in (_V4_SRC, _V4_DST))
    else:
        src, dst = (socket.inet_ntop(socket.AF_INET6, ends[at]) for at in (_V6_SRC, _V6_DST))

    def number(*kinds: int) -> int | None:
        return next((int.from_bytes(layer4[kind], "big") for kind in kinds if kind in layer4), None)

    protocol = layer4[_NUM][0]
    return protocol_name(protocol), Tuple(
        src=src,
        dst=dst,
        sport=number(_SPORT),
        dport=number(_DPORT),
        icmp_type=number(_ICMP_TYPE, _ICMPV6_TYPE),
        icmp_code=number(_ICMP_CODE, _ICMPV6_CODE),
        icmp_id=number(_ICMP_ID, _ICMPV6_ID),
    )


def _state(proto: str, info: bytes | None) -> str | None:
    if info is None or proto not in _STATES:
        return None
    kind, names = _STATES[proto]
    inner = attributes(info).get(kind)
    if inner is None:
        return None
    number = attributes(inner)[1][0]
    return names[number] if number < len(names) else str(number)
