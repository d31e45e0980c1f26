"""The way in from outside: balancers' addresses, nginx's configuration, what changes between two states."""

from ipaddress import IPv4Network
from pathlib import Path, PurePath
from typing import Any

import pytest

from nettrace.lab.balancer import rules
from nettrace.lab.blueprint import Options
from nettrace.lab.cluster.dns import dnsmasq_conf
from nettrace.lab.cluster.ingress import ingress_notes, nginx_conf
from nettrace.lab.cluster.services import services_of
from nettrace.lab.cluster.workloads import LabNode, pods_of
from nettrace.lab.difference import difference
from nettrace.lab.health import answer
from nettrace.lab.reconcile import merged
from nettrace.lab.reprogram import reprogrammed
from nettrace.lab.topologies import describer
from nettrace.model.errors import UserError
from nettrace.parse.manifests import parse_documents

NET = IPv4Network("10.96.0.0/16")
NODES = [
    LabNode(name=f"node-{letter}", address=f"172.18.0.1{index}", pod_cidr=IPv4Network(f"10.244.{index}.0/24"))
    for index, letter in enumerate("ab", 1)
]


def _service(name: str = "web", **spec: Any) -> dict[str, Any]:
    whole = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}], **spec}
    return {"kind": "Service", "metadata": {"name": name}, "spec": whole}


def _pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "ports": [{"name": "http", "containerPort": 80}],
        **spec.pop("container", {}),
    }
    metadata = {"name": name, "labels": {"app": "web"}}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


def _ingress(*rules_: Any, **spec: Any) -> dict[str, Any]:
    return {"kind": "Ingress", "metadata": {"name": "site"}, "spec": {"rules": list(rules_), **spec}}


def _rule(host: str, path: str, kind: str, port: Any, service: str = "web") -> dict[str, Any]:
    backend = {"service": {"name": service, "port": port}}
    return {"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}


def _conf(*ingresses: dict[str, Any]) -> str:
    services = services_of([_service(clusterIP="10.96.0.80")], NET)
    return nginx_conf(ingresses, services, [], PurePath("/home"), PurePath("/pid"), [80])


# --- Services --------------------------------------------------------------------------


def test_balanced_services() -> None:
    """A LoadBalancer gets a status address, and with policy Local a healthCheckNodePort of its own."""
    first, second = services_of(
        [
            _service("a", type="LoadBalancer", externalTrafficPolicy="Local"),
            _service("b", type="LoadBalancer", loadBalancerIP="198.51.100.99"),
        ],
        NET,
    )
    assert first["status"]["loadBalancer"]["ingress"] == [{"ip": "198.51.100.10", "ipMode": "VIP"}]
    ports = [first["spec"]["ports"][0]["nodePort"], first["spec"]["healthCheckNodePort"]]
    assert len({*ports, second["spec"]["ports"][0]["nodePort"]}) == 3
    assert second["status"]["loadBalancer"]["ingress"][0]["ip"] == "198.51.100.99"
    assert "healthCheckNodePort" not in second["spec"]


def test_what_a_service_had_stays() -> None:
    """Addresses and ports that were given out stay with their Service when it is applied again."""
    wanted = [_service("z", type="LoadBalancer", externalTrafficPolicy="Local"), _service("y")]
    before = services_of(wanted, NET)
    more = [_service("a", type="LoadBalancer", externalTrafficPolicy="Local"), *wanted]
    after = services_of(more, NET, before)
    assert after[1:] == before
    assert after[0]["spec"]["clusterIP"] not in {one["spec"]["clusterIP"] for one in before}
    (headless,) = services_of([_service("y", clusterIP="None")], NET, before)
    assert headless["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ports": [{"port": 80, "protocol": "SCTP"}]}, "no listeners for SCTP"),
        ({"ipFamilies": ["IPv4", "IPv6"]}, "no IPv6"),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, "node ports"),
        ({"type": "ExternalName"}, "no externalName"),
    ],
)
def test_impossible_services(spec: dict[str, Any], words: str) -> None:
    """What the lab cannot do for a Service is said."""
    with pytest.raises(UserError, match=words):
        services_of([_service(**spec)], NET)


def test_pods_stay_where_they_are() -> None:
    """Pods keep node and address; a new one gets an address that nobody had just now."""
    first = pods_of([_pod("a"), _pod("b"), _pod("c")], NODES, lenient=False)
    placed = {one.key: (one.node, one.address) for one in first}
    second = pods_of([_pod("x"), _pod("c"), _pod("a")], NODES, lenient=False, placed=placed)
    assert {one.key: (one.node, one.address) for one in second} == {
        "default/a": placed["default/a"],
        "default/c": placed["default/c"],
        "default/x": ("node-a", "10.244.1.4"),
    }
    (moved,) = pods_of([_pod("a", nodeName="node-b")], NODES, lenient=False, placed=placed)
    assert (moved.node, moved.address) == ("node-b", "10.244.2.2")


@pytest.mark.parametrize(
    ("probe", "ready"),
    [
        ({"httpGet": {"port": "http"}}, True),
        ({"tcpSocket": {"port": 80}}, True),
        ({"tcpSocket": {"port": 81}}, False),
        ({"exec": {"command": ["true"]}}, True),
    ],
)
def test_readiness(probe: dict[str, Any], ready: bool) -> None:
    """A readiness probe of a port where nobody listens makes a pod unready."""
    (pod,) = pods_of([_pod("a", container={"readinessProbe": probe})], NODES, lenient=False)
    assert pod.ready is ready


def test_names_of_external_services() -> None:
    """An ExternalName is a CNAME; a name outside the cluster leads to the host out there."""
    services = services_of(
        [
            _service("in", type="ExternalName", externalName="web.default.svc.cluster.local"),
            _service("out", type="ExternalName", externalName="www.example.com."),
        ],
        NET,
    )
    conf = dnsmasq_conf(services, [], "172.18.0.100").splitlines()
    assert "cname=in.default.svc.cluster.local,web.default.svc.cluster.local" in conf
    assert "cname=out.default.svc.cluster.local,www.example.com" in conf
    assert [line for line in conf if line.startswith("host-record")] == [
        "host-record=www.example.com,172.18.0.100"
    ]


# --- nginx -----------------------------------------------------------------------------


def test_locations() -> None:
    """Prefixes end at an element of the path, Exact goes first, a wildcard is one label."""
    conf = _conf(
        _ingress(
            _rule("a.example", "/foo/", "Prefix", {"name": "http"}),
            _rule("a.example", "/foo", "Exact", {"number": 81}),
            _rule("*.b.example", "/", "ImplementationSpecific", {"number": 80}),
        )
    )
    assert "location ^~ /foo/ { proxy_pass http://10.96.0.80:80; }" in conf
    assert conf.count("location = /foo {") == 1
    assert "location = /foo { return 503; }" in conf
    assert "server_name ~^[^.]+\\.b\\.example$;" in conf
    assert "listen 80 default_server;" in conf


def test_default_backend() -> None:
    """What no rule matches goes to the default backend, or is answered with 404."""
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    assert "^~ / { return 404; }" in _conf(_ingress(_rule("a.example", "/x", "Exact", {"number": 80})))
    assert "^~ / { proxy_pass http://10.96.0.80:80; }" in _conf(_ingress(defaultBackend=backend))
    assert "return 503" in _conf(_ingress(_rule("", "/", "Prefix", {"number": 80}, service="nobody")))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (_rule("a b", "/", "Prefix", {}), "not a host"),
        (_rule("", "x", "Prefix", {}), "not a path"),
        (_rule("", "/{", "Prefix", {}), "not a path"),
        (_rule("", "/", "Regex", {}), "pathType"),
        (
            {"http": {"paths": [{"path": "/", "pathType": "Exact", "backend": {"resource": {}}}]}},
            "service.name",
        ),
    ],
)
def test_impossible_ingresses(rule: dict[str, Any], words: str) -> None:
    """What nginx could not be told is an error, and nothing of it gets into its configuration."""
    with pytest.raises(UserError, match=words):
        _conf(_ingress(rule))


def test_no_tls() -> None:
    """TLS is not done, and that is said."""
    assert ingress_notes([_ingress(tls=[{"hosts": ["a"]}])]) == (
        "Ingress default/site: no TLS in the lab, port 80 only",
    )


# --- the balancer and the health servers --------------------------------------------------


def test_balancer_rules() -> None:
    """Each node gets its share; client ranges are asked for; without a healthy node there is no rule."""
    entry = {"address": "198.51.100.10", "proto": "udp", "port": 53, "nodePort": 30053, "healthPort": 0}
    text = rules([{**entry, "nodes": ["10.0.0.1", "10.0.0.2"], "ranges": ["192.0.2.0/24"]}])
    first, second = (line for line in text.splitlines() if line.startswith("-A PREROUTING"))
    assert "-s 192.0.2.0/24" in first
    assert "--probability 0.5" in first
    assert first.endswith("10.0.0.1:30053")
    assert "statistic" not in second
    assert second.endswith("10.0.0.2:30053")
    assert "-A PREROUTING" not in rules([{**entry, "nodes": [], "ranges": []}])


def test_health_answers() -> None:
    """The status says whether there are local endpoints, the body how many."""
    assert answer("a/b", 2).startswith(b"HTTP/1.1 200 ")
    assert b'"localEndpoints":2' in answer("a/b", 2)
    assert answer("a/b", 0).startswith(b"HTTP/1.1 503 ")


# --- from one state to another -----------------------------------------------------------


def test_merged() -> None:
    """Objects are created, configured, left alone and deleted by kind, namespace and name."""
    old = [_service("a"), _service("b")]
    found, done = merged(old, [_service("a"), _service("b", clusterIP="None"), _service("c")])
    assert [word for _, word in done] == ["unchanged", "configured", "created"]
    assert len(found) == 3
    found, done = merged(found, [_service("b")], delete=True)
    assert done == (("service/default/b", "deleted"),)
    for given, words in (([_service("b")], "no service/default/b"), (found, "last object")):
        with pytest.raises(UserError, match=words):
            merged(found, given, delete=True)
    with pytest.raises(UserError, match="cannot be changed"):
        merged(found, [{"kind": "Node", "metadata": {"name": "x"}}])


def test_difference() -> None:
    """A lab that stays as it is has nothing to do; one more pod is one namespace, one veth, one process."""
    root = Path("/run/x")
    objects = (_pod("a"), _pod("b"), _service(type="NodePort"))
    old = describer("flannel-vxlan")("t", root, Options(declared=objects))
    running = {(one.netns, one.name) for one in old.daemons}
    same = difference(old, old, running)
    assert not (same.gone)
    assert not (same.made)
    assert not (same.started)
    assert not (same.ended)
    assert not (same.files)
    assert not (any(same.wiring))
    api = [old.files[f"manifests/{name}.yaml"] for name in ("pods", "services")]
    before = tuple(document for text in api for document in parse_documents(text, "the API"))
    new = describer("flannel-vxlan")("t", root, Options(declared=(*objects, _pod("c")), before=before))
    more = difference(old, new, running)
    assert (more.gone, more.made) == ((), ("ntl-t-c",))
    assert {one.name for one in more.started} >= {"default/c main"}
    assert (
        sum(" type veth " in line for stage in more.wiring for lines in stage.values() for line in lines) == 1
    )
    back = difference(new, old, {(one.netns, one.name) for one in new.daemons})
    assert (back.gone, back.made) == (("ntl-t-c",), ())
    dead = difference(old, old, set())
    assert set(dead.started) == set(old.daemons)


def test_reprogrammed() -> None:
    """Agents' chains are written whole, stale ones go, strangers' chains and rules stay."""
    head = "*nat|:PREROUTING ACCEPT [0:0]|:KUBE-SERVICES - [0:0]|"
    jump = "-A PREROUTING -j KUBE-SERVICES|"
    old = f"{head}:KUBE-SVC-A - [0:0]|{jump}COMMIT|"
    new = f"{head}:KUBE-SVC-B - [0:0]|:FLANNEL-POSTRTG - [0:0]|{jump}-A KUBE-SERVICES -j KUBE-SVC-B|"
    new += "-A FLANNEL-POSTRTG -j RETURN|COMMIT|"
    there = f"{head}:KUBE-SVC-A - [0:0]|:KUBE-KUBELET-CANARY - [0:0]|:FLANNEL-POSTRTG - [0:0]|COMMIT|"
    old, new, there = (text.replace("|", "\n") for text in (old, new, there))
    assert reprogrammed(old, new, there).splitlines() == [
        "*nat",
        ":KUBE-SERVICES - [0:0]",
        ":KUBE-SVC-B - [0:0]",
        ":KUBE-SVC-A - [0:0]",
        "-A KUBE-SERVICES -j KUBE-SVC-B",
        "-X KUBE-SVC-A",
        "COMMIT",
    ]
