"""
Captured frames as a pcapng file: one for all namespaces, each device an interface of its own.

Lives here: the few blocks that are needed.
Not here: capturing (capture).
Source: draft-ietf-opsawg-pcapng (section header, interface description, enhanced packet).
"""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from nettrace.model.errors import UserError
from nettrace.model.observation import Frame

__all__ = ["encode_pcapng", "write_pcapng"]

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC = 0x1A2B3C4D
_COMMENT, _NAME, _DESCRIPTION, _FLAGS, _RESOLUTION, _APPLICATION = 1, 2, 3, 2, 9, 4
_IN, _OUT = 1, 2
_LONGEST = 262_144  # bytes of a frame


def write_pcapng(path: Path, frames: Iterable[tuple[int, Frame]]) -> int:
    """
    Write frames, each with the number of its attempt, by time; returns how many.

    UserError if the file cannot be written.
    """
    ordered = sorted(frames, key=lambda one: one[1].time)
    try:
        path.write_bytes(encode_pcapng(ordered))
    except OSError as error:
        raise UserError(
            f"cannot write the capture: {(error.strerror or str(error)).lower()}",
            where=str(path),
            hint="give --pcap a file that can be written",
        ) from error
    return len(ordered)


def encode_pcapng(frames: Sequence[tuple[int, Frame]]) -> bytes:
    """Return the file: interfaces are called ``NAMESPACE/DEVICE``, a comment tells leg and attempt."""
    header = struct.pack("=IHHq", _MAGIC, 1, 0, -1) + _options((_APPLICATION, b"nettrace"))
    blocks = [_block(_SECTION, header)]
    interfaces: dict[tuple[str, str, int], int] = {}
    for _, frame in frames:
        key = (frame.netns, frame.device, frame.link)
        if key in interfaces:
            continue
        interfaces[key] = len(interfaces)
        options = _options(
            (_NAME, f"{frame.netns}/{frame.device}".encode()),
            (_DESCRIPTION, f"device {frame.device} of namespace {frame.netns}".encode()),
            (_RESOLUTION, b"\x09"),
        )
        blocks.append(_block(_INTERFACE, struct.pack("=HHI", frame.link, 0, _LONGEST) + options))
    for attempt, frame in frames:
        when = round(frame.time * 1e9)
        number = interfaces[frame.netns, frame.device, frame.link]
        head = struct.pack("=IIIII", number, when >> 32, when & 0xFFFFFFFF, len(frame.data), len(frame.data))
        options = _options(
            (_COMMENT, f"{frame.leg} of attempt {attempt + 1}".encode()),
            (_FLAGS, struct.pack("=I", _OUT if frame.outgoing else _IN)),
        )
        blocks.append(_block(_PACKET, head + _padded(frame.data) + options))
    return b"".join(blocks)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", 12 + len(body))
    return struct.pack("=I", kind) + length + body + length


def _options(*options: tuple[int, bytes]) -> bytes:
    said = b"".join(struct.pack("=HH", kind, len(value)) + _padded(value) for kind, value in options)
    return said + struct.pack("=HH", 0, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
