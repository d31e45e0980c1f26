"""ipsets in the model: made, destroyed, filled; each change as ipset reads it, and back."""

import pytest
from msgspec.structs import replace

from nettrace.model.canonical import snapshot_difference
from nettrace.model.change import Change, Exact, IpsetCreate, IpsetDestroy, IpsetEntryAdd, IpsetEntryDelete
from nettrace.model.edit import edit
from nettrace.model.ipset import IpSet
from nettrace.model.section import NOT_READ, Known
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.undo import undo_of
from nettrace.parse.ipset import parse_ipset_save, save_ipset
from nettrace.render.command import command

PORTS = IpSet(name="PORTS", type="bitmap:port", members=("80", "443"))
NETS = IpSet(name="NETS", type="hash:net", members=("10.0.0.0/8", "10.9.0.0/16"), exceptions=("10.1.0.0/16",))
NEW = IpSet(name="NEW", type="hash:ip,port", members=("10.96.0.1,tcp:80",))
OPTIONS = "family inet hashsize 1024 maxelem 65536"
STATE = Snapshot(namespaces={"n": Netns(name="n", node="n", ipsets=Known((PORTS, NETS)))})

CHANGES: list[tuple[Change, str]] = [
    (IpsetCreate(netns="n", set=NEW, options=OPTIONS), "| ipset restore"),
    (IpsetDestroy(netns="n", set=PORTS, options="range 0-65535"), "ipset destroy PORTS"),
    (IpsetEntryAdd(netns="n", name="PORTS", entry="8080"), "ipset add PORTS 8080"),
    (IpsetEntryDelete(netns="n", name="NETS", entry="10.0.0.0/8"), "ipset del NETS 10.0.0.0/8"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_there_and_back(change: Change, words: str) -> None:
    """Each is written as ipset reads it, changes the state, and its undo restores it exactly."""
    assert command(change).endswith(words)
    after = edit(STATE, change)
    assert snapshot_difference(after, STATE)
    undo = undo_of(STATE, change)
    assert isinstance(undo, Exact)
    for back in undo.changes:
        after = edit(after, back)
    assert not snapshot_difference(after, STATE)


@pytest.mark.parametrize("one", [PORTS, NETS, NEW, replace(NETS, wildcards=("10.0.0.0/8",))])
def test_a_set_is_written_as_it_is_read(one: IpSet) -> None:
    """What is written for ``ipset restore`` reads back as the same set."""
    assert parse_ipset_save(save_ipset(one, "")) == (one,)
    assert save_ipset(one, "family inet").startswith(f"create {one.name} {one.type} family inet\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (IpsetCreate(netns="n", set=PORTS, options=""), "already has the set PORTS"),
        (IpsetDestroy(netns="n", set=NEW, options=""), "has no set NEW"),
        (IpsetEntryAdd(netns="n", name="NEW", entry="1"), "has no set NEW"),
        (IpsetEntryAdd(netns="n", name="PORTS", entry="80"), "already has 80"),
        (IpsetEntryAdd(netns="n", name="NETS", entry="10.1.0.0/16"), "already has 10.1.0.0/16"),
        (IpsetEntryDelete(netns="n", name="PORTS", entry="81"), "has no 81"),
    ],
)
def test_what_does_not_fit_is_refused(change: Change, words: str) -> None:
    """A change of what is not there, or is there already, names it."""
    with pytest.raises(ValueError, match=words):
        edit(STATE, change)


def test_sets_that_were_not_read_are_not_changed() -> None:
    """Nobody knows what would come of it."""
    unread = Snapshot(namespaces={"n": Netns(name="n", node="n", ipsets=NOT_READ)})
    with pytest.raises(ValueError, match="n/ipsets is"):
        edit(unread, CHANGES[2][0])
