"""Services and their endpoints as objects of the API."""

from nettrace.model.kube import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
)
from tests.parse.manifest_texts import known, kube_of, kube_of_files, service_text


def test_kinds_of_services() -> None:
    """Headless and ExternalName Services have no cluster IPs; a balancer that proxies has no address here."""
    services = {service.name: service for service in known(kube_of_files("inputs/services.json").services)}
    assert (services["headless"].headless, services["headless"].cluster_ips) == (True, ())
    external = known(kube_of(service_text("{type: ExternalName, externalName: example.org}")).services)[0]
    assert (external.external_name, external.cluster_ips, external.ports) == ("example.org", (), ())
    proxied = known(
        kube_of(
            service_text(
                "{type: LoadBalancer, clusterIP: 10.0.0.1, healthCheckNodePort: 0, "
                "ports: [{port: 1, targetPort: ''}]}",
                status="{loadBalancer: {ingress: [{ip: 1.1.1.1}, {ip: 1.1.1.2, ipMode: Proxy}, {}]}}",
            )
        ).services
    )[0]
    assert proxied.load_balancer_ips == ("1.1.1.1",)
    assert (proxied.cluster_ips, proxied.health_check_node_port) == (("10.0.0.1",), None)
    assert proxied.ports[0].target_port == 1
    affine = known(kube_of(service_text("{sessionAffinity: ClientIP, ports: [{port: 1}]}")).services)[0]
    assert affine.session_affinity_timeout == 10800


def test_conditions_of_endpoints() -> None:
    """Conditions that are unset mean ready and serving, as kube-proxy takes them."""
    slices = known(
        kube_of(
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


def test_labels_by_which_a_slice_is_passed_over() -> None:
    """The label that hides a slice from kube-proxy is kept, whatever it says."""
    text = (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nendpoints: []\n"
        "metadata: {{name: x, labels: {{kubernetes.io/service-name: web{more}}}}}\n"
    )
    for more, wanted in (
        ("", ""),
        (", app: a", ""),
        (', service.kubernetes.io/headless: ""', "service.kubernetes.io/headless"),
        (", service.kubernetes.io/service-proxy-name: x", "service.kubernetes.io/service-proxy-name"),
    ):
        assert [one.foreign for one in known(kube_of(text.format(more=more)).endpoint_slices)] == [wanted]


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
    first, second, third = known(kube_of(text).endpoint_slices)
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
    assert [one.name for one in known(kube_of(text, slices).endpoint_slices)] == ["x"]
    assert (
        len(known(kube_of_files("inputs/endpoints-for-1.20.json").endpoint_slices)) == 38
    )  # of 40, two are empty
