"""
Service ports, as kube-proxy sees them on one node and in one address family.

Lives here: which Services it serves at all, and the answers that a Service's fields give:
where it is reached from, which traffic policy holds.
Not here: which endpoints take the traffic (endpoints), the rules (service_rules).
"""

from collections.abc import Iterable

from msgspec import Struct

from nettrace.kube.names import endpoint_chain, service_chain, service_port_name
from nettrace.model.addr import canonical_address, canonical_prefix, family_of
from nettrace.model.kube import FOREIGN_LABELS, Service, ServicePort

__all__ = ["ProxiedPort", "addresses_of_family", "is_proxied", "prefixes_of_family", "proxied_ports"]


class ProxiedPort(Struct, frozen=True, kw_only=True):
    """
    One port of a Service that kube-proxy serves, in one address family.

    The addresses and prefixes are canonical and all of ``family``.
    """

    service: Service
    port: ServicePort
    family: int
    cluster_ip: str
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``namespace/name:port``: how rules and chains call it."""
        return service_port_name(self.service.namespace, self.service.name, self.port.name)

    @property
    def proto(self) -> str:
        """``tcp``, ``udp`` or ``sctp``."""
        return self.port.protocol.lower()

    @property
    def subject(self) -> str:
        """``svc/namespace/name``."""
        return f"svc/{self.service.key}"

    @property
    def externally_accessible(self) -> bool:
        """Is the port reached by anything but its cluster IP?"""
        return bool(self.port.node_port or self.load_balancer_ips or self.external_ips)

    @property
    def internal_local(self) -> bool:
        """Does traffic to the cluster IP stay on its node?"""
        return self.service.internal_traffic_policy == "Local"

    @property
    def external_local(self) -> bool:
        """Does traffic from outside stay on its node?  The field counts only where it applies."""
        applies = self.service.type in ("NodePort", "LoadBalancer") or bool(self.service.external_ips)
        return applies and self.service.external_traffic_policy == "Local"

    @property
    def node_local(self) -> bool:
        """Does policy Local hold, as kube-proxies saw it that knew it for NodePorts and balancers only?"""
        outside = self.service.type in ("NodePort", "LoadBalancer")
        return outside and self.service.external_traffic_policy == "Local"

    @property
    def uses_cluster(self) -> bool:
        """
        Does any traffic go to endpoints of all nodes?

        Policy Local for outside traffic does not prevent it: pods and the node itself still
        reach the external addresses as if they were cluster IPs.
        """
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local(self) -> bool:
        """Does any traffic go to endpoints of this node only?"""
        return self.internal_local or (self.external_local and self.externally_accessible)

    @property
    def health_check_node_port(self) -> int | None:
        """The port by which a load balancer asks this node for local endpoints."""
        if self.service.type != "LoadBalancer" or self.service.external_traffic_policy != "Local":
            return None
        return self.service.health_check_node_port or None

    def chain(self, prefix: str) -> str:
        """Return the name of this port's chain with one of SERVICE_PREFIXES."""
        return service_chain(prefix, self.name, self.proto)

    def endpoint_chain(self, endpoint: str) -> str:
        """Return the name of the chain of one endpoint (``10.244.1.10:9376``) of this port."""
        return endpoint_chain(self.name, self.proto, endpoint)


def is_proxied(service: Service) -> bool:
    """
    Does kube-proxy write rules for the Service?

    Not for headless and ExternalName ones, and not for one that is labelled as somebody
    else's.
    """
    return (
        service.type != "ExternalName"
        and not service.headless
        and not any(label in service.labels for label in FOREIGN_LABELS)
    )


def addresses_of_family(addresses: Iterable[str], family: int) -> tuple[str, ...]:
    """Return the addresses of one family, canonical; what is no address is left out."""
    found = []
    for text in addresses:
        try:
            address = canonical_address(text)
        except ValueError:
            continue
        if family_of(address) == family:
            found.append(address)
    return tuple(found)


def prefixes_of_family(prefixes: Iterable[str], family: int) -> tuple[str, ...]:
    """Return the prefixes of one family, canonical; what is no prefix is left out."""
    found = []
    for text in prefixes:
        try:
            prefix = canonical_prefix(text.strip())
        except ValueError:
            continue
        if family_of(prefix) == family:
            found.append(prefix)
    return tuple(found)


def proxied_ports(
    services: Iterable[Service], family: int, *, ip_mode: bool = True
) -> tuple[ProxiedPort, ...]:
    """
    Return the ports that kube-proxy serves in *family* (4 or 6), by namespace and name.

    A Service without a cluster IP of the family has none, whatever else it has.  *ip_mode*
    False: a kube-proxy that does not know the field takes every address of a balancer.
    """
    found = []
    for service in sorted(services, key=lambda s: (s.namespace, s.name)):
        cluster_ips = addresses_of_family(service.cluster_ips, family)
        if not cluster_ips or not is_proxied(service):
            continue
        external_ips = addresses_of_family(service.external_ips, family)
        balanced = service.load_balancer_ips
        if not ip_mode and service.load_balancer_status:
            balanced = tuple(address for address, _ in service.load_balancer_status)
        load_balancer_ips = addresses_of_family(balanced, family)
        source_ranges = prefixes_of_family(service.load_balancer_source_ranges, family)
        for port in service.ports:
            found.append(
                ProxiedPort(
                    service=service,
                    port=port,
                    family=family,
                    cluster_ip=cluster_ips[0],
                    external_ips=external_ips,
                    load_balancer_ips=load_balancer_ips,
                    source_ranges=source_ranges,
                )
            )
    return tuple(found)
