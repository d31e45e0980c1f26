"""
IPVS without a kernel: what no real connection shows, and the hashes that the kernel was seen to make.

The walk beside real connections is tests/vm/test_walk_ipvs.py.
"""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.ipvs import IpvsConnection, RealServer, VirtualServer
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome, Path
from tests.walk.worlds import World, flow, one_path, router, walked

VIP = "10.96.0.1"
REAL = RealServer(address="10.2.0.2", port=80)
SERVER = VirtualServer(address=VIP, port=8080, real_servers=(REAL,))
ASKED = flow("client", VIP, 8080)


def world(server: VirtualServer = SERVER, **sysctls: int) -> World:
    """client -- r, with the VIP and a virtual server -- server."""
    made = router()
    made["r"].address("lo", f"{VIP}/32")
    made["r"].ipvs = [server]
    for name, value in {"conntrack": 0, **sysctls}.items():
        made["r"].sysctl(f"net.ipv4.vs.{name}", value)
    return made


def with_real(**values: Any) -> VirtualServer:
    """The virtual server with other attributes of its real server."""
    return replace(SERVER, real_servers=(replace(REAL, **values),))


def unknown(path: Path) -> str:
    """Why a path is UNKNOWN."""
    assert path.verdict is Verdict.UNKNOWN
    return path.reason


@pytest.mark.parametrize("conntrack", [0, 1])
def test_there_and_back(conntrack: int) -> None:
    """The real server is asked, the client hears from the virtual address, by two steps of IPVS."""
    path = one_path(world(conntrack=conntrack), ASKED)
    assert path.outcome is Outcome.CONNECTED
    assert path.endpoint is not None
    assert (path.endpoint.address, path.endpoint.port) == ("10.2.0.2", 80)
    told = [
        (leg.kind, step.hook, step.verdict)
        for leg in path.legs
        for step in leg.steps
        if step.stage is Stage.IPVS
    ]
    assert told[:2] == [("request", "input", "dnat"), ("reply", "forward", "snat")]


def test_no_ipvs_without_virtual_servers() -> None:
    """Without a virtual server, and without IPVS in the kernel, the address is the node's own."""
    made = world()
    made["r"].ipvs = []
    assert one_path(made, ASKED).verdict is Verdict.NOT_LISTENING
    assert one_path(router(), flow("client", "10.1.0.1", 8080)).verdict is Verdict.NOT_LISTENING


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (replace(SERVER, scheduler="best"), "scheduler best chooses is not known"),
        (replace(SERVER, engine="sip", persistent=300), "engine sip looks into packets"),
        (with_real(upper=10, lower=5, active=7), "between its thresholds"),
        (with_real(upper=10, active=8), "between its thresholds"),
        (with_real(forwarding="tunnel", tunnel="gue"), "tunnel of kind gue"),
        (with_real(forwarding="bypass"), "bypass is not walked"),
    ],
)
def test_what_is_not_known_is_said(server: VirtualServer, words: str) -> None:
    """Where the state does not decide, the walk says what would."""
    assert words in unknown(one_path(world(server), ASKED))


@pytest.mark.parametrize("name", ["backup_only", "nat_icmp_send", "drop_packet"])
def test_switches_that_are_not_walked(name: str) -> None:
    """Rare switches make the walk unknown, not wrong."""
    value = 3 if name == "drop_packet" else 1
    assert f"net.ipv4.vs.{name}" in unknown(one_path(world(SERVER, **{name: value}), ASKED))


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"upper": 10, "active": 10}, Outcome.REFUSED),
        ({"upper": 10, "lower": 5, "active": 4}, Outcome.CONNECTED),
        ({"upper": 10, "active": 7}, Outcome.CONNECTED),
        ({"weight": 0}, Outcome.REFUSED),
    ],
)
def test_thresholds(values: dict[str, int], outcome: Outcome) -> None:
    """A real server at its upper threshold takes nobody, one below its lower one does."""
    assert one_path(world(with_real(**values)), ASKED).outcome is outcome


def test_a_server_without_a_scheduler_refuses() -> None:
    """`ipvsadm -s none`."""
    assert one_path(world(replace(SERVER, scheduler="none")), ASKED).outcome is Outcome.REFUSED


def test_shares_add_up() -> None:
    """Each branch has its real server's share."""
    two = replace(REAL, address="10.2.0.3", weight=3)
    made = world(replace(SERVER, scheduler="wrr", real_servers=(REAL, two)))
    paths = walked(made, ASKED).paths
    assert [round(path.probability, 2) for path in paths] == [0.25, 0.75]
    assert "1/4 by wrr" in paths[0].draws[0]


def test_a_connection_whose_real_server_is_gone() -> None:
    """Its packets are dropped, unless expire_nodest_conn is on, which is left open."""
    asked = flow("client", VIP, 8080, "udp", sport=4000)
    made = world(replace(SERVER, proto="udp"))
    made["r"].ipvs_connections = [
        IpvsConnection(
            proto="udp",
            client="10.1.0.2",
            client_port=4000,
            address=VIP,
            port=8080,
            server="10.2.0.9",
            server_port=80,
        )
    ]
    path = one_path(made, asked)
    assert path.verdict is Verdict.INVALID
    assert "10.2.0.9 is gone" in path.reason
    made["r"].sysctl("net.ipv4.vs.expire_nodest_conn", 1)
    assert "begins anew" in unknown(one_path(made, asked))


@pytest.mark.parametrize(
    ("match", "dropped"),
    [
        (f"-m ipvs --vproto 6 --vaddr {VIP} --vport 8080", True),
        (f"-m ipvs --vaddr {VIP}/24 --vmethod MASQ", True),
        ("-m ipvs --vport 81", False),
        ("-m ipvs ! --vport 81", True),
        ("-m ipvs --vmethod GATE", False),
        ("-m ipvs --ipvs", True),
        ("-m ipvs ! --ipvs", False),
    ],
)
def test_rules_about_ipvs(match: str, dropped: bool) -> None:
    """Behind IPVS a rule knows its connection; before it there is none."""
    made = world(conntrack=1)
    made["r"].filter(f"-A OUTPUT -p tcp {match} -j DROP")
    assert (one_path(made, ASKED).verdict is Verdict.DROPPED_BY_RULE) is dropped
    made = world(conntrack=1)
    made["r"].filter(f"-A INPUT -p tcp {match} -j DROP")
    assert (one_path(made, ASKED).verdict is Verdict.DROPPED_BY_RULE) is (match == "-m ipvs ! --ipvs")


def test_a_small_ttl() -> None:
    """IPVS lowers the TTL as a router does, and says so where it runs out."""
    path = one_path(world(), flow("client", VIP, 8080, ttl=1))
    assert path.verdict is Verdict.TTL_EXCEEDED
