"""Where state comes from: files joined into one cluster, and what a file does not hold."""

from pathlib import Path

import pytest

from nettrace.app.ask import ask
from nettrace.app.context import Context, open_context
from nettrace.app.plugins import load_plugins
from nettrace.collect.reader import Reader
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube, Service
from nettrace.model.links import Link, Peer
from nettrace.model.object_source import ObjectSource
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.walk import Needs
from nettrace.parse.snapshot_file import encode_snapshot


def node(name: str, *pods: str) -> Snapshot:
    """A node with pods whose veths lead to it."""
    veths = tuple(
        Link(index=i + 2, name=f"veth{i}", kind="veth", peer=Peer(netns=pod, ifindex=2))
        for i, pod in enumerate(pods)
    )
    spaces = [Netns(name=name, node=name, role="node", links=Known(veths))]
    spaces += [Netns(name=pod, node=name, role="pod") for pod in pods]
    return Snapshot(
        nodes={name: NodeState(name=name, netns=name)},
        namespaces={space.name: space for space in spaces},
    )


def saved(snapshot: Snapshot, path: Path) -> Path:
    """Write a snapshot file."""
    path.write_bytes(encode_snapshot(snapshot))
    return path


def test_one_file_is_one_snapshot(tmp_path: Path) -> None:
    """A single file is taken as it is."""
    path = saved(node("a", "web"), tmp_path / "a.json")
    context = open_context(from_files=[path])
    assert context.label == "file a.json"
    assert set(context.snapshot.namespaces) == {"a", "web"}
    assert not context.live


def test_files_of_several_nodes_join(tmp_path: Path) -> None:
    """Namespaces of one name on two nodes get their node's name before theirs, and veths follow."""
    files = [saved(node(name, "web", f"only-{name}"), tmp_path / f"{name}.json") for name in "ab"]
    snapshot = open_context(from_files=files).snapshot
    assert set(snapshot.namespaces) == {"a", "b", "a/web", "b/web", "only-a", "only-b"}
    links = snapshot.namespaces["b"].links
    assert isinstance(links, Known)
    peers = [link.peer.netns for link in links.value if link.peer is not None]
    assert peers == ["b/web", "only-b"]
    assert snapshot.nodes["b"].netns == "b"


def test_the_first_file_with_objects_gives_them(tmp_path: Path) -> None:
    """The cluster's objects come from the first snapshot that has any."""
    bare = saved(node("a"), tmp_path / "a.json")
    kube = Kube(origin="lab", services=Known((Service(name="api"),)))
    full = node("b").with_section(SectionKey("", "kube/services"), kube.services)
    files = [bare, saved(full, tmp_path / "b.json")]
    services = open_context(from_files=files).snapshot.kube.services
    assert isinstance(services, Known)
    assert [s.name for s in services.value] == ["api"]


def test_the_same_node_twice_is_refused(tmp_path: Path) -> None:
    """Two snapshots of one node contradict each other."""
    files = [saved(node("a"), tmp_path / f"{i}.json") for i in range(2)]
    with pytest.raises(UserError, match="two snapshots are of the same node: a"):
        open_context(from_files=files)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file is a UserError with its path."""
    with pytest.raises(UserError) as caught:
        open_context(from_files=[tmp_path / "gone.json"])
    assert caught.value.where.endswith("gone.json")


def test_manifests_do_not_go_with_a_file(tmp_path: Path) -> None:
    """A snapshot brings its own objects; others beside it are refused."""
    path = saved(node("a"), tmp_path / "a.json")
    with pytest.raises(UserError, match="with --from"):
        open_context(from_files=[path], objects=ObjectSource(manifests=str(tmp_path)))


def test_objects_of_an_earlier_question_give_way_to_those_that_are_named(tmp_path: Path) -> None:
    """What is remembered takes the place of nothing only; a snapshot keeps its own objects."""
    for name in ("named", "remembered"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "none.yaml").write_text("{apiVersion: v1, kind: List, items: []}")
    for given, origin in ((tmp_path / "named", "named"), (None, "remembered")):
        reader = Reader((), manifests=given)
        context = Context("this machine", reader.skeleton(), load_plugins(), reader)
        context.take_objects(ObjectSource(manifests=str(tmp_path / "remembered")))
        assert context.snapshot.kube.origin == f"manifests {tmp_path / origin}"
    file = Context("file a.json", node("a"), load_plugins())
    file.take_objects(ObjectSource(manifests=str(tmp_path / "remembered")))
    assert file.snapshot == node("a")


def test_what_a_file_does_not_hold_is_missing() -> None:
    """A section that a file lacks becomes Missing(FAILED), never empty, and is asked for once."""
    context = Context("file a.json", node("a"), load_plugins())
    key = SectionKey("a", "routes")
    context.read([key])
    assert context.snapshot.section(key) == Missing(MissingKind.FAILED, "file a.json does not hold it")
    context.read_unread([key, SectionKey("a", "links")])
    assert context.asked == {key}
    assert context.again().snapshot is context.snapshot


def test_a_file_cannot_be_entered() -> None:
    """Probes and repairs need a live source, and say so."""
    with pytest.raises(UserError, match="namespace a cannot be entered"):
        Context("file a.json", node("a"), load_plugins()).path("a")


def test_asking_for_ever_is_a_bug_and_said_so() -> None:
    """A question that still needs what was read ends with an error, not in a loop."""
    context = Context("file a.json", node("a"), load_plugins())
    with pytest.raises(UserError, match="still missing after reading it: a/routes"):
        ask(context, lambda _: Needs((SectionKey("a", "routes"),)))
