"""
What the probe looked like on every device of every namespace on its way.

Lives here: packet sockets, one a namespace, and sorting what they saw.
Not here: the thread that empties them (drain), the filter in the kernel (packet_filter), whose a
packet is (recognise), files (pcapng).
Sources: packet(7); net/packet/af_packet.c.
"""

import errno
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from nettrace.collect.failure import CollectError
from nettrace.collect.netns import in_netns
from nettrace.model.observation import Frame
from nettrace.model.packet import Packet
from nettrace.observe.drain import Drain, refusal
from nettrace.observe.recognise import Recogniser, Whose, read_packet

__all__ = ["Capture"]

_ETH_P_ALL, _IPV4, _IPV6 = 3, 0x0800, 0x86DD
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SOL_PACKET, _STATISTICS = 26, 33, 35, 263, 6
_BUFFER = 16 << 20  # bytes
#: include/uapi/linux/if_arp.h: these have an Ethernet header.
_ETHERNET, _LOOPBACK = 1, 772
_LINK_ETHERNET, _LINK_RAW = 1, 101  # LINKTYPE_ of pcap
#: include/uapi/linux/if_packet.h
_OUTGOING, _OTHERHOST = 4, 3
#: Of one probe; what comes after is counted only.
_MOST = 20_000


class _Taken(NamedTuple):
    netns: str
    device: str
    when: float
    outgoing: bool
    for_us: bool
    link: int
    data: bytes

    @property
    def network(self) -> bytes:
        return self.data[14:] if self.link == _LINK_ETHERNET else self.data


class Capture:
    """
    Watches from entering until leaving; sockets are all there is to it.

    *namespaces* is name -> path, *program* the filter in the kernel.  ``captured`` are those where
    it could be done, ``notes`` say why not in the others.
    """

    def __init__(self, namespaces: Mapping[str, str], program: bytes, recogniser: Recogniser) -> None:
        self._namespaces, self._program, self._recogniser = namespaces, program, recogniser
        self._sockets: dict[str, socket.socket] = {}
        self._taken: list[_Taken] = []
        self._why: dict[str, list[str]] = {}
        self._drain = Drain("capture")
        self._lost: dict[str, int] = {}

    @property
    def captured(self) -> tuple[str, ...]:
        """The namespaces of which all frames of the probe are known."""
        return tuple(name for name in self._sockets if not self._lost.get(name))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is not seen."""
        said = [
            f"the probe's frames in {', '.join(names)} were not captured: {reason}"
            for reason, names in self._why.items()
        ]
        said += [
            f"{name}: {lost} frames came faster than they were read" for name, lost in self._lost.items()
        ]
        return tuple(said)

    def __enter__(self) -> Self:
        try:
            for name, path in self._namespaces.items():
                try:
                    self._sockets[name] = in_netns(path, _open, self._program)
                except CollectError as error:
                    self._why.setdefault(error.reason, []).append(name)
                except OSError as error:
                    self._why.setdefault(refusal(error), []).append(name)
        except BaseException:
            self._close()
            raise
        self._drain.start((sock, partial(self._read, name)) for name, sock in self._sockets.items())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._drain.stop()
        for sock in self._sockets.values():
            sock.close()

    def _read(self, name: str) -> None:
        sock = self._sockets[name]
        while True:
            try:
                data, ancillary, _, address = sock.recvmsg(1 << 16, 128)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # a device of many went away
                    self._lost[name] = self._lost.get(name, 0) + 1
                return
            self._drain.heard()
            if len(self._taken) >= _MOST:
                self._lost[name] = self._lost.get(name, 0) + 1
                continue
            device, protocol, how, hardware = address[:4]
            if protocol not in (_IPV4, _IPV6):
                continue
            self._taken.append(
                _Taken(
                    netns=name,
                    device=device,
                    when=_time(ancillary),
                    outgoing=how == _OUTGOING,
                    for_us=how != _OTHERHOST,
                    link=_LINK_ETHERNET if hardware in (_ETHERNET, _LOOPBACK) else _LINK_RAW,
                    data=data,
                )
            )

    def settle(self) -> dict[int, tuple[Frame, ...]]:
        """Wait until nothing comes any more, and stop; return the frames of each attempt by time."""
        self._drain.settle()
        for name, sock in self._sockets.items():
            with suppress(OSError):
                lost = struct.unpack("=II", sock.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
                if lost:
                    self._lost[name] = self._lost.get(name, 0) + lost
        return self._sorted(tuple(self._taken))

    def _sorted(self, taken: tuple[_Taken, ...]) -> dict[int, tuple[Frame, ...]]:
        known = [(one, self._recogniser.whose(one.network)) for one in taken]
        talks = {_talk(whose.packet): whose.attempt for _, whose in known if whose and whose.kind != "error"}
        found: dict[int, list[Frame]] = {}
        for one, recognised in known:
            whose = recognised or _of_talk(one.network, talks)
            if whose is not None:
                found.setdefault(whose.attempt, []).append(_frame(one, whose))
        return {
            attempt: tuple(sorted(frames, key=lambda frame: frame.time)) for attempt, frames in found.items()
        }


def _open(program: bytes) -> socket.socket:
    # All devices from its birth on; what comes before the filter is there is sorted out later.
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL))
    try:
        found.setblocking(False)
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        found.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        _attach(found, program)
    except BaseException:
        found.close()
        raise
    return found


def _attach(sock: socket.socket, program: bytes) -> None:
    import ctypes  # noqa: PLC0415  (for the address of the program)

    buffer = ctypes.create_string_buffer(program)
    described = struct.pack("HL", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def _time(ancillary: list[tuple[int, int, bytes]]) -> float:
    """Return the kernel's time of a packet, seconds since the epoch."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= 16:
            seconds, nanoseconds = struct.unpack_from("=qq", data)
            return int(seconds) + int(nanoseconds) / 1e9
    return time.time()


def _talk(packet: Packet) -> tuple[object, ...]:
    """What the packets of one conversation have in common, in both directions, at one place."""
    while packet.inner is not None:
        packet = packet.inner
    ends = sorted(((packet.src, str(packet.sport)), (packet.dst, str(packet.dport))))
    return packet.proto, *ends


def _of_talk(network: bytes, talks: Mapping[tuple[object, ...], int]) -> Whose | None:
    """Is this a later segment of a conversation of the probe's?"""
    packet = read_packet(network)
    if packet is None or packet.proto != "tcp":
        return None
    attempt = talks.get(_talk(packet))
    return Whose(attempt, "later", tunnelled=False, packet=packet) if attempt is not None else None


def _frame(taken: _Taken, whose: Whose) -> Frame:
    return Frame(
        netns=taken.netns,
        device=taken.device,
        outgoing=taken.outgoing,
        for_us=taken.for_us,
        time=taken.when,
        leg=whose.kind,
        packet=whose.packet,
        tunnelled=whose.tunnelled,
        link=taken.link,
        data=taken.data,
    )
