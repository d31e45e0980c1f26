"""
Which dropped packets are a probe's.

Lives here: where in a header a probe's tag stands, as keys for the program in the kernel, which
looks at fixed places and may take a little too much; and telling attempt and leg from the whole
header afterwards.
Not here: the program (drop_program), tags (tag).
"""

import socket
from collections.abc import Sequence
from typing import NamedTuple

from nettrace.model.packet import Packet
from nettrace.observe.drop_program import Place, key
from nettrace.observe.headers import Layer, layers
from nettrace.observe.recognise import Recogniser

__all__ = ["Filter", "ProbeFilter", "Whose", "address_filter"]

_HEADER = {4: 20, 6: 40}
_ADDRESSES = {4: (12, 4), 6: (8, 16)}
#: Kinds of keys.
_TAG, _ENDS, _ADDRESS = 1, 2, 3


class Filter(NamedTuple):
    """What the program in the kernel looks for, and where; without places it takes everything."""

    places: tuple[Place, ...]
    keys: frozenset[bytes]


class Whose(NamedTuple):
    """Which attempt's packet, of which leg; ``tunnelled``: it is inside of the one that was dropped."""

    attempt: int
    kind: str
    tunnelled: bool


def _bases(version: int) -> tuple[int, ...]:
    """Where an IP header of the probe may begin: at once, in VXLAN, in UDP (flannel), in IP."""
    size = _HEADER[version]
    return 0, size + 8 + 8 + 14, size + 8, size


class ProbeFilter:
    """
    Recognises the packets of the attempts with these tags.

    *replies* are the predicted answers of UDP, which carry no tag: there may be only one attempt
    then.
    """

    def __init__(self, proto: str, version: int, tags: Sequence[bytes], replies: Sequence[Packet]) -> None:
        self._proto, self._version = proto, version
        self._tags = tuple(tags)
        self._recogniser = Recogniser(proto, tags, replies)
        self._answers = {
            (one.src, one.dst, one.sport.single)
            for one in replies
            if proto == "udp" and one.sport is not None and one.sport.single is not None
        }

    def filter(self) -> Filter:
        """Return what the kernel is to look for."""
        version = self._version
        size = _HEADER[version]
        length = len(self._tags[0])
        places: list[Place] = []
        keys: set[bytes] = set()
        for base in _bases(version):
            inside, quoted = base + size, base + size + 8 + size
            if self._proto == "sctp":  # the tag of an INIT, and what answers carry in front
                places += [Place(version, _TAG, ((at, 4),)) for at in (inside + 16, inside + 4, quoted + 16)]
            elif self._proto == "tcp":
                places += [Place(version, _TAG, ((at, 4),)) for at in (inside + 4, inside + 8, quoted + 4)]
            else:
                places += [Place(version, _TAG, ((at + 8, length),)) for at in (inside, quoted)]
            if self._answers:
                at, length = _ADDRESSES[version]
                places.append(Place(version, _ENDS, ((base + at, 2 * length), (inside, 2))))
        for tag in self._tags:
            keys.add(key(_TAG, tag))
            if self._proto == "tcp":
                keys.add(key(_TAG, ((int.from_bytes(tag, "big") + 1) & 0xFFFFFFFF).to_bytes(4, "big")))
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        for src, dst, port in self._answers:
            ends = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
            keys.add(key(_ENDS, ends + port.to_bytes(2, "big")))
        return Filter(tuple(places), frozenset(keys))

    def whose(self, header: bytes) -> Whose | None:
        """
        Tell whose packet it is; None for one that only looked like it.

        Of TCP also later packets of the connection are recognised: their kind is ``data`` or
        ``reply-data``, also for a FIN or an RST that ends it.
        """
        found = self._recogniser.whose(header)
        if found is None:
            return None
        kind = found.kind
        if self._proto == "tcp" and kind in ("ack", "reply") and _is_later(layers(header)[-1], kind):
            kind = "data" if kind == "ack" else "reply-data"
        return Whose(found.attempt, kind, found.tunnelled)


def _is_later(layer: Layer, kind: str) -> bool:
    """RFC 9293: an RST that answers a SYN has the sequence number 0."""
    flags = layer.packet.tcp_flags
    if kind == "ack":
        return flags != {"ACK"} or layer.length > 0
    return "SYN" not in flags and not ("RST" in flags and layer.sequence == 0)


def address_filter(addresses: Sequence[str]) -> Filter:
    """Return a filter for packets from or to any of these addresses, also inside a tunnel or an error."""
    places: list[Place] = []
    for version in sorted({6 if ":" in address else 4 for address in addresses}):
        at, length = _ADDRESSES[version]
        size = _HEADER[version]
        places += [
            Place(version, _ADDRESS, ((base + at + which * length, length),))
            for base in (*_bases(version), size + 8)
            for which in (0, 1)
        ]
    keys = frozenset(
        key(_ADDRESS, socket.inet_pton(socket.AF_INET6 if ":" in one else socket.AF_INET, one))
        for one in addresses
    )
    return Filter(tuple(dict.fromkeys(places)), keys)
