"""
What Cilium owes a node: routes, and what its devices have to be like.

Lives here: the ways to pods, of this node and of others, as far as objects and devices tell which there
have to be, and the reverse path filter of Cilium's devices.
Source: cilium/cilium pkg/datapath/linux/node.go (updateDirectRoutes, nodeUpdate), pkg/annotation,
pkg/endpointmanager (endpoint routes), pkg/datapath/connector (rp_filter).
"""

from collections.abc import Iterator

from nettrace.model.addr import canonical_address, canonical_prefix, family_of
from nettrace.model.kube import KubeNode, Pod
from nettrace.model.owed import Owed, OwedRoute, OwedSysctl
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace_plugins.cilium.facts import devices, mode, pod_devices

__all__ = ["ANNOTATION", "OWNER", "owed_pod_routes", "owed_routes", "owed_sysctls", "pods_on"]

OWNER = "cilium-agent"
#: Prefix of the annotations of Nodes (annotate-k8s-node).
ANNOTATION = "network.cilium.io/"


def owed_routes(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """
    Yield the routes to the pods of other nodes.

    Through a tunnel they all lead to cilium_host.  With native routing the agent makes them only if told to
    (auto-direct-node-routes), which no state says outright: they are owed where one of them stands.
    """
    state = snapshot.nodes.get(node)
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    own = next((one for one in nodes if one.name == node), None)
    if state is None or own is None or f"{ANNOTATION}ipv4-cilium-host" not in own.annotations:
        return
    peers = [(one, cidr) for one in nodes if one.name != node and (cidr := _pod_cidr(one))]
    kind = mode(snapshot, state.netns)
    if kind in ("vxlan", "geneve"):
        router = _address(own.annotations[f"{ANNOTATION}ipv4-cilium-host"])
        if router:
            hop = NextHop(device="cilium_host", via=router)
            for peer, cidr in peers:
                yield _route(state.netns, peer, Route(dst=cidr, nexthops=(hop,), prefsrc=router))
        return
    standing = {
        (route.dst, hop.via): hop.device
        for route in _routes(snapshot, state.netns)
        for hop in route.nexthops
        if route.type == "unicast"
    }
    ways = [(peer, cidr, peer.internal_ips[0]) for peer, cidr in peers if peer.internal_ips]
    devices = {standing[cidr, via] for _, cidr, via in ways if (cidr, via) in standing}
    if kind and len(devices) == 1:
        device = devices.pop()
        for peer, cidr, via in ways:
            hop = NextHop(device=device, via=via)
            yield _route(state.netns, peer, Route(dst=cidr, nexthops=(hop,), protocol="kernel"))


def owed_pod_routes(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """
    Yield the routes to the node's own pods.

    The agent makes them only if told to (endpointRoutes.enabled), which no state says outright: they are
    owed where one of them stands.
    """
    state = snapshot.nodes.get(node)
    if state is None:
        return
    device_of = {link.peer.netns: link.name for link in pod_devices(snapshot, state.netns) if link.peer}
    wanted = [
        (pod, Route(dst=f"{address}/32", nexthops=(NextHop(device=device_of[pod.netns]),), scope="link"))
        for pod in pods_on(snapshot, node)
        for address in pod.ips
        if pod.netns in device_of and family_of(address) == 4
    ]
    routes = _routes(snapshot, state.netns)
    standing = {(route.dst, hop.device) for route in routes for hop in route.nexthops}
    if not any((route.dst, route.nexthops[0].device) in standing for _, route in wanted):
        return
    for pod, route in wanted:
        yield OwedRoute(
            netns=state.netns,
            owner=OWNER,
            source=f"Pod {pod.key} and the device that its veth ends in",
            about=f"its pod {pod.key}",
            subject=f"pod/{pod.key}",
            route=route,
        )


def pods_on(snapshot: Snapshot, node: str) -> tuple[Pod, ...]:
    """Return the pods of a node with a network of their own."""
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    return tuple(pod for pod in pods if pod.node_name == node and not pod.host_network)


def owed_sysctls(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield that no device of Cilium's filters by reverse path: what its programs redirect would not pass."""
    state = snapshot.nodes.get(node)
    for link in devices(snapshot, state.netns) if state is not None else ():
        yield OwedSysctl(
            netns=state.netns if state is not None else "",
            owner=OWNER,
            source="cilium-agent, for each device of its own",
            about=f"reverse path filter of {link.name}",
            name=f"net.ipv4.conf.{link.name}.rp_filter",
            values=("0",),
        )


def _route(netns: str, peer: KubeNode, route: Route) -> OwedRoute:
    return OwedRoute(
        netns=netns,
        owner=OWNER,
        source=f"annotations of Node {peer.name}",
        about=f"the pods of {peer.name}",
        route=route,
    )


def _routes(snapshot: Snapshot, netns: str) -> tuple[Route, ...]:
    section = snapshot.namespaces[netns].routes if netns in snapshot.namespaces else None
    return section.value if isinstance(section, Known) else ()


def _pod_cidr(node: KubeNode) -> str:
    try:
        return canonical_prefix(node.annotations.get(f"{ANNOTATION}ipv4-pod-cidr", ""))
    except ValueError:
        return ""


def _address(text: str) -> str:
    try:
        address = canonical_address(text)
    except ValueError:
        return ""
    return address if family_of(address) == 4 else ""
