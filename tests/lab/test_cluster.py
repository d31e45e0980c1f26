"""From the manifests a person writes to the objects of a cluster."""

from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from nettrace.lab.blueprint import Options
from nettrace.lab.cluster.dns import dnsmasq_conf, resolv_conf
from nettrace.lab.cluster.documents import Document, at, read_directory, written
from nettrace.lab.cluster.objects import Cluster, cluster
from nettrace.lab.cluster.services import endpoint_slices, services_of
from nettrace.lab.cluster.workloads import LabNode, LabPod, pods_of
from nettrace.model.errors import UserError
from nettrace.model.section import Known

NET = IPv4Network("10.96.0.0/16")
NODES = [
    LabNode(name=f"node-{letter}", address=f"172.18.0.1{index}", pod_cidr=IPv4Network(f"10.244.{index}.0/24"))
    for index, letter in enumerate("ab", 1)
]


def pod(name: str, **fields: Any) -> Document:
    """A pod with one container on port 80, called `http`."""
    containers = [{"name": "main", "ports": [{"name": "http", "containerPort": 80}]}]
    spec = {"containers": containers, **fields.pop("spec", {})}
    labels = fields.pop("labels", {"app": "web"})
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec, **fields}


def service(name: str = "web", **spec: Any) -> Document:
    """A Service of port 80 for app=web."""
    whole = {"selector": {"app": "web"}, "ports": [{"port": 80}], **spec}
    return {"kind": "Service", "metadata": {"name": name}, "spec": whole}


def placed(*documents: Document) -> tuple[LabPod, ...]:
    """The pods of these workloads on two nodes."""
    return pods_of(documents, NODES, lenient=False)


def slices(services: Sequence[Document], *pods: Document, given: Sequence[Document] = ()) -> list[Any]:
    """The EndpointSlices of these Services and pods."""
    return list(endpoint_slices(given, services_of(services, NET), placed(*pods)))


# --- pods ------------------------------------------------------------------------------


def test_pods_go_round_the_nodes() -> None:
    """Pods without a node go round them and get their node's addresses from .2 on."""
    found = placed(*(pod(f"p{index}") for index in range(4)), pod("fixed", spec={"nodeName": "node-a"}))
    assert [(one.node, one.address) for one in found] == [
        ("node-a", "10.244.1.2"),
        ("node-b", "10.244.2.2"),
        ("node-a", "10.244.1.3"),
        ("node-b", "10.244.2.3"),
        ("node-a", "10.244.1.4"),
    ]


def test_workloads() -> None:
    """Deployments make as many pods as they say, DaemonSets one a node."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod("x")["spec"]}
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 2, "template": template},
    }
    daemon = {"kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {"template": template}}
    found = placed(deployment, daemon)
    assert [one.key for one in found] == ["shop/web-0", "shop/web-1", "default/agent-a", "default/agent-b"]
    assert [one.node for one in found] == ["node-a", "node-b", "node-a", "node-b"]


def test_host_network() -> None:
    """A pod on its node's network has the node's address and uses none of the pod network."""
    found = placed(pod("agent", spec={"hostNetwork": True}), pod("web", spec={"nodeName": "node-a"}))
    assert [one.address for one in found] == ["172.18.0.11", "10.244.1.2"]


def test_bind_address() -> None:
    """A container's BIND_ADDRESS is where its listener binds."""
    container = {
        "name": "main",
        "env": [{"name": "BIND_ADDRESS", "value": "127.0.0.1"}],
        "ports": [{"containerPort": 9090}, {"containerPort": 53, "protocol": "UDP"}],
    }
    (found,) = placed(pod("p", spec={"containers": [container]}))
    assert found.containers[0].listens == ("tcp/127.0.0.1/9090", "udp/127.0.0.1/53")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (pod("p", spec={"nodeName": "node-z"}), "there is no node 'node-z'"),
        (pod("p", spec={"containers": []}), "has no containers"),
        (pod("p", spec={"containers": ["x"]}), r"spec.containers\[\] must be a mapping"),
        (pod("p", spec={"containers": [{"ports": [{"containerPort": 0}]}]}), "containerPort 0 is no port"),
        (pod("p", spec={"containers": [{"ports": [{"containerPort": "80"}]}]}), "must be a number"),
        (
            pod("p", spec={"containers": [{"ports": [{"containerPort": 1, "protocol": "SCTP"}]}]}),
            "no listeners for SCTP",
        ),
        (
            pod("p", spec={"containers": [{"ports": [{"containerPort": 1, "hostPort": 1}]}]}),
            "has no hostPort",
        ),
        (pod("p", labels={"app": 1}), "may hold text only"),
        (pod("p", labels=["app"]), "metadata.labels must be a mapping"),
        (pod(""), "has no metadata.name"),
        ({"kind": "Pod", "metadata": "p"}, "must be a mapping"),
    ],
)
def test_bad_pods(document: Document, words: str) -> None:
    """What cannot be run is an error that names the pod."""
    with pytest.raises(UserError, match=words):
        placed(document)


def test_two_pods_of_one_name() -> None:
    """Two pods of one name in one namespace are an error."""
    with pytest.raises(UserError, match="two pods called default/p"):
        placed(pod("p"), pod("p"))


# --- Services --------------------------------------------------------------------------


def test_addresses_are_given_out() -> None:
    """A Service gets a free ClusterIP, kube-dns the tenth, and a NodePort one a free port."""
    dns = {"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {}}
    fixed = service("fixed", clusterIP="10.96.1.0", type="NodePort", ports=[{"port": 1, "nodePort": 30000}])
    found = services_of([service("a", type="NodePort"), dns, fixed], NET)
    assert [one["spec"]["clusterIP"] for one in found] == ["10.96.1.1", "10.96.0.10", "10.96.1.0"]
    assert found[0]["spec"]["ports"] == [{"protocol": "TCP", "targetPort": 80, "port": 80, "nodePort": 30001}]
    assert found[0]["spec"]["clusterIPs"] == ["10.96.1.1"]


def test_services_without_addresses() -> None:
    """Headless and ExternalName Services get no ClusterIP."""
    headless, external = services_of(
        [service("a", clusterIP="None"), service("b", type="ExternalName", externalName="x.y")], NET
    )
    assert headless["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in external["spec"]


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ([service(clusterIP="10.97.0.1")], "is not in the service network"),
        ([service(clusterIP="nonsense")], "is not in the service network"),
        (
            [service("a", clusterIP="10.96.0.9"), service("b", clusterIP="10.96.0.9")],
            "another Service has the clusterIP",
        ),
        (
            [service(name, ports=[{"port": 1, "nodePort": 30001}]) for name in "ab"],
            "another Service has the nodePort 30001",
        ),
        ([service(ports={"port": 80})], "spec.ports must be a list"),
    ],
)
def test_bad_services(services: list[Document], words: str) -> None:
    """What the API server would refuse is an error that names the Service."""
    with pytest.raises(UserError, match=words):
        services_of(services, NET)


def test_endpoints_are_the_selected_pods() -> None:
    """A slice holds the pods of the Service's namespace that have all labels of its selector."""
    elsewhere = {**pod("far"), "metadata": {"name": "far", "namespace": "shop", "labels": {"app": "web"}}}
    (found,) = slices([service()], pod("yes"), pod("no", labels={"app": "db"}), elsewhere)
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert [(e["targetRef"]["name"], e["addresses"], e["nodeName"]) for e in found["endpoints"]] == [
        ("yes", ["10.244.1.2"], "node-a")
    ]
    assert found["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]


def test_named_target_ports() -> None:
    """A named targetPort is looked up in each pod; pods that differ are in slices of their own."""
    other = {"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}
    found = slices(
        [service(ports=[{"port": 80, "targetPort": "http"}])],
        pod("a"),
        pod("b", spec={"containers": [other]}),
    )
    assert [one["ports"][0]["port"] for one in found] == [80, 8080]
    (unknown,) = slices([service(ports=[{"port": 80, "targetPort": "nope"}])], pod("a"))
    assert unknown["ports"] == []


def test_readiness() -> None:
    """A pod that says it is not ready is not, unless the Service wants it anyway."""
    unready = pod("a", status={"conditions": [{"type": "Ready", "status": "False"}]})
    (found,) = slices([service()], unready)
    assert found["endpoints"][0]["conditions"]["ready"] is False
    (found,) = slices([service(publishNotReadyAddresses=True)], unready)
    assert found["endpoints"][0]["conditions"]["ready"] is True


def test_given_slices_are_kept() -> None:
    """A Service whose EndpointSlices are given gets no others; one without a selector gets none."""
    given = {
        "kind": "EndpointSlice",
        "metadata": {"name": "mine", "labels": {"kubernetes.io/service-name": "web"}},
    }
    assert slices([service(), service("bare", selector={})], pod("a"), given=[given]) == [given]
    (empty,) = slices([service()])
    assert empty["endpoints"] == []


# --- DNS -------------------------------------------------------------------------------


def test_dns_records() -> None:
    """Services, headless endpoints and named ports have records; addresses have names by host-record."""
    services = services_of(
        [
            service("web", clusterIP="10.96.0.20", ports=[{"name": "http", "port": 80}]),
            service("peers", clusterIP="None"),
            service("far", type="ExternalName", externalName="x.y"),
        ],
        NET,
    )
    text = dnsmasq_conf(services, endpoint_slices((), services, placed(pod("a"))))
    assert "host-record=web.default.svc.cluster.local,10.96.0.20\n" in text
    name = "web.default.svc.cluster.local"
    assert f"srv-host=_http._tcp.{name},{name},80\n" in text
    assert "host-record=peers.default.svc.cluster.local,10.244.1.2\n" in text
    assert "cname=far.default.svc.cluster.local,x.y\n" in text
    assert "no-resolv" in text


def test_resolv_conf() -> None:
    """A pod's resolv.conf searches its own namespace first."""
    text = resolv_conf("shop", "10.96.0.10")
    assert text.startswith("nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local")


# --- the whole -------------------------------------------------------------------------


def _own(**options: Any) -> Cluster:
    return cluster(NODES, Options(**options))


def test_default_cluster() -> None:
    """The topology's own manifests: three endpoints on two nodes, three pods a node, DNS, a NodePort."""
    made = _own()
    assert [(one.name, one.node) for one in made.pods if one.name.startswith("hostnames")] == [
        ("hostnames-0", "node-a"),
        ("hostnames-1", "node-b"),
        ("hostnames-2", "node-b"),
    ]
    assert [sum(one.node == node.name for one in made.pods) for node in NODES] == [3, 3]
    assert made.dns_address == "10.96.0.10"
    assert isinstance(made.kube.services, Known)
    hostnames = next(one for one in made.kube.services.value if one.name == "hostnames")
    assert (hostnames.ports[0].port, hostnames.ports[0].target_port, hostnames.ports[0].node_port) == (
        80,
        9376,
        30080,
    )


def test_materialised_manifests_read_back(tmp_path: Path) -> None:
    """The written manifests are YAML that reads back as the same objects, also as a user's manifests."""
    made = _own(pod_cidr="10.1.0.0/16")
    for name, text in made.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert set(made.files) == {
        "namespaces.yaml",
        "nodes.yaml",
        "services.yaml",
        "pods.yaml",
        "endpointslices.yaml",
        "kube-proxy.yaml",
        "others.yaml",
    }
    assert yaml.safe_load(made.files["kube-proxy.yaml"])["clusterCIDR"] == "10.1.0.0/16"
    documents = read_directory(tmp_path)
    assert [one for one in documents if one["kind"] == "Pod"] == [dict(one.document) for one in made.pods]
    assert "&id" not in written(documents)


def test_users_manifests(tmp_path: Path) -> None:
    """The user's manifests take the place of the workload; DNS and kube-proxy's settings are added."""
    (tmp_path / "a.json").write_text(
        '{"kind": "List", "items": [{"kind": "Pod", "metadata": {"name": "one"},'
        ' "spec": {"containers": [{"name": "c"}]}}]}'
    )
    (tmp_path / "job.yaml").write_text("kind: Job\nmetadata: {name: once}\n")
    made = _own(manifests=tmp_path)
    assert [one.key for one in made.pods] == ["default/one", "kube-system/kube-dns-0"]
    assert made.notes == ("no pods are run for Job default/once",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there are no manifests here"),
        ("", "there are no manifests here"),
        ("a: [", "neither YAML nor JSON"),
        ("just text", "expected"),
        ("kind: KubeProxyConfiguration\nmode: userspace", "has no mode 'userspace'"),
    ],
)
def test_bad_manifests(tmp_path: Path, text: str | None, words: str) -> None:
    """Manifests that are none, or ask for what the lab cannot do, are errors."""
    if text is not None:
        (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        _own(manifests=tmp_path)


def test_missing_directory(tmp_path: Path) -> None:
    """A directory that is not there is an error that names it."""
    with pytest.raises(UserError, match="manifests cannot be read: no such file") as caught:
        _own(manifests=tmp_path / "nowhere")
    assert caught.value.where.endswith("nowhere")


def test_fields_are_checked() -> None:
    """A field of another type than wanted is an error that names object and field."""
    document: Document = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"replicas": True}}
    with pytest.raises(UserError, match=r"Pod default/p: spec\.replicas must be a number"):
        at(document, "spec.replicas", int, 1)
    assert at(document, "spec.nothing.at.all", str, "default") == "default"
