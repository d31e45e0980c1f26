"""What an Ingress makes of a request, against the tables of the Kubernetes documentation."""

from typing import Any

import pytest

from nettrace.kube.ingress import controller_service, default_request, host_matches, path_matches, route
from nettrace.kube.service_names import aliased, headless_ends, outside_address
from nettrace.model.errors import UserError
from nettrace.model.ingress import Ingress, IngressBackend, IngressPath
from nettrace.model.kube import Endpoint, EndpointPort, EndpointSlice, Service, ServicePort
from nettrace.model.section import Known
from nettrace.parse.manifests import kube_from_documents
from nettrace.parse.target import parse_ingress


def _path(
    path: str, kind: str = "Prefix", host: str = "", service: str = "web", port: int | str = 80
) -> IngressPath:
    backend = IngressBackend(service=service, port=port)
    return IngressPath(host=host, path=path, path_type=kind, backend=backend)


WEB = Service(name="web", ports=(ServicePort(port=80, name="http"),))
SLICE = EndpointSlice(
    name="web-1",
    service="web",
    endpoints=(Endpoint(addresses=("10.0.0.1",)), Endpoint(addresses=("10.0.0.2",), ready=False)),
    ports=(EndpointPort(name="http", port=8080),),
)


def _routed(*paths: IngressPath, host: str = "a.example", path: str = "/", **more: Any) -> Any:
    return route(Ingress(name="site", paths=paths, **more), host, path, [WEB], [SLICE])


@pytest.mark.parametrize(
    ("kind", "rule", "path", "fits"),
    [
        ("Prefix", "/", "/any/path", True),
        ("Exact", "/foo", "/foo", True),
        ("Exact", "/foo", "/bar", False),
        ("Exact", "/foo", "/foo/", False),
        ("Exact", "/foo/", "/foo", False),
        ("Prefix", "/foo", "/foo/", True),
        ("Prefix", "/foo/", "/foo", True),
        ("Prefix", "/aaa/bb", "/aaa/bbb", False),
        ("Prefix", "/aaa/bbb", "/aaa/bbb/ccc", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbbxyz", False),
    ],
)
def test_paths(kind: str, rule: str, path: str, fits: bool) -> None:
    """Paths fit as the table of the documentation's page on Ingress says."""
    assert path_matches(_path(rule, kind), path) is fits


@pytest.mark.parametrize(
    ("rule", "host", "fits"),
    [
        ("*.foo.com", "bar.foo.com", True),
        ("*.foo.com", "baz.bar.foo.com", False),
        ("*.foo.com", "foo.com", False),
        ("Foo.com", "foo.COM", True),
        ("foo.com", "bar.com", False),
        ("", "bar.com", True),
    ],
)
def test_hosts(rule: str, host: str, fits: bool) -> None:
    """A wildcard stands for one label, case does not count."""
    assert host_matches(rule, host) is fits


def test_which_rule() -> None:
    """The host in full goes before a wildcard before any; Exact before Prefix; the longest prefix."""
    rules = (
        _path("/", host="*.example"),
        _path("/", host="a.example"),
        _path("/x", host="a.example"),
        _path("/x", "Exact", host="a.example"),
        _path("/"),
    )
    assert _routed(*rules).rule == rules[1]
    assert _routed(*rules, path="/x").rule == rules[3]
    assert _routed(*rules, path="/x/y").rule == rules[2]
    assert _routed(*rules, host="b.example").rule == rules[0]
    assert _routed(*rules, host="elsewhere").rule == rules[4]


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (_routed(_path("/", host="b.example")), 404, "no rule has the host a.example"),
        (_routed(_path("/x", host="a.example")), 404, "no path of a.example fits /"),
        (_routed(_path("/", service="nobody")), 503, "there is no Service default/nobody"),
        (_routed(_path("/", port=81)), 503, "has no port 81: it has 80 (http)"),
        (_routed(_path("/", port="http")), 0, "port http is 80 of it"),
        (_routed(default_backend=IngressBackend(service="web", port=80)), 0, "port 80 is 80 of it"),
        (route(Ingress(name="s", paths=(_path("/"),)), "", "/", [WEB], []), 503, "has no ready endpoint"),
    ],
)
def test_what_is_checked(found: Any, status: int, words: str) -> None:
    """Host, path, Service, port and endpoints are checked in turn, and the status follows."""
    assert found.status == status
    assert words in found.checks[-1][1]
    assert found.checks[-1][0] is (status == 0)


def test_default_request() -> None:
    """Without a request it is the first rule's."""
    assert default_request(Ingress(name="s", paths=(_path("/x", host="*.a.b"),))) == ("any.a.b", "/x")
    assert default_request(Ingress(name="s")) == ("", "/")


def test_controller() -> None:
    """The controller's Service is the one from outside whose pods are called ingress."""
    selector = {"app.kubernetes.io/name": "ingress-nginx"}
    one = Service(name="c", type="NodePort", selector=selector)
    assert controller_service([WEB, one, Service(name="d", selector=selector)]) == one
    for wrong in ([WEB], [one, one]):
        with pytest.raises(UserError, match="not clear"):
            controller_service(wrong)


def test_manifests() -> None:
    """Ingresses are read with both ways of naming a backend; resource backends are left out."""
    paths = [
        {
            "path": "/a",
            "pathType": "Exact",
            "backend": {"service": {"name": "web", "port": {"name": "http"}}},
        },
        {"backend": {"serviceName": "old", "servicePort": 81}},
        {"backend": {"resource": {"kind": "Bucket"}}},
    ]
    spec = {"ingressClassName": "x", "rules": [{"host": "h", "http": {"paths": paths}}]}
    document = {
        "kind": "Ingress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "i"},
        "spec": spec,
    }
    section = kube_from_documents([document], "test").ingresses
    assert isinstance(section, Known)
    (found,) = section.value
    assert [(p.host, p.path, p.path_type, p.backend.service, p.backend.port) for p in found.paths] == [
        ("h", "/a", "Exact", "web", "http"),
        ("h", "/", "ImplementationSpecific", "old", 81),
    ]


def test_targets() -> None:
    """An Ingress target has a name, and may have a namespace, host and path."""
    assert parse_ingress("svc/a/b") is None
    found = parse_ingress("ing/shop/site:h.example/a/b")
    assert found is not None
    assert (found.namespace, found.name, found.host, found.path) == ("shop", "site", "h.example", "/a/b")
    bare = parse_ingress("ingress/site")
    assert bare is not None
    assert (bare.namespace, bare.host, bare.path) == (None, "", "")
    for wrong in ("ingress/", "ingress/a/b/c", "ingress/a:h h/", "ingress//a"):
        with pytest.raises(UserError, match="is not an Ingress"):
            parse_ingress(wrong)


# --- names of Services -------------------------------------------------------------------


def _external(name: str, of: str) -> Service:
    return Service(name=name, type="ExternalName", external_name=of)


def test_aliases() -> None:
    """ExternalNames are followed inside the cluster; rings and Services that are not there are errors."""
    services = [
        WEB,
        _external("a", "b.default.svc.cluster.local."),
        _external("b", "web.default.svc"),
        _external("out", "www.example.com"),
        _external("ring", "ring.default.svc"),
        _external("lost", "nobody.default.svc"),
    ]
    assert aliased(services[1], services) == WEB
    assert aliased(services[3], services) == services[3]
    with pytest.raises(UserError, match="leads back"):
        aliased(services[4], services)
    with pytest.raises(UserError, match="not there"):
        aliased(services[5], services)


def test_headless() -> None:
    """A headless name leads to ready endpoints, at the endpoints' own port."""
    service = Service(name="web", headless=True, ports=WEB.ports)
    assert headless_ends(service, service.ports[0], [SLICE]) == (("10.0.0.1",), 8080)
    with pytest.raises(UserError, match="no ready endpoint"):
        headless_ends(service, None, [])


def test_outside() -> None:
    """The outside calls a LoadBalancer by its status address."""
    balanced = Service(name="b", type="LoadBalancer", load_balancer_status=(("198.51.100.1", "Proxy"),))
    assert outside_address(balanced) == "198.51.100.1"
    assert outside_address(WEB) is None
