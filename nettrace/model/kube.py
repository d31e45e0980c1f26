"""
Kubernetes objects, as far as the packet path depends on them.

Lives here: the fields of Service, EndpointSlice, Pod, Node and of kube-proxy's configuration
that decide something.  Field names are the API's in snake case.
Not here: what kube-proxy makes of them (nettrace.kube), network policies (policy).
"""

from typing import Any

from msgspec import Struct, field

from nettrace.model.ingress import Ingress
from nettrace.model.policy import AdminPolicy, Namespace, NetworkPolicy
from nettrace.model.section import NOT_READ, Section

__all__ = [
    "FOREIGN_LABELS",
    "ContainerPort",
    "CustomObject",
    "Endpoint",
    "EndpointPort",
    "EndpointSlice",
    "Kube",
    "KubeNode",
    "KubeProxyConfig",
    "Pod",
    "PodContainer",
    "Service",
    "ServicePort",
]


class ServicePort(Struct, frozen=True, kw_only=True):
    """One port of a Service.  ``target_port`` is a number or the name of a container port."""

    port: int
    protocol: str = "TCP"
    name: str = ""
    target_port: int | str | None = None
    node_port: int | None = None


class Service(Struct, frozen=True, kw_only=True):
    """
    A Service.  ``cluster_ips`` is empty for headless and ExternalName ones.

    ``load_balancer_ips`` are those that nodes serve themselves; ``load_balancer_status`` all of
    the status with their ipMode (VIP or Proxy), for kube-proxies that do not know the field.
    """

    name: str
    namespace: str = "default"
    type: str = "ClusterIP"
    cluster_ips: tuple[str, ...] = ()
    headless: bool = False
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = field(default_factory=dict)
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    load_balancer_status: tuple[tuple[str, str], ...] = ()
    load_balancer_source_ranges: tuple[str, ...] = ()
    external_traffic_policy: str = "Cluster"
    internal_traffic_policy: str = "Cluster"
    health_check_node_port: int | None = None
    session_affinity: str = "None"
    session_affinity_timeout: int = 10800
    publish_not_ready_addresses: bool = False
    external_name: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class Endpoint(Struct, frozen=True, kw_only=True):
    """One endpoint of a slice.  ``ready`` unset in the API means ready."""

    addresses: tuple[str, ...]
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node_name: str | None = None
    zone: str | None = None
    hints_zones: tuple[str, ...] = ()
    hints_nodes: tuple[str, ...] = ()
    target: str | None = None  # namespace/name of the pod


class EndpointPort(Struct, frozen=True, kw_only=True):
    """One port of a slice."""

    name: str = ""
    protocol: str = "TCP"
    port: int | None = None


#: kube-proxy watches Services and EndpointSlices without these labels (cmd/kube-proxy/app/server.go).
FOREIGN_LABELS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")


class EndpointSlice(Struct, frozen=True, kw_only=True):
    """
    An EndpointSlice; ``service`` is the label kubernetes.io/service-name.

    ``foreign`` is the label by which kube-proxy passes it over (FOREIGN_LABELS), "" if it has none.
    """

    name: str
    namespace: str = "default"
    service: str = ""
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
    foreign: str = ""


class ContainerPort(Struct, frozen=True, kw_only=True):
    """One declared port of a container."""

    container_port: int
    protocol: str = "TCP"
    name: str = ""
    host_port: int | None = None


class PodContainer(Struct, frozen=True, kw_only=True):
    """One container of a pod."""

    name: str
    ports: tuple[ContainerPort, ...] = ()


class Pod(Struct, frozen=True, kw_only=True):
    """
    A Pod.  ``netns`` is the snapshot's namespace that holds it, where known.

    ``created`` is when (RFC 3339), "" where the object does not say it.
    """

    name: str
    namespace: str = "default"
    node_name: str | None = None
    ips: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    host_network: bool = False
    ready: bool = True
    phase: str = "Running"
    containers: tuple[PodContainer, ...] = ()
    netns: str | None = None
    uid: str = ""
    created: str = ""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class KubeNode(Struct, frozen=True, kw_only=True):
    """A Node.  ``annotations`` carry what flannel and Calico publish about themselves."""

    name: str
    internal_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


class KubeProxyConfig(Struct, frozen=True, kw_only=True):
    """
    What of kube-proxy's configuration shapes the rules (KubeProxyConfiguration v1alpha1).

    ``detect_local_mode`` is ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix; the
    last two read ``detect_local_bridge`` and ``detect_local_interface_prefix`` (the API's
    ``detectLocal.bridgeInterface`` and ``detectLocal.interfaceNamePrefix``).  ``bind_address``
    is "" unless it names one address.  ``tcp_be_liberal``: kube-proxy sets
    nf_conntrack_tcp_be_liberal.
    """

    mode: str = "iptables"
    cluster_cidrs: tuple[str, ...] = ()
    detect_local_mode: str = "ClusterCIDR"
    detect_local_bridge: str = ""
    detect_local_interface_prefix: str = ""
    masquerade_all: bool = False
    masquerade_bit: int = 14
    node_port_addresses: tuple[str, ...] = ()
    localhost_node_ports: bool = True
    version: str = "1.30"  # minor version whose layout is owed
    version_stated: bool = False  # True: an object says so, it is not assumed
    bind_address: str = ""
    tcp_be_liberal: bool = False
    feature_gates: dict[str, bool] = field(default_factory=dict)
    ipvs_scheduler: str = ""  # "" is rr
    strict_arp: bool = False


class CustomObject(Struct, frozen=True, kw_only=True):
    """
    An object of a kind that is none of Kubernetes' own: what a network system keeps in the API.

    ``group`` is its API group (``crd.projectcalico.org``), ``spec`` as the API has it.
    """

    group: str
    kind: str
    name: str
    namespace: str = ""
    spec: dict[str, Any] = field(default_factory=dict)


class Kube(Struct, frozen=True, kw_only=True):
    """
    The cluster's desired state.

    ``origin`` says where it came from: ``manifests DIR``, ``api CONTEXT``, ``lab NAME``, or
    ``inferred from kube-proxy's rules``.  ``endpoints`` are Endpoints objects, each as slices
    in its own order: what a kube-proxy watches whose gate EndpointSliceProxying is off.
    """

    origin: str = ""
    services: Section[tuple[Service, ...]] = NOT_READ
    endpoint_slices: Section[tuple[EndpointSlice, ...]] = NOT_READ
    pods: Section[tuple[Pod, ...]] = NOT_READ
    nodes: Section[tuple[KubeNode, ...]] = NOT_READ
    proxy: Section[KubeProxyConfig] = NOT_READ
    namespaces: Section[tuple[Namespace, ...]] = NOT_READ
    network_policies: Section[tuple[NetworkPolicy, ...]] = NOT_READ
    admin_policies: Section[tuple[AdminPolicy, ...]] = NOT_READ  # the baseline one among them
    endpoints: Section[tuple[EndpointSlice, ...]] = NOT_READ
    ingresses: Section[tuple[Ingress, ...]] = NOT_READ
    service_cidrs: Section[tuple[str, ...]] = NOT_READ  # all prefixes of the ServiceCIDR objects
    custom: Section[tuple[CustomObject, ...]] = NOT_READ  # what plugins read
