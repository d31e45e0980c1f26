"""Who takes a packet, and what happens where nobody does."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.flow import Flow
from nettrace.model.packet import PortRange
from nettrace.model.section import Missing, MissingKind, SectionKey
from nettrace.model.sockets import Socket
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.walk.worlds import TO_SERVER, World, flow, one_path, router


def listening(port: int = 80, proto: str = "tcp", **socket: Any) -> World:
    """A world whose server has one socket only."""
    world = router()
    world["server"].sockets.clear()
    world["server"].listen(port, proto, **socket)
    return world


@pytest.mark.parametrize(
    ("socket", "outcome"),
    [
        ({}, Outcome.CONNECTED),
        ({"address": "10.2.0.2"}, Outcome.CONNECTED),
        ({"address": "::"}, Outcome.CONNECTED),
        ({"address": "::ffff:10.2.0.2"}, Outcome.CONNECTED),
        ({"device": "eth0"}, Outcome.CONNECTED),
        ({"address": "127.0.0.1"}, Outcome.REFUSED),
        ({"address": "::", "v6only": True}, Outcome.REFUSED),
        ({"address": "::1"}, Outcome.REFUSED),
        ({"device": "lo"}, Outcome.REFUSED),
        ({"port": 81}, Outcome.REFUSED),
        ({"proto": "udp"}, Outcome.REFUSED),
    ],
)
def test_which_socket_takes_a_call(socket: dict[str, Any], outcome: Outcome) -> None:
    """Address, device, port and protocol of the socket decide."""
    path = one_path(listening(**socket), TO_SERVER)
    assert path.outcome is outcome
    if outcome is Outcome.REFUSED:
        assert (path.verdict, path.errno) == (Verdict.NOT_LISTENING, "ECONNREFUSED")
        assert [leg.kind for leg in path.legs] == ["request", "reply"]


def test_a_wrong_bind_is_named() -> None:
    """Where somebody listens on localhost only, the step says so."""
    path = one_path(listening(address="127.0.0.1"), TO_SERVER)
    assert "only at 127.0.0.1" in path.reason


def test_udp_to_a_closed_port() -> None:
    """Port unreachable comes back as an ICMP error."""
    path = one_path(router(), flow("client", "10.2.0.2", 99, "udp"))
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")
    assert [leg.kind for leg in path.legs] == ["request", "error"]


def test_a_connected_udp_socket_takes_only_its_peer() -> None:
    """A socket that is connected to somebody else does not answer."""
    world = router()
    world["server"].sockets.clear()
    world["server"].listen(53, "udp", remote="10.9.9.9", remote_port=1000)
    world["server"].sockets = [replace(one, state="established") for one in world["server"].sockets]
    assert one_path(world, flow("client", "10.2.0.2", 53, "udp")).outcome is Outcome.REFUSED


def test_echo_is_answered_by_the_kernel() -> None:
    """Ping needs no socket; icmp_echo_ignore_all keeps the kernel silent."""
    world = router()
    asked = flow("client", "10.2.0.2", proto="icmp")
    path = one_path(world, asked)
    assert path.outcome is Outcome.CONNECTED
    assert [leg.kind for leg in path.legs] == ["request", "reply"]
    world["server"].sysctl("net.ipv4.icmp_echo_ignore_all", 1)
    path = one_path(world, asked)
    assert (path.verdict, path.outcome) == (Verdict.NOT_LISTENING, Outcome.TIMEOUT)


def test_sockets_that_cannot_be_read() -> None:
    """Without the sockets nobody knows who listens."""
    denied = Missing(MissingKind.DENIED, "not root")
    snapshot = router().snapshot().with_section(SectionKey("server", "sockets"), denied)
    assert one_path(snapshot, TO_SERVER).outcome is Outcome.UNKNOWN


def test_a_udp_server_with_several_addresses() -> None:
    """Asked at an address it would not answer from, a wildcard socket is undecided, a bound one not."""
    world = router()
    world["server"].address("lo", "10.2.0.50/32")
    asked = flow("client", "10.2.0.50", 53, "udp")
    path = one_path(world, asked)
    assert path.outcome is Outcome.UNKNOWN
    assert "10.2.0.50" in path.reason
    world["server"].sockets.clear()
    world["server"].listen(53, "udp", address="10.2.0.50")
    assert one_path(world, asked).outcome is Outcome.CONNECTED


def test_a_port_that_the_kernel_chooses() -> None:
    """DNAT to a range of ports draws one with --random only, else it is the first."""
    world = router()
    rule = "-A PREROUTING -d 10.1.0.1/32 -p tcp -j DNAT --to-destination 10.2.0.2:{}"
    asked = flow("client", "10.1.0.1", 5)
    world["r"].nat(rule.format("70-90") + " --random")
    assert one_path(world, asked).outcome is Outcome.UNKNOWN
    world["r"].nat(rule.format("70-90"))
    assert one_path(world, asked).outcome is Outcome.REFUSED
    world["r"].nat(rule.format("80-90"))
    assert one_path(world, asked).outcome is Outcome.CONNECTED


def test_the_endpoint_knows_whom_it_saw() -> None:
    """The source port that the server sees is the client's range."""
    path = one_path(router(), TO_SERVER)
    assert path.endpoint is not None
    assert path.endpoint.source_port == PortRange(32768, 60999)
    assert path.endpoint.port == 80


def test_the_client_s_own_port_range() -> None:
    """ip_local_port_range of the client's namespace is what its port may be."""
    world = router()
    world["client"].sysctl("net.ipv4.ip_local_port_range", "2000 2999")
    path = one_path(world, TO_SERVER)
    assert path.endpoint is not None
    assert path.endpoint.source_port == PortRange(2000, 2999)


def test_to_itself_over_lo() -> None:
    """An address of one's own is reached over lo, where INPUT's rules see lo."""
    world = router()
    world["server"].filter("-A INPUT -i lo -j ACCEPT", "-P INPUT DROP")
    assert one_path(world, flow("server", "10.2.0.2", 80)).outcome is Outcome.CONNECTED
    assert one_path(world, flow("server", "127.0.0.1", 80)).outcome is Outcome.CONNECTED
    assert one_path(world, TO_SERVER).outcome is Outcome.TIMEOUT


def test_a_source_that_is_not_there() -> None:
    """A socket cannot be bound to an address that the namespace has not."""
    path = one_path(router(), flow("client", "10.2.0.2", 80, src="10.1.0.99"))
    assert (path.outcome, path.errno) == (Outcome.UNREACHABLE, "EADDRNOTAVAIL")


@pytest.mark.parametrize(
    ("sockets", "sport", "outcome"),
    [
        ([{"remote": "10.9.9.9", "remote_port": 5}], None, Outcome.REFUSED),
        ([{"remote": "10.1.0.2", "remote_port": 5555, "state": "established"}], 5555, Outcome.CONNECTED),
        ([{"remote": "10.1.0.2", "remote_port": 5555}], 5556, Outcome.REFUSED),
        ([{"remote": "10.9.9.9", "remote_port": 5}, {}], None, Outcome.CONNECTED),
        ([{"device": "eth0"}], None, Outcome.CONNECTED),
        ([{"device": "lo"}], None, Outcome.REFUSED),
        ([{"address": "::", "v6only": True}], None, Outcome.REFUSED),
        ([{"address": "::"}], None, Outcome.CONNECTED),
        ([{"address": "::ffff:10.2.0.2"}], None, Outcome.CONNECTED),
        ([{"address": "10.2.0.3"}], None, Outcome.REFUSED),
    ],
)
def test_udp_sockets(sockets: list[dict[str, Any]], sport: int | None, outcome: Outcome) -> None:
    """Address, device and peer of a UDP socket have to fit the packet."""
    world = router()
    for one in sockets:
        attributes = {"state": "unconn", "address": "0.0.0.0", "proto": "udp", "port": 99, **one}
        world["server"].sockets.append(Socket(**attributes))
    assert one_path(world, flow("client", "10.2.0.2", 99, "udp", sport=sport)).outcome is outcome


def test_the_better_socket_takes_it() -> None:
    """An address before a wildcard, a device before none; of equals, one."""
    world = router()
    world["server"].listen(99, process="wild", device="eth0")
    world["server"].listen(99, address="10.2.0.2", process="own")
    path = one_path(world, flow("client", "10.2.0.2", 99))
    assert path.request.last is not None
    assert path.request.last.why is not None
    assert path.request.last.why.text == "own"
    world["server"].listen(99, address="10.2.0.2", process="twin")
    path = one_path(world, flow("client", "10.2.0.2", 99))
    assert path.request.last is not None
    assert path.request.last.why is not None
    assert path.request.last.why.text == "one of 2 sockets (own, twin)"


@pytest.mark.parametrize(("device", "outcome"), [("eth0", Outcome.CONNECTED), ("lo", Outcome.REFUSED)])
def test_an_own_address_over_lo(device: str, outcome: Outcome) -> None:
    """A packet to oneself came by the device that has the address, though it went over lo."""
    world = router()
    world["server"].listen(99, device=device)
    assert one_path(world, flow("server", "10.2.0.2", 99)).outcome is outcome


@pytest.mark.parametrize(
    ("state", "outcome"), [("established", Outcome.UNKNOWN), ("time_wait", Outcome.CONNECTED)]
)
def test_a_connection_with_the_same_ports(state: str, outcome: Outcome) -> None:
    """A server that still has the connection first asks its peer; in TIME_WAIT a SYN begins anew."""
    world = router()
    world["server"].sockets.append(
        Socket(proto="tcp", address="10.2.0.2", port=80, state=state, remote="10.1.0.2", remote_port=4000)
    )
    assert one_path(world, flow("client", "10.2.0.2", 80, sport=4000)).outcome is outcome


def icmp(kind: int) -> Flow:
    """An ICMP message of the client's."""
    asked = flow("client", "10.2.0.2", proto="icmp")
    return replace(asked, packet=replace(asked.packet, icmp_type=kind))


def test_icmp_that_is_no_echo() -> None:
    """The kernel answers timestamps and nothing else."""
    path = one_path(router(), icmp(13))
    assert path.outcome is Outcome.CONNECTED
    assert path.reply is not None
    assert path.reply.steps[0].before is not None
    assert path.reply.steps[0].before.icmp_type == 14
    for kind in (0, 5, 14, 15, 17, 42):
        assert one_path(router(), icmp(kind)).verdict is Verdict.UNEXPECTED


@pytest.mark.parametrize("proto", ["sctp", "253"])
def test_protocols_that_nobody_takes(proto: str) -> None:
    """A protocol that the kernel has not is unreachable; a raw socket takes it, and its answer is open."""
    asked = flow("client", "10.2.0.2", 99 if proto == "sctp" else None, proto)
    path = one_path(router(), asked)
    assert (path.verdict, path.outcome, path.errno) == (
        Verdict.NOT_LISTENING,
        Outcome.UNREACHABLE,
        "ENOPROTOOPT",
    )
    world = router()
    number = 132 if proto == "sctp" else int(proto)
    world["server"].sockets.append(Socket(proto="raw", address="0.0.0.0", port=number, state="close"))
    path = one_path(world, asked)
    assert (path.verdict, path.outcome) == (Verdict.DELIVERED, Outcome.UNKNOWN)


def test_a_kernel_with_sctp() -> None:
    """Who listens at an SCTP port is not read."""
    world = router()
    world["server"].sysctls["net.sctp.addip_enable"] = "0"
    path = one_path(world, flow("client", "10.2.0.2", 99, "sctp"))
    assert path.outcome is Outcome.UNKNOWN
    assert "SCTP" in path.reason


def test_an_answer_that_another_socket_takes() -> None:
    """An answer that NAT sends to a listener of the client's is not the client's."""
    world = router()
    world["client"].nat("-A PREROUTING -p udp -m udp --sport 53 -j DNAT --to-destination 10.1.0.2:53")
    world["client"].filter("-A OUTPUT -j CT --notrack", table="raw")
    world["client"].listen(53, "udp", process="resolver")
    path = one_path(world, flow("client", "10.2.0.2", 53, "udp"))
    assert (path.verdict, path.outcome) == (Verdict.UNEXPECTED, Outcome.TIMEOUT)
    assert "resolver" in path.reason
