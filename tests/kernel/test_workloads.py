"""Pods and containers by name on a real machine: control groups, the CNI cache, Docker's socket."""

import json
import os
import socketserver
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from nettrace.collect import workloads as module
from nettrace.collect.discover import Handle, discover
from nettrace.collect.reader import Reader
from nettrace.kube.resolve import resolve
from nettrace.model.errors import UserError
from nettrace.model.flow import Flow
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs
from tests.kernel.bed import Bed, Space

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
UID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(autouse=True)
def _nobody_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No runtime of this machine is asked."""
    monkeypatch.setattr(module, "DOCKER_SOCKETS", (tmp_path / "docker.sock",))
    monkeypatch.setattr(module, "CRI_SOCKETS", ())
    monkeypatch.setattr(module, "CNI_CACHE", tmp_path / "results")


@contextmanager
def cgroup(path: str, pid: int) -> Iterator[None]:
    """Put a process into a control group of its own below a writable hierarchy; both are gone afterwards."""
    roots = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
    root = next((one for one in roots if (one / "cgroup.procs").exists() and os.access(one, os.W_OK)), None)
    if root is None:
        pytest.skip("no control groups to write to")
    base = root / f"nt-t-{uuid.uuid4().hex[:8]}"
    made = base / path
    made.mkdir(parents=True)
    try:
        (made / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        (root / "cgroup.procs").write_text(str(pid))
        while made != root:
            made.rmdir()
            made = made.parent


def found(space: Space) -> Handle:
    """How the machine's discovery sees a namespace."""
    return next(handle for handle in discover() if handle.inode == space.inode)


def flow_of(snapshot: Snapshot, reader: Reader, source: str, target: str) -> Flow:
    """Resolve, reading what that needs."""
    while isinstance(answer := resolve(snapshot, source, target), Needs):
        snapshot = reader.read(answer.keys, snapshot)
    return answer


@pytest.mark.parametrize(
    "path",
    [
        f"kubepods/burstable/pod{UID}/{ID}",
        (
            f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice/"
            f"cri-containerd-{ID}.scope"
        ),
    ],
    ids=["cgroupfs", "systemd"],
)
def test_a_pod_by_its_control_group(netns: Bed, tmp_path: Path, path: str) -> None:
    """Its UID leads from the object to the namespace, though another namespace has the same address."""
    pod, twin = netns.new("cni-1"), netns.new("cni-2")
    for space in (pod, twin):
        netns.stub(space, "eth0", "10.91.0.9/24")
    process = pod.spawn("sleep", "60")
    (tmp_path / "pod.yaml").write_text(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: web, namespace: shop, uid: {UID}}},"
        " spec: {nodeName: x, containers: [{name: main, image: x}]}, status: {podIP: 10.91.0.9}}\n"
    )
    with cgroup(path, process.pid):
        handle = found(pod)
    assert (handle.role, handle.pod_uid, handle.containers) == ("pod", UID, (ID,))
    with Reader([handle, found(twin)], manifests=tmp_path) as reader:
        snapshot = reader.skeleton()
        assert isinstance(snapshot.kube.pods, Known)
        assert [one.netns for one in snapshot.kube.pods.value] == [pod.name]
        flow = flow_of(snapshot, reader, "pod/shop/web", "10.91.0.1:80")
    assert flow.origin.netns == pod.name


def test_an_address_of_two_says_nothing(netns: Bed, tmp_path: Path) -> None:
    """A pod is placed by its address only where one namespace alone has it."""
    spaces = [netns.new("cni-1"), netns.new("cni-2")]
    for space in spaces:
        netns.stub(space, "eth0", "10.91.0.9/24")
    (tmp_path / "pod.yaml").write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {}, status: {podIP: 10.91.0.9}}\n"
    )
    with Reader([found(space) for space in spaces], manifests=tmp_path) as reader:
        pods = reader.skeleton().kube.pods
    assert isinstance(pods, Known)
    assert [one.netns for one in pods.value] == [None]


def test_a_pod_by_the_runtimes_cni_cache(netns: Bed, tmp_path: Path) -> None:
    """Without any object `pod/ns/name` means what the runtime attached under that name."""
    pod = netns.new("cni-1")
    netns.stub(pod, "eth0", "10.91.0.9/24")
    entry = {
        "kind": "cniCacheV1",
        "containerId": ID,
        "networkName": "cbr0",
        "ifName": "eth0",
        "netns": f"/var{pod.path}",
        "cniArgs": [["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", "web"], ["K8S_POD_UID", UID]],
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / f"cbr0-{ID}-eth0").write_text(json.dumps(entry))
    handle = found(pod)
    assert (handle.role, handle.pod, handle.pod_uid) == ("pod", "shop/web", UID)
    with Reader([handle]) as reader:
        snapshot = reader.skeleton()
        assert flow_of(snapshot, reader, "pod/shop/web", "10.91.0.1:80").origin.netns == pod.name
        assert flow_of(snapshot, reader, "pod/web", "10.91.0.1:80").origin.netns == pod.name
        with pytest.raises(UserError, match="there is no pod 'web' in namespace other"):
            flow_of(snapshot, reader, "pod/other/web", "10.91.0.1:80")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def docker(path: Path, answers: Mapping[str, Any]) -> Iterator[None]:
    """A server on a socket of the file system with Docker's paths; anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer one request."""
            body = json.dumps(answers.get(self.path, {"message": "page not found"})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            """A client of such a socket has no address."""
            return "unix"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = _Server(str(path), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        path.unlink()


def inspected(
    ident: str, name: str, pid: int = 0, key: str = "", labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What `docker inspect` prints of a container, as far as it matters."""
    return {
        "Id": ident,
        "Name": f"/{name}",
        "State": {"Running": True, "Pid": pid},
        "Config": {"Labels": dict(labels or {})},
        "NetworkSettings": {"SandboxKey": key},
    }


def test_containers_by_dockers_api(netns: Bed, tmp_path: Path) -> None:
    """By the process, or by the sandbox's path; one that is gone meanwhile is left out."""
    db, cache = netns.new("x1"), netns.new("x2")
    for number, space in enumerate((db, cache), 2):
        netns.stub(space, "eth0", f"172.30.0.{number}/24")
    process = db.spawn("sleep", "60")
    gone = "ab" * 32
    answers = {
        "/containers/json": [{"Id": ID}, {"Id": OTHER}, {"Id": gone}],
        f"/containers/{ID}/json": inspected(ID, "shop-db", process.pid),
        f"/containers/{OTHER}/json": inspected(OTHER, "cache", key=cache.path),
    }
    with docker(tmp_path / "docker.sock", answers):
        handles = discover()
    assert handles[0].remarks == ()
    mine = [handle for handle in handles if handle.inode in (db.inode, cache.inode)]
    assert {handle.container_names for handle in mine} == {("shop-db",), ("cache",)}
    assert {handle.role for handle in mine} == {"container"}
    with Reader(mine) as reader:
        snapshot = reader.skeleton()
        flow = flow_of(snapshot, reader, "container/shop-db", "container/cache:6379")
        assert (flow.origin.netns, flow.packet.dst) == (db.name, "172.30.0.3")
        assert flow_of(snapshot, reader, f"container/{ID[:12]}", "172.30.0.9:1").origin.netns == db.name
        with pytest.raises(UserError, match="there is no container 'container/nobody'") as caught:
            flow_of(snapshot, reader, "container/nobody", "172.30.0.9:1")
        assert "shop-db" in caught.value.hint


def test_one_name_in_several_pods(netns: Bed, tmp_path: Path) -> None:
    """A container's name that several pods have is ambiguous; with the pod's it is not."""
    spaces = [netns.new("x1"), netns.new("x2")]
    answers: dict[str, Any] = {"/containers/json": [{"Id": ID}, {"Id": OTHER}]}
    for number, (ident, space) in enumerate(zip((ID, OTHER), spaces, strict=True)):
        netns.stub(space, "eth0", f"10.91.0.{number + 2}/24")
        labels = {
            "io.kubernetes.pod.name": f"web-{number}",
            "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.container.name": "main",
        }
        answers[f"/containers/{ident}/json"] = inspected(
            ident, f"k8s_main_{number}", key=space.path, labels=labels
        )
    with docker(tmp_path / "docker.sock", answers):
        handles = [found(space) for space in spaces]
    with Reader(handles) as reader:
        snapshot = reader.skeleton()
        with pytest.raises(UserError, match="container 'main' is ambiguous") as caught:
            flow_of(snapshot, reader, "container/main", "10.91.0.9:1")
        assert "container/web-1/main" in caught.value.hint
        flow = flow_of(snapshot, reader, "container/web-1/main", "10.91.0.9:1")
        assert flow.origin.netns == spaces[1].name
        assert flow_of(snapshot, reader, "pod/shop/web-0", "10.91.0.9:1").origin.netns == spaces[0].name


def test_a_daemon_that_does_not_answer(netns: Bed, tmp_path: Path) -> None:
    """It is said that names are missing, and why; namespaces are found all the same."""
    (tmp_path / "docker.sock").touch()
    space = netns.new("x1")
    handles = discover()
    assert any(handle.inode == space.inode for handle in handles)
    (remark,) = handles[0].remarks
    assert "connection refused" in remark
    with docker_error(tmp_path / "docker.sock"):
        (remark,) = discover()[0].remarks
    assert "404" in remark


@contextmanager
def docker_error(path: Path) -> Iterator[None]:
    """A server that knows none of Docker's paths."""
    path.unlink()
    with docker(path, {}):
        yield


def test_the_names_are_in_the_snapshot(netns: Bed, tmp_path: Path) -> None:
    """They come with the namespace, and so into a file that is read elsewhere."""
    db = netns.new("x1")
    answers = {
        "/containers/json": [{"Id": ID}],
        f"/containers/{ID}/json": inspected(ID, "shop-db", key=db.path),
    }
    with docker(tmp_path / "docker.sock", answers):
        handle = found(db)
    with Reader([handle]) as reader:
        snapshot = reader.read([SectionKey(handle.name, "links")], reader.skeleton())
    netns_ = snapshot.namespaces[handle.name]
    assert (netns_.container_names, netns_.containers) == (("shop-db",), (ID,))
