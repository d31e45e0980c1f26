"""
What the kernel did: rules met, frames seen, packets dropped.

Lives here: an nft trace of everything in every namespace, the same of iptables-legacy by NFLOG, a tap on
every device, and the kernel's drops; drained by the caller after each exchange.
Not here: what should have been seen (compare).
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from nettrace.collect.wire import NETLINK_NETFILTER, attribute, attributes, be64, nfgenmsg, text
from nettrace.model.packet import Packet
from nettrace.observe.bpf import BpfError
from nettrace.observe.btf import BtfError
from nettrace.observe.drops import DropWatch
from nettrace.observe.headers import packet_of
from nettrace.observe.trace_event import decode_events
from nettrace.walk.nft_chain import BACKEND
from tests.oracle.bench import OracleNet
from tests.oracle.noise import is_beside, is_noise

__all__ = ["Frame", "Lost", "Met", "Sighting", "Witness"]

_TABLE = "nettrace-oracle"
_GROUP_TRACE, _SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE = 9, 270, 1, 33
_GETRULE = 10 << 8 | 7
_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
_PACKET_OUTGOING, _PACKET_OTHERHOST = 4, 3
_NFLOG_PACKET = 4 << 8
#: Messages of one exchange that are read; no path is that long.
_MOST = 20_000
#: What iptables-nft calls its tables; all others are nft's own.
XT_TABLES = ("raw", "mangle", "nat", "filter", "security")

#: Everything is traced; the chains are the first of all, conntrack's defragmentation included.  The
#: chain that asks for a connection's mark keeps conntrack on: without anybody who asks for connections
#: the kernel does not track them, and passes nat chains by that translate nothing.
_ARM = f"""table inet {_TABLE} {{
 chain in {{ type filter hook prerouting priority -450; meta nftrace set 1; }}
 chain out {{ type filter hook output priority -450; meta nftrace set 1; }}
 chain connections {{ ct mark 0xfffffffe; }}
}}
table bridge {_TABLE} {{
 chain in {{ type filter hook prerouting priority -450; meta nftrace set 1; }}
 chain out {{ type filter hook output priority -450; meta nftrace set 1; }}
}}
"""


_Told: TypeAlias = list[tuple[bytes, tuple[object, ...]]]


class Met(NamedTuple):
    """A rule that was met; number 0 is the policy.  ``backend`` as in a Step."""

    backend: str
    table: str
    chain: str
    rule: int


class Frame(NamedTuple):
    """An IP packet at a device, where it arrived or where it was sent."""

    netns: str
    device: str
    other: bool  # for another MAC address
    proto: int
    src: str
    dst: str
    sport: int
    dport: int
    ttl: int
    tos: int
    flags: int  # of TCP; of ICMP the type and code
    size: int


class Lost(NamedTuple):
    """A packet that the kernel dropped, and the namespaces that it may be said to have been in."""

    netns: tuple[str, ...]
    device: str
    reason: str
    function: str
    packet: Packet | None


class Sighting(NamedTuple):
    """
    All that was seen of one exchange.

    Rules by namespace, frames that arrived, frames that were sent, packets that were dropped (None:
    the kernel does not let drops be watched).  ``endless``: it was more than could be read.
    """

    rules: dict[str, list[Met]]
    frames: list[Frame]
    sent: list[Frame]
    lost: list[Lost] | None
    endless: bool = False

    def same_draws(self, other: "Sighting") -> bool:
        """
        Did what is random fall alike, as far as both went?

        By the rules that were met, and by where each namespace sent its first packet; no source ports.
        """
        return all(
            mine[: len(theirs)] == theirs[: len(mine)]
            for label in {*self.rules, *other.rules, *(frame.netns for frame in (*self.sent, *other.sent))}
            for read in (Sighting._legacy, Sighting._traced, Sighting._first)  # each has an order of its own
            for mine, theirs in [(read(self, label), read(other, label))]
        )

    def _legacy(self, label: str) -> Sequence[object]:
        return [met for met in self.rules.get(label, []) if met.backend == "legacy"]

    def _traced(self, label: str) -> Sequence[object]:
        return [met for met in self.rules.get(label, []) if met.backend != "legacy"]

    def _first(self, label: str) -> Sequence[object]:
        return [(f.device, f.dst, f.dport) for f in self.sent if f.netns == label][:1]


class _Eyes(NamedTuple):
    trace: socket.socket
    log: socket.socket
    tap: socket.socket


class Witness:
    """Watches all namespaces of a network until it is closed."""

    def __init__(self, net: OracleNet) -> None:
        self.net = net
        self._eyes: dict[str, _Eyes] = {}
        self._positions: dict[str, dict[tuple[str, str, str], dict[int, int]]] = {}
        self._legacy: dict[str, dict[tuple[str, str], int]] = {}
        self._upper: dict[str, set[str]] = {}
        self._names = {space.inode: label for label, space in net.spaces.items()}
        self._stack = contextlib.ExitStack()
        self._drops: DropWatch | None = None
        with contextlib.suppress(BpfError, BtfError):
            self._drops = self._stack.enter_context(DropWatch(None, self._names))
        for label, space in net.spaces.items():
            space.run("nft", "-f", "-", stdin=_ARM + _at_devices(space.ip("-o link")))
            for family in (2, 10):
                net.sysctl(label, f"net.netfilter.nf_log.{family}", "nfnetlink_log")
            self._eyes[label] = net.worker(label).run(_open)
            self._upper[label] = set(
                space.run("sh", "-c", "ls -d /sys/class/net/*/bridge 2>/dev/null || true").split()
            )

    def close(self) -> None:
        """Close the sockets; the tables go with the namespaces."""
        self._stack.close()
        for eyes in self._eyes.values():
            for one in eyes:
                one.close()

    def learn(self, legacy: dict[str, dict[tuple[str, str], int]]) -> None:
        """Note where rules stand; *legacy*: namespace -> (table, chain) -> number of rules."""
        self._legacy = legacy
        self._positions = {label: self.net.worker(label).run(_positions) for label in self._eyes}

    def forget(self) -> None:
        """Throw away what was seen so far."""
        for eyes in self._eyes.values():
            for one in eyes:
                _drain(one)
        if self._drops is not None:
            for _ in self._drops.read():
                pass

    def seen(self) -> Sighting:
        """Return what was seen since the last call."""
        rules: dict[str, list[Met]] = {}
        frames: list[Frame] = []
        sent: list[Frame] = []
        endless = False
        for label, eyes in self._eyes.items():
            told = [_drain(one) for one in eyes]
            if any(len(one) >= _MOST for one in told):
                endless = True
                continue
            met = self._traced(label, told[0]) + self._logged(label, told[1])
            if met:
                rules[label] = met
            for data, where in told[2]:
                (sent if where[2] == _PACKET_OUTGOING else frames).extend(_frame(label, data, where))
        return Sighting(rules, frames, sent, self._lost(), endless)

    def _lost(self) -> list[Lost] | None:
        if self._drops is None:
            return None
        found = []
        for one in self._drops.read():
            packet = packet_of(one.header, one.mark)
            if one.ethertype not in (_ETH_P_IP, _ETH_P_IPV6) or is_noise(one.header):
                continue
            places = tuple(dict.fromkeys(self._names[inode] for inode in one.inodes if inode in self._names))
            found.append(Lost(places, one.device, one.reason, one.function, packet))
        return found

    def _traced(self, label: str, told: _Told) -> list[Met]:
        found: list[Met] = []
        positions = self._positions.get(label, {})
        beside: set[int] = set()
        packets: set[int] = set()
        for data, _ in told:
            for event in decode_events(data):
                if event.packet is not None:
                    packets.add(event.id)
                    (beside.add if is_beside(event.packet, event.payload) else beside.discard)(event.id)
                if event.id in beside:
                    continue
                if event.table == _TABLE:
                    continue
                key = (event.family, event.table, event.chain)
                if event.packet is None and event.id not in packets:
                    continue  # ARP
                ours = event.family in ("ip", "ip6") and event.table in XT_TABLES
                backend, table = ("nft", event.table) if ours else (BACKEND, f"{event.family} {event.table}")
                if event.handle is not None:
                    number = positions.get(key, {}).get(event.handle, -1)
                    found.append(Met(backend, table, event.chain, number))
                elif event.verdict.startswith("policy") and (
                    positions.get(key) or event.verdict != "policy accept"
                ):
                    found.append(Met(backend, table, event.chain, 0))
        return found

    def _logged(self, label: str, told: _Told) -> list[Met]:
        found: list[Met] = []
        counts = self._legacy.get(label, {})
        for data, _ in told:
            for prefix, packet in _prefixes(data):
                if is_noise(packet) or not prefix.startswith("TRACE: "):
                    continue
                table, chain, kind, number = prefix[7:].strip().rsplit(":", 3)
                count = counts.get((table, chain), 0)
                if int(number) <= count:
                    found.append(Met("legacy", table, chain, int(number)))
                elif kind == "policy" and (table, chain) in counts:
                    found.append(Met("legacy", table, chain, 0))
        return found


def _at_devices(links: str) -> str:
    """Chains that have everything traced that comes in or leaves by a device, of ``ip -o link``."""
    names = [line.split(":")[1].strip().split("@")[0] for line in links.splitlines()]
    arm = "priority -450; meta nftrace set 1;"
    # a bridged packet's RST is made past all other hooks
    chains = [
        f' chain {hook}_{number} {{ type filter hook {hook} device "{name}" {arm} }}\n'
        for number, name in enumerate(names)
        for hook in ("ingress", "egress")
    ]
    return f"table netdev {_TABLE} {{\n{''.join(chains)}}}\n"


def _open() -> _Eyes:
    """Open the three sockets in the calling thread's namespace."""
    trace = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    trace.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
    trace.bind((0, 0))
    trace.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_TRACE)
    trace.setblocking(False)
    log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    log.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
    log.bind((0, 0))
    for command in (
        attribute(1, b"\x01"),  # NFULA_CFG_CMD: bind to the group
        attribute(2, struct.pack(">IBB", 128, 2, 0)),  # NFULA_CFG_MODE: copy the packet's beginning
        attribute(5, struct.pack(">I", 1)),  # NFULA_CFG_QTHRESH: tell at once
    ):
        body = nfgenmsg(0) + command
        log.send(struct.pack("=IHHII", 16 + len(body), 4 << 8 | 1, 5, 1, 0) + body)
        code = struct.unpack_from("=i", log.recv(8192), 16)[0]
        if code:
            raise OSError(-code, "NFLOG group 0 cannot be bound")
    log.setblocking(False)
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
    tap.setblocking(False)
    return _Eyes(trace, log, tap)


def _drain(one: socket.socket) -> _Told:
    """Return all that is there; a packet that went round for ever leaves what fitted."""
    found: _Told = []
    while len(found) < _MOST:
        try:
            found.append(one.recvfrom(1 << 17))
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            found += [(b"", ())] * _MOST  # more than there was room for
    return found


def _positions() -> dict[tuple[str, str, str], dict[int, int]]:
    """(family, table, chain) -> handle -> position from 1, of all rules of the namespace."""
    from nettrace.collect.wire import NetlinkSocket

    families = {1: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"}
    found: dict[tuple[str, str, str], dict[int, int]] = {}
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        for rule in netfilter.dump(_GETRULE, nfgenmsg()):
            parts = attributes(rule, 4)
            key = (families.get(rule[0], str(rule[0])), text(parts[1]), text(parts[2]))
            place = found.setdefault(key, {})
            place[be64(parts[3])] = len(place) + 1
    return found


def _prefixes(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    start = 0
    while start + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, start)
        if length < 20:
            break
        if kind == _NFLOG_PACKET:
            parts = attributes(data[start : start + length], 20)
            if 10 in parts:
                found.append((text(parts[10]), parts.get(9, b"")))
        start += (length + 3) & ~3
    return found


def _frame(label: str, data: bytes, where: tuple[object, ...]) -> list[Frame]:
    """Decode one frame; nothing for what is not IP."""
    device, protocol, kind = str(where[0]), where[1], where[2]
    header = data[14:]
    if protocol not in (_ETH_P_IP, _ETH_P_IPV6) or len(header) < 20 or is_noise(header):
        return []
    packet = packet_of(header)
    if packet is None:
        return []
    src, dst, ttl, tos, size = packet.src, packet.dst, packet.ttl, packet.tos, packet.size
    if packet.family == 6:
        proto, rest = header[6], header[40:]
    else:
        proto, rest = header[9], header[(header[0] & 15) * 4 :]
    sport, dport = struct.unpack_from(">HH", rest) if proto in (6, 17, 132) and len(rest) >= 4 else (0, 0)
    flags = 0
    if proto == 6 and len(rest) >= 14:
        flags = rest[13] & 0x3F
    elif proto in (1, 58) and len(rest) >= 2:
        flags = rest[0] << 8 | rest[1]
    other = kind == _PACKET_OTHERHOST
    return [Frame(label, device, other, proto, src, dst, sport, dport, ttl, tos, flags, size)]
