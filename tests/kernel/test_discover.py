"""Finding namespaces that nobody described: names, roles, nodes; and labs, which are described."""

import os
import sys
import time
from pathlib import Path

import msgspec
import pytest

from nettrace.collect import discover as module
from nettrace.collect.discover import Handle, discover
from nettrace.collect.netns import OWN_NETNS, netns_inode
from nettrace.collect.reader import Reader
from nettrace.model.errors import UserError
from nettrace.model.lab import LabNetns, LabRecord
from nettrace.model.links import Peer
from nettrace.model.section import Known, SectionKey
from tests.kernel.bed import Bed, Space


def network(netns: Bed) -> dict[str, Space]:
    """
    Two pods on a bridge in a node, the node and a client on a wire, and somebody alone.

    Built with ip(8) as anybody would.
    """
    found = {name: netns.new(name) for name in ("pod1", "pod2", "node", "wire", "client", "alone")}
    node = found["node"]
    for number in (1, 2):
        netns.veth(node, f"veth{number}", found[f"pod{number}"], "eth0")
        found[f"pod{number}"].address("eth0", f"10.1.0.{number + 1}/24")
        found[f"pod{number}"].ip("route add default via 10.1.0.1")
    netns.bridge(node, "cni0", "veth1", "veth2", address="10.1.0.1/24")
    for name, number in (("node", 1), ("client", 2)):
        netns.veth(found["wire"], f"to-{name}", found[name], "wire0")
        found[name].address("wire0", f"192.0.2.{number}/24")
    netns.bridge(found["wire"], "br0", "to-node", "to-client")
    node.sysctl("net.ipv4.ip_forward", 1)
    return found


def test_a_network_that_somebody_else_built(netns: Bed) -> None:
    """Names come from /run/netns; pods, nodes and wires are told apart; a pod knows its node."""
    spaces = network(netns)
    handles = {handle.name: handle for handle in discover()}
    guessed = {name: handles[space.name] for name, space in spaces.items()}
    assert {name: handle.role for name, handle in guessed.items()} == {
        "pod1": "pod",
        "pod2": "pod",
        "node": "node",
        "wire": "wire",
        "client": "other",
        "alone": "other",
    }
    assert guessed["pod1"].node == guessed["node"].node == spaces["node"].name
    assert guessed["client"].node == spaces["client"].name
    assert guessed["pod1"].path == spaces["pod1"].path
    assert guessed["pod1"].inode == spaces["pod1"].inode
    with Reader([*guessed.values()]) as reader:
        skeleton = reader.skeleton()
        assert set(skeleton.nodes) == {spaces["node"].name}
        assert skeleton.nodes[spaces["node"].name].netns == spaces["node"].name
        key = SectionKey(spaces["pod1"].name, "links")
        links = reader.read([key], skeleton).section(key)
    assert isinstance(links, Known)
    veth = next(link for link in links.value if link.name == "eth0")
    assert veth.peer is not None
    assert veth.peer.netns == spaces["node"].name


def test_this_machine_comes_first_and_is_a_node(netns: Bed) -> None:
    """The own namespace is the first handle, called as the host is, and each namespace comes once."""
    handles = discover()
    assert handles[0].inode == netns_inode()
    assert (handles[0].role, handles[0].path) == ("node", OWN_NETNS)
    assert len({handle.inode for handle in handles}) == len(handles)
    assert len({handle.name for handle in handles}) == len(handles)


def test_a_namespace_without_a_name_is_found_by_its_process(netns: Bed) -> None:
    """A process in a namespace that has no name leads to it."""
    a = netns.new("a")
    process = a.spawn("unshare", "--net", "sleep", "60")
    own = Path(f"/proc/{process.pid}/ns/net")
    end = time.monotonic() + 5
    while own.stat().st_ino in (a.inode, netns_inode()) and time.monotonic() < end:
        time.sleep(0.01)
    handle = next(handle for handle in discover() if handle.name == f"pid-{process.pid}")
    assert handle.inode == own.stat().st_ino
    assert handle.path == f"/proc/{process.pid}/ns/net"
    assert handle.netns == ""
    with Reader([handle]) as reader:
        key = SectionKey(handle.name, "links")
        links = reader.read([key], reader.skeleton()).section(key)
        assert isinstance(links, Known)
        assert [link.name for link in links.value][:1] == ["lo"]


def test_inside_a_named_namespace(netns: Bed) -> None:
    """Run under `ip netns exec`, the own namespace has its name, and the machine's is found all the same."""
    a = netns.new("a")
    code = "from nettrace.collect.discover import discover\nfor one in discover(): print(one.name, one.inode)"
    lines = [line.split() for line in a.run(sys.executable, "-c", code).splitlines()]
    assert lines[0] == [a.name, str(a.inode)]
    names = {inode: name for name, inode in lines}
    assert str(netns_inode()) in names
    try:
        first = netns_inode("/proc/1/ns/net")
    except PermissionError:
        return
    assert names[str(first)] == os.uname().nodename


def test_files_that_are_no_namespaces_are_skipped(
    netns: Bed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An empty file where a namespace was is none."""
    a = netns.new("a")
    (tmp_path / "stale").touch()
    (tmp_path / "good").symlink_to(a.path)
    monkeypatch.setattr(module, "_NAMED", tmp_path)
    names = {handle.name for handle in discover()}
    assert "good" in names
    assert "stale" not in names


@pytest.fixture
def lab_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory in the place of the labs'."""
    monkeypatch.setattr(module, "LAB_ROOT", str(tmp_path))
    return tmp_path


def write(record: LabRecord) -> None:
    """Write a record to where its root is."""
    Path(record.root).mkdir(exist_ok=True)
    Path(record.root, "lab.json").write_bytes(msgspec.json.encode(record))


def test_a_lab_by_its_record(netns: Bed, lab_root: Path) -> None:
    """Names, roles and pods of a lab come from its record, files and objects from its directory."""
    node, pod = netns.new("node"), netns.new("pod")
    netns.veth(node, "veth0", pod, "eth0")
    root = lab_root / "shop"
    entries = (
        LabNetns(name="node-a", netns=node.name, role="node", node="node-a"),
        LabNetns(name="web", netns=pod.name, role="pod", node="node-a", pod="default/web"),
        LabNetns(name="web-2", netns=pod.name, role="container", node="node-a", container="sidecar"),
    )
    write(LabRecord(name="shop", topology="x", root=str(root), namespaces=entries, manifests=str(root / "m")))
    (root / "nodes/node-a/run/flannel").mkdir(parents=True)
    (root / "nodes/node-a/run/flannel/subnet.env").write_text("FLANNEL_SUBNET=10.244.1.1/24\n")
    (root / "m").mkdir()
    (root / "m/pods.yaml").write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: default},"
        " spec: {nodeName: node-a}, status: {podIP: 10.244.1.2}}\n---\n"
        "{apiVersion: v1, kind: Pod, metadata: {name: proxy, namespace: kube-system},"
        " spec: {nodeName: node-a, hostNetwork: true}, status: {podIP: 172.18.0.2}}\n"
    )
    handles = discover("shop")
    assert handles == [
        Handle(name="node-a", path=node.path, inode=node.inode, netns=node.name, node="node-a", role="node"),
        Handle(
            name="web",
            path=pod.path,
            inode=pod.inode,
            netns=pod.name,
            node="node-a",
            role="pod",
            pod="default/web",
            resolv_conf=f"{root}/pods/default/web/etc/resolv.conf",
        ),
    ]
    process = node.spawn("sleep", "60")
    with Reader(handles, lab="shop") as reader:
        skeleton = reader.skeleton()
        assert skeleton.origin == "lab shop"
        assert isinstance(skeleton.kube.pods, Known)
        assert {p.key: p.netns for p in skeleton.kube.pods.value} == {
            "default/web": "web",
            "kube-system/proxy": "node-a",
        }
        keys = [SectionKey("node:node-a", "files"), SectionKey("node:node-a", "processes")]
        keys += [SectionKey("web", "links")]
        found = reader.read(keys, skeleton)
    assert found.nodes["node-a"].files == Known({"/run/flannel/subnet.env": "FLANNEL_SUBNET=10.244.1.1/24\n"})
    processes = found.nodes["node-a"].processes
    assert isinstance(processes, Known)
    sleeping = next(one for one in processes.value if one.pid == process.pid)
    assert (sleeping.name, sleeping.cmdline, sleeping.netns) == ("sleep", ("sleep", "60"), "node-a")
    links = found.namespaces["web"].links
    assert isinstance(links, Known)
    assert {link.peer for link in links.value if link.name == "eth0"} == {Peer("node-a", 2)}


def test_pods_are_placed_by_address(netns: Bed, tmp_path: Path) -> None:
    """On a machine without a record a pod lives where its address is."""
    pod = netns.new("pod")
    netns.stub(pod, "eth0", "10.1.0.9/24")
    (tmp_path / "pod.yaml").write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {}, status: {podIP: 10.1.0.9}}\n"
    )
    handle = Handle(name="somewhere", path=pod.path, inode=pod.inode, role="pod")
    with Reader([handle], manifests=tmp_path) as reader:
        pods = reader.skeleton().kube.pods
    assert isinstance(pods, Known)
    assert [one.netns for one in pods.value] == ["somewhere"]


def test_no_such_lab(lab_root: Path) -> None:
    """A lab that is not there, and a record that is none, are errors with the path."""
    with pytest.raises(UserError, match="there is no lab called shop") as caught:
        discover("shop")
    assert str(lab_root) in caught.value.where
    (lab_root / "shop").mkdir()
    (lab_root / "shop/lab.json").write_text('{"name": "shop"')
    with pytest.raises(UserError, match="cannot be read"):
        discover("shop")


def test_a_lab_whose_namespace_is_gone(netns: Bed, lab_root: Path) -> None:
    """A namespace that the record names and nobody has is still there, and says why it cannot be read."""
    gone = LabNetns(name="node-a", netns=f"{netns.tag}-gone", role="node", node="node-a")
    write(LabRecord(name="shop", topology="x", root=str(lab_root / "shop"), namespaces=(gone,)))
    with Reader(discover("shop"), lab="shop") as reader:
        found = reader.read([SectionKey("node-a", "links")], reader.skeleton())
    links = found.namespaces["node-a"].links
    assert not isinstance(links, Known)
    assert f"{netns.tag}-gone is gone" in links.reason
