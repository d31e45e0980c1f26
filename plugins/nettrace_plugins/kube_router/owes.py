"""
What kube-router owes a node.

Lives here: a route to the pods of each other node, through its tunnel where that is of another network,
the masquerade rule and the two sets that it looks into, the accepts for its bridge
(network_routes_controller.go and pod_egress.go of kube-router's pkg/controllers/routing, tunnels.go of
pkg/tunnels).
Not here: the chains of network policies, which are judged by what they do, its service proxy (proxy.py).
"""

from collections.abc import Iterator

from nettrace.model.ipset import IpSet
from nettrace.model.owed import Owed, OwedIpset, OwedRoute, OwedRule
from nettrace.model.routes import NextHop, Route
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Comment, Negatable, SetMatch
from nettrace.model.xt_target import Accept, Masquerade
from nettrace_plugins.kube_router.facts import (
    BRIDGE,
    RouterNode,
    cni_file,
    nodes_of,
    runs_on,
    tunnel_to,
    uplink,
)

__all__ = ["NODES_SET", "OWNER", "PODS_SET", "PROTOCOL", "owed_by_kube_router"]

OWNER = "kube-router"

#: rtm_protocol of the routes that it injects.
PROTOCOL = "17"

PODS_SET = "kube-router-pod-subnets"
NODES_SET = "kube-router-node-ips"

_EGRESS = XtRule(
    matches=(
        SetMatch(name=PODS_SET, directions=("src",)),
        SetMatch(name=PODS_SET, directions=("dst",), invert=True),
        SetMatch(name=NODES_SET, directions=("dst",), invert=True),
    ),
    target=Masquerade(random_fully=True),
)


def _route(snapshot: Snapshot, netns: str, peer: RouterNode, own: RouterNode | None) -> Route | None:
    """Return the route that BGP brings; None for a node of another network to which there is no tunnel."""
    device = uplink(snapshot, netns, peer.address)
    if device is not None:
        hop = NextHop(device=device, via=peer.address)
        return Route(dst=peer.pod_cidr, nexthops=(hop,), protocol=PROTOCOL)
    tunnel = tunnel_to(snapshot, netns, peer.address)
    if tunnel is None:
        return None
    return Route(
        dst=peer.pod_cidr,
        nexthops=(NextHop(device=tunnel.name),),
        protocol=PROTOCOL,
        scope="link",
        prefsrc=own.address if own is not None else None,
    )


def owed_by_kube_router(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield what kube-router owes *node*; nothing where it does not make its network."""
    if not runs_on(snapshot, node):
        return
    netns = snapshot.nodes[node].netns
    source = cni_file(snapshot, node) or f"device {BRIDGE}"
    nodes = nodes_of(snapshot)
    for peer in (nodes[name] for name in sorted(nodes) if name != node):
        route = _route(snapshot, netns, peer, nodes.get(node))
        if route is not None:
            yield OwedRoute(
                netns=netns, owner=OWNER, source=peer.source, about=f"the pods of {peer.name}", route=route
            )
    subnets = tuple(nodes[name].pod_cidr for name in sorted(nodes))
    addresses = tuple(nodes[name].address for name in sorted(nodes))
    for name, kind, members, about in (
        (PODS_SET, "hash:net", subnets, "the pods of all nodes"),
        (NODES_SET, "hash:ip", addresses, "the nodes' addresses"),
    ):
        if members:
            yield OwedIpset(
                netns=netns,
                owner=OWNER,
                source="the Nodes' podCIDR and InternalIP",
                about=about,
                set=IpSet(name=name, type=kind, members=members),
                options="family inet hashsize 1024 maxelem 65536 timeout 0",
                closed=False,  # versions differ in which of a node's addresses they take
            )
    yield OwedRule(
        netns=netns,
        owner=OWNER,
        source=source,
        about="masquerade of what pods send out of the cluster",
        table="nat",
        chain="POSTROUTING",
        rule=_EGRESS,
    )
    own = nodes.get(node)
    way = uplink(snapshot, netns, own.address) if own is not None else None
    accepts = [
        ("allow outbound traffic from pods", XtRule(in_device=Negatable(BRIDGE), target=Accept())),
        ("allow inbound traffic to pods", XtRule(out_device=Negatable(BRIDGE), target=Accept())),
    ]
    if way is not None:
        words = "allow outbound node port traffic on node interface with which node ip is associated"
        accepts.append((words, XtRule(out_device=Negatable(way), target=Accept())))
    for words, rule in accepts:
        yield OwedRule(
            netns=netns,
            owner=OWNER,
            source=source,
            about=words,
            table="filter",
            chain="FORWARD",
            rule=XtRule(
                in_device=rule.in_device,
                out_device=rule.out_device,
                matches=(Comment(words),),
                target=rule.target,
            ),
        )
