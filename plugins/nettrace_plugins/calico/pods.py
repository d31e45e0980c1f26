"""
What Calico puts on a node for the pods that run there.

Lives here: the route to each, and what its device must do: answer ARP for the gateway, and forward.
Source: cni-plugin/pkg/dataplane/linux/dataplane_linux.go; felix/dataplane/linux/endpoint_mgr.go.
"""

from collections.abc import Iterator

from nettrace.model.addr import family_of
from nettrace.model.owed import Owed, OwedRoute, OwedSysctl
from nettrace.model.routes import NextHop, Route
from nettrace.model.snapshot import Snapshot
from nettrace_plugins.calico.facts import OWNER, devices, local_pods, runs_on
from nettrace_plugins.calico.names import veth

__all__ = ["owed_for_pods"]


def owed_for_pods(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield the routes and sysctls of *node*'s own pods."""
    if node not in snapshot.nodes or not runs_on(snapshot, node):
        return
    netns = snapshot.nodes[node].netns
    there = devices(snapshot, netns)
    for pod in local_pods(snapshot, node):
        device, source = veth(pod.namespace, pod.name), f"Pod {pod.key}"
        for address in (one for one in pod.ips if family_of(one) == 4):
            yield OwedRoute(
                netns=netns,
                owner=OWNER,
                source=source,
                about=f"pod {pod.key}",
                subject=f"pod/{pod.key}",
                route=Route(dst=f"{address}/32", scope="link", nexthops=(NextHop(device=device),)),
            )
        for name in ("proxy_arp", "forwarding") if device in there else ():
            yield OwedSysctl(
                netns=netns,
                owner=OWNER,
                source=source,
                about=f"the device of pod {pod.key}",
                subject=f"pod/{pod.key}",
                name=f"net.ipv4.conf.{device}.{name}",
                values=("1",),
            )
