"""What is owed to a flow follows from objects, owners and listeners."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.default_goal import default_goal
from nettrace.diagnose.goal import Goal
from nettrace.kube.resolve import resolve
from nettrace.model.flow import Flow
from nettrace.model.kube import Endpoint, EndpointSlice, Kube, KubeProxyConfig, Pod, Service
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.model.sockets import Socket
from nettrace.model.walk import Needs
from nettrace.model.xt import XtChain
from tests.diagnose.asking import owed_of
from tests.diagnose.worlds import NO_OBJECTS, World, cluster, docker_host

THREE = frozenset({("10.244.1.11", 9376), ("10.244.2.11", 9376), ("10.244.2.12", 9376)})


def goal_of(world: World, source: str, target: str) -> Goal | Needs:
    """The default goal of a flow, with all that is owed."""
    flow = resolve(world.snapshot, source, target)
    assert isinstance(flow, Flow)
    return default_goal(world.snapshot, flow, owed_of(world.snapshot))


def known(world: World, source: str, target: str) -> Goal:
    """The same, which must need nothing."""
    found = goal_of(world, source, target)
    assert isinstance(found, Goal)
    return found


def with_kube(world: World, **sections: Any) -> World:
    """The world with other objects."""
    kube = replace(world.snapshot.kube, **{name: Known(value) for name, value in sections.items()})
    return World(replace(world.snapshot, kube=kube), world.names)


def services(world: World) -> tuple[Service, ...]:
    """The Services of a world."""
    section = world.snapshot.kube.services
    assert isinstance(section, Known)
    found: tuple[Service, ...] = section.value
    return found


def slices(world: World) -> tuple[EndpointSlice, ...]:
    """The slices of a world."""
    section = world.snapshot.kube.endpoint_slices
    assert isinstance(section, Known)
    found: tuple[EndpointSlice, ...] = section.value
    return found


def test_a_service_is_owed_its_ready_endpoints() -> None:
    """ClusterIP and NodePort are owed every ready endpoint, and no other."""
    world = cluster()
    for source, target, words in (
        ("pod/client-near", "svc/hostnames", "Service default/hostnames"),
        ("internet", "node/node-b:30080", "NodePort of Service default/hostnames"),
    ):
        goal = known(world, source, target)
        assert (goal.endpoints, goal.because, goal.source, goal.owed) == (THREE, words, "", True)
    first, *others = slices(world)
    ready = tuple(replace(e, ready=e.node_name == "node-a") for e in first.endpoints)
    fewer = with_kube(world, endpoint_slices=(replace(first, endpoints=ready), *others))
    assert known(fewer, "pod/client-near", "svc/hostnames").endpoints == frozenset({("10.244.1.11", 9376)})


def test_traffic_policy_local_is_owed_the_nodes_own() -> None:
    """With externalTrafficPolicy Local a NodePort reaches its node's pods, who see the client."""
    world = cluster()
    first, *others = services(world)
    local = with_kube(world, services=(replace(first, external_traffic_policy="Local"), *others))
    goal = known(local, "internet", "node/node-a:30080")
    assert (goal.endpoints, goal.source) == (frozenset({("10.244.1.11", 9376)}), "kept")
    inside = with_kube(world, services=(replace(first, internal_traffic_policy="Local"), *others))
    assert known(inside, "pod/client-far", "svc/hostnames").endpoints == THREE - {("10.244.1.11", 9376)}


def test_the_node_itself_is_no_outside() -> None:
    """With externalTrafficPolicy Local its own calls are masqueraded and reach endpoints of all nodes."""
    world = cluster()
    first, *others = services(world)
    changed = replace(first, external_traffic_policy="Local", external_ips=("203.0.113.5",))
    local = with_kube(world, services=(changed, *others))
    for target in ("ip/127.0.0.1:30080", "node/node-a:30080", "ip/203.0.113.5:80"):
        goal = known(local, "node/node-a", target)
        assert (goal.endpoints, goal.source) == (THREE, ""), target
    other = known(local, "node/node-a", "node/node-b:30080")
    assert (other.endpoints, other.source) == (THREE - {("10.244.1.11", 9376)}, "kept")


def test_pods_of_a_node_are_no_outside() -> None:
    """A pod that calls its own node's NodePort, or an external IP, is led to the endpoints of all nodes."""
    world = cluster()
    first, *others = services(world)
    changed = replace(first, external_traffic_policy="Local", external_ips=("203.0.113.5",))
    local = with_kube(world, services=(changed, *others))
    for target in ("node/node-a:30080", "ip/203.0.113.5:80"):
        assert known(local, "pod/client-near", target).endpoints == THREE, target
    for proxy in (KubeProxyConfig(mode="ipvs", cluster_cidrs=("10.244.0.0/16",)), KubeProxyConfig()):
        other = with_kube(local, proxy=proxy)
        assert known(other, "pod/client-near", "node/node-a:30080").endpoints == frozenset(
            {("10.244.1.11", 9376)}
        )


def test_external_addresses_lead_to_the_service() -> None:
    """An external IP is a way into the Service like its cluster IP."""
    world = cluster()
    first, *others = services(world)
    world = with_kube(world, services=(replace(first, external_ips=("203.0.113.5",)), *others))
    assert known(world, "internet", "ip/203.0.113.5:80").endpoints == THREE


@pytest.mark.parametrize(
    ("target", "because"),
    [
        ("svc/empty", "Service default/empty has no ready endpoint"),
        ("ip/10.96.10.1:81", "Service default/hostnames has no port 81/tcp"),
        ("ip/10.96.10.1/icmp", "Service default/hostnames has no icmp"),
        ("pod/hostnames-1:81", "nobody in hostnames-1 listens on tcp port 81"),
        ("pod/hostnames-1:8999", "nobody in hostnames-1 listens on tcp port 8999"),
        ("ip/10.244.2.99:80", "no pod of node-b has 10.244.2.99"),
    ],
)
def test_nothing_is_owed_where_nobody_serves(target: str, because: str) -> None:
    """Without an endpoint, a port, a listener, a holder, a refusal is right."""
    goal = known(cluster(), "pod/client-near", target)
    assert (goal.owed, goal.because) == (False, because)


def test_pods_are_owed_their_source() -> None:
    """Pod to pod keeps the source; a node's, or a pod's own, is nobody's promise."""
    world = cluster()
    assert known(world, "pod/client-near", "pod/hostnames-1").source == "kept"
    assert known(world, "pod/client-near", "client-far/icmp").source == "kept"
    assert known(world, "node/node-a", "pod/hostnames-1").source == ""
    assert known(world, "pod/hostnames-0", "ip/127.0.0.1:8999").source == ""


def test_an_endpoint_that_does_not_listen_may_be_reached_on_another_port() -> None:
    """Where the slice's own port has no listener, any port of that pod will do."""
    world = cluster()
    first, *others = slices(world)
    wrong = replace(first, ports=(replace(first.ports[0], port=9999),))
    goal = known(with_kube(world, endpoint_slices=(wrong, *others)), "pod/client-near", "svc/hostnames")
    assert goal.endpoints == frozenset((address, None) for address, _ in THREE)


def test_endpoints_on_other_machines_are_beyond() -> None:
    """Of an endpoint on a node that is not in the snapshot one can ask that packets leave for it."""
    world = cluster()
    first, *others = slices(world)
    away = Endpoint(addresses=("10.244.9.9",), node_name="node-z", target="default/away")
    world = with_kube(world, endpoint_slices=(replace(first, endpoints=(*first.endpoints, away)), *others))
    goal = known(world, "pod/client-near", "svc/hostnames")
    assert goal.beyond == {"10.244.9.9"}
    hosts = replace(away, addresses=("172.18.0.12",), target="default/host")
    pod = Pod(name="host", node_name="node-b", ips=("172.18.0.12",), host_network=True)
    pods = world.snapshot.kube.pods
    assert isinstance(pods, Known)
    world = with_kube(
        world, endpoint_slices=(replace(first, endpoints=(hosts,)), *others), pods=(*pods.value, pod)
    )
    assert known(world, "pod/client-near", "svc/hostnames").beyond == frozenset()


def test_published_ports_are_owed_their_container() -> None:
    """A port that dockerd publishes is owed to the container, by the host's own address only."""
    world = docker_host()
    goal = known(world, "internet", "node/docker-host:8088")
    assert goal.endpoints == frozenset({("192.168.0.2", 80)})
    assert goal.because == "dockerd publishes it for container web, port 80/tcp"
    assert known(world, "internet", "node/docker-host:8089").owed is False
    assert known(world, "container/web", "ip/172.18.0.100:8088").owed is False
    assert known(world, "container/web", "ip/8.8.8.8:53/udp").source == "rewritten"
    assert known(world, "node/docker-host", "ip/127.0.0.1:8088").owed is False
    host = replace(world.snapshot.namespaces["docker-host"], addresses=NOT_READ)
    flow = resolve(world.snapshot, "internet", "ip/172.18.0.11:8088")
    assert isinstance(flow, Flow)
    asked = default_goal(world.snapshot.with_netns(host), flow, owed_of(world.snapshot))
    assert asked == Needs((SectionKey("docker-host", "addresses"),))


def test_the_outside_is_left_for() -> None:
    """An address that nobody here has is beyond; the source is to be rewritten where that is owed."""
    world = cluster()
    goal = known(world, "pod/client-near", "ip/8.8.8.8:53/udp")
    assert (goal.beyond, goal.source) == (frozenset({"8.8.8.8"}), "rewritten")
    assert known(world, "node/node-a", "ip/8.8.8.8:53/udp").source == ""


def test_who_has_an_address_is_asked_of_all() -> None:
    """Before an address is called outside, everybody's addresses are read."""
    world = docker_host()
    flow = resolve(world.snapshot, "container/web", "ip/8.8.8.8:53/udp")
    assert isinstance(flow, Flow)
    app = replace(world.snapshot.namespaces["app"], addresses=NOT_READ)
    asked = default_goal(world.snapshot.with_netns(app), flow, ())
    assert asked == Needs((SectionKey("app", "addresses"),))


def test_a_listener_of_both_families_takes_ipv4() -> None:
    """A socket on :: takes IPv4 unless it is bound to IPv6 only; unreadable sockets forbid nothing."""
    world = cluster()
    pod = world.snapshot.namespaces["hostnames-1"]
    for v6only, owed in ((False, True), (True, False)):
        socket = Socket(proto="tcp", address="::", port=70, state="listen", v6only=v6only)
        snapshot = world.snapshot.with_netns(replace(pod, sockets=Known((socket,))))
        assert known(World(snapshot, world.names), "node/node-a", "pod/hostnames-1:70").owed is owed
    denied = replace(pod, sockets=Missing(MissingKind.DENIED, "no"))
    assert known(
        World(world.snapshot.with_netns(denied), world.names), "node/node-a", "pod/hostnames-1:70"
    ).owed


def test_a_pod_without_a_namespace_is_found_by_its_address() -> None:
    """Where the objects do not name the namespace, the address does; hostNetwork pods are their node."""
    world = cluster()
    pods = world.snapshot.kube.pods
    assert isinstance(pods, Known)
    unnamed = with_kube(world, pods=tuple(replace(pod, netns=None) for pod in pods.value))
    assert known(unnamed, "node/node-a", "pod/hostnames-1:9376").because.startswith("hostnames-1 listens")
    host = Pod(name="agent", node_name="node-a", ips=("172.18.0.11",), host_network=True)
    agents = with_kube(world, pods=(*pods.value, host))
    assert known(agents, "internet", "ip/172.18.0.11:9").because == "nobody in node-a listens on tcp port 9"


def test_the_objects_tell_a_nodes_address() -> None:
    """A node's address is its own before its addresses were read."""
    world = cluster()
    flow = resolve(world.snapshot, "internet", "ip/172.18.0.11:22")
    assert isinstance(flow, Flow)
    node = replace(world.snapshot.namespaces["node-a"], addresses=NOT_READ, sockets=NOT_READ)
    asked = default_goal(world.snapshot.with_netns(node), flow, ())
    assert asked == Needs((SectionKey("node-a", "sockets"),))


def test_services_without_slices_have_no_endpoints() -> None:
    """Where the slices were not read nobody is known to serve."""
    world = cluster()
    kube = replace(world.snapshot.kube, endpoint_slices=NOT_READ)
    bare = World(replace(world.snapshot, kube=kube), world.names)
    assert known(bare, "pod/client-near", "svc/hostnames").owed is False


# --- Services known by rules only ------------------------------------------------------


def inferred(world: World, source: str, target: str) -> Goal | Needs:
    """The goal of a flow where no objects are known."""
    flow = resolve(world.snapshot, source, target)
    assert isinstance(flow, Flow)
    return default_goal(replace(world.snapshot, kube=NO_OBJECTS), flow, ())


def test_kube_proxys_rules_tell_a_service() -> None:
    """Without objects, the chains that bear the address tell the endpoints."""
    world = cluster()
    for source, target in (("pod/client-near", "svc/hostnames"), ("internet", "node/node-a:30080")):
        goal = inferred(world, source, target)
        assert isinstance(goal, Goal)
        assert goal.endpoints == THREE
        assert goal.because.startswith("kube-proxy's rules for default/hostnames")
        assert goal.beyond == frozenset()


def test_chains_of_a_service_are_read_as_needed() -> None:
    """A chain in the way that was not read is asked for; one that cannot be read ends the search."""
    world = cluster()
    key = SectionKey("node-a", "xt/nft/nat/KUBE-SERVICES")
    flow = resolve(world.snapshot, "pod/client-near", "svc/hostnames")
    assert isinstance(flow, Flow)
    bare = replace(world.snapshot, kube=NO_OBJECTS)
    assert default_goal(bare.with_section(key, NOT_READ), flow, ()) == Needs((key,))
    denied = bare.with_section(key, Missing(MissingKind.DENIED, "no"))
    goal = default_goal(denied, flow, ())
    assert isinstance(goal, Goal)
    assert goal.beyond == {"10.96.10.1"}


def test_a_service_whose_chain_is_empty_tells_nothing() -> None:
    """A rule that leads to no endpoint is no word about who should answer."""
    world = cluster()
    flow = resolve(world.snapshot, "pod/client-near", "svc/hostnames")
    assert isinstance(flow, Flow)
    (rule,) = [
        r for r in world.rules_of("node-a", "KUBE-SERVICES") if r.dst and r.dst.value == "10.96.10.1/32"
    ]
    key = SectionKey("node-a", f"xt/nft/nat/{rule.target.chain}")
    bare = replace(world.snapshot.with_section(key, Known(XtChain())), kube=NO_OBJECTS)
    goal = default_goal(bare, flow, ())
    assert isinstance(goal, Goal)
    assert goal.endpoints is None


def test_addresses_that_are_none_are_passed_over() -> None:
    """What a manifest gives for an address or a CIDR and is none leads nowhere, and nothing breaks."""
    world = cluster()
    nodes = world.snapshot.kube.nodes
    assert isinstance(nodes, Known)
    odd = tuple(replace(n, external_ips=("",), pod_cidrs=("nonsense",)) for n in nodes.value)
    broken = with_kube(world, nodes=odd)
    assert known(broken, "internet", "node/node-a:30080").endpoints == THREE
    assert known(broken, "pod/client-near", "ip/10.244.2.99:80").beyond == {"10.244.2.99"}
    unknown = World(replace(world.snapshot, kube=replace(world.snapshot.kube, nodes=NOT_READ)), world.names)
    assert known(unknown, "internet", "ip/172.18.0.11:30080").endpoints == THREE


def test_rules_of_other_services_are_not_ours() -> None:
    """An address that no rule bears is no Service, and a Service without endpoints is none."""
    goal = inferred(cluster(), "pod/client-near", "ip/10.96.99.99:80")
    assert isinstance(goal, Goal)
    assert goal.beyond == {"10.96.99.99"}
    flow = resolve(cluster().snapshot, "internet", "ip/192.0.2.1:80")
    assert isinstance(flow, Flow)
    lone = replace(cluster().snapshot, nodes={}, kube=Kube())
    assert isinstance(default_goal(lone, flow, ()), Goal)
