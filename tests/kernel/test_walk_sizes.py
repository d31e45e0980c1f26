"""The walk against the kernel with large segments: path MTU discovery, and where it is broken."""

import socket
import threading

import pytest

from nettrace.collect.netns import in_netns
from nettrace.model.walk import Outcome
from tests.kernel.walkbed import TOPOLOGIES, Net

MUCH = 20_000  # bytes each way
PORT = 81

NARROW = "r: ip route replace 10.2.0.0/24 dev s mtu 1300"
DEAF_CLIENT = "client: iptables -A INPUT -p icmp -j DROP"

CASES = {
    "plain": ((), Outcome.CONNECTED),
    "discovered": ((NARROW,), Outcome.CONNECTED),
    "discovery-broken": ((NARROW, DEAF_CLIENT), Outcome.STALLS),
    "discovery-broken-clamped": (
        (
            NARROW,
            DEAF_CLIENT,
            "r: iptables -t mangle -A FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu",
            "r: iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,ACK SYN,ACK -j TCPMSS --clamp-mss-to-pmtu",
        ),
        Outcome.CONNECTED,
    ),
    "answers-discovered": (("r: ip route replace 10.1.0.0/24 dev c mtu 1300",), Outcome.CONNECTED),
    "answers-broken": (
        ("r: ip route replace 10.1.0.0/24 dev c mtu 1300", "server: iptables -A INPUT -p icmp -j DROP"),
        Outcome.STALLS,
    ),
    "a-cable-with-two-mtus": (
        ("r: ip link set s mtu 1300", "r: ip route add 10.2.0.2 dev s mtu 1500"),
        Outcome.STALLS,
    ),
    "mss-of-the-smaller-end": (
        ("server: ip link set eth0 mtu 1200", "r: ip link set s mtu 1200"),
        Outcome.CONNECTED,
    ),
}


@pytest.fixture
def net(net: Net) -> Net:
    """A router between a client and a server whose devices send single segments."""
    TOPOLOGIES["router"](net)
    for label, device in (("client", "eth0"), ("r", "c"), ("r", "s"), ("server", "eth0")):
        net[label].ip(f"link set {device} gso_max_segs 1")
    return net


def serve(listener: socket.socket) -> None:
    """Take one call: say much, hear much, confirm."""
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(6)
            connection.sendall(b"x" * MUCH)
            hear(connection, MUCH)
            connection.sendall(b"k")
    except OSError:
        return


def hear(connection: socket.socket, wanted: int) -> None:
    """Read so many bytes; TimeoutError if they do not come."""
    while wanted > 0:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError
        wanted -= len(data)


def talk() -> Outcome:
    """Connect, hear much, say much, wait for the confirmation."""
    with socket.socket() as client:
        client.settimeout(2.5)
        client.connect(("10.2.0.2", PORT))
        try:
            hear(client, MUCH)
            client.sendall(b"x" * MUCH)
            hear(client, 1)
        except TimeoutError:
            return Outcome.STALLS
        return Outcome.CONNECTED


@pytest.mark.parametrize("name", CASES)
def test_large_segments(net: Net, name: str) -> None:
    """A bulk transfer each way gets through, or stalls, as the walk says."""
    commands, expected = CASES[name]

    def opened() -> socket.socket:
        return socket.create_server(("10.2.0.2", PORT))

    listener = in_netns(net["server"].path, opened)
    with listener:
        listener.settimeout(6)
        for command in commands:
            label, line = command.split(": ", 1)
            net.sh(label, line)
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        answer = net.walked(net.flow("client", "10.2.0.2", PORT, "tcp"))
        real = in_netns(net["client"].path, talk)
        server.join()
    assert answer.outcome is real, [(path.verdict, path.reason) for path in answer.paths]
    assert real is expected
