"""
Real DNS queries from inside a namespace.

Lives here: one query over UDP or TCP, by a socket of its own, and what came back (RFC 1035).
Not here: which names to ask for (nettrace.diagnose.guide).
"""

import errno
import secrets
import socket
import struct
import time
from typing import TYPE_CHECKING

from nettrace.collect.netns import in_netns
from nettrace.model.addr import family_of
from nettrace.model.lookup import DnsAnswer, Lookup

if TYPE_CHECKING:
    from scapy.layers.dns import DNS

__all__ = ["query"]

#: Seconds until nobody is waited for any longer.  glibc waits 5 s, twice (resolv.conf(5), timeout).
PATIENCE = 2.5

_RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_CNAME = 5
_LONGEST = 65535


def query(path: str, lookup: Lookup, *, timeout: float = PATIENCE) -> DnsAnswer:
    """
    Ask *lookup* from the namespace at *path*, once.

    UserError if the namespace cannot be entered.  A socket's error and silence are answers.
    """
    return in_netns(path, _ask, lookup, timeout)


def _ask(lookup: Lookup, timeout: float) -> DnsAnswer:
    from scapy.layers.dns import DNS, DNSQR  # noqa: PLC0415  (heavy)

    identity = secrets.randbelow(1 << 16)
    sent = bytes(DNS(id=identity, rd=1, qd=DNSQR(qname=lookup.name, qtype=lookup.type)))
    began = time.monotonic()
    try:
        reply = _exchange(lookup, sent, identity, began + timeout)
    except TimeoutError:
        return DnsAnswer(errno="timeout", delay=time.monotonic() - began)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        return DnsAnswer(errno=name, delay=time.monotonic() - began)
    delay = time.monotonic() - began
    try:
        return _answer(DNS(reply), lookup.type, delay)
    except (struct.error, IndexError, ValueError, TypeError):
        return DnsAnswer(errno="an answer that is no DNS message", delay=delay)


def _exchange(lookup: Lookup, sent: bytes, identity: int, until: float) -> bytes:
    """Send the query and return the answer to it; TimeoutError when *until* has come."""
    family = socket.AF_INET6 if family_of(lookup.server) == 6 else socket.AF_INET
    kind = socket.SOCK_STREAM if lookup.proto == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_left(until))
        sock.connect((lookup.server, lookup.port))
        if lookup.proto == "tcp":
            sock.sendall(struct.pack("!H", len(sent)) + sent)
            (length,) = struct.unpack("!H", _exactly(sock, 2, until))
            return _exactly(sock, length, until)
        sock.send(sent)
        while True:
            sock.settimeout(_left(until))
            found = sock.recv(_LONGEST)
            if len(found) >= 12 and struct.unpack_from("!H", found) == (identity,):
                return found


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _exactly(sock: socket.socket, length: int, until: float) -> bytes:
    found = b""
    while len(found) < length:
        sock.settimeout(_left(until))
        piece = sock.recv(length - len(found))
        if not piece:
            raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection")
        found += piece
    return found


def _answer(reply: "DNS", wanted: str, delay: float) -> DnsAnswer:
    from scapy.layers.dns import dnstypes  # noqa: PLC0415  (heavy)

    number = next(key for key, name in dnstypes.items() if name == wanted)
    records, aliases = [], []
    for record in reply.an or ():
        if record.type == number:
            records.append(_data(record))
        elif record.type == _CNAME:
            aliases.append(_data(record))
    rcode = _RCODES[reply.rcode] if reply.rcode < len(_RCODES) else f"RCODE{reply.rcode}"
    return DnsAnswer(rcode=rcode, records=tuple(records), aliases=tuple(aliases), delay=delay)


def _data(record: object) -> str:
    if hasattr(record, "target"):  # SRV, RFC 2782
        fields = (getattr(record, name) for name in ("priority", "weight", "port"))
        return " ".join(map(str, fields)) + " " + _text(record.target)
    return _text(getattr(record, "rdata", ""))


def _text(value: object) -> str:
    text = value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text.removesuffix(".")
