"""Real connections in namespaces, one for each thing that a client may see."""

import sys
import threading
from pathlib import Path

import pytest

from nettrace.model.errors import UserError
from nettrace.model.observation import Attempt
from nettrace.model.walk import Outcome
from nettrace.observe.connect import connect
from tests.kernel.bed import Bed, Space

SPEAKS_FIRST = """
import socket, sys
listener = socket.create_server(("10.1.0.2", 80), backlog=200)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    # data and FIN in one segment: the far end is the first to close, and the client never in TIME_WAIT
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    connection.sendall(b"hostnames-0\\n10.1.0.1\\n")
    connection.close()
"""

SPEAKS_HTTP = """
import socket, sys
listener = socket.create_server(("10.1.0.2", 80))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    if connection.recv(999).startswith(b"GET / "):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nweb-1\\n")
    connection.close()
"""

SAYS_NOTHING = """
import socket, threading
listener = socket.create_server(("10.1.0.2", 80))
print("ready", flush=True)
threading.Event().wait()
"""

RESETS = """
import socket, struct
listener = socket.create_server(("10.1.0.2", 80))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
"""

ANSWERS_UDP = """
import socket, sys
for_ever = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for_ever.bind(("10.1.0.2", int(sys.argv[1])))
print("ready", flush=True)
while True:
    data, peer = for_ever.recvfrom(999)
    for_ever.sendto(data[:2] + b"\\x81\\x85" + data[4:] if len(data) > 12 else b"dns-0\\n", peer)
"""

SIX = """
import socket
listener = socket.create_server(("2001:db8::2", 80), family=socket.AF_INET6)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"six-0\\n")
    connection.close()
"""


def pair(netns: Bed) -> tuple[Space, Space]:
    """A client at 10.1.0.1 and a server at 10.1.0.2, joined."""
    a, b = netns.new("client"), netns.new("server")
    netns.veth(a, "eth0", b, "eth0")
    a.address("eth0", "10.1.0.1/24", "2001:db8::1/64")
    b.address("eth0", "10.1.0.2/24", "2001:db8::2/64")
    return a, b


def once(space: Space, dst: str, port: int | None, proto: str = "tcp", *, timeout: float = 4.0) -> Attempt:
    """One attempt."""
    (attempt,) = connect(space.path, None, dst, port, proto, timeout=timeout).attempts
    return attempt


def test_a_listener_that_speaks_first(netns: Bed) -> None:
    """Who answered is the first word of what the far end says, and the client's end is told."""
    a, b = pair(netns)
    b.python(SPEAKS_FIRST)
    attempt = once(a, "10.1.0.2", 80)
    assert (attempt.outcome, attempt.errno) == (Outcome.CONNECTED, None)
    assert (attempt.answer, attempt.answered_by) == ("hostnames-0", "hostnames-0")
    assert attempt.source == "10.1.0.1"
    assert attempt.sport is not None
    assert 32768 <= attempt.sport <= 60999
    assert attempt.delay < 0.2


def test_a_listener_that_waits_for_http(netns: Bed) -> None:
    """A far end that says nothing is asked by GET, and the response's body names it."""
    a, b = pair(netns)
    b.python(SPEAKS_HTTP)
    attempt = once(a, "10.1.0.2", 80)
    assert (attempt.outcome, attempt.answered_by) == (Outcome.CONNECTED, "web-1")
    assert attempt.delay < 0.2  # that of the handshake


def test_a_listener_that_says_nothing(netns: Bed) -> None:
    """A handshake is a connection, whatever comes after it."""
    a, b = pair(netns)
    b.python(SAYS_NOTHING)
    attempt = once(a, "10.1.0.2", 80)
    assert (attempt.outcome, attempt.answer) == (Outcome.CONNECTED, None)


def test_refused(netns: Bed) -> None:
    """A port without a listener refuses, over TCP and over UDP."""
    a, _ = pair(netns)
    for proto in ("tcp", "udp"):
        attempt = once(a, "10.1.0.2", 81, proto)
        assert (attempt.outcome, attempt.errno) == (Outcome.REFUSED, "ECONNREFUSED")
        assert attempt.delay < 0.5


def test_reset(netns: Bed) -> None:
    """A connection that is made and reset is RESET, not REFUSED."""
    a, b = pair(netns)
    b.python(RESETS)
    observed = connect(a.path, None, "10.1.0.2", 80, "tcp", count=20)
    assert {(one.outcome, one.errno) for one in observed.attempts} == {(Outcome.RESET, "ECONNRESET")}


def test_timeout(netns: Bed) -> None:
    """A packet that is dropped on the far side is a timeout after the time that was given."""
    a, b = pair(netns)
    b.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "-j", "DROP")
    b.run("iptables-nft", "-A", "INPUT", "-p", "udp", "-j", "DROP")
    for proto in ("tcp", "udp"):
        attempt = once(a, "10.1.0.2", 80, proto, timeout=0.5)
        assert (attempt.outcome, attempt.errno) == (Outcome.TIMEOUT, None)
        assert 0.5 <= attempt.delay < 1.0


def test_unreachable(netns: Bed) -> None:
    """No route, routes that refuse and rules that answer each have their errno."""
    a, b = pair(netns)
    a.ip("route add unreachable 10.5.0.0/16")
    a.ip("route add prohibit 10.6.0.0/16")
    a.ip("route add blackhole 10.7.0.0/16")
    b.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "-j", "REJECT", "--reject-with", "icmp-host-prohibited")
    for dst, expected in (
        ("10.9.0.1", "ENETUNREACH"),
        ("10.5.0.1", "EHOSTUNREACH"),
        ("10.6.0.1", "EACCES"),
        ("10.7.0.1", "EINVAL"),
        ("10.1.0.2", "EHOSTUNREACH"),
    ):
        attempt = once(a, dst, 80)
        assert (attempt.outcome, attempt.errno) == (Outcome.UNREACHABLE, expected), dst
        assert attempt.delay < 0.5


def test_nobody_answers_arp(netns: Bed) -> None:
    """A neighbour that is not there is EHOSTUNREACH after three seconds, within the default patience."""
    a, _ = pair(netns)
    for proto in ("tcp", "udp", "icmp"):
        attempt = once(a, "10.1.0.77", 80, proto)
        assert (attempt.outcome, attempt.errno) == (Outcome.UNREACHABLE, "EHOSTUNREACH"), proto
        assert 0.5 < attempt.delay < 4.0
        a.ip("neigh flush all")


def test_the_senders_own_rules(netns: Bed) -> None:
    """DROP in OUTPUT is EPERM for a datagram and an echo; a TCP client waits, and REJECT answers it."""
    a, _ = pair(netns)
    a.run("iptables-nft", "-A", "OUTPUT", "-d", "10.1.0.2", "-j", "DROP")
    for proto in ("udp", "icmp"):
        attempt = once(a, "10.1.0.2", 80, proto, timeout=0.5)
        assert (attempt.outcome, attempt.errno) == (Outcome.DENIED, "EPERM"), proto
    assert once(a, "10.1.0.2", 80, timeout=0.5).outcome is Outcome.TIMEOUT
    a.run("iptables-nft", "-R", "OUTPUT", "1", "-d", "10.1.0.2", "-j", "REJECT")
    assert once(a, "10.1.0.2", 80, timeout=0.5).outcome is Outcome.REFUSED


def test_udp_answers(netns: Bed) -> None:
    """A datagram's answer names who sent it; port 53 is asked a question that any server answers."""
    a, b = pair(netns)
    b.python(ANSWERS_UDP, "9000")
    b.python(ANSWERS_UDP, "53")
    attempt = once(a, "10.1.0.2", 9000, "udp")
    assert (attempt.outcome, attempt.answered_by) == (Outcome.CONNECTED, "dns-0")
    attempt = once(a, "10.1.0.2", 53, "udp")
    assert (attempt.outcome, attempt.answer, attempt.answered_by) == (Outcome.CONNECTED, "DNS REFUSED", None)


def test_echo(netns: Bed) -> None:
    """An echo is answered by a host that is there, and by a REJECT on the way with its errno."""
    a, b = pair(netns)
    assert once(a, "10.1.0.2", None, "icmp").outcome is Outcome.CONNECTED
    assert once(a, "127.0.0.1", None, "icmp").outcome is Outcome.CONNECTED
    assert once(a, "2001:db8::2", None, "icmpv6").outcome is Outcome.CONNECTED
    b.run(
        "iptables-nft", "-A", "INPUT", "-p", "icmp", "-j", "REJECT", "--reject-with", "icmp-net-unreachable"
    )
    attempt = once(a, "10.1.0.2", None, "icmp")
    assert (attempt.outcome, attempt.errno) == (Outcome.UNREACHABLE, "ENETUNREACH")
    b.run("iptables-nft", "-R", "INPUT", "1", "-p", "icmp", "-j", "DROP")
    assert once(a, "10.1.0.2", None, "icmp", timeout=0.4).outcome is Outcome.TIMEOUT


def test_ipv6(netns: Bed) -> None:
    """IPv6 is probed as IPv4 is."""
    a, b = pair(netns)
    b.python(SIX)
    attempt = once(a, "2001:db8::2", 80)
    assert (attempt.outcome, attempt.answered_by, attempt.source) == (
        Outcome.CONNECTED,
        "six-0",
        "2001:db8::1",
    )
    assert once(a, "2001:db8::2", 81).outcome is Outcome.REFUSED
    assert once(a, "2001:db8::2", 81, "udp").outcome is Outcome.REFUSED


def test_many_attempts_have_ports_of_their_own(netns: Bed) -> None:
    """Attempts come from fresh ports, so that each is a new connection to conntrack."""
    a, b = pair(netns)
    b.python(SPEAKS_FIRST)
    observed = connect(a.path, "10.1.0.1", "10.1.0.2", 80, "tcp", count=90)
    assert observed.outcomes == {Outcome.CONNECTED: 90}
    assert {attempt.answered_by for attempt in observed.attempts} == {"hostnames-0"}
    assert len({attempt.sport for attempt in observed.attempts}) == 90


def test_attempts_wait_together(netns: Bed) -> None:
    """Twenty attempts that time out take the time of one."""
    a, b = pair(netns)
    b.run("iptables-nft", "-A", "INPUT", "-j", "DROP")
    observed = connect(a.path, None, "10.1.0.2", 80, "tcp", count=20, timeout=0.5)
    assert observed.outcomes == {Outcome.TIMEOUT: 20}
    assert max(attempt.delay for attempt in observed.attempts) < 1.0


def test_a_bound_source(netns: Bed) -> None:
    """Source address and port are those that were asked for."""
    a, b = pair(netns)
    a.address("eth0", "10.1.0.9/24")
    b.python(SPEAKS_FIRST)
    for _ in range(2):  # the second time although the first one's port is in TIME_WAIT
        (attempt,) = connect(a.path, "10.1.0.9", "10.1.0.2", 80, "tcp", sport=45678).attempts
        assert (attempt.outcome, attempt.source, attempt.sport) == (Outcome.CONNECTED, "10.1.0.9", 45678)


def test_what_cannot_be_probed(netns: Bed) -> None:
    """A source that is not there, a missing port and an unknown protocol are errors of the user."""
    a, _ = pair(netns)
    with pytest.raises(UserError, match=r"cannot be sent from 10\.1\.0\.77"):
        connect(a.path, "10.1.0.77", "10.1.0.2", 80, "tcp")
    with pytest.raises(UserError, match="needs a port"):
        connect(a.path, None, "10.1.0.2", None, "tcp")
    with pytest.raises(UserError, match="dccp cannot be probed"):
        connect(a.path, None, "10.1.0.2", 80, "dccp")
    with pytest.raises(UserError, match="is gone"):
        connect("/run/netns/no-such-namespace", None, "10.1.0.2", 80, "tcp")


def test_nothing_stays_open(netns: Bed) -> None:
    """Threads, sockets and descriptors are gone afterwards, also where it failed."""
    a, _ = pair(netns)
    connect(a.path, None, "10.1.0.2", 81, "tcp", count=3)
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    connect(a.path, None, "10.1.0.2", 81, "tcp", count=3)
    with pytest.raises(UserError):
        connect(a.path, "10.1.0.77", "10.1.0.2", 80, "udp", count=3)
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before


def test_without_privilege(netns: Bed) -> None:
    """A user without privilege may probe from where he is, by TCP; elsewhere and by echo he is told."""
    a, b = pair(netns)
    b.python(SPEAKS_FIRST)
    code = f"""
import os
from nettrace.model.errors import UserError
from nettrace.observe.connect import connect
os.setresgid(65534, 65534, 65534); os.setgroups([]); os.setresuid(65534, 65534, 65534)
print(connect("/proc/self/ns/net", None, "10.1.0.2", 80, "tcp").attempts[0].answered_by)
for path, proto in (({b.path!r}, "tcp"), ("/proc/self/ns/net", "icmp")):
    try:
        connect(path, None, "10.1.0.2", 80, proto)
    except UserError as error:
        print(error.what, "|", error.hint)
"""
    lines = a.run(sys.executable, "-c", code).splitlines()
    assert lines[0] == "hostnames-0"
    assert "CAP_SYS_ADMIN" in lines[1]
    assert "run it as root" in lines[2]
