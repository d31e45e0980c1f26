"""Records of labs on disk, whom a name means, and what `up` refuses before it starts."""

from pathlib import Path

import pytest

from nettrace.lab import lifecycle, store, teardown
from nettrace.lab.execute import who_is
from nettrace.model.errors import UserError
from nettrace.model.lab import LabNetns, LabRecord


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Labs in a directory of the test's own."""
    path = tmp_path / "nettrace" / "labs"
    monkeypatch.setattr(store, "LAB_ROOT", str(path))
    return path


def make(name: str, state: str = "up") -> LabRecord:
    """A record on disk."""
    record = LabRecord(name=name, topology="docker", root=str(store.claim(name)), state=state)
    store.write(record)
    return record


def test_a_record_comes_back() -> None:
    """What is written is what is read, in a directory that is root's alone."""
    record = make("one")
    assert store.read("one") == record
    assert Path(record.root).stat().st_mode & 0o777 == 0o700
    assert store.list_labs() == (record,)


def test_one_lab_a_name(root: Path) -> None:
    """A name is claimed once, and free again after the lab is gone."""
    make("one")
    with pytest.raises(UserError, match="a lab called 'one' already"):
        store.claim("one")
    store.remove("one")
    assert not root.exists()
    make("one")


def test_names_that_nobody_chose() -> None:
    """Without a name a lab gets the first free number."""
    assert store.free_name() == "lab1"
    make("lab1")
    make("lab3")
    assert store.free_name() == "lab2"


def test_find() -> None:
    """With one lab its name may be left out; with none or several it is an error that says so."""
    with pytest.raises(UserError, match="there is no lab"):
        store.find(None)
    one = make("one")
    assert store.find(None) == one
    make("two")
    with pytest.raises(UserError, match="there are 2 labs: one, two"):
        store.find(None)
    assert store.find("one") == one
    with pytest.raises(UserError, match="no lab called 'three'"):
        store.find("three")


def test_a_half_built_lab_is_not_found() -> None:
    """A lab that is not up is listed, and refused to whoever wants to use it."""
    make("one", "building")
    with pytest.raises(UserError, match="is not up but building"):
        store.find("one")
    assert [record.state for record in store.list_labs()] == ["building"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 1}', b"\xff\xfe"])
def test_damaged_records(content: bytes) -> None:
    """A record that is no record is an error with the way out, and listed as damaged."""
    record = make("one")
    Path(record.root, "lab.json").write_bytes(content)
    with pytest.raises(UserError, match="is damaged") as caught:
        store.read("one")
    assert "lab down one" in caught.value.hint
    assert [found.state for found in store.list_labs()] == ["damaged"]


def test_no_path_as_a_name() -> None:
    """A name cannot lead out of the directory of labs."""
    with pytest.raises(UserError, match="cannot be the name of a lab"):
        store.find("../../etc")


def test_leftovers_of_another_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The prefix of lab `a` does not take the namespaces of lab `a-b`."""
    names = ("ntl-a-web", "ntl-a-b-web", "ntl-ab-web", "other")
    spaces = tmp_path / "netns"
    spaces.mkdir()
    for name in names:
        (spaces / name).touch()
    monkeypatch.setattr(teardown, "NETNS_DIRECTORY", str(spaces))
    make("a-b")
    assert teardown.leftovers("a") == ("ntl-a-web",)
    assert teardown.leftovers("a-b") == ("ntl-a-b-web",)
    monkeypatch.setattr(teardown, "NETNS_DIRECTORY", str(tmp_path / "none"))
    assert teardown.leftovers("a") == ()


def test_who() -> None:
    """A node, a pod by its name or with its namespace; two pods of one name are several."""
    entries = tuple(
        LabNetns(name=name, netns=f"ntl-x-{name}", role="pod" if pod else "node", node="node-a", pod=pod)
        for name, pod in (("node-a", None), ("web", "a/web"), ("b.web", "b/web"), ("db", "a/db"))
    )
    record = LabRecord(name="x", topology="flannel-vxlan", root="/nowhere", namespaces=entries)
    assert who_is(record, "node-a").name == "node-a"
    assert who_is(record, "node/node-a").name == "node-a"
    assert who_is(record, "db").pod == "a/db"
    assert who_is(record, "b/web").name == "b.web"
    assert who_is(record, "pod/a/web").name == "web"
    with pytest.raises(UserError, match="is several: a/web, b/web"):
        who_is(record, "web")
    with pytest.raises(UserError, match="there is no 'x'"):
        who_is(record, "x")


def test_refusals_of_up(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """No root, an unknown topology, a bad name or a missing tool: refused before anything is made."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UserError, match="needs root"):
        lifecycle.up("docker")
    with pytest.raises(UserError, match="needs root"):
        lifecycle.down("x")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(UserError, match="no topology 'calico'") as caught:
        lifecycle.up("calico")
    assert "flannel-host-gw, flannel-udp, flannel-vxlan" in caught.value.hint
    with pytest.raises(UserError, match="cannot be the name"):
        lifecycle.up("docker", name="a/b")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="not installed: ip, bridge") as caught:
        lifecycle.up("docker", name="x")
    assert "iproute2" in caught.value.hint
    assert not root.exists()
