"""Crafted packets: sent as asked, answered as a client would be; and frames that arrive."""

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from nettrace.app.context import open_context
from nettrace.app.remember import Question
from nettrace.app.trace import trace
from nettrace.collect.netns import in_netns
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord
from nettrace.model.walk import Outcome
from nettrace.observe.connect import connect
from nettrace.observe.rule_trace import watched_connect
from nettrace.observe.shape import Shape
from tests.kernel.bed import eventually
from tests.kernel.labs import a_lab, path_of
from tests.kernel.walkbed import TOPOLOGIES, Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

CRAFTED = Shape(mark=7, ttl=33, tos=0x10, df=False, crafted=True)


@pytest.fixture
def net(net: Net) -> Net:
    """A router between a client and a server, IPv6 too."""
    TOPOLOGIES["router"](net)
    for label, device, address in (
        ("client", "eth0", "fd01::2/64"),
        ("r", "c", "fd01::1/64"),
        ("r", "s", "fd02::1/64"),
        ("server", "eth0", "fd02::2/64"),
    ):
        net[label].address(device, address)
    net["client"].ip("-6 route add default via fd01::1")
    net["server"].ip("-6 route add default via fd02::1")
    net["r"].sysctl("net.ipv6.conf.all.forwarding", 1)
    for space in net.spaces.values():
        eventually(lambda space=space: not space.ip("-6 addr show tentative"))  # type: ignore[misc]
    return net


@pytest.mark.parametrize(
    ("proto", "dst", "port", "outcome", "errno"),
    [
        ("tcp", "10.2.0.2", 80, Outcome.CONNECTED, None),
        ("tcp", "10.2.0.2", 81, Outcome.REFUSED, "ECONNREFUSED"),
        ("udp", "10.2.0.2", 7, Outcome.CONNECTED, None),
        ("udp", "10.2.0.2", 8, Outcome.REFUSED, "ECONNREFUSED"),
        ("icmp", "10.2.0.2", None, Outcome.CONNECTED, None),
        ("sctp", "10.2.0.2", 80, Outcome.UNREACHABLE, "ENOPROTOOPT"),
        ("tcp", "10.9.0.2", 80, Outcome.UNREACHABLE, "ENETUNREACH"),
        ("tcp", "fd02::2", 81, Outcome.REFUSED, "ECONNREFUSED"),
        ("icmp", "fd02::2", None, Outcome.CONNECTED, None),
    ],
)
def test_a_crafted_packet_is_answered(
    net: Net, proto: str, dst: str, port: int | None, outcome: Outcome, errno: str | None
) -> None:
    """It leaves as it was asked to look, is recognised on every device, and its answer is a client's."""
    paths = {name: space.path for name, space in net.spaces.items()}
    shape = CRAFTED._replace(df=None) if ":" in dst else CRAFTED
    observed = watched_connect(paths, paths["client"], None, dst, port, proto, timeout=0.9, shape=shape)
    [attempt] = observed.attempts
    assert (attempt.outcome, attempt.errno) == (outcome, errno)
    first = attempt.frames[0]
    assert (first.netns, first.device, first.outgoing) == ("client", "eth0", True)
    packet = first.packet
    assert (packet.ttl, packet.tos, packet.df) == (33, 0x10, ":" in dst)
    assert attempt.legs[0].hits[0].mark == 7
    assert "ack" not in {leg.kind for leg in attempt.legs}


def test_what_no_socket_sends_is_crafted(net: Net) -> None:
    """A SYN of a size of its own goes out by a raw socket, by itself."""
    paths = {name: space.path for name, space in net.spaces.items()}
    observed = watched_connect(
        paths, paths["client"], None, "10.2.0.2", 80, "tcp", timeout=0.9, shape=Shape(size=700)
    )
    [attempt] = observed.attempts
    assert attempt.outcome is Outcome.CONNECTED
    assert {one.packet.size for one in attempt.frames if one.leg == "request"} == {700}
    assert any("crafted" in note for note in observed.notes)


def test_a_source_port_that_is_taken_is_told(net: Net) -> None:
    """Before anything is sent."""

    def taken() -> socket.socket:
        found = socket.socket()
        found.bind(("10.1.0.2", 4444))
        found.listen()
        return found

    held = in_netns(net["client"].path, taken)
    with held, pytest.raises(UserError, match="4444"):
        connect(net["client"].path, None, "10.2.0.2", 80, "tcp", timeout=0.5, sport=4444, shape=CRAFTED)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabRecord]:
    """One cluster."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with a_lab("flannel-vxlan") as record:
        yield record


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("ip/10.244.1.3", "pod/default/hostnames-1:9376"),
        ("ip/10.244.1.3", "svc/default/hostnames:80"),
        ("ip/10.244.1.3", "pod/default/hostnames-1:9376/udp"),
        ("ip/10.244.1.3", "pod/default/hostnames-1/icmp"),
        ("ip/10.244.1.3", "pod/default/hostnames-1:9999"),
        ("ip/192.0.2.9", "pod/default/hostnames-1:9376"),
    ],
)
def test_a_frame_that_arrives_agrees_with_its_walk(cluster: LabRecord, source: str, target: str) -> None:
    """At the port of a pod, sent by the other end of the pair: every step, and the answer by that device."""
    port = port_of(cluster, "node-a", "client-a")
    with open_context(lab=cluster.name) as context:
        question = Question(source=source, target=target, at=f"node-a/{port}", ttl=40)
        report = trace(context, question, with_probe=True)
    assert report.agreement is not None
    assert report.observed is not None
    first = report.observed.attempts[0].frames[0]
    assert (first.netns, first.device, first.outgoing) == ("node-a", port, False)
    assert first.packet.ttl == 40
    assert report.agreement.differences == ()
    assert report.agreement.agrees is True


def port_of(record: LabRecord, node: str, pod: str) -> str:
    """The device of a node whose other end is a pod's eth0."""
    index = inside(record, pod, "ip -o link show eth0").split("@if")[1].split(":")[0]
    lines = inside(record, node, "ip -o link").splitlines()
    return next(line.split(": ")[1].split("@")[0] for line in lines if line.split(":")[0] == index)


def inside(record: LabRecord, name: str, line: str) -> str:
    """Run a command line in a namespace of the lab."""
    return subprocess.run(
        ["nsenter", f"--net={path_of(record, name)}", "sh", "-c", line],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
