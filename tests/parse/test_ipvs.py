"""ipvsadm-save text as virtual servers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrace.model.errors import UserError
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.parse.ipvs import parse_ipvsadm_save, save_ipvsadm

TEXT = """
-A -t 10.96.0.1:443 -s rr -p 600
-a -t 10.96.0.1:443 -r 192.0.2.1:6443 -m -w 0
-A -u [fd00::a]:53 -s mh -p -b mh-fallback,mh-port -M 64 -o
-a -u [fd00::a]:53 -r [fd00::1]:53 -g -w 2 -x 10 -y 5
-a -u [fd00::a]:53 -r [fd00::2]:53 -i --tun-type ipip --tun-nocsum
-A -f 7 -s wlc
-a -f 7 -r 192.0.2.1:0 -g -w 1
-A --sctp-service 10.96.0.2:7777
"""


def test_a_dump() -> None:
    """Schedulers, persistence, flags, weights, thresholds, ways of forwarding and marks are read."""
    first, second, marked, third = parse_ipvsadm_save(TEXT)
    assert first == VirtualServer(
        address="10.96.0.1",
        port=443,
        persistent=600,
        real_servers=(RealServer(address="192.0.2.1", port=6443, weight=0),),
    )
    assert (second.proto, second.persistent, second.flags) == (
        "udp",
        300,
        ("mh-fallback", "mh-port", "ops"),
    )
    assert second.netmask == 64
    assert [real.forwarding for real in second.real_servers] == ["route", "tunnel"]
    assert [real.weight for real in second.real_servers] == [2, 1]
    assert (second.real_servers[0].upper, second.real_servers[0].lower) == (10, 5)
    assert (marked.fwmark, marked.address, marked.real_servers[0].port) == (7, "", 0)
    assert (third.proto, third.scheduler, third.real_servers) == ("sctp", "wlc", ())


@pytest.mark.parametrize(
    "line",
    [
        "*nat",
        "-A",
        "-A -x 10.0.0.1:80 -s rr",
        "-A -t 10.0.0.1 -s rr",
        "-A -t 10.0.0.1:99999 -s rr",
        "-A -t 10.0.0.1:80 -s",
        "-A -t 10.0.0.1:80 --odd",
        "-A -t 10.0.0.1:http -s rr",
        "-A -t 300.0.0.1:80 -s rr",
        "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m",
    ],
)
def test_what_is_no_dump(line: str) -> None:
    """The line is named."""
    with pytest.raises(UserError, match="not a line of ipvsadm-save") as raised:
        parse_ipvsadm_save(f"\n{line}\n")
    assert raised.value.where == "ipvsadm-save, line 2"


@pytest.mark.parametrize(
    "line", ["-A -t 10.0.0.1:80 -s rr", "-a -t 10.0.0.1:80 -m", "-a -t 10.0.0.1:80 -r 10.0.0.2:80 --odd"]
)
def test_lines_that_do_not_follow(line: str) -> None:
    """A server that is there twice, a real server without an address, an option that nobody knows."""
    with pytest.raises(UserError, match="not a line of ipvsadm-save"):
        parse_ipvsadm_save(f"-A -t 10.0.0.1:80 -s rr\n{line}\n")


REAL = st.builds(
    RealServer,
    address=st.ip_addresses(v=4).map(str),
    port=st.integers(0, 65535),
    weight=st.integers(0, 100),
    forwarding=st.sampled_from(["masq", "tunnel", "route"]),
    upper=st.integers(0, 9),
)
SERVER = st.builds(
    VirtualServer,
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65535),
    proto=st.sampled_from(["tcp", "udp", "sctp"]),
    scheduler=st.sampled_from(["rr", "wlc", "mh"]),
    persistent=st.none() | st.integers(1, 86400),
    flags=st.sampled_from([(), ("mh-port",), ("mh-port", "ops")]),
    real_servers=st.lists(REAL, max_size=3).map(tuple),
)


@given(st.lists(SERVER, max_size=4, unique_by=lambda one: (one.address, one.port, one.proto)))
def test_what_is_written_is_read(servers: list[VirtualServer]) -> None:
    """Writing and reading are each other's inverse."""
    assert list(parse_ipvsadm_save(save_ipvsadm(servers))) == servers
