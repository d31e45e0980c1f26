"""
TCP and UDP sockets of a namespace.

Lives here: sock_diag(7), and /proc/net where opening sock_diag would load a module.
Not here: who holds them (processes).
"""

import ipaddress
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

from nettrace.collect.modules import has_module
from nettrace.collect.processes import Owner, socket_option
from nettrace.collect.session import Session
from nettrace.collect.wire import attributes
from nettrace.model.sockets import Socket

__all__ = ["read_sockets"]

_SOCK_DIAG_BY_FAMILY = 20  # include/uapi/linux/sock_diag.h
_REQUEST = struct.Struct("=BBBBI48x")  # struct inet_diag_req_v2; the socket id is all zeros
# struct inet_diag_msg: family, state, timer, retrans; sport, dport; src, dst; ifindex, cookie;
# expires, rqueue, wqueue, uid, inode
_ANSWER = struct.Struct("=BBBB2s2s16s16sI8sIIIII")
_SKV6ONLY = 11  # INET_DIAG_SKV6ONLY, which comes unasked

# include/net/tcp_states.h
_STATES = {
    1: "established",
    2: "syn_sent",
    3: "syn_recv",
    4: "fin_wait1",
    5: "fin_wait2",
    6: "time_wait",
    7: "close",
    8: "close_wait",
    9: "last_ack",
    10: "listen",
    11: "closing",
    12: "new_syn_recv",
}
_PROTOCOLS = (("tcp", socket.IPPROTO_TCP), ("udp", socket.IPPROTO_UDP))
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")


def read_sockets(session: Session, owners: Mapping[int, Owner]) -> tuple[Socket, ...]:
    """
    Read the TCP, UDP and raw sockets of the session's namespace; a raw one's port is its protocol.

    *owners* maps socket inodes to processes.  OSError from the kernel.
    """
    names = dict(socket.if_nameindex())
    found: list[Socket] = []
    for proto, number in _PROTOCOLS:
        if has_module(f"{proto}_diag"):
            for family in (socket.AF_INET, socket.AF_INET6):
                request = _REQUEST.pack(family, number, 0, 0, 0xFFFFFFFF)  # no extensions, all states
                try:
                    answers = session.sock_diag.dump(_SOCK_DIAG_BY_FAMILY, request)
                except FileNotFoundError:
                    continue  # no such family in this kernel
                found += (_diag(proto, answer, names, owners) for answer in answers if answer[0] == family)
        else:
            found += _proc(proto, owners)
    found += _proc("raw", owners)
    return tuple(sorted(found, key=_order))


def _order(found: Socket) -> tuple[object, ...]:
    return found.proto, found.state != "listen", found.port, found.address, found.remote_port or 0


def _diag(proto: str, answer: bytes, names: Mapping[int, str], owners: Mapping[int, Owner]) -> Socket:
    family, state, _, _, sport, dport, src, dst, index, _, _, _, _, _, inode = _ANSWER.unpack_from(answer)
    return _socket(
        proto,
        state,
        (_text(src, family), int.from_bytes(sport, "big")),
        (_text(dst, family), int.from_bytes(dport, "big")),
        owners.get(inode),
        device=names.get(index),
        v6only=attributes(answer, _ANSWER.size).get(_SKV6ONLY, b"\0") != b"\0",
    )


def _socket(
    proto: str,
    state: int,
    local: tuple[str, int],
    remote: tuple[str, int],
    owner: Owner | None,
    *,
    device: str | None,
    v6only: bool,
) -> Socket:
    connected = remote[1] != 0
    return Socket(
        proto=proto,
        address=local[0],
        port=local[1],
        # a UDP socket is TCP_ESTABLISHED once connected and TCP_CLOSE before
        state="unconn" if proto == "udp" and state == 7 else _STATES.get(state, str(state)),
        remote=remote[0] if connected else None,
        remote_port=remote[1] if connected else None,
        device=device,
        v6only=v6only,
        process=owner.name if owner else None,
        pid=owner.pid if owner else None,
    )


def _text(raw: bytes, family: int) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(family, raw[:4])
    address = ipaddress.IPv6Address(raw)
    # An IPv6 socket that talks IPv4 receives and sends IPv4 packets: name it so.
    return str(address.ipv4_mapped) if address in _MAPPED else str(address)


def _proc(proto: str, owners: Mapping[int, Owner]) -> list[Socket]:
    """
    Read /proc/net, which says neither v6only nor the bound device; the socket itself is asked for those.

    Where its process may not be looked into, a wildcard IPv6 socket beside a wildcard IPv4 one
    of the same port is v6only: the kernel refuses the second of two that overlap
    (inet_csk_get_port(), SO_REUSEPORT aside).
    """
    rows = _rows(proto) + _rows(f"{proto}6")
    parsed = [(_end(row[1]), _end(row[2]), int(row[3], 16), int(row[9])) for row in rows]
    wild = {local[1] for local, remote, _, _ in parsed if local[0] == "0.0.0.0" and not remote[1]}
    found = []
    for local, remote, state, inode in parsed:
        owner = owners.get(inode)
        device, only = None, local[0] == "::" and local[1] in wild
        if owner is not None and not remote[1]:
            name = socket_option(owner, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
            device = name.rstrip(b"\0").decode() if name else None
            flag = (
                socket_option(owner, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 4) if ":" in local[0] else None
            )
            only = any(flag) if flag is not None else only
        found.append(_socket(proto, state, local, remote, owner, device=device or None, v6only=only))
    return found


def _rows(name: str) -> list[list[str]]:
    path = Path("/proc/thread-self/net", name)
    try:
        return [line.split() for line in path.read_text().splitlines()[1:]]
    except FileNotFoundError:
        if name.endswith("6"):
            return []  # a kernel without IPv6
        raise


def _end(word: str) -> tuple[str, int]:
    """``0100007F:0050``: the address as 32-bit numbers of this machine's byte order, and the port."""
    address, port = word.split(":")
    words = [int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return _text(b"".join(words), family), int(port, 16)
