"""
Nodes whose pods are made by the real CNI plugins, as a lab that nettrace reads with --lab.

Each node is a namespace with a directory of its own for what a real one has below /; the record is a
lab's, so that files, namespaces and objects are read as they are in every lab.  All of it is gone
after the test.
"""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nettrace.lab import store
from nettrace.lab.blueprint import Attachment
from nettrace.lab.cni import PluginFailed, attach, detach, pod_args
from nettrace.model.lab import LAB_ROOT, LabNetns, LabRecord
from tests.kernel.bed import Bed, Space
from tests.kernel.labs import lab_name

__all__ = ["CniBed", "Pod", "bridge_conf", "cni_bed", "ptp_conf"]


def bridge_conf(subnet: str, name: str = "cbr0", *plugins: Mapping[str, Any]) -> dict[str, Any]:
    """A conflist of the plugins bridge and portmap, and of *plugins* after them."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]]},
    }
    return _conflist(name, bridge, *plugins)


def ptp_conf(subnet: str, name: str = "ptp0", *plugins: Mapping[str, Any]) -> dict[str, Any]:
    """A conflist of the plugins ptp and portmap, and of *plugins* after them."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]}
    return _conflist(name, {"type": "ptp", "ipMasq": True, "ipam": ipam}, *plugins)


def _conflist(name: str, *plugins: Mapping[str, Any]) -> dict[str, Any]:
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    first, *others = plugins
    return {"cniVersion": "0.4.0", "name": name, "plugins": [first, portmap, *others]}


class Pod:
    """A pod that was made."""

    def __init__(
        self, key: str, node: str, space: Space, attachment: Attachment, conf: Mapping[str, Any]
    ) -> None:
        self.key, self.node, self.space = key, node, space
        self.attachment, self.conf = attachment, conf
        self.uid = dict(attachment.args)["K8S_POD_UID"]
        self.address = ""
        self.host_ports: tuple[tuple[int, int], ...] = ()


class CniBed:
    """Nodes on a wire, 192.0.2.11 and following, and their pods."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.name = lab_name()
        self.root = Path(LAB_ROOT, self.name)
        self.nodes: dict[str, Space] = {}
        self.pods: dict[str, Pod] = {}
        self.cidrs: dict[str, str] = {}
        self.count = 0
        self.extra: list[dict[str, Any]] = []
        self.wire = bed.new("wire")
        self.wire.ip("link add br0 type bridge")
        self.wire.ip("link set br0 up")

    def files(self, node: str) -> Path:
        """Where the files of a node are that a real one has below /."""
        return self.root / "nodes" / node

    def node(self, name: str, pod_cidr: str, **confs: Mapping[str, Any] | str) -> Space:
        """Make a node whose CNI directory holds *confs* (``c10_name`` is 10-name.conflist)."""
        space = self.bed.new(name)
        number = 11 + len(self.nodes)
        self.bed.veth(self.wire, f"to-{number}", space, "eth0")
        self.wire.ip(f"link set to-{number} master br0")
        space.address("eth0", f"192.0.2.{number}/24")
        space.sysctl("net.ipv4.ip_forward", 1)
        self.nodes[name], self.cidrs[name] = space, pod_cidr
        for label, conf in confs.items():
            self.conf(name, f"{label.lstrip('c').replace('_', '-')}.conflist", conf)
        self.files(name).mkdir(parents=True, exist_ok=True)
        return space

    def conf(self, node: str, file: str, conf: Mapping[str, Any] | str) -> Path:
        """Write one file of a node's CNI directory."""
        path = self.files(node) / "etc/cni/net.d" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(conf if isinstance(conf, str) else json.dumps(conf, indent=2))
        return path

    def pod(
        self,
        key: str,
        node: str,
        conf: Mapping[str, Any],
        *,
        ports: Sequence[tuple[int, int]] = (),
        args: Sequence[tuple[str, str]] = (),
    ) -> Pod:
        """Make a pod and have the plugins of *conf* attach it; *ports* are (host's, container's)."""
        namespace, _, name = key.partition("/")
        self.count += 1
        space = self.bed.new(f"p{self.count}-{name}")
        space.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        container = uuid.uuid4().hex * 2
        attachment = Attachment(
            node=self.nodes[node].name,
            netns=space.name,
            container=container,
            args=(*pod_args(namespace, name, container, str(uuid.uuid4())), *args),
            ports=tuple({"hostPort": h, "containerPort": c, "protocol": "tcp"} for h, c in ports),
        )
        made = Pod(key, node, space, attachment, conf)
        made.host_ports = tuple(ports)
        try:
            result = attach(conf, attachment, self.files(node))
        except PluginFailed:
            self.bed.delete(space)
            raise
        self.pods[key] = made
        made.address = result["ips"][0]["address"].partition("/")[0]
        return made

    def delete(self, key: str, *, crash: bool = False) -> None:
        """Take a pod away; after a *crash* nobody calls the plugins for it."""
        pod = self.pods.pop(key)
        if not crash:
            detach(pod.conf, pod.attachment, self.files(pod.node))
        self.bed.delete(pod.space)

    def pod_object(self, pod: Pod, ip: str | None = None) -> dict[str, Any]:
        """The Pod as the API would have it."""
        namespace, _, name = pod.key.partition("/")
        address = pod.address if ip is None else ip
        status: dict[str, Any] = {"phase": "Running" if address else "Pending"}
        if address:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
            status["conditions"] = [{"type": "Ready", "status": "True"}]
        ports = [{"containerPort": c, "hostPort": h} for h, c in pod.host_ports]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.uid},
            "spec": {"nodeName": pod.node, "containers": [{"name": "main", "image": "x", "ports": ports}]},
            "status": status,
        }

    def node_object(self, name: str) -> dict[str, Any]:
        """The Node as the API would have it."""
        cidr = self.cidrs[name]
        number = 11 + list(self.nodes).index(name)
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]} if cidr else {},
            "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{number}"}]},
        }

    def write(self, **objects: Mapping[str, Any]) -> None:
        """Write the record and the objects; *objects* (by a pod's name) stand in for those of its pods."""
        names = {pod.key.partition("/")[2]: pod for pod in self.pods.values()}
        entries = [LabNetns(name="wire", netns=self.wire.name, role="wire", node="wire")]
        entries += [LabNetns(name=n, netns=s.name, role="node", node=n) for n, s in self.nodes.items()]
        entries += [
            LabNetns(name=name, netns=pod.space.name, role="pod", node=pod.node, pod=pod.key)
            for name, pod in names.items()
        ]
        manifests = self.root / "manifests"
        manifests.mkdir(parents=True, exist_ok=True)
        documents: list[Mapping[str, Any]] = [self.node_object(name) for name in self.nodes]
        documents += [objects.get(name, self.pod_object(pod)) for name, pod in names.items()]
        documents += self.extra
        (manifests / "all.yaml").write_text(yaml.safe_dump_all(documents))
        record = LabRecord(
            name=self.name,
            topology="cni",
            root=str(self.root),
            state="up",
            namespaces=tuple(entries),
            manifests=str(manifests),
        )
        store.write(record)

    def close(self) -> None:
        """Remove the files; the namespaces go with the bed."""
        shutil.rmtree(self.root, ignore_errors=True)
        store.remove(self.name)


@contextmanager
def cni_bed(bed: Bed) -> Iterator[CniBed]:
    """Nodes for pods of the real plugins, gone afterwards."""
    made = CniBed(bed)
    made.root.mkdir(mode=0o700, parents=True)
    try:
        yield made
    finally:
        made.close()
