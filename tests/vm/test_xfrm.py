"""IPsec with states, on a kernel that has ESP and AH: what is read, and the walk beside real packets."""

import os
from collections.abc import Iterator

import msgspec
import pytest

from nettrace.collect.netns import in_netns
from nettrace.collect.session import Session
from nettrace.collect.xfrm import read_xfrm
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.model.xfrm import Xfrm, XfrmState
from tests.kernel.bed import Bed
from tests.kernel.walkbed import TOPOLOGIES, Net

KEY = "00112233445566778899aabbccddeeff"
AUTH = f"auth-trunc hmac(sha256) 0x{KEY}{KEY} 128"


def read() -> Xfrm:
    """Of the namespace that it is called in."""
    session = Session()
    try:
        return read_xfrm(session)
    finally:
        session.close()


def state(words: str) -> list[str]:
    """``ip xfrm state add`` with keys."""
    return ["ip", "xfrm", "state", "add", *words.split(), "enc", "cbc(aes)", f"0x{KEY}", *AUTH.split()]


def test_states_are_read_without_their_keys(netns: Bed) -> None:
    """Ends, protocol, SPI, mode, marks and the selector; of algorithms the names."""
    space = netns.new()
    mark = "mark 0x10 mask 0xff if_id 0x7"
    space.run(*state(f"src 10.1.0.2 dst 10.2.0.2 proto esp spi 0x100 reqid 9 mode tunnel {mark}"))
    ah = "src fd00::1 dst fd00::2 proto ah spi 0x200 mode transport sel src fd00::/8 dst fd00::2"
    space.run("ip", "xfrm", "state", "add", *ah.split()[:-5], *AUTH.split(), *ah.split()[-5:])
    found = in_netns(space.path, read)
    assert {one.proto: one for one in found.states} == {
        "esp": XfrmState(
            src="10.1.0.2",
            dst="10.2.0.2",
            proto="esp",
            spi=0x100,
            mode="tunnel",
            reqid=9,
            mark=0x10,
            mark_mask=0xFF,
            if_id=7,
            selects_src="0.0.0.0/0",
            selects_dst="0.0.0.0/0",
            algorithms=("hmac(sha256)", "cbc(aes)"),
        ),
        "ah": XfrmState(
            src="fd00::1",
            dst="fd00::2",
            proto="ah",
            spi=0x200,
            selects_src="fd00::/8",
            selects_dst="fd00::2/128",
            algorithms=("hmac(sha256)",),
        ),
    }
    assert KEY not in msgspec.json.encode(found).decode()
    assert bytes.fromhex(KEY) not in msgspec.msgpack.encode(found)


@pytest.fixture
def net(netns: Bed) -> Iterator[Net]:
    """The router, with states for ESP both ways in client and server."""
    net = Net(netns)
    TOPOLOGIES["router"](net)
    for label in ("client", "server"):
        for number, (src, dst) in enumerate((("10.1.0.2", "10.2.0.2"), ("10.2.0.2", "10.1.0.2"))):
            net[label].run(*state(f"src {src} dst {dst} proto esp spi {0x100 + number} mode transport"))
    yield net
    net.close()


def require(net: Net, label: str, near: str, far: str) -> None:
    """Have *label* send by ESP, and let in only that."""
    for src, dst, direction in ((near, far, "out"), (far, near, "in")):
        esp = "tmpl proto esp mode transport"
        net.sh(label, f"ip xfrm policy add src {src} dst {dst} dir {direction} {esp}")


@pytest.mark.parametrize("proto", ["tcp", "udp"] if os.environ.get("NETTRACE_TEST_SWEEP") else ["tcp"])
def test_one_end_that_requires_it_and_both(net: Net, proto: str) -> None:
    """States alone change nothing; with policies at one end all is lost, with both it works: UNKNOWN."""
    flow = net.flow("client", "10.2.0.2", 80 if proto == "tcp" else 7, proto)
    assert net.agree(flow).outcome is Outcome.CONNECTED
    require(net, "server", "10.2.0.2", "10.1.0.2")
    answer = net.agree(flow)
    assert (answer.verdict, answer.outcome) == (Verdict.DROPPED_BY_XFRM, Outcome.TIMEOUT)
    assert "and the packet came in the clear" in answer.paths[0].reason
    require(net, "client", "10.1.0.2", "10.2.0.2")
    assert net.tried(flow, timeout=4.0).attempts[0].outcome is Outcome.CONNECTED
    answer = net.walked(flow)
    assert (answer.verdict, answer.outcome) == (Verdict.UNKNOWN, Outcome.UNKNOWN)
    assert "sent by IPsec" in answer.paths[0].reason
