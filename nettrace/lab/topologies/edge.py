"""
The way into a cluster from outside: the layer-4 balancer, the nodes' health servers, nginx.

Lives here: the namespace ``balancer``, which exists when there is a Service of type LoadBalancer,
its addresses and routes, what it is told; the health server of each node; the Ingress controller.
Not here: the processes themselves (nettrace.lab.balancer, health), nginx.conf (cluster.ingress).

The outside host calls a balancer's address from an address that is not on the wire.  So the nodes'
replies go by their default gateway, which sends them back through the balancer: a client's
address can be kept all the way to the pod, and the balancer still undoes what it did.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from nettrace.lab import balancer, health
from nettrace.lab.blueprint import Daemon
from nettrace.lab.cluster.documents import Document, at, mapping_list, name_of, text_map
from nettrace.lab.cluster.ingress import CONTROLLER_LABEL, CONTROLLER_NAME
from nettrace.lab.cluster.workloads import LabContainer, LabNode, LabPod
from nettrace.lab.detach import command
from nettrace.model.lab import LabNetns

__all__ = [
    "BALANCER",
    "BALANCER_CONFIG",
    "PUBLIC",
    "Balanced",
    "balanced_ports",
    "balancer_config",
    "balancer_daemon",
    "balancer_routes",
    "health_daemons",
    "ingress_daemon",
    "nginx_home",
    "nginx_pid",
    "runs_nginx",
]

BALANCER = "balancer"
BALANCER_CONFIG = "balancer.json"

#: The address from which the outside host calls a balancer (RFC 5737).
PUBLIC = "203.0.113.100"

_SERVICE_LABEL = "kubernetes.io/service-name"


class Balanced(Struct, frozen=True, kw_only=True):
    """One port of a Service at the balancer, with the names of its configuration's JSON."""

    address: str
    proto: str
    port: int
    nodePort: int  # noqa: N815  (as in the API)
    healthPort: int  # noqa: N815
    nodes: tuple[str, ...]
    ranges: tuple[str, ...]


def balanced_ports(services: Sequence[Document], nodes: Sequence[LabNode]) -> tuple[Balanced, ...]:
    """Return what the balancer serves: each address and port of each Service of type LoadBalancer."""
    return tuple(
        Balanced(
            address=str(entry["ip"]),
            proto=at(port, "protocol", str, "TCP").lower(),
            port=at(port, "port", int, 0),
            nodePort=at(port, "nodePort", int, 0),
            healthPort=at(service, "spec.healthCheckNodePort", int, 0),
            nodes=tuple(node.address for node in nodes),
            ranges=tuple(at(service, "spec.loadBalancerSourceRanges", list, [])),
        )
        for service in services
        if at(service, "spec.type", str, "") == "LoadBalancer"
        for entry in mapping_list(service, "status.loadBalancer.ingress")
        if entry.get("ip")
        for port in mapping_list(service, "spec.ports")
    )


def balancer_routes(
    ports: Sequence[Balanced], home: LabNetns, wire: LabNetns, internet: LabNetns
) -> dict[str, tuple[str, ...]]:
    """Return the lines that bring clients to the balancer's addresses, and replies back to it."""
    own, outside = home.addresses[0], internet.addresses[0]
    addresses = tuple(dict.fromkeys(port.address for port in ports))
    return {
        home.netns: (
            *(f"addr add {address}/32 dev lo" for address in addresses),
            f"route add {PUBLIC}/32 via {outside} dev eth0",
        ),
        internet.netns: (
            f"addr add {PUBLIC}/32 dev lo",
            *(f"route add {address}/32 via {own} dev eth0 src {PUBLIC}" for address in addresses),
        ),
        wire.netns: (
            f"route add {PUBLIC}/32 via {own} dev br0",
            *(f"route add {address}/32 via {own} dev br0" for address in addresses),
        ),
    }


def balancer_daemon(root: Path, home: LabNetns) -> Daemon:
    """Return the balancer's process."""
    pid_file = f"run/{BALANCER}.pid"
    return Daemon(
        netns=home.netns,
        name=BALANCER,
        argv=command(balancer, str(root / pid_file), str(root / BALANCER_CONFIG)),
        pid_file=pid_file,
        reads=(BALANCER_CONFIG,),
        last=True,
    )


def balancer_config(ports: Sequence[Balanced]) -> str:
    """Return the balancer's configuration."""
    return msgspec.json.format(msgspec.json.encode(ports), indent=1).decode() + "\n"


def health_daemons(
    root: Path,
    services: Sequence[Document],
    slices: Sequence[Document],
    nodes: Sequence[LabNode],
    netns_of: dict[str, str],
) -> Iterator[Daemon]:
    """Yield each node's health server, where there is a Service with a healthCheckNodePort."""
    wanted = [one for one in services if at(one, "spec.healthCheckNodePort", int, 0)]
    for node in nodes if wanted else ():
        texts = [
            f"{port}={'/'.join(name_of(one))}={_local(one, slices, node)}"
            for one in wanted
            if (port := at(one, "spec.healthCheckNodePort", int, 0))
        ]
        pid_file = f"run/health.{node.name}.pid"
        argv = command(health, str(root / pid_file), *texts)
        yield Daemon(netns=netns_of[node.name], name=f"{node.name} health", argv=argv, pid_file=pid_file)


def _local(service: Document, slices: Sequence[Document], node: LabNode) -> int:
    """How many ready endpoints the Service has on the node."""
    return sum(
        len(at(endpoint, "addresses", list, [], of=found))
        for found in slices
        if name_of(found)[0] == name_of(service)[0]
        and text_map(found, "metadata.labels").get(_SERVICE_LABEL) == name_of(service)[1]
        for endpoint in mapping_list(found, "endpoints")
        if endpoint.get("nodeName") == node.name and at(endpoint, "conditions.ready", bool, True, of=found)
    )


def runs_nginx(pod: LabPod, container: LabContainer) -> bool:
    """Is this the Ingress controller?  The first container with a port in a pod of its label."""
    return pod.labels.get(CONTROLLER_LABEL) == CONTROLLER_NAME and any(
        proto == "TCP" for _, _, proto in container.ports
    )


def nginx_home(pod: LabPod) -> str:
    """The directory of a controller, below the lab's."""
    return f"pods/{pod.namespace}/{pod.name}/nginx"


def ingress_daemon(root: Path, pod: LabPod, container: LabContainer, netns: str) -> Daemon:
    """Return the nginx of a container."""
    home = nginx_home(pod)
    argv = ("nginx", "-e", str(root / home / "error.log"), "-c", str(root / home / "nginx.conf"))
    return Daemon(
        netns=netns,
        name=f"{pod.key} {container.name}",
        argv=argv,
        pid_file=nginx_pid(pod),
        reads=(f"{home}/nginx.conf",),
    )


def nginx_pid(pod: LabPod) -> str:
    """Where nginx leaves its number."""
    return f"run/{pod.namespace}.{pod.name}.nginx.pid"
