"""What the probe looks like on every device, in files and dissected; others' packets are not taken."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettrace.app.context import open_context
from nettrace.app.remember import Question
from nettrace.app.trace import trace
from nettrace.collect.netns import in_netns
from nettrace.model.lab import LabRecord
from nettrace.model.observation import Frame
from nettrace.observe.arming import TABLE
from nettrace.observe.capture import Capture
from nettrace.observe.packet_filter import MOST_TAGS, packet_filter
from nettrace.observe.recognise import Recogniser
from nettrace.observe.tag import fresh_tags
from tests.kernel.bed import Bed, Space
from tests.kernel.labs import a_lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabRecord]:
    """One cluster."""
    with a_lab("flannel-vxlan") as record:
        yield record


def test_a_capture_shows_every_device_of_the_way(cluster: LabRecord, tmp_path: Path) -> None:
    """From pod to pod through the tunnel: each device in order, the outer packet with the inner in it."""
    path = tmp_path / "x.pcapng"
    with open_context(lab=cluster.name) as context:
        question = Question(source="client-a", target="pod/default/hostnames-1:9376")
        report = trace(context, question, with_probe=True, pcap=path, dissected=True)
    assert report.agreement is not None
    assert report.agreement.differences == ()
    assert report.observed is not None
    [attempt] = report.observed.attempts
    request = [one for one in attempt.frames if one.leg == "request"]
    places = [(one.netns, one.device, one.outgoing) for one in request]
    assert places[0] == ("client-a", "eth0", True)
    assert places[-1] == ("hostnames-1", "eth0", False)
    assert ("node-a", "flannel.1", True) in places
    carried = [one for one in request if one.tunnelled]
    assert {(one.netns, one.device) for one in carried} >= {("node-a", "eth0"), ("node-b", "eth0")}
    assert all(one.packet.inner is not None and one.packet.inner.proto == "tcp" for one in carried)
    assert any("vxlan  vni 1" in one.layers for one in carried)
    assert all(one.layers for one in attempt.frames)
    assert path.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert b"node-a/flannel.1" in path.read_bytes()


def _talk(space: Space, payloads: list[bytes]) -> None:
    """Send datagrams over lo."""

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for payload in payloads:
                sock.sendto(payload, ("127.0.0.1", 9))

    in_netns(space.path, send)


@pytest.mark.parametrize("count", [1, 3, MOST_TAGS])
def test_the_kernel_lets_no_strangers_pass(netns: Bed, count: int) -> None:
    """Of many datagrams only those of the probe come as far as this process."""
    space = netns.new()
    tags = fresh_tags("udp", 9, count)
    program = packet_filter("udp", 4, tags)
    capture = Capture({"n": space.path}, program, Recogniser("udp", tags))
    with capture:
        strangers = [b"", b"x", *(bytes(range(n, n + 40)) for n in range(50))]
        _talk(space, [*strangers, tags[-1], *strangers])
        found = capture.settle()
        raw = len(capture._taken)
    frames = found[count - 1]
    assert [one.outgoing for one in frames if one.leg == "request"] == [True, False]
    assert {one.leg for one in frames} == {"request", "error"}
    assert raw == len(frames) == 4


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp", "sctp"])
def test_the_kernel_takes_every_filter(netns: Bed, proto: str, version: int) -> None:
    """For each protocol and version of IP, one attempt and as many as there can be."""
    space = netns.new()
    for count in (1, MOST_TAGS, MOST_TAGS + 1):
        tags = fresh_tags(proto, 80, count)
        with Capture(
            {"n": space.path}, packet_filter(proto, version, tags), Recogniser(proto, tags)
        ) as capture:
            assert capture.notes == ()
            assert capture.captured == ("n",)


def test_a_connection_over_ipv6_is_captured(netns: Bed) -> None:
    """By its tag, its later segments by its ends."""
    from nettrace.observe.rule_trace import watched_connect

    space = netns.new()

    def listen() -> socket.socket:
        return socket.create_server(("::1", 80), family=socket.AF_INET6)

    server = in_netns(space.path, listen)
    stop = threading.Thread(target=_serve, args=(server,), daemon=True)
    stop.start()
    observed = watched_connect({"n": space.path}, space.path, None, "::1", 80, "tcp", timeout=2.0)
    server.close()
    frames: tuple[Frame, ...] = observed.attempts[0].frames
    assert observed.notes == ()
    assert {"request", "reply", "ack"} <= {one.leg for one in frames}
    assert all(one.packet.src == "::1" for one in frames)
    assert TABLE not in space.run("nft", "list", "tables")


def _serve(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.sendall(b"hello\n")
    time.sleep(0.1)
    connection.close()


def test_a_namespace_that_is_gone_is_told() -> None:
    """The others are captured all the same, and a note says which was not."""
    capture = Capture(
        {"gone": "/run/netns/nt-t-nowhere"}, packet_filter("tcp", 4, [b"abcd"]), Recogniser("tcp", [])
    )
    with capture:
        assert capture.settle() == {}
    assert capture.captured == ()
    [said] = capture.notes
    assert "gone" in said
