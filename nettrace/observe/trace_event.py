"""
Events of nf_tables' rule tracing, decoded.

Lives here: nfnetlink messages NFT_MSG_TRACE -> TraceEvent, and their fields.
Not here: packet headers (recognise), whose they are (trace_sorter).
Source: include/uapi/linux/netfilter/nf_tables.h (enum nft_trace_attributes), net/netfilter/nf_tables_trace.c.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nettrace.collect.nft_numbers import VERDICTS
from nettrace.collect.wire import attributes, be32, be64, text
from nettrace.model.nft import FAMILIES
from nettrace.model.packet import Packet
from nettrace.observe.recognise import read_headers

__all__ = ["TraceEvent", "decode_events"]

_TRACE = 10 << 8 | 17
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID = 1, 2, 3, 4, 5, 6
_NETWORK_HEADER, _TRANSPORT_HEADER, _IIF, _OIF, _MARK, _POLICY = 8, 9, 10, 12, 14, 16
_TYPE_POLICY, _TYPE_RETURN, _TYPE_RULE = 1, 2, 3


class TraceEvent(NamedTuple):
    """
    One event.

    ``id`` is the kernel's for one packet between two changes of its incoming device.
    ``verdict`` is as in nettrace.model.observation.Hit, "" for the end of a chain that was
    jumped to.  ``packet`` and the devices' indexes are those of a chain's first event only.
    """

    id: int
    family: str
    table: str
    chain: str
    handle: int | None
    verdict: str
    iif: int
    oif: int
    mark: int
    packet: Packet | None
    sequence: int = -1  # of TCP; -1 where it is not there
    acknowledged: int = -1
    payload: bytes = b""  # the first 12 bytes behind a header of 8
    ip_id: int = 0  # IPv4's identification; of IPv6 the flow label


def decode_events(data: bytes) -> Iterable[TraceEvent]:
    """Decode what one read of a socket of NFNLGRP_NFTRACE gives; ValueError if it is cut short."""
    start = 0
    while start + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, start)
        if length < 20 or start + length > len(data):
            raise ValueError("a trace message is cut short")
        if kind == _TRACE:
            yield _event(data[start + 16], attributes(data[start : start + length], 20))
        start += (length + 3) & ~3


def _event(family: int, found: Mapping[int, bytes]) -> TraceEvent:
    def number(kind: int) -> int:
        return be32(found[kind]) if kind in found else 0

    transport = found.get(_TRANSPORT_HEADER, b"")
    network = found.get(_NETWORK_HEADER, b"")
    packet = read_headers(network, transport, number(_MARK))
    is_tcp = packet is not None and packet.proto == "tcp" and len(transport) >= 12
    return TraceEvent(
        id=number(_ID),
        family=FAMILIES.get(family, str(family)),
        table=text(found.get(_TABLE, b"")),
        chain=text(found.get(_CHAIN, b"")),
        handle=be64(found[_HANDLE]) if _HANDLE in found else None,
        verdict=_verdict(found),
        iif=number(_IIF),
        oif=number(_OIF),
        mark=number(_MARK),
        packet=packet,
        sequence=be32(transport[4:8]) if is_tcp else -1,
        acknowledged=be32(transport[8:12]) if is_tcp else -1,
        payload=transport[8:20],
        ip_id=_identification(network),
    )


def _identification(network: bytes) -> int:
    if len(network) >= 6 and network[0] >> 4 == 4:
        return int.from_bytes(network[4:6], "big")
    return int.from_bytes(network[1:4], "big") & 0xFFFFF if len(network) >= 4 else 0


def _verdict(found: Mapping[int, bytes]) -> str:
    kind = be32(found[_TYPE]) if _TYPE in found else 0
    if kind == _TYPE_POLICY:
        return f"policy {VERDICTS.get(be32(found[_POLICY]), '?') if _POLICY in found else 'accept'}"
    if _HANDLE not in found or _VERDICT not in found:
        return ""
    parts = attributes(found[_VERDICT])
    word = VERDICTS.get(be32(parts[1]), str(be32(parts[1])))
    return f"{word} {text(parts[2])}" if 2 in parts else word
