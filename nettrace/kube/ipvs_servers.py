"""
The virtual servers of kube-proxy in ipvs mode.

Lives here: one for each address and port of a service port, with its real servers, and the
addresses that kube-ipvs0 has to have for it.
Not here: which endpoints there are (endpoints).

Source: pkg/proxy/ipvs/proxier.go (syncProxyRules, syncEndpoint) of Kubernetes.
"""

from collections.abc import Iterator, Sequence

from nettrace.kube.endpoints import Backend
from nettrace.kube.ipvs_layout import IpvsLayout
from nettrace.kube.serving import Serving
from nettrace.model.ipvs import RealServer, VirtualServer

__all__ = ["bound_addresses", "virtual_servers"]

#: kube-proxy sets the second flag of a scheduler, which mh takes for "hash the port too".
_FLAGS = {"mh": ("mh-port",)}


def virtual_servers(
    serving: Serving, scheduler: str, node_ports_on: Sequence[str], layout: IpvsLayout
) -> Iterator[VirtualServer]:
    """
    Yield the virtual servers of a service port; one without endpoints is there, empty.

    *node_ports_on* are the addresses on which the node serves NodePorts.
    """
    port = serving.port
    inside = _endpoints(serving, layout, local=serving.inside_local)
    yield _server(serving, scheduler, port.cluster_ip, port.port.port, inside)
    outside = _endpoints(serving, layout, local=serving.outside_local)
    for address in (*port.external_ips, *port.load_balancer_ips):
        yield _server(serving, scheduler, address, port.port.port, outside)
    if port.port.node_port:
        for address in node_ports_on:
            yield _server(serving, scheduler, address, port.port.node_port, outside)


def bound_addresses(serving: Serving, elsewhere: Sequence[str], layout: IpvsLayout) -> Iterator[str]:
    """Yield what kube-ipvs0 has to have; since 1.27 no address that another device of the node has."""
    port = serving.port
    yield port.cluster_ip
    for address in (*port.external_ips, *port.load_balancer_ips):
        if not layout.binds_own or address not in elsewhere:
            yield address


def _endpoints(serving: Serving, layout: IpvsLayout, *, local: bool) -> tuple[Backend, ...]:
    """
    Return the real servers for traffic of one policy (syncEndpoint).

    Policy Local without an endpoint here takes those of all nodes, for the node's own pods' sake, but not
    in older versions; in those a Service of internal policy Local alone has none but this node's anyway.
    """
    choice = serving.choice
    if not local:
        return choice.cluster
    if layout.falls_back:
        return choice.local or choice.cluster
    return choice.local if serving.outside_local else choice.cluster


def _server(
    serving: Serving, scheduler: str, address: str, number: int, chosen: Sequence[Backend]
) -> VirtualServer:
    service = serving.port.service
    return VirtualServer(
        address=address,
        port=number,
        proto=serving.port.proto,
        scheduler=scheduler,
        persistent=service.session_affinity_timeout if service.session_affinity == "ClientIP" else None,
        flags=_FLAGS.get(scheduler, ()),
        real_servers=tuple(RealServer(address=one.address, port=one.port) for one in chosen),
    )
