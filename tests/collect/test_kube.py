"""Manifests from a directory, and pods to their namespaces."""

from pathlib import Path

import pytest

from nettrace.collect.kube import absent, place_pods, read_manifests
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube, Pod
from nettrace.model.section import Known, Missing, MissingKind


def test_no_objects_were_given() -> None:
    """Without manifests every section says how to give them."""
    kube = absent()
    for section in (kube.services, kube.endpoint_slices, kube.pods, kube.nodes, kube.proxy):
        assert isinstance(section, Missing)
        assert section.kind is MissingKind.UNSUPPORTED
        assert "--manifests" in section.reason


def test_all_files_below_a_directory(tmp_path: Path) -> None:
    """YAML and JSON files are read together, in directories too; others are not."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("{apiVersion: v1, kind: Node, metadata: {name: node-a}}")
    (tmp_path / "sub/b.json").write_text(
        '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-b"}}'
    )
    (tmp_path / "README").write_text("not: [a manifest")
    kube = read_manifests(tmp_path, "manifests here")
    assert isinstance(kube.nodes, Known)
    assert [node.name for node in kube.nodes.value] == ["node-a", "node-b"]
    assert kube.origin == "manifests here"
    assert isinstance(read_manifests(tmp_path / "a.yaml", "").nodes, Known)


def test_manifests_that_are_not_there(tmp_path: Path) -> None:
    """A missing or empty directory and a file that is no text are errors with their path."""
    with pytest.raises(UserError, match="cannot read the manifests: no such file") as caught:
        read_manifests(tmp_path / "none", "")
    assert caught.value.where == str(tmp_path / "none")
    with pytest.raises(UserError, match="there are no manifests"):
        read_manifests(tmp_path, "")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_manifests(tmp_path, "")


def test_pods_are_placed() -> None:
    """By the lab's record, by address, with the node for the host's network, or not at all."""
    pods = (
        Pod(name="web", ips=("10.1.0.2",)),
        Pod(name="api", ips=("10.1.0.3",)),
        Pod(
            name="proxy", namespace="kube-system", host_network=True, node_name="node-a", ips=("172.18.0.2",)
        ),
        Pod(name="far", ips=("10.2.0.9",)),
        Pod(name="known", netns="somewhere"),
    )
    placed = place_pods(
        Kube(pods=Known(pods)),
        {"default/web": "web"},
        {"10.1.0.2": "wrong", "10.1.0.3": "pod-api"},
        {"node-a": "node-a"},
    )
    assert isinstance(placed.pods, Known)
    assert [pod.netns for pod in placed.pods.value] == ["web", "pod-api", "node-a", None, "somewhere"]
    assert place_pods(Kube(), {}, {}, {}) == Kube()
