"""Manifests: what people write and what kubectl prints become the same objects."""

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrace.model.errors import UserError
from nettrace.model.kube import (
    KubeNode,
    KubeProxyConfig,
    Service,
    ServicePort,
)
from nettrace.parse.manifests import kube_from_documents
from tests.parse.manifest_texts import KUBE_PROXY, known, kube_of, kube_of_files, service_text

MANY = """\
apiVersion: v1
kind: Service
metadata: {name: web, labels: {since: 2020-01-01, at: 12:30, really: yes, version: "1"}}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}, {name: b, port: 0x51, protocol: UDP, nodePort: 30080}]
---
# an empty document is none
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: of-another-kind}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: another}
"""


def test_several_documents() -> None:
    """Documents are read one by one; kinds that say nothing about packets are passed over."""
    kube = kube_of(MANY)
    assert kube.origin == "manifests ."
    assert known(kube.services) == (
        Service(
            name="web",
            ports=(
                ServicePort(port=80, target_port="http"),
                ServicePort(port=81, protocol="UDP", name="b", target_port=81, node_port=30080),
            ),
            selector={"app": "web"},
            labels={"since": "2020-01-01", "at": "12:30", "really": "yes", "version": "1"},
        ),
    )
    assert known(kube.endpoint_slices) == known(kube.pods) == known(kube.nodes) == ()
    assert known(kube.proxy) == KubeProxyConfig()


def test_what_the_api_server_returns() -> None:
    """Objects as applied and as the API server returned them, with status and defaults, are the same."""
    applied = kube_of_files(
        "inputs/services.json", "inputs/endpointslices.json", "inputs/nodes.json", "inputs/namespaces.json"
    )
    stored = kube_of_files(
        "inputs/stored-services.json",
        "inputs/stored-endpointslices.json",
        "inputs/stored-endpoints.json",
        "inputs/stored-nodes.json",
    )
    assert len(known(applied.services)) == 46
    theirs = {service.key: service for service in known(stored.services)}
    assert theirs.pop("default/kubernetes").cluster_ips == ("10.96.0.1",)
    assert theirs == {service.key: service for service in known(applied.services)}
    slices = {one.name: one for one in known(stored.endpoint_slices)}
    assert slices.pop("kubernetes").service == "kubernetes"  # not again from its Endpoints
    assert slices == {one.name: one for one in known(applied.endpoint_slices)}
    assert known(applied.nodes) == known(stored.nodes)
    assert known(applied.nodes)[0] == KubeNode(
        name="node-a",
        internal_ips=("192.168.50.11", "fd00:50::11"),
        pod_cidrs=("10.244.1.0/24", "fd00:10:244:1::/64"),
        labels={
            "kubernetes.io/hostname": "node-a",
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": "zone-a",
        },
    )


def test_yaml_is_json() -> None:
    """A list says the same as YAML and as JSON."""
    text = (KUBE_PROXY / "inputs/stored-services.json").read_text()
    assert kube_of(yaml.safe_dump(yaml.safe_load(text))) == kube_of(text)
    assert (
        len(known(kube_of(text + text).services)) == 47
    )  # JSON documents one after another, as kubectl takes them


def test_the_later_object_counts() -> None:
    """Of two objects of one name the later counts, as for kubectl apply."""
    kube = kube_of(service_text("{ports: [{port: 1}]}"), service_text("{ports: [{port: 2}]}"))
    assert [service.ports[0].port for service in known(kube.services)] == [2]


def test_documents_from_elsewhere() -> None:
    """Objects that did not come out of a file are taken too, and numbered in errors."""
    service = {"kind": "Service", "metadata": {"name": "web"}, "spec": {"clusterIP": "None"}}
    assert known(kube_from_documents([service], "api").services)[0].headless
    with pytest.raises(UserError) as caught:
        kube_from_documents([service, {**service, "spec": {"ports": 5}}], "api")
    assert caught.value.where == "document 2: spec.ports"


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("a: [", "neither YAML nor JSON", "a.yaml:2:1"),
        ('{"a":', "neither YAML nor JSON", "a.yaml:2:1"),
        ("a: &x [*x", "neither YAML nor JSON", "a.yaml:2:1"),
        ("\t- x: 1", "neither YAML nor JSON", "a.yaml:1:1"),
        ('a: "\x00"', "neither YAML nor JSON", "a.yaml"),
        ("a: !!int x", "neither YAML nor JSON", "a.yaml"),
        ("? [a]\n: b", "neither YAML nor JSON", "a.yaml:1:3"),
        ("!!python/object:os.system {}", "neither YAML nor JSON", "a.yaml:1:1"),
        ("- a", "expected an object, found a list", "a.yaml, document 1"),
        ("---\nx\n", "expected an object, found a text", "a.yaml, document 1"),
        ("a: 1", "kind is missing", "a.yaml, document 1: kind"),
        ("kind: 5", "expected a text, found a number", "a.yaml, document 1: kind"),
        ("kind: List\nitems: 5", "expected a list", "a.yaml, document 1: items"),
        ("kind: List\nitems: [5]", "expected an object", "a.yaml, document 1, items[0]"),
        (service_text("5"), "expected an object", "a.yaml, document 1: spec"),
        (service_text("{}"), "ports is missing", "a.yaml, document 1: spec.ports"),
        (
            MANY + "---\n" + service_text("{ports: [{}]}"),
            "port is missing",
            "a.yaml, document 6: spec.ports[0].port",
        ),
        (
            service_text('{ports: [{port: "80"}]}'),
            "expected a number",
            "a.yaml, document 1: spec.ports[0].port",
        ),
        (
            service_text("{ports: [{port: true}]}"),
            "found true or false",
            "a.yaml, document 1: spec.ports[0].port",
        ),
        (service_text("{ports: [{port: 0}]}"), "not from 1", "a.yaml, document 1: spec.ports[0].port"),
        (
            service_text("{ports: [{port: 80, protocol: tcp}]}"),
            "`tcp` is none of TCP",
            "a.yaml, document 1: spec.ports[0].protocol",
        ),
        (
            service_text("{ports: [{port: 80, targetPort: 1.5}]}"),
            "found a fraction",
            "a.yaml, document 1: spec.ports[0].targetPort",
        ),
        (
            service_text("{clusterIP: x, ports: [{port: 1}]}"),
            "not an IP address",
            "a.yaml, document 1: spec.clusterIP",
        ),
        (
            service_text("{externalIPs: [1.1.1.1, x], ports: [{port: 1}]}"),
            "not an IP address",
            "a.yaml, document 1: spec.externalIPs[1]",
        ),
        (
            service_text("{loadBalancerSourceRanges: [8], ports: [{port: 1}]}"),
            "expected a text",
            "a.yaml, document 1: spec.loadBalancerSourceRanges[0]",
        ),
        (
            service_text("{ports: [{port: 1}], selector: {a: 1}}"),
            "in quotes",
            "a.yaml, document 1: spec.selector[a]",
        ),
        (
            "kind: Service\nspec: {clusterIP: None}",
            "name is missing",
            "a.yaml, document 1: metadata.name",
        ),
        (
            "kind: EndpointSlice\nmetadata: {name: a}\nendpoints: [{}]",
            "addresses is missing",
            "a.yaml, document 1: endpoints[0].addresses",
        ),
        (
            "kind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{}]}]",
            "ip is missing",
            "a.yaml, document 1: subsets[0].addresses[0].ip",
        ),
        (
            "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, ports: [{}]}]}",
            "containerPort is missing",
            "a.yaml, document 1: spec.containers[0].ports[0].containerPort",
        ),
        (
            "kind: ConfigMap\nmetadata: {name: kube-proxy}\ndata: {config.conf: 'kind: X\nmode: ['}",
            "neither YAML nor JSON",
            "a.yaml, document 1: data[config.conf]:1:13",
        ),
        (
            "kind: KubeProxyConfiguration\nmode: magic",
            "`magic` is none of iptables",
            "a.yaml, document 1: mode",
        ),
    ],
)
def test_malformed_objects(text: str, what: str, where: str) -> None:
    """What is wrong is named with its file, document and field."""
    with pytest.raises(UserError) as caught:
        kube_of(text)
    assert what in caught.value.what
    assert caught.value.where == where
    assert caught.value.hint


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=5)
        | st.sampled_from(("Service", "v1", "List")),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ("kind", "apiVersion", "items", "metadata", "name", "spec", "ports", "port", "status")
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_nonsense(content: Any) -> None:
    """Whatever an object holds, it is read or refused with a UserError."""
    with suppress(UserError):
        kube_of(yaml.safe_dump(content))
    with suppress(UserError):
        kube_from_documents([{"kind": "Service", "metadata": {"name": "x"}, "spec": content}], "")
