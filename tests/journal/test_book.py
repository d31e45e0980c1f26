"""The journal's files: durable, found again, and clear about what is damaged."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from nettrace.journal import Journal, files
from nettrace.model.change import NoUndo, SysctlSet
from nettrace.model.errors import UserError
from nettrace.model.finding import Safety
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.packet import Packet
from nettrace.model.plan import ChainImage, JournalEntry, PlannedChange, RepairPlan

OWN = {"here": "/proc/self/ns/net"}
FLOW = Flow(
    origin=Origin(netns="here"),
    packet=Packet(src="", dst="10.0.0.1", proto="tcp"),
    source=ObjectRef(kind="netns", name="here"),
    target=ObjectRef(kind="ip", name="10.0.0.1"),
)


def plan(identity: str = "0badcafe", value: str = "1") -> RepairPlan:
    """A plan that is never applied."""
    change = SysctlSet(netns="here", name="net.ipv4.ip_forward", value=value)
    planned = PlannedChange(node="n", netns="here", change=change, command="", undo=NoUndo("a test"))
    return RepairPlan(
        id=identity,
        cause="ip-forward-off",
        context="here",
        flow=FLOW,
        changes=(planned,),
        preconditions=(),
        safety=Safety.AUTO,
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """An empty journal."""
    return Journal(tmp_path / "run" / "journal")


@pytest.fixture
def held(journal: Journal) -> Iterator[Journal]:
    """A journal whose lock is held."""
    with journal.lock():
        yield journal


def test_a_journal_that_does_not_exist_is_empty(journal: Journal) -> None:
    """Looking makes no directory and finds nothing."""
    assert journal.entries() == []
    assert journal.damaged() == []
    assert journal.recover() == []
    assert not journal.directory.exists()


def test_what_is_written_is_read(held: Journal) -> None:
    """An entry comes back as it was written, with everything that identifies the namespace."""
    entry = held.begin(plan(), OWN)
    assert entry.state == "applying"
    assert entry.inodes == {"here": Path("/proc/self/ns/net").stat().st_ino}
    image = ChainImage(index=0, rules=("-j ACCEPT",))
    entry = held.mark(entry, done=1, image=image)
    assert held.entries() == [entry]
    assert held.load("0badcafe").images == (image,)
    entry = held.finish(entry, "applied")
    assert entry.finished
    assert held.entries() == [entry]


def test_nobody_else_may_read_it(held: Journal) -> None:
    """The directory and its files are root's alone."""
    held.begin(plan(), OWN)
    assert held.directory.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in held.directory.iterdir()} == {0o600}


def test_every_write_is_synced(held: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is on the disk before it has its name, and the name before the call returns."""
    calls: list[str] = []
    rename, sync = Path.replace, os.fsync

    def renamed(self: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(self, target)

    def synced(descriptor: int) -> None:
        calls.append("directory" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        sync(descriptor)

    entry = held.begin(plan(), OWN)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    held.mark(entry, done=1)
    assert calls == ["file", "rename", "directory"]


def test_a_write_that_fails_leaves_the_old_text(held: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error, not half a file."""
    entry = held.begin(plan(), OWN)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left on device"):
        held.mark(entry, done=1)
    monkeypatch.undo()
    assert held.entries() == [entry]
    assert not list(held.directory.glob(".*.json*"))


def test_leftovers_of_a_killed_writer(journal: Journal) -> None:
    """A file that a killed process had not finished is no entry, and goes with the next lock."""
    with journal.lock():
        journal.begin(plan(), OWN)
        (journal.directory / ".0badcafe.json.99").write_text("{")
        assert len(journal.entries()) == 1
        assert journal.damaged() == []
    with journal.lock():
        assert not list(journal.directory.glob(".*.json.*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b'{"apiVersion":"nettrace/v1","kind":"JournalEntry","entry":{"plan"', "damaged"),
        (b'{"apiVersion":"nettrace/v1","kind":"JournalEntry","entry":{}}', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[1]", "damaged"),
        (b'{"apiVersion":"nettrace/v1","kind":"Snapshot"}', "this is Snapshot"),
        (b'{"apiVersion":"nettrace/v9","kind":"JournalEntry"}', "nettrace/v9"),
    ],
)
def test_damaged_files(held: Journal, content: bytes, words: str) -> None:
    """A damaged or foreign file is an error that names it; the others are listed."""
    good = held.begin(plan(), OWN)
    bad = held.directory / "bad.json"
    bad.write_bytes(content)
    assert held.entries() == [good]
    (error,) = held.damaged()
    assert words in error.what
    assert error.where == str(bad)
    with pytest.raises(UserError, match=words):
        held.find("bad")
    assert held.find("0bad") == good


def test_ids(held: Journal) -> None:
    """A plan that is applied again has a number; its id finds the one in force, else the last."""
    first = held.finish(held.begin(plan(), OWN), "applied")
    assert held.find("0badcafe") == first
    first = held.finish(first, "undone")
    second = held.finish(held.begin(plan(), OWN), "applied")
    assert second.id == "0badcafe-2"
    assert held.find("0badcafe") == held.find("0b") == second
    assert held.find("0badcafe-2") == second
    assert held.load("0badcafe") == first
    second = held.finish(second, "rolled-back")
    assert held.find("0badcafe") == second
    assert held.entries() == [first, second]


def test_beginnings(held: Journal) -> None:
    """A beginning that several plans have is refused with their names; an unknown one too."""
    held.begin(plan("0badcafe"), OWN)
    held.begin(plan("0bad0000"), OWN)
    with pytest.raises(UserError, match="0bad0000, 0badcafe"):
        held.find("0bad")
    for unknown in ("1", "", "/etc/passwd"):
        with pytest.raises(UserError, match="there is no repair"):
            held.find(unknown)


def test_a_plans_id_is_only_a_name(held: Journal) -> None:
    """An id cannot lead out of the directory."""
    entry = held.begin(plan("../../etc/x"), OWN)
    assert {path.parent for path in held.directory.rglob("*.json")} == {held.directory}
    assert held.find(entry.id).plan.id == "../../etc/x"


def test_namespaces_must_be_there(held: Journal) -> None:
    """A plan for a namespace that nobody can reach is refused before anything is written."""
    with pytest.raises(UserError, match="not a namespace here"):
        held.begin(plan(), {})
    with pytest.raises(UserError, match="is gone"):
        held.begin(plan(), {"here": "/run/netns/nt-no-such"})
    assert held.entries() == []


def test_text_that_is_not_unicode(held: Journal) -> None:
    """What could not be read back is refused before the kernel is touched."""
    with pytest.raises(UserError, match="not Unicode"):
        held.begin(plan(value="\udcff"), OWN)
    assert held.entries() == []


def test_recover_finds_what_was_left(journal: Journal) -> None:
    """What is half done is to be recovered, the newest first; what is in force or over is not."""
    left: list[JournalEntry] = []
    with journal.lock():
        for number, state in enumerate(("applying", "applied", "undoing", "undone", "confirmed")):
            entry = journal.begin(plan(f"{number}"), OWN)
            if state == "undoing":
                entry = journal.undoing(entry, done=1)
            elif state != "applying":
                entry = journal.finish(entry, state)
            if state in ("applying", "undoing"):
                left.append(entry)
        assert journal.recover() == [], "while somebody holds the lock they are at work"
    assert journal.recover() == left[::-1]


def test_deadlines(held: Journal) -> None:
    """A repair long past its deadline is due; one that waits, or was confirmed, is not."""
    entry = held.finish(held.begin(plan(), OWN), "applied")
    entry = held.set_deadline(entry, 4e9)
    assert held.abandoned() == []
    entry = held.set_deadline(entry, 1e9)
    assert held.abandoned() == [entry]
    held.finish(entry, "undone")
    assert held.abandoned() == []
    assert held.load(entry.id).deadline is None


def test_confirm(journal: Journal) -> None:
    """Only a repair in force can be confirmed, which calls its deadline off."""
    with journal.lock():
        entry = journal.set_deadline(journal.finish(journal.begin(plan(), OWN), "applied"), 4e9)
    kept = journal.confirm("0bad")
    assert kept == replace(entry, state="confirmed", deadline=None)
    with journal.lock():
        journal.finish(kept, "undone", "by hand")
    with pytest.raises(UserError, match="0badcafe is undone") as refused:
        journal.confirm("0bad")
    assert refused.value.hint == "by hand"


def test_the_lock_is_waited_for(journal: Journal) -> None:
    """A lock that is let go in time is taken; one that is not is an error with its holder."""
    release, holding = threading.Event(), threading.Event()

    def hold() -> None:
        with journal.lock():
            holding.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    with pytest.raises(UserError, match=f"process {os.getpid()}"), journal.lock(wait=0.1):
        pass
    threading.Timer(0.2, release.set).start()
    with journal.lock(wait=5):
        pass
    thread.join()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A journal in a place that cannot be written is a clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the journal"), Journal(tmp_path / "file" / "x").lock():
        pass


def test_the_lock_file_is_no_entry(held: Journal) -> None:
    """The lock lies in the directory and is not taken for a repair."""
    assert (held.directory / ".lock").exists()
    assert held.entries() == []
    assert files.KIND == "JournalEntry"
