"""The small use cases: what was asked last, recovery, explanations, snapshot files, plan files."""

import gzip
import os
import stat
from pathlib import Path

import pytest

from nettrace.app import repair
from nettrace.app.context import Context
from nettrace.app.explain import explain
from nettrace.app.plugins import load_plugins
from nettrace.app.recovery import recover
from nettrace.app.remember import Question, forget, recall, remember, state_directory
from nettrace.app.show import show
from nettrace.app.snapshot import save
from nettrace.model.errors import UserError
from nettrace.model.kube import Service
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.parse.snapshot_file import decode_snapshot

QUESTION = Question(source="internet", target="node/a:30080", sport=4000)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETTRACE_STATE", str(tmp_path / "state"))


def test_the_last_question_is_remembered_for_each_source() -> None:
    """What was asked of one lab is not what was asked of another."""
    remember("lab a/b", QUESTION)
    assert recall("lab a/b") == QUESTION
    with pytest.raises(UserError, match="nothing was traced on lab c yet"):
        recall("lab c")
    forget("lab a/b")
    with pytest.raises(UserError):
        recall("lab a/b")


def test_a_damaged_memory_is_no_memory() -> None:
    """A file that cannot be read counts as nothing asked."""
    remember("lab a", QUESTION)
    for file in (state_directory() / "last").iterdir():
        file.write_text("{")
    with pytest.raises(UserError):
        recall("lab a")


def test_a_state_directory_that_cannot_be_made_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembering is a convenience: without a place for it nothing fails."""
    monkeypatch.setenv("NETTRACE_STATE", "/proc/nettrace")
    remember("lab a", QUESTION)


def test_recovery_without_a_journal_does_nothing() -> None:
    """Where nothing was ever repaired there is nothing to take back."""
    assert recover() == ()
    (state_directory() / "journal").mkdir(parents=True)
    assert recover() == ()


def test_a_cause_is_explained_and_a_near_miss_named() -> None:
    """A misspelt id leads to the nearest ones."""
    plugins = load_plugins()
    assert explain(plugins, "hairpin-off").id == "hairpin-off"
    with pytest.raises(UserError) as caught:
        explain(plugins, "hairpin-of")
    assert "did you mean hairpin-off" in caught.value.hint
    with pytest.raises(UserError) as caught:
        explain(plugins, "zzz")
    assert "lists them all" in caught.value.hint


@pytest.mark.parametrize("name", ["node.json", "node.json.gz"])
def test_a_snapshot_is_saved_whole_and_for_its_owner(tmp_path: Path, name: str) -> None:
    """The file holds the snapshot, packed if its name says so, and nobody else may read it."""
    snapshot = Snapshot(taken="now", namespaces={"a": Netns(name="a", node="a")})
    path = tmp_path / name
    size = save(snapshot, path)
    assert path.stat().st_size == size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert decode_snapshot(path.read_bytes(), name) == snapshot
    assert (path.read_bytes()[:2] == b"\x1f\x8b") is name.endswith(".gz")
    if name.endswith(".gz"):
        assert gzip.decompress(path.read_bytes()).startswith(b"{")
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208  (names, hidden ones too)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Saving to nowhere is a UserError with the path."""
    with pytest.raises(UserError) as caught:
        save(Snapshot(), tmp_path / "gone" / "node.json")
    assert caught.value.where.endswith("gone/node.json")


@pytest.mark.parametrize(("text", "what"), [(None, "cannot read the plan"), ("{}", "not a repair plan")])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str | None, what: str) -> None:
    """A plan that is missing or something else is a UserError that names the file."""
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        repair.load_plan(path)
    assert caught.value.what.startswith(what)
    assert caught.value.where == str(path)


def test_nothing_to_undo_is_said() -> None:
    """Undo without a repair in force is a UserError."""
    with pytest.raises(UserError, match="there is no repair to undo on lab a"):
        repair.undo(label="lab a")
    assert repair.history() == ()


def _context(snapshot: Snapshot) -> Context:
    return Context("file a.json", snapshot, load_plugins())


def test_show_narrows_to_a_namespace_or_a_node() -> None:
    """Naming a pod or a node shows it alone; a name that nothing bears is refused."""
    spaces = {name: Netns(name=name, node="n") for name in ("root", "web")}
    snapshot = Snapshot(nodes={"n": NodeState(name="n", netns="root")}, namespaces=spaces)
    assert set(show(_context(snapshot), "routes").namespaces) == {"root", "web"}
    assert set(show(_context(snapshot), "routes", of="web").namespaces) == {"web"}
    assert set(show(_context(snapshot), "routes", of="node/n").namespaces) == {"root"}
    with pytest.raises(UserError, match="there is no namespace or node 'x'"):
        show(_context(snapshot), "routes", of="x")
    with pytest.raises(UserError, match="nothing is called 'x'"):
        show(_context(snapshot), "x")


def test_services_that_are_not_known_are_inconclusive() -> None:
    """Without objects `show services` is not an empty table but an error of exit code 3."""
    missing = Missing(MissingKind.UNSUPPORTED, "no Kubernetes objects were given")
    blank = Snapshot().with_section(SectionKey("", "kube/services"), missing)
    with pytest.raises(UserError) as caught:
        show(_context(blank), "services")
    assert caught.value.code == 3
    known = blank.with_section(SectionKey("", "kube/services"), Known((Service(name="api"),)))
    assert isinstance(show(_context(known), "services").kube.services, Known)
