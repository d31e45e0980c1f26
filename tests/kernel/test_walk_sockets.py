"""
The walk against the kernel at sockets: which one takes a packet, and what is answered where none does.

Sockets are opened in a namespace with the options of each case; each is walked and really tried.
"""

import errno
import os
import selectors
import socket
import struct
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from nettrace.collect.netns import in_netns
from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.kernel.cases import Case, build, c, try_built
from tests.kernel.walkbed import TOPOLOGIES, Net

IP_RECVERR = 11
SERVER = "10.2.0.2"
INVALID = "iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP"
SCTP_NAT = "iptables -t nat -A PREROUTING -p sctp --dport 99 -j DNAT --to-destination 10.2.0.2:98"
SCTP_DROP = "iptables -A FORWARD -p sctp --dport 90:100 -j DROP"
MASQUERADE = "iptables -t nat -A POSTROUTING -o s -j MASQUERADE"
REJECT = "iptables -A FORWARD -p 253 -j REJECT --reject-with icmp-proto-unreachable"


class Opened(NamedTuple):
    """A socket of the server's: what it is bound to, and what it answers."""

    address: str = "0.0.0.0"
    port: int = 99
    proto: str = "udp"
    peer: tuple[str, int] | None = None
    device: str = ""
    v6only: int | None = None
    reuse: bool = False


def opened(net: Net, wanted: Opened, *, label: str = "server") -> None:
    """Open a socket in a namespace that answers with the namespace's label, as the others do."""
    kind = socket.SOCK_STREAM if wanted.proto == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in wanted.address else socket.AF_INET

    def make() -> socket.socket:
        found = socket.socket(family, kind)
        if wanted.v6only is not None:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, wanted.v6only)
        if wanted.device:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wanted.device.encode())
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if wanted.reuse else socket.SO_REUSEADDR, 1)
        found.bind((wanted.address, wanted.port))
        if wanted.peer is not None:
            found.connect(wanted.peer)
        if wanted.proto == "tcp":
            found.listen(8)
        found.setblocking(False)
        return found

    found = in_netns(net[label].path, make)
    net.sockets.append(found)
    net.selector.register(found, selectors.EVENT_READ, f"{label}\n".encode())


UDP, TCP = f"client {SERVER}:99/udp", f"client {SERVER}:99"
GOOD, REFUSED = "connected DELIVERED", "refused NOT_LISTENING"

SOCKETS: tuple[tuple[Case, tuple[Opened, ...]], ...] = (
    (c("wildcard", "router", probe=UDP, gives=GOOD), (Opened(),)),
    (c("own-address", "router", probe=UDP, gives=GOOD), (Opened(SERVER),)),
    (c("another-address", "router", "server: ip addr add 10.2.0.3/24 dev eth0", probe=UDP, gives=REFUSED), (Opened("10.2.0.3"),)),
    (c("loopback-only", "router", probe=TCP, gives=REFUSED), (Opened("127.0.0.1", proto="tcp"),)),
    (c("all-of-loopback-is-local", "router", probe="server 127.3.4.5:99", gives=GOOD), (Opened(proto="tcp"),)),
    (c("loopback-address-of-its-own", "router", probe="server 127.0.0.1:99", gives=REFUSED), (Opened("127.3.4.5", proto="tcp"),)),
    (c("both-families", "router", probe=TCP, gives=GOOD), (Opened("::", proto="tcp", v6only=0),)),
    (c("ipv6-only", "router", probe=TCP, gives=REFUSED), (Opened("::", proto="tcp", v6only=1),)),
    (c("both-families-udp", "router", probe=UDP, gives=GOOD), (Opened("::", v6only=0),)),
    (c("mapped-address", "router", probe=TCP, gives=GOOD), (Opened(f"::ffff:{SERVER}", proto="tcp", v6only=0),)),
    (c("its-device", "router", probe=TCP, gives=GOOD), (Opened(device="eth0", proto="tcp"),)),
    (c("another-device", "router", probe=TCP, gives=REFUSED), (Opened(device="lo", proto="tcp"),)),
    (c("own-address-over-lo-is-the-device-s", "router", probe=f"server {SERVER}:99", gives=GOOD), (Opened(device="eth0", proto="tcp"),)),
    (c("own-address-over-lo-is-not-lo-s", "router", probe=f"server {SERVER}:99", gives=REFUSED), (Opened(device="lo", proto="tcp"),)),
    (c("lo-for-loopback", "router", probe="server 127.0.0.1:99", gives=GOOD), (Opened(device="lo", proto="tcp"),)),
    (c("connected-to-somebody-else", "router", probe=UDP, gives=REFUSED), (Opened(peer=("10.1.0.1", 5)),)),
    (c("connected-to-the-client", "router", probe=UDP, gives=GOOD, sport=5555), (Opened(peer=("10.1.0.2", 5555)),)),
    (c("connected-to-another-port", "router", probe=UDP, gives=REFUSED, sport=5556), (Opened(peer=("10.1.0.2", 5555)),)),
    (c("connected-beside-a-wildcard", "router", probe=UDP, gives=GOOD),
     (Opened(reuse=True), Opened(SERVER, peer=("10.1.0.1", 5), reuse=True))),
    (c("one-of-a-group", "router", probe=TCP, gives=GOOD, count=4), tuple(Opened(proto="tcp", reuse=True) for _ in range(3))),
    (c("one-of-a-group-udp", "router", probe=UDP, gives=GOOD, count=4), tuple(Opened(reuse=True) for _ in range(3))),
)  # fmt: skip


@pytest.mark.parametrize(("case", "sockets"), SOCKETS, ids=[case.name for case, _ in SOCKETS])
def test_the_walk_and_the_kernel_agree_at_sockets(net: Net, case: Case, sockets: tuple[Opened, ...]) -> None:
    """The socket that the kernel's lookup finds is the walk's, and where none fits both refuse."""
    build(net, case)
    for one in sockets:
        opened(net, one)
    try_built(net, case)


# --- neither TCP nor UDP nor echo ------------------------------------------------------------------


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    folded: int = (total & 0xFFFF) + (total >> 16)
    return ~folded & 0xFFFF


def icmp(kind: int) -> bytes:
    """An ICMP message of a type, with room for three times."""
    plain = struct.pack(">BBHHH12x", kind, 0, 0, 7, 1)
    return struct.pack(">BBHHH12x", kind, 0, checksum(plain), 7, 1)


#: A chunk of type INIT behind the ports 4000 and 99 (RFC 9260); nobody looks at its checksum.
INIT = struct.pack(">HHII BBHIIHHI", 4000, 99, 0, 0, 1, 0, 20, 1, 65536, 1, 1, 1)


class Sent(NamedTuple):
    """A raw packet: protocol, payload, what of its header the walk is told."""

    number: int
    data: bytes
    packet: dict[str, Any]


SCTP = Sent(
    132, INIT, {"proto": "sctp", "sport": PortRange(4000, 4000), "dport": PortRange(99, 99), "size": 52}
)
NAMELESS = Sent(253, bytes(16), {"proto": "253", "size": 36})


def message(kind: int) -> Sent:
    """An ICMP message that is no echo."""
    return Sent(1, icmp(kind), {"proto": "icmp", "icmp_type": kind, "icmp_code": 0, "icmp_id": 7, "size": 40})


def seen(net: Net, sent: Sent, dst: str) -> str:
    """Send it from the client; return the errno's name, ``answer`` or ``silence``."""

    def act() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, sent.number) as raw:
            raw.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            raw.connect((dst, 0))
            raw.settimeout(0.7)
            try:
                raw.send(sent.data)
                raw.recv(2048)
            except TimeoutError:
                return "silence"
            except OSError as error:
                return os.strerror(error.errno or 0)
            return "answer"

    answer: str = in_netns(net["client"].path, act)
    return answer


NO_PROTOCOL = os.strerror(errno.ENOPROTOOPT)
RAW = (
    ("timestamp", (), message(13), SERVER, Outcome.CONNECTED, Verdict.DELIVERED, "answer"),
    ("information-request", (), message(15), SERVER, Outcome.TIMEOUT, Verdict.UNEXPECTED, "silence"),
    ("an-answer-nobody-asked-for", (), message(14), SERVER, Outcome.TIMEOUT, Verdict.UNEXPECTED, "silence"),
    ("an-answer-is-invalid", (INVALID,), message(14), SERVER, Outcome.TIMEOUT, Verdict.DROPPED_BY_RULE, "silence"),
    ("a-request-is-new", (INVALID,), message(13), SERVER, Outcome.CONNECTED, Verdict.DELIVERED, "answer"),
    ("sctp", (), SCTP, SERVER, Outcome.UNREACHABLE, Verdict.NOT_LISTENING, NO_PROTOCOL),
    ("sctp-by-nat", (SCTP_NAT,), SCTP, "10.1.0.1", Outcome.UNREACHABLE, Verdict.NOT_LISTENING, NO_PROTOCOL),
    ("sctp-dropped-by-port", (SCTP_DROP,), SCTP, SERVER, Outcome.TIMEOUT, Verdict.DROPPED_BY_RULE, "silence"),
    ("no-such-protocol", (), NAMELESS, SERVER, Outcome.UNREACHABLE, Verdict.NOT_LISTENING, NO_PROTOCOL),
    ("no-such-protocol-masqueraded", (MASQUERADE,), NAMELESS, SERVER, Outcome.UNREACHABLE, Verdict.NOT_LISTENING, NO_PROTOCOL),
    ("no-such-protocol-rejected", (REJECT,), NAMELESS, SERVER, Outcome.UNREACHABLE, Verdict.REJECTED, NO_PROTOCOL),
)  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "sent", "dst", "outcome", "verdict", "fate"),
    [case[1:] for case in RAW],
    ids=[case[0] for case in RAW],
)
def test_other_protocols(
    net: Net, rules: tuple[str, ...], sent: Sent, dst: str, outcome: Outcome, verdict: Verdict, fate: str
) -> None:
    """Timestamps are answered, protocols that nobody takes are unreachable, and conntrack follows both."""
    TOPOLOGIES["router"](net)
    for rule in rules:
        net.sh("r", rule)
    flow = net.flow("client", dst, None, "icmp")
    flow = replace(flow, packet=Packet(src="", dst=dst, **sent.packet))
    walk = net.walked(flow)
    assert (walk.outcome, walk.verdict) == (outcome, verdict), walk.paths[0].reason
    assert seen(net, sent, dst) == fate
    if walk.paths[0].errno is not None:
        assert os.strerror(getattr(errno, walk.paths[0].errno)) == fate


def test_a_raw_socket_takes_its_protocol(net: Net) -> None:
    """Where somebody reads a protocol the kernel does not call it unreachable; what is answered is open."""
    TOPOLOGIES["router"](net)
    net.sockets.append(
        in_netns(net["server"].path, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, NAMELESS.number))
    )
    flow = net.flow("client", SERVER, None, "icmp")
    flow = replace(flow, packet=Packet(src="", dst=SERVER, **NAMELESS.packet))
    walk = net.walked(flow)
    assert (walk.outcome, walk.verdict) == (Outcome.UNKNOWN, Verdict.DELIVERED)
    assert seen(net, NAMELESS, SERVER) == "silence"
