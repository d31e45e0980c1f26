"""Manifests: what people write and what kubectl prints become the same objects."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrace.model.errors import UserError
from nettrace.model.kube import (
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Kube,
    KubeNode,
    KubeProxyConfig,
    Pod,
    PodContainer,
    Service,
    ServicePort,
)
from nettrace.model.section import Known, Section
from nettrace.parse.manifests import kube_from_documents, parse_documents

KUBE_PROXY = Path(__file__).parents[2] / "fixtures/kube-proxy"

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


def _kube(*texts: str) -> Kube:
    return kube_from_documents(
        [one for text in texts for one in parse_documents(text, "a.yaml")], "manifests ."
    )


def _read(*names: str) -> Kube:
    return _kube(*((KUBE_PROXY / name).read_text() for name in names))


def _known(section: Section[Any]) -> Any:
    assert isinstance(section, Known)
    return section.value


def _service(spec: str, **more: str) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {spec}\n" + "".join(
        f"{name}: {value}\n" for name, value in more.items()
    )


def test_several_documents() -> None:
    """Documents are read one by one; kinds that say nothing about packets are passed over."""
    kube = _kube(MANY)
    assert kube.origin == "manifests ."
    assert _known(kube.services) == (
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
    assert _known(kube.endpoint_slices) == _known(kube.pods) == _known(kube.nodes) == ()
    assert _known(kube.proxy) == KubeProxyConfig()


def test_what_the_api_server_returns() -> None:
    """Objects as applied and as the API server returned them, with status and defaults, are the same."""
    applied = _read(
        "inputs/services.json", "inputs/endpointslices.json", "inputs/nodes.json", "inputs/namespaces.json"
    )
    stored = _read(
        "inputs/stored-services.json",
        "inputs/stored-endpointslices.json",
        "inputs/stored-endpoints.json",
        "inputs/stored-nodes.json",
    )
    assert len(_known(applied.services)) == 46
    theirs = {service.key: service for service in _known(stored.services)}
    assert theirs.pop("default/kubernetes").cluster_ips == ("10.96.0.1",)
    assert theirs == {service.key: service for service in _known(applied.services)}
    slices = {one.name: one for one in _known(stored.endpoint_slices)}
    assert slices.pop("kubernetes").service == "kubernetes"  # not again from its Endpoints
    assert slices == {one.name: one for one in _known(applied.endpoint_slices)}
    assert _known(applied.nodes) == _known(stored.nodes)
    assert _known(applied.nodes)[0] == KubeNode(
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
    assert _kube(yaml.safe_dump(yaml.safe_load(text))) == _kube(text)
    assert (
        len(_known(_kube(text + text).services)) == 47
    )  # JSON documents one after another, as kubectl takes them


def test_kinds_of_services() -> None:
    """Headless and ExternalName Services have no cluster IPs; a balancer that proxies has no address here."""
    services = {service.name: service for service in _known(_read("inputs/services.json").services)}
    assert (services["headless"].headless, services["headless"].cluster_ips) == (True, ())
    external = _known(_kube(_service("{type: ExternalName, externalName: example.org}")).services)[0]
    assert (external.external_name, external.cluster_ips, external.ports) == ("example.org", (), ())
    proxied = _known(
        _kube(
            _service(
                "{type: LoadBalancer, clusterIP: 10.0.0.1, healthCheckNodePort: 0, "
                "ports: [{port: 1, targetPort: ''}]}",
                status="{loadBalancer: {ingress: [{ip: 1.1.1.1}, {ip: 1.1.1.2, ipMode: Proxy}, {}]}}",
            )
        ).services
    )[0]
    assert proxied.load_balancer_ips == ("1.1.1.1",)
    assert (proxied.cluster_ips, proxied.health_check_node_port) == (("10.0.0.1",), None)
    assert proxied.ports[0].target_port == 1
    affine = _known(_kube(_service("{sessionAffinity: ClientIP, ports: [{port: 1}]}")).services)[0]
    assert affine.session_affinity_timeout == 10800


def test_conditions_of_endpoints() -> None:
    """Conditions that are unset mean ready and serving, as kube-proxy takes them."""
    slices = _known(
        _kube(
            """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 80}, {name: all, port: null}]
endpoints:
- addresses: [10.0.0.1]
  nodeName: a
  targetRef: {kind: Pod, name: web-0, namespace: shop}
- addresses: [10.0.0.2]
  conditions: {ready: false}
  targetRef: {kind: Node, name: x}
- addresses: [10.0.0.3]
  conditions: {ready: false, serving: true, terminating: true}
  hints: {forZones: [{name: z}], forNodes: [{name: n}]}
  deprecatedTopology: {kubernetes.io/hostname: b, topology.kubernetes.io/zone: z}
"""
        ).endpoint_slices
    )
    assert slices == (
        EndpointSlice(
            name="web-x",
            service="web",
            ports=(EndpointPort(port=80), EndpointPort(name="all")),
            endpoints=(
                Endpoint(addresses=("10.0.0.1",), node_name="a", target="shop/web-0"),
                Endpoint(addresses=("10.0.0.2",), ready=False),
                Endpoint(
                    addresses=("10.0.0.3",),
                    ready=False,
                    terminating=True,
                    node_name="b",
                    zone="z",
                    hints_zones=("z",),
                    hints_nodes=("n",),
                ),
            ),
        ),
    )


def test_endpoints_of_older_clusters() -> None:
    """Endpoints become slices, one for each subset and family; where there are slices, these count."""
    text = """
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: shop}
subsets:
- ports: [{port: 80, name: http}]
  addresses:
  - {ip: 10.0.0.1, nodeName: a, targetRef: {kind: Pod, name: web-0, namespace: shop}}
  - {ip: fd00::1}
- ports: [{port: 81}]
  notReadyAddresses: [{ip: 10.0.0.2}]
"""
    first, second, third = _known(_kube(text).endpoint_slices)
    assert (first.name, first.namespace, first.service, first.address_type) == (
        "web-0",
        "shop",
        "web",
        "IPv4",
    )
    assert first.endpoints == (Endpoint(addresses=("10.0.0.1",), node_name="a", target="shop/web-0"),)
    assert (second.address_type, second.ports) == ("IPv6", (EndpointPort(name="http", port=80),))
    assert third.endpoints == (Endpoint(addresses=("10.0.0.2",), ready=False, serving=False),)
    slices = (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
        "metadata: {name: x, namespace: shop, labels: {kubernetes.io/service-name: web}}\n"
    )
    assert [one.name for one in _known(_kube(text, slices).endpoint_slices)] == ["x"]
    assert len(_known(_read("inputs/endpoints-for-1.20.json").endpoint_slices)) == 38  # of 40, two are empty


def test_pods() -> None:
    """A pod without a status counts as running and ready; with one, the status decides."""
    written, observed = _known(
        _kube(
            """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  nodeName: n
  containers: [{name: c, image: x, ports: [{containerPort: 80, name: http, hostPort: 8080}]}]
  initContainers: [{name: once}, {name: sidecar, restartPolicy: Always}]
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: shop}
spec: {hostNetwork: true, containers: []}
status:
  phase: Pending
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: fd00::1}]
  conditions: [{type: PodScheduled, status: "True"}]
"""
        ).pods
    )
    assert written == Pod(
        name="a",
        node_name="n",
        containers=(
            PodContainer(name="c", ports=(ContainerPort(container_port=80, name="http", host_port=8080),)),
            PodContainer(name="sidecar"),
        ),
    )
    assert (observed.key, observed.host_network, observed.ready, observed.phase) == (
        "shop/b",
        True,
        False,
        "Pending",
    )
    assert observed.ips == ("10.0.0.1", "fd00::1")
    alone = _known(_kube("kind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.1}\n").pods)[0]
    assert alone.ips == ("10.0.0.1",)


def test_nodes() -> None:
    """A node has its addresses by kind; podCIDR alone is taken where podCIDRs is absent."""
    text = """
apiVersion: v1
kind: Node
metadata: {name: n, annotations: {flannel.alpha.coreos.com/public-ip: 10.0.0.1}}
spec: {podCIDR: 10.244.0.0/24}
status:
  addresses:
  - {type: InternalIP, address: 10.0.0.1}
  - {type: ExternalIP, address: 1.1.1.1}
  - {type: Hostname, address: n}
"""
    assert _known(_kube(text).nodes) == (
        KubeNode(
            name="n",
            internal_ips=("10.0.0.1",),
            external_ips=("1.1.1.1",),
            pod_cidrs=("10.244.0.0/24",),
            annotations={"flannel.alpha.coreos.com/public-ip": "10.0.0.1"},
        ),
    )


def test_kube_proxy_configuration() -> None:
    """The configuration is taken from its file or from the ConfigMap, with kube-proxy's defaults."""
    file = _known(_read("iptables-1.36/kube-proxy-config.json").proxy)
    assert file == KubeProxyConfig(cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/56"))
    assert _known(_read("ipvs-1.36/kube-proxy-config.json").proxy).mode == "ipvs"
    from_map = """
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  kubeconfig.conf: "not read"
  config.conf: |-
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    detectLocalMode: BridgeInterface
    detectLocal: {bridgeInterface: cni0, interfaceNamePrefix: veth}
    iptables: {masqueradeAll: true, masqueradeBit: 15, localhostNodePorts: false}
    mode: ""
    nodePortAddresses: [10.0.0.0/8]
"""
    assert _known(_kube(from_map).proxy) == KubeProxyConfig(
        detect_local_mode="BridgeInterface",
        detect_local_bridge="cni0",
        detect_local_interface_prefix="veth",
        masquerade_all=True,
        masquerade_bit=15,
        node_port_addresses=("10.0.0.0/8",),
        localhost_node_ports=False,
    )
    nftables = (
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n"
        "iptables: {masqueradeBit: 3}\nnftables: {masqueradeBit: 0}\n"
    )
    assert _known(_kube(nftables).proxy).masquerade_bit == 0
    empty_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy}\n"
    assert _known(_kube(empty_map).proxy) == KubeProxyConfig()


def test_version_of_kube_proxy() -> None:
    """The DaemonSet's image says which version runs; else its pods' or the nodes', the oldest of several."""

    def containers(image: str) -> str:
        return f"{{containers: [{{name: x, image: y}}, {{name: kube-proxy, image: '{image}'}}]}}"

    def nodes(*versions: str) -> str:
        return "---\n".join(
            f"apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\n"
            f"status: {{nodeInfo: {{kubeletVersion: {version}}}}}\n"
            for number, version in enumerate(versions)
        )

    daemon_set = (
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: kube-proxy}\n"
        f"spec: {{template: {{spec: {containers('registry:5000/kube-proxy:v1.33.2@sha256:abc')}}}}}\n"
    )
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-proxy-x, labels: {k8s-app: kube-proxy}}\n"
        f"spec: {containers('registry/kube-proxy-amd64:v1.32.0')}\n"
    )
    untagged = pod.replace(":v1.32.0", "")
    other = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: flannel}\n"
    assert _known(_kube(daemon_set, pod, nodes("v1.31.1")).proxy).version == "1.33"
    assert _known(_kube(daemon_set).proxy).version_stated
    assert _known(_kube(other, pod, nodes("v1.31.1")).proxy).version == "1.32"
    assert _known(_kube(untagged, nodes("v1.31.1+k3s1", "v1.9.2", "odd")).proxy).version == "1.9"
    assert _known(_kube(untagged).proxy).version == KubeProxyConfig().version
    assert not _known(_kube(untagged).proxy).version_stated


def test_the_later_object_counts() -> None:
    """Of two objects of one name the later counts, as for kubectl apply."""
    kube = _kube(_service("{ports: [{port: 1}]}"), _service("{ports: [{port: 2}]}"))
    assert [service.ports[0].port for service in _known(kube.services)] == [2]


def test_documents_from_elsewhere() -> None:
    """Objects that did not come out of a file are taken too, and numbered in errors."""
    service = {"kind": "Service", "metadata": {"name": "web"}, "spec": {"clusterIP": "None"}}
    assert _known(kube_from_documents([service], "api").services)[0].headless
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
        (_service("5"), "expected an object", "a.yaml, document 1: spec"),
        (_service("{}"), "ports is missing", "a.yaml, document 1: spec.ports"),
        (
            MANY + "---\n" + _service("{ports: [{}]}"),
            "port is missing",
            "a.yaml, document 6: spec.ports[0].port",
        ),
        (_service('{ports: [{port: "80"}]}'), "expected a number", "a.yaml, document 1: spec.ports[0].port"),
        (
            _service("{ports: [{port: true}]}"),
            "found true or false",
            "a.yaml, document 1: spec.ports[0].port",
        ),
        (_service("{ports: [{port: 0}]}"), "not from 1", "a.yaml, document 1: spec.ports[0].port"),
        (
            _service("{ports: [{port: 80, protocol: tcp}]}"),
            "`tcp` is none of TCP",
            "a.yaml, document 1: spec.ports[0].protocol",
        ),
        (
            _service("{ports: [{port: 80, targetPort: 1.5}]}"),
            "found a fraction",
            "a.yaml, document 1: spec.ports[0].targetPort",
        ),
        (
            _service("{clusterIP: x, ports: [{port: 1}]}"),
            "not an IP address",
            "a.yaml, document 1: spec.clusterIP",
        ),
        (
            _service("{externalIPs: [1.1.1.1, x], ports: [{port: 1}]}"),
            "not an IP address",
            "a.yaml, document 1: spec.externalIPs[1]",
        ),
        (
            _service("{loadBalancerSourceRanges: [8], ports: [{port: 1}]}"),
            "expected a text",
            "a.yaml, document 1: spec.loadBalancerSourceRanges[0]",
        ),
        (
            _service("{ports: [{port: 1}], selector: {a: 1}}"),
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
        _kube(text)
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
        _kube(yaml.safe_dump(content))
    with suppress(UserError):
        kube_from_documents([{"kind": "Service", "metadata": {"name": "x"}, "spec": content}], "")
