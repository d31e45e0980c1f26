"""
A cluster lab changed while it is up, and every type of Service in it by real connections and by trace.

One lab for the whole file.  The connections are made by a client that knows nothing of nettrace.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nettrace.app.context import open_context
from nettrace.app.ingress import trace_ingress
from nettrace.app.remember import Question
from nettrace.app.trace import walk_of
from nettrace.lab import apply, find
from nettrace.lab.tools import netns_path
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord
from nettrace.model.walk import Walk
from nettrace.parse.target import parse_ingress
from tests.kernel.labs import a_lab

CLIENT = Path(__file__).parent.parent / "acceptance/client.py"
PUBLIC = "203.0.113.100"


def _deployment(replicas: int, **container: Any) -> dict[str, Any]:
    web = {"name": "web", "ports": [{"name": "http", "containerPort": 8000}], **container}
    admin = {"name": "admin", "ports": [{"name": "admin", "containerPort": 9000}]}
    template = {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [web, admin]}}
    spec = {"replicas": replicas, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": spec}


def _service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    whole = {"selector": {"app": "shop"}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": whole}


def _path(path: str, kind: str, service: str, port: dict[str, Any]) -> dict[str, Any]:
    return {"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": port}}}


INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "shop"},
    "spec": {
        "rules": [
            {
                "host": "shop.example.com",
                "http": {
                    "paths": [
                        _path("/", "Prefix", "plain", {"name": "http"}),
                        _path("/alone", "Exact", "alone", {"number": 80}),
                        _path("/none", "Prefix", "plain", {"number": 4711}),
                    ]
                },
            }
        ]
    },
}
ALONE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "alone", "labels": {"app": "alone"}},
    "spec": {
        "nodeName": "node-a",
        "containers": [{"name": "main", "ports": [{"containerPort": 80}]}],
    },
}
OBJECTS = [
    _deployment(2),
    ALONE,
    _service("plain"),
    _service("alone", selector={"app": "alone"}, ports=[{"port": 80}]),
    _service("ports", type="NodePort", ports=[{"port": 80, "targetPort": "admin", "nodePort": 31000}]),
    _service("spread", type="LoadBalancer"),
    _service(
        "local",
        type="LoadBalancer",
        externalTrafficPolicy="Local",
        selector={"app": "alone"},
        ports=[{"port": 80}],
    ),
    _service("peers", clusterIP="None"),
    _service(
        "alias", type="ExternalName", externalName="plain.default.svc.cluster.local", selector={}, ports=[]
    ),
    _service("abroad", type="ExternalName", externalName="www.example.com", selector={}, ports=[]),
    INGRESS,
]


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRecord]:
    """A lab with a Service of each type, in each mode of kube-proxy's."""
    folder = tmp_path_factory.mktemp("manifests")
    client = {**_deployment(1), "kind": "DaemonSet", "metadata": {"name": "client"}}
    client["spec"] = {"template": {"spec": {"containers": [{"name": "idle", "ports": []}]}}}
    (folder / "objects.yaml").write_text(yaml.safe_dump_all([*OBJECTS, client]))
    with a_lab("flannel-vxlan", manifests=folder, proxy=request.param) as record:
        yield record


def _inside(record: LabRecord, who: str, *argv: str) -> str:
    netns = next(entry.netns for entry in record.namespaces if who in (entry.name, entry.pod))
    entry = next(entry for entry in record.namespaces if entry.netns == netns)
    conf = Path(record.root, "pods", entry.pod or "-", "etc/resolv.conf")
    bind = f"mount --bind {conf} /etc/resolv.conf; " if conf.exists() else ""
    command = [
        "nsenter",
        f"--net={netns_path(netns)}",
        "unshare",
        "-m",
        "sh",
        "-c",
        f'{bind}exec "$@"',
        "-",
        *argv,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def _calls(record: LabRecord, who: str, host: str, port: int, times: int = 1) -> list[dict[str, Any]]:
    out = _inside(record, who, sys.executable, str(CLIENT), host, str(port), "tcp", str(times), "2")
    return [json.loads(line) for line in out.splitlines()]


def _service_of(record: LabRecord, name: str) -> dict[str, Any]:
    text = Path(record.manifests or "", "services.yaml").read_text()
    return next(d for d in yaml.safe_load_all(text) if d["metadata"]["name"] == name)


def _address(record: LabRecord, name: str) -> str:
    service = _service_of(record, name)
    balanced = service.get("status", {}).get("loadBalancer", {}).get("ingress")
    return str(balanced[0]["ip"] if balanced else service["spec"]["clusterIP"])


def _walk(record: LabRecord, source: str, target: str) -> Walk:
    with open_context(lab=record.name) as context:
        return walk_of(context, Question(source=source, target=target))


def _ends(walk: Walk) -> set[str]:
    return {path.endpoint.netns or "" for path in walk.paths if path.endpoint is not None}


def _apply(record: LabRecord, tmp_path: Path, *objects: dict[str, Any], delete: bool = False) -> LabRecord:
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    apply(find(record.name), file, delete=delete)
    return find(record.name)


def _soon(record: LabRecord, who: str, host: str, port: int, wanted: set[str]) -> set[str]:
    """Who answers, once that is *wanted*: the balancer asks the nodes every half second."""
    end = time.monotonic() + 10
    while True:
        found = {str(one["answer"] or one["outcome"]) for one in _calls(record, who, host, port, 12)}
        if found == wanted or time.monotonic() > end:
            return found


# --- each type -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name", "port", "ends"),
    [
        ("client-a", "plain", 80, {"shop-0", "shop-1"}),
        ("internet", "ports", 31000, {"shop-0", "shop-1"}),
        ("internet", "spread", 80, {"shop-0", "shop-1"}),
        ("internet", "local", 80, {"alone"}),
        ("client-b", "spread", 80, {"shop-0", "shop-1"}),
    ],
)
def test_types(lab: LabRecord, source: str, name: str, port: int, ends: set[str]) -> None:
    """ClusterIP, NodePort and LoadBalancer lead real connections to the pods that the walk names."""
    host = "172.18.0.11" if name == "ports" else _address(lab, name)
    seen = _calls(lab, source, host, port, 16)
    assert {one["outcome"] for one in seen} == {"connected"}
    assert {one["answer"] for one in seen} == ends
    walk = _walk(lab, source, f"ip/{host}:{port}")
    assert (walk.outcome.value, _ends(walk)) == ("connected", ends)


def test_balancer(lab: LabRecord) -> None:
    """Policy Local keeps the client's address and asks the one node with an endpoint; Cluster hides it."""
    local, spread = (
        _inside(lab, "internet", "curl", "-sm5", f"http://{_address(lab, n)}") for n in ("local", "spread")
    )
    assert local.splitlines() == ["alone", PUBLIC]
    assert spread.splitlines()[1].startswith("10.244.")
    rules = _inside(lab, "balancer", "iptables-nft-save", "-t", "nat").splitlines()
    count = Counter(n for n in ("local", "spread") for line in rules if f"-d {_address(lab, n)}/32" in line)
    assert count == {"local": 1, "spread": 2}


def test_health(lab: LabRecord) -> None:
    """A healthCheckNodePort says 200 where there is an endpoint and 503 where there is none."""
    port = _service_of(lab, "local")["spec"]["healthCheckNodePort"]
    for node, status in (("172.18.0.11", "200"), ("172.18.0.12", "503")):
        url = f"http://{node}:{port}/healthz"
        assert (
            _inside(lab, "internet", "curl", "-sm5", "-o", "/dev/null", "-w", "%{http_code}", url) == status
        )


def test_names(lab: LabRecord) -> None:
    """Headless and ExternalName Services lead by name to pods, to another Service, and outside."""
    assert {_calls(lab, "client-a", "peers", 8000)[0]["answer"] for _ in range(12)} == {"shop-0", "shop-1"}
    assert _calls(lab, "client-a", "alias", 80)[0]["answer"] in ("shop-0", "shop-1")
    assert _calls(lab, "client-a", "abroad", 80)[0]["answer"] == "internet"


def test_ingress(lab: LabRecord) -> None:
    """nginx behind a NodePort follows host, path and port of the Ingress: 404 and 503 as they should be."""
    port = _service_of(lab, "ingress-nginx-controller")["spec"]["ports"][0]["nodePort"]

    def get(path: str, host: str = "shop.example.com") -> str:
        url = f"http://172.18.0.12:{port}{path}"
        out = _inside(lab, "internet", "curl", "-sm5", "-w", "%{http_code}", "-H", f"Host: {host}", url)
        return f"{out.splitlines()[0] if '200' in out else ''} {out[-3:]}".strip()

    assert get("/any") in ("shop-0 200", "shop-1 200")
    assert get("/alone") == "alone 200"
    assert get("/alone/x") in ("shop-0 200", "shop-1 200")
    assert get("/none") == "503"
    assert get("/", host="other.example.com") == "404"


@pytest.mark.parametrize(
    ("source", "target", "ends"),
    [
        ("internet", "svc/default/spread", {"shop-0", "shop-1"}),
        ("internet", "svc/default/local", {"alone"}),
        ("client-a", "svc/default/alias", {"shop-0", "shop-1"}),
        ("client-a", "svc/default/peers", {"shop-0"}),
        ("client-a", "svc/default/abroad:80", {"internet"}),
        ("client-a", "www.example.com:80", {"internet"}),
        ("client-a", "alias.default.svc.cluster.local:80", {"shop-0", "shop-1"}),
    ],
)
def test_targets(lab: LabRecord, source: str, target: str, ends: set[str]) -> None:
    """Balancers, aliases, headless Services and DNS names are targets, and lead where connections do."""
    walk = _walk(lab, source, target)
    assert (walk.outcome.value, _ends(walk)) == ("connected", ends)


def test_nobody_by_that_name(lab: LabRecord) -> None:
    """A name that the client's DNS server does not know is an error that says what it answered."""
    with pytest.raises(UserError, match=r"has no address: 10\.96\.0\.10 answers"):
        _walk(lab, "client-a", "nobody.example.com:80")


@pytest.mark.parametrize(
    ("request_", "outcome", "service"),
    [
        ("shop.example.com/any", "connected", "default/plain"),
        ("shop.example.com/alone", "connected", "default/alone"),
        ("shop.example.com/none", "unavailable", "default/plain"),
        ("other.example.com", "not_found", None),
    ],
)
def test_ingress_traced(lab: LabRecord, request_: str, outcome: str, service: str | None) -> None:
    """A trace through an Ingress ends as nginx answers: two flows that connect, or 503, or 404."""
    target = parse_ingress(f"ingress/default/shop:{request_}")
    assert target is not None
    with open_context(lab=lab.name) as context:
        report = trace_ingress(context, "internet", target)
    assert (report.outcome, report.route.service) == (outcome, service)
    assert len(report.parts) == (2 if outcome == "connected" else 1)
    assert {part.report.walk.outcome.value for part in report.parts} == {"connected"}


# --- changes ---------------------------------------------------------------------------


def test_changes(lab: LabRecord, tmp_path: Path) -> None:
    """Scaling, unreadiness, a new selector and deletion reach endpoints, DNS, balancer and nodes; the rest stays."""
    client = next(entry for entry in lab.namespaces if entry.name == "client-a")
    address = _address(lab, "plain")
    record = _apply(lab, tmp_path, _deployment(3))
    assert _address(record, "plain") == address
    assert client in record.namespaces
    assert _soon(record, "client-a", address, 80, {"shop-0", "shop-1", "shop-2"}) == {
        "shop-0",
        "shop-1",
        "shop-2",
    }
    record = _apply(lab, tmp_path, _deployment(1))
    assert {one["answer"] for one in _calls(record, "client-a", address, 80, 8)} == {"shop-0"}
    assert {_calls(record, "client-a", "peers", 8000)[0]["answer"] for _ in range(4)} == {"shop-0"}
    assert _ends(_walk(record, "client-a", f"ip/{address}:80")) == {"shop-0"}
    record = _apply(lab, tmp_path, {**ALONE, "spec": {**ALONE["spec"], "nodeName": "node-b"}})  # type: ignore[dict-item]
    assert _soon(record, "internet", _address(record, "local"), 80, {"alone"}) == {"alone"}
    rules = _inside(record, "balancer", "iptables-nft-save", "-t", "nat")
    assert [
        f"-d {_address(record, 'local')}/32" in line for line in rules.splitlines() if "172.18.0.11:" in line
    ].count(True) == 0
    record = _apply(lab, tmp_path, _deployment(2, readinessProbe={"tcpSocket": {"port": 1}}))
    assert _calls(record, "client-a", address, 80)[0]["outcome"] == "refused"
    assert _walk(record, "client-a", f"ip/{address}:80").outcome.value == "refused"
    spread = _address(record, "spread")
    record = _apply(lab, tmp_path, _service("spread"), _service("local"), delete=True)
    assert "balancer" not in {entry.name for entry in record.namespaces}
    assert spread not in _inside(record, "internet", "ip", "route")
    record = _apply(lab, tmp_path, *OBJECTS)
    assert _soon(record, "internet", _address(record, "spread"), 80, {"shop-0", "shop-1"}) == {
        "shop-0",
        "shop-1",
    }


def test_what_it_cannot_do(lab: LabRecord, tmp_path: Path) -> None:
    """An object that a lab cannot have is an error that changes nothing."""
    before = Path(lab.root, "blueprint.json").read_bytes()
    sctp = _service("bad", ports=[{"port": 80, "protocol": "SCTP"}])
    for objects, words in (
        ([sctp], "SCTP"),
        ([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-c"}}], "Node cannot be changed"),
        ([_service("bad", ipFamilies=["IPv6"])], "no IPv6"),
    ):
        with pytest.raises(UserError, match=words):
            _apply(lab, tmp_path, *objects)
    with pytest.raises(UserError, match="no service/default/nobody"):
        _apply(lab, tmp_path, _service("nobody"), delete=True)
    assert Path(lab.root, "blueprint.json").read_bytes() == before


def test_broken_off(lab: LabRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that was broken off half-way is finished by the next one."""

    def fail(*_: object, **__: object) -> None:
        raise UserError("the power failed")

    with monkeypatch.context() as patched:
        patched.setattr("nettrace.lab.reconcile._program", fail)
        with pytest.raises(UserError, match="the power failed"):
            _apply(lab, tmp_path, _deployment(4))
    record = _apply(lab, tmp_path, _deployment(3))
    assert _soon(record, "client-a", _address(record, "plain"), 80, {"shop-0", "shop-1", "shop-2"}) == {
        "shop-0",
        "shop-1",
        "shop-2",
    }
    assert "shop-3" not in {entry.name for entry in record.namespaces}
