"""Virtual and real servers changed in the model, and back."""

import pytest
from msgspec.structs import replace

from nettrace.model.canonical import snapshot_difference
from nettrace.model.change import (
    Change,
    Exact,
    IpvsDestAdd,
    IpvsDestDelete,
    IpvsDestSet,
    IpvsServiceAdd,
    IpvsServiceDelete,
    Rebuilds,
)
from nettrace.model.edit import edit
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.undo import undo_of
from nettrace.render.command import command

ONE = RealServer(address="10.1.0.1", port=8080, active=3)
TWO = RealServer(address="10.1.0.2", port=8080)
NEW = RealServer(address="10.1.0.3", port=8080, weight=2)
RR = VirtualServer(address="10.96.0.1", port=80, real_servers=(ONE, TWO))
SH = replace(RR, port=81, scheduler="sh")
OTHER = VirtualServer(address="10.96.0.2", port=53, proto="udp", scheduler="wlc", real_servers=(NEW,))
STATE = Snapshot(namespaces={"n": Netns(name="n", node="n", ipvs=Known((RR, SH)))})

CHANGES: list[tuple[Change, str]] = [
    (IpvsServiceAdd(netns="n", server=OTHER), "ipvsadm -R"),
    (IpvsServiceDelete(netns="n", server=RR), "ipvsadm -D -t 10.96.0.1:80"),
    (IpvsDestAdd(netns="n", server=RR, real=NEW), "ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.3:8080 -m -w 2"),
    (IpvsDestDelete(netns="n", server=RR, real=ONE), "ipvsadm -d -t 10.96.0.1:80 -r 10.1.0.1:8080"),
    (
        IpvsDestSet(netns="n", server=RR, old=ONE, real=replace(ONE, weight=0)),
        "ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 0",
    ),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_there_and_back(change: Change, words: str) -> None:
    """Each is written as ipvsadm reads it, changes the state, and its undo restores it exactly."""
    assert command(change).endswith(words)
    after = edit(STATE, change)
    assert snapshot_difference(after, STATE)
    undo = undo_of(STATE, change)
    assert isinstance(undo, Exact)
    for back in undo.changes:
        after = edit(after, back)
    assert snapshot_difference(after, STATE) == []


def test_order_is_kept_where_it_decides() -> None:
    """A real server that is put back stands in front, which sh's table shows and others do not."""
    undo = undo_of(STATE, IpvsDestDelete(netns="n", server=SH, real=TWO))
    assert isinstance(undo, Rebuilds)
    assert isinstance(undo_of(STATE, IpvsDestDelete(netns="n", server=SH, real=ONE)), Exact)


def test_a_new_server_is_written_whole() -> None:
    """The virtual server and its real servers are one input for ipvsadm."""
    line = command(CHANGES[0][0])
    assert "-A -u 10.96.0.2:53 -s wlc" in line
    assert "-a -u 10.96.0.2:53 -r 10.1.0.3:8080 -m -w 2" in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (IpvsServiceAdd(netns="n", server=RR), "already has the virtual server"),
        (IpvsServiceDelete(netns="n", server=OTHER), "no virtual server udp 10.96.0.2:53"),
        (IpvsDestAdd(netns="n", server=RR, real=ONE), "already has the real server 10.1.0.1:8080"),
        (IpvsDestDelete(netns="n", server=RR, real=NEW), "no real server 10.1.0.3:8080"),
        (IpvsDestDelete(netns="n", server=RR, real=replace(ONE, weight=5)), "as it is expected"),
        (IpvsDestSet(netns="n", server=RR, old=NEW, real=NEW), "no real server"),
    ],
)
def test_what_does_not_fit_is_refused(change: Change, words: str) -> None:
    """A change of what is not there, or not as expected, names it."""
    with pytest.raises(ValueError, match=words):
        edit(STATE, change)
