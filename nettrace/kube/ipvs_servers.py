"""
The virtual servers of kube-proxy in ipvs mode.

Lives here: one for each address and port of a service port, with its real servers, and the
addresses that kube-ipvs0 has to have for it.
Not here: which endpoints there are (endpoints).

Source: pkg/proxy/ipvs/proxier.go (syncProxyRules, syncEndpoint) of Kubernetes.
"""

from collections.abc import Iterator, Sequence

from nettrace.kube.serving import Serving
from nettrace.model.ipvs import RealServer, VirtualServer

__all__ = ["bound_addresses", "virtual_servers"]

#: kube-proxy sets the second flag of a scheduler, which mh takes for "hash the port too".
_FLAGS = {"mh": ("mh-port",)}


def virtual_servers(
    serving: Serving, scheduler: str, node_ports_on: Sequence[str]
) -> Iterator[VirtualServer]:
    """
    Yield the virtual servers of a service port; one without endpoints is there, empty.

    *node_ports_on* are the addresses on which the node serves NodePorts.
    """
    port = serving.port
    yield _server(serving, scheduler, port.cluster_ip, port.port.port, local=port.internal_local)
    for address in (*port.external_ips, *port.load_balancer_ips):
        yield _server(serving, scheduler, address, port.port.port, local=port.external_local)
    if port.port.node_port:
        for address in node_ports_on:
            yield _server(serving, scheduler, address, port.port.node_port, local=port.external_local)


def bound_addresses(serving: Serving, elsewhere: Sequence[str]) -> Iterator[str]:
    """Yield what kube-ipvs0 has to have; not an address that another device of the node has."""
    port = serving.port
    yield port.cluster_ip
    for address in (*port.external_ips, *port.load_balancer_ips):
        if address not in elsewhere:
            yield address


def _server(serving: Serving, scheduler: str, address: str, number: int, *, local: bool) -> VirtualServer:
    """Policy Local without an endpoint here takes those of all nodes, for the node's own pods' sake."""
    choice, service = serving.choice, serving.port.service
    chosen = (choice.local or choice.cluster) if local else choice.cluster
    return VirtualServer(
        address=address,
        port=number,
        proto=serving.port.proto,
        scheduler=scheduler,
        persistent=service.session_affinity_timeout if service.session_affinity == "ClientIP" else None,
        flags=_FLAGS.get(scheduler, ()),
        real_servers=tuple(RealServer(address=one.address, port=one.port) for one in chosen),
    )
