"""
Service, EndpointSlice and Endpoints objects to the model, with the API server's defaults.

Sources: k8s.io/api core/v1 and discovery/v1 types, pkg/apis/core/v1/defaults.go.
"""

from nettrace.model.addr import family_of
from nettrace.model.kube import FOREIGN_LABELS, Endpoint, EndpointPort, EndpointSlice, Service, ServicePort
from nettrace.parse.fields import Fields

__all__ = ["endpoint_slice", "service", "slices_of_endpoints"]

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_POLICIES = ("Cluster", "Local")
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_SERVICE_NAME = "kubernetes.io/service-name"
_HOSTNAME = "kubernetes.io/hostname"


def service(fields: Fields) -> Service:
    """Return a Service.  UserError if a field is missing or of the wrong type."""
    metadata, spec = fields.inside("metadata"), fields.inside("spec")
    kind = spec.chosen("type", _TYPES, "ClusterIP")
    headless = spec.text("clusterIP") == "None"
    ports = tuple(_service_port(port) for port in spec.objects("ports"))
    if not ports and not headless and kind != "ExternalName":
        spec.fail("ports is missing", "ports")
    balanced = _load_balancer_status(fields)
    client_ip = spec.inside("sessionAffinityConfig").inside("clientIP")
    return Service(
        name=metadata.required("name"),
        namespace=metadata.text("namespace", "default"),
        type=kind,
        cluster_ips=() if headless or kind == "ExternalName" else _cluster_ips(spec),
        headless=headless,
        ports=ports,
        selector=spec.mapping("selector"),
        external_ips=spec.addresses("externalIPs"),
        load_balancer_ips=tuple(address for address, mode in balanced if mode != "Proxy"),
        load_balancer_status=balanced,
        load_balancer_source_ranges=spec.texts("loadBalancerSourceRanges"),
        external_traffic_policy=spec.chosen("externalTrafficPolicy", _POLICIES, "Cluster"),
        internal_traffic_policy=spec.chosen("internalTrafficPolicy", _POLICIES, "Cluster"),
        health_check_node_port=spec.port("healthCheckNodePort"),
        session_affinity=spec.chosen("sessionAffinity", ("None", "ClientIP"), "None"),
        session_affinity_timeout=client_ip.number("timeoutSeconds", 1, 86400) or 10800,
        publish_not_ready_addresses=spec.flag("publishNotReadyAddresses"),
        external_name=spec.text("externalName") or None,
        labels=metadata.mapping("labels"),
        annotations=metadata.mapping("annotations"),
    )


def _cluster_ips(spec: Fields) -> tuple[str, ...]:
    several = spec.addresses("clusterIPs")
    one = spec.address("clusterIP")
    return several or ((one,) if one else ())


def _load_balancer_status(fields: Fields) -> tuple[tuple[str, str], ...]:
    """Return the balancer's addresses and their ipMode; nodes do not serve those of mode Proxy."""
    ingress = fields.inside("status").inside("loadBalancer").objects("ingress")
    found = [(entry.address("ip"), entry.text("ipMode", "VIP")) for entry in ingress]
    return tuple((address, mode) for address, mode in found if address)


def _service_port(fields: Fields) -> ServicePort:
    port = fields.number("port", 1, 65535)
    if port is None:
        fields.fail("port is missing", "port")
    return ServicePort(
        port=port,
        protocol=fields.chosen("protocol", _PROTOCOLS, "TCP"),
        name=fields.text("name"),
        target_port=_target_port(fields, port),
        node_port=fields.port("nodePort"),
    )


def _target_port(fields: Fields, port: int) -> int | str:
    target = fields.value.get("targetPort")
    if isinstance(target, str) and target:
        return target
    return port if target == "" else fields.port("targetPort") or port


def endpoint_slice(fields: Fields) -> EndpointSlice:
    """Return an EndpointSlice, of discovery/v1 or v1beta1."""
    metadata = fields.inside("metadata")
    labels = metadata.mapping("labels")
    return EndpointSlice(
        name=metadata.required("name"),
        namespace=metadata.text("namespace", "default"),
        service=labels.get(_SERVICE_NAME, ""),
        foreign=next((label for label in FOREIGN_LABELS if label in labels), ""),
        address_type=fields.chosen("addressType", ("IPv4", "IPv6", "FQDN"), "IPv4"),
        endpoints=tuple(_endpoint(entry) for entry in fields.objects("endpoints")),
        ports=tuple(_endpoint_port(entry) for entry in fields.objects("ports")),
    )


def _endpoint(fields: Fields) -> Endpoint:
    addresses = fields.texts("addresses")
    if not addresses:
        fields.fail("addresses is missing", "addresses")
    conditions, hints = fields.inside("conditions"), fields.inside("hints")
    ready = conditions.flag("ready", default=True)
    # v1beta1 had the node in a dictionary, which v1 keeps under another name
    topology = {**fields.mapping("topology"), **fields.mapping("deprecatedTopology")}
    return Endpoint(
        addresses=addresses,
        ready=ready,
        serving=conditions.flag("serving", default=True),
        terminating=conditions.flag("terminating"),
        node_name=fields.text("nodeName") or topology.get(_HOSTNAME),
        zone=fields.text("zone") or topology.get("topology.kubernetes.io/zone"),
        hints_zones=tuple(entry.required("name") for entry in hints.objects("forZones")),
        hints_nodes=tuple(entry.required("name") for entry in hints.objects("forNodes")),
        target=_target(fields),
    )


def _target(fields: Fields) -> str | None:
    reference = fields.inside("targetRef")
    if reference.text("kind") != "Pod":
        return None
    return f"{reference.text('namespace', 'default')}/{reference.required('name')}"


def _endpoint_port(fields: Fields) -> EndpointPort:
    return EndpointPort(
        name=fields.text("name"),
        protocol=fields.chosen("protocol", _PROTOCOLS, "TCP"),
        port=fields.port("port"),
    )


def slices_of_endpoints(fields: Fields) -> tuple[str, str, tuple[EndpointSlice, ...]]:
    """
    Return namespace and name of an Endpoints object, and it as EndpointSlices.

    One slice for each subset and family, called as the object with a number behind it.
    """
    metadata = fields.inside("metadata")
    name, namespace = metadata.required("name"), metadata.text("namespace", "default")
    slices: list[EndpointSlice] = []
    for subset in fields.objects("subsets"):
        ports = tuple(_endpoint_port(entry) for entry in subset.objects("ports"))
        ready = [_old_endpoint(entry, ready=True) for entry in subset.objects("addresses")]
        not_ready = [_old_endpoint(entry, ready=False) for entry in subset.objects("notReadyAddresses")]
        for family in (4, 6):
            mine = tuple(one for one in (*ready, *not_ready) if family_of(one.addresses[0]) == family)
            if mine:
                slices.append(
                    EndpointSlice(
                        name=f"{name}-{len(slices)}",
                        namespace=namespace,
                        service=name,
                        address_type=f"IPv{family}",
                        endpoints=mine,
                        ports=ports,
                    )
                )
    return namespace, name, tuple(slices)


def _old_endpoint(fields: Fields, *, ready: bool) -> Endpoint:
    address = fields.address("ip")
    if not address:
        fields.fail("ip is missing", "ip")
    return Endpoint(
        addresses=(address,),
        ready=ready,
        serving=ready,
        node_name=fields.text("nodeName") or None,
        target=_target(fields),
    )
