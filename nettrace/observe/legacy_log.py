"""
Rules of iptables-legacy that a traced packet met.

The bit that nf_tables' tracing goes by makes ip_tables tell too, through the namespace's logger for
its family.  Here that is nfnetlink_log, group 0, for as long as the probe runs: the sysctl is borrowed
(nettrace.journal.borrowed), the group can be had once in a namespace.
Lives here: binding the group, decoding what it tells, and what stands in the chains.
Not here: whose packets they are (recognise), which are traced (arming).
Sources: trace_packet(), net/ipv4/netfilter/ip_tables.c; include/uapi/linux/netfilter/nfnetlink_log.h.
"""

import errno
import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nettrace.collect.failure import CollectError
from nettrace.collect.netns import netns_inode
from nettrace.collect.tools import find_tool, run_tool
from nettrace.collect.wire import NETLINK_NETFILTER, attribute, attributes, be32, text
from nettrace.journal.borrowed import Borrowed, borrow
from nettrace.model.section import MissingKind

__all__ = ["LegacyChain", "LegacyEvent", "LegacyLog", "decode_log", "has_legacy", "legacy_chains", "verdict"]

_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_NAMES = {4: "ip_tables_names", 6: "ip6_tables_names"}
_SAVE = {4: "iptables-legacy-save", 6: "ip6tables-legacy-save"}
_SYSCTL = {4: "net/netfilter/nf_log/2", 6: "net/netfilter/nf_log/10"}
_LOGGER = "nfnetlink_log"

_CONFIG, _PACKET = 4 << 8 | 1, 4 << 8
_REQUEST_ACK = 0x5
_COMMAND, _MODE, _QUEUE_THRESHOLD = 1, 2, 5
_BIND = b"\x01"
_COPY_PACKET = struct.pack(">IBx", 512, 2)  # so many bytes of each packet
_HEADER, _MARK, _IN, _OUT, _PAYLOAD, _PREFIX = 1, 2, 4, 5, 9, 10
_SO_RCVBUFFORCE, _BUFFER = 33, 8 << 20

_TRACE = re.compile(r"TRACE: (\S+?):(.+):(rule|return|policy):(\d+) ?")
_RULE = re.compile(r"-A (\S+)(.*)")
_TARGET = re.compile(r" -([jg]) (\S+)")
_CHAIN = re.compile(r":(\S+) (\S+) \[")

_ENDS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return", "QUEUE": "queue"}
_NAT = frozenset({"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP"})


class LegacyEvent(NamedTuple):
    """
    A rule that a packet met.

    ``kind``: ``rule``; ``policy`` and ``return`` are the ends of base and user chains, but also a
    rule there that tests nothing.  ``number`` counts from 1.  ``data`` is the packet from its
    network header on.
    """

    table: str
    chain: str
    kind: str
    number: int
    hook: str
    iif: int
    oif: int
    mark: int
    data: bytes


class LegacyChain(NamedTuple):
    """The targets of a chain's rules, "" for none, ``goto X`` for -g; and its policy, "-" for none."""

    policy: str
    targets: tuple[str, ...]


class LegacyLog:
    """The group of one namespace, from open() until close(), both in a thread of the namespace."""

    def __init__(self, sock: socket.socket, borrowed: Borrowed) -> None:
        self.sock = sock
        self._borrowed = borrowed

    @classmethod
    def open(cls, version: int, netns: str, journal: Path) -> "LegacyLog":
        """
        Bind the group and have the kernel log to it; *version* is 4 or 6.

        CollectError if somebody else has the group, OSError if a part of it is not there.
        """
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            sock.settimeout(10.0)
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            sock.bind((0, 0))
            for kind, value in (
                (_COMMAND, _BIND),
                (_MODE, _COPY_PACKET),
                (_QUEUE_THRESHOLD, struct.pack(">I", 1)),
            ):
                _configure(sock, kind, value)
            sock.setblocking(False)
            inode = netns_inode("/proc/thread-self/ns/net")
            return cls(sock, borrow(journal, netns, inode, {_SYSCTL[version]: _LOGGER}))
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Have the kernel log as before."""
        try:
            self._borrowed.give_back()
        finally:
            self.sock.close()


def _configure(sock: socket.socket, kind: int, value: bytes) -> None:
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, 0) + attribute(kind, value)
    sock.send(struct.pack("=IHHII", 16 + len(body), _CONFIG, _REQUEST_ACK, 1, 0) + body)
    code: int = -struct.unpack_from("=i", sock.recv(8192), 16)[0]
    if code in (errno.EBUSY, errno.EPERM) and kind == _COMMAND:
        # EPERM is also what __nfulnl_recv_config says to another socket than the group's own.
        said = "another program has NFLOG group 0, which the rules of iptables-legacy are told by"
        raise CollectError(MissingKind.FAILED, said)
    if code:
        raise OSError(code, os.strerror(code))


def has_legacy(version: int) -> bool:
    """Does iptables-legacy have tables of this IP version in the namespace of the calling thread?"""
    try:
        return bool(Path("/proc/thread-self/net", _NAMES[version]).read_text().strip())
    except OSError:
        return False


def decode_log(data: bytes) -> Iterable[LegacyEvent]:
    """Decode what one read of the group's socket gives; what is no trace is left out."""
    start = 0
    while start + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, start)
        if length < 20 or start + length > len(data):
            return
        if kind == _PACKET:
            found = attributes(data[start : start + length], 20)
            told = _TRACE.match(text(found.get(_PREFIX, b"")))
            if told is not None:
                yield _event(found, told)
        start += (length + 3) & ~3


def _event(found: Mapping[int, bytes], told: re.Match[str]) -> LegacyEvent:
    def number(kind: int) -> int:
        return be32(found[kind]) if kind in found else 0

    hook = found.get(_HEADER, b"\0\0\0")[2]
    return LegacyEvent(
        table=told[1],
        chain=told[2],
        kind=told[3],
        number=int(told[4]),
        hook=_HOOKS[hook] if hook < len(_HOOKS) else "",
        iif=number(_IN),
        oif=number(_OUT),
        mark=number(_MARK),
        data=found.get(_PAYLOAD, b""),
    )


def legacy_chains(version: int, tables: Iterable[str]) -> dict[tuple[str, str], LegacyChain]:
    """
    Read the targets of the rules of *tables*, in the namespace of the calling thread.

    The tables have to exist: naming another would create it.  Empty where the tool is not there.
    """
    tool = find_tool(_SAVE[version])
    found: dict[tuple[str, str], LegacyChain] = {}
    for table in tables if tool is not None else ():
        try:
            saved = run_tool(str(tool), "-t", table)
        except CollectError:
            continue
        targets: dict[str, list[str]] = {}
        policies: dict[str, str] = {}
        for line in saved.splitlines():
            if (chain := _CHAIN.match(line)) is not None:
                policies[chain[1]] = chain[2]
            elif (rule := _RULE.match(line)) is not None:
                target = _TARGET.search(_unquoted(rule[2]))
                said = "" if target is None else f"goto {target[2]}" if target[1] == "g" else target[2]
                targets.setdefault(rule[1], []).append(said)
        for name, policy in policies.items():
            found[table, name] = LegacyChain(policy, tuple(targets.get(name, ())))
    return found


def _unquoted(text_of_rule: str) -> str:
    """Leave out what is quoted: a comment may say `-j DROP`."""
    return re.sub(r'"(\\.|[^"\\])*"', '""', text_of_rule)


def verdict(event: LegacyEvent, chains: Mapping[tuple[str, str], LegacyChain]) -> tuple[int | None, str]:
    """
    Tell which rule of its chain an event is about (0: the policy) and what nf_tables would call it.

    "" for the end of a chain that was jumped to; ``met`` where the target's verdict is not known.
    """
    chain = chains.get((event.table, event.chain))
    if chain is None:
        return (event.number, "met") if event.kind == "rule" else (None, "met")
    if event.number > len(chain.targets):
        return 0, f"policy {chain.policy.lower()}" if event.kind == "policy" else ""
    target = chain.targets[event.number - 1]
    if target in _ENDS:
        return event.number, _ENDS[target]
    if target in _NAT:
        return event.number, "accept"
    if not target:
        return event.number, "continue"
    if target.startswith("goto "):
        return event.number, target
    return event.number, f"jump {target}" if (event.table, target) in chains else "met"
