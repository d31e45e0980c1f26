"""Target texts to flows."""

import pytest
from msgspec.structs import replace

from nettrace.kube.resolve import Ends, ends_of, resolve
from nettrace.model.errors import UserError
from nettrace.model.flow import Flow
from nettrace.model.kube import (
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Kube,
    KubeNode,
    Pod,
    PodContainer,
    Service,
    ServicePort,
)
from nettrace.model.links import Address, Link
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.sockets import Socket
from nettrace.model.walk import Needs


def _netns(name: str, role: str, node: str, *addresses: str, listens: tuple[int, ...] = ()) -> Netns:
    return Netns(
        name=name,
        node=node,
        role=role,
        addresses=Known(tuple(Address(device="eth0", address=a, prefixlen=24) for a in addresses)),
        routes=Known((Route(dst="0.0.0.0/0", nexthops=(NextHop(device="eth0"),)),)),
        links=Known((Link(index=2, name="eth0", kind="veth"),)),
        sockets=Known(tuple(Socket(proto="tcp", address="0.0.0.0", port=p, state="listen") for p in listens)),
    )


def _pod(name: str, namespace: str, address: str, netns: str | None, *ports: ContainerPort) -> Pod:
    containers = (PodContainer(name="main", ports=ports), PodContainer(name=f"{name}-side"))
    return Pod(name=name, namespace=namespace, ips=(address,), netns=netns, containers=containers)


@pytest.fixture
def cluster() -> Snapshot:
    """Two nodes, three pods, three Services, somebody outside."""
    services = (
        Service(
            name="api",
            namespace="shop",
            cluster_ips=("10.96.0.5",),
            ports=(ServicePort(port=80, name="http"), ServicePort(port=443, name="https")),
        ),
        Service(name="db", namespace="shop", cluster_ips=("10.96.0.6",), ports=(ServicePort(port=5432),)),
        Service(name="db", namespace="pay", cluster_ips=("10.96.0.7",), ports=(ServicePort(port=5432),)),
        Service(
            name="dns",
            namespace="kube-system",
            cluster_ips=("10.96.0.10",),
            ports=(
                ServicePort(port=53, name="dns", protocol="UDP"),
                ServicePort(port=53, name="dns-tcp", protocol="TCP"),
            ),
        ),
        Service(name="none", namespace="shop", type="ExternalName", external_name="x.y"),
    )
    pods = (
        _pod("web", "shop", "10.244.1.2", "web", ContainerPort(container_port=8080, name="http")),
        _pod("idle", "shop", "10.244.1.3", None),
        _pod("twin", "shop", "10.244.1.4", "twin"),
        _pod("twin", "pay", "10.244.1.5", "twin2"),
    )
    kube = Kube(
        services=Known(services),
        pods=Known(pods),
        nodes=Known((KubeNode(name="node-a", internal_ips=("192.168.0.1",)),)),
    )
    spaces = (
        _netns("node-a", "node", "node-a", "192.168.0.1"),
        _netns("node-b", "node", "node-b", "192.168.0.2"),
        _netns("web", "pod", "node-a", "10.244.1.2"),
        _netns("idle", "pod", "node-a", "10.244.1.3", listens=(9000,)),
        _netns("twin", "pod", "node-a", "10.244.1.4"),
        _netns("twin2", "pod", "node-a", "10.244.1.5"),
        _netns("lone", "container", "node-b", "172.17.0.2"),
        _netns("internet", "outside", "internet", "192.168.0.100"),
    )
    return Snapshot(
        nodes={name: NodeState(name=name, netns=name) for name in ("node-a", "node-b")},
        namespaces={space.name: space for space in spaces},
        kube=kube,
    )


def flow(snapshot: Snapshot, source: str, target: str) -> Flow:
    """Resolve, expecting a flow."""
    found = resolve(snapshot, source, target)
    assert isinstance(found, Flow)
    return found


@pytest.mark.parametrize(
    ("source", "target", "netns", "end"),
    [
        ("pod/shop/web", "svc/shop/api:http", "web", "10.96.0.5:80/tcp"),
        ("pod/shop/web", "svc/shop/api:443", "web", "10.96.0.5:443/tcp"),
        ("pod/shop/web", "svc/pay/db", "web", "10.96.0.7:5432/tcp"),
        ("pod/shop/web", "svc/kube-system/dns:53", "web", "10.96.0.10:53/tcp"),
        ("pod/shop/web", "svc/kube-system/dns:53/udp", "web", "10.96.0.10:53/udp"),
        ("pod/shop/web", "svc/kube-system/dns:dns", "web", "10.96.0.10:53/udp"),
        ("node/node-a", "pod/shop/web:http", "node-a", "10.244.1.2:8080/tcp"),
        ("node/node-a", "pod/shop/web", "node-a", "10.244.1.2:8080/tcp"),
        ("node/node-b", "pod/shop/idle", "node-b", "10.244.1.3:9000/tcp"),
        ("internet", "node/node-a:30080", "internet", "192.168.0.1:30080/tcp"),
        ("internet", "node/node-b:30080", "internet", "192.168.0.2:30080/tcp"),
        ("idle", "internet:80", "idle", "192.168.0.100:80/tcp"),
        ("web", "10.244.1.3/icmp", "web", "10.244.1.3:None/icmp"),
        ("10.244.1.3", "ip/127.0.0.1:80", "idle", "127.0.0.1:80/tcp"),
        ("netns/lone", "host/node-a:22", "lone", "192.168.0.1:22/tcp"),
        ("container/lone", "container/web-side:80", "lone", "10.244.1.2:80/tcp"),
        ("pod/shop/web", "container/web-side:80", "web", "127.0.0.1:80/tcp"),
    ],
)
def test_targets_become_flows(cluster: Snapshot, source: str, target: str, netns: str, end: str) -> None:
    """Each kind of target leads to its namespace, address, port and protocol."""
    found = flow(cluster, source, target)
    packet = found.packet
    port = packet.dport.single if packet.dport else None
    assert (found.origin.netns, f"{packet.dst}:{port}/{packet.proto}") == (netns, end)


@pytest.mark.parametrize(
    ("source", "target", "what", "hint"),
    [
        ("web", "nobody:80", "nothing here is called 'nobody:80'", "known namespaces"),
        ("nobody", "web:80", "nothing here is called 'nobody'", "known namespaces"),
        ("web", "svc/db:5432", "Service 'db' is ambiguous", "pay/db, shop/db"),
        ("web", "db:5432", "Service 'db' is ambiguous", "pay/db, shop/db"),
        ("pod/twin", "web:80", "pod 'twin' is ambiguous", "pay/twin, shop/twin"),
        ("web", "svc/shop/api", "which port of Service shop/api?", "80/tcp (http), 443/tcp (https)"),
        ("web", "svc/shop/api:81", "Service shop/api has no such port", "80/tcp"),
        ("web", "svc/shop/none:1", "Service shop/none has no cluster IP", "x.y"),
        ("web", "svc/shop/gone:1", "there is no Service 'gone' in namespace shop", "show"),
        ("web", "node/node-z:1", "there is no node 'node-z'", "node-a, node-b"),
        ("web", "netns/x:1", "there is no namespace 'netns/x:1'", "known namespaces"),
        ("web", "container/x:1", "there is no container 'container/x:1'", "lone"),
        ("web", "pod/shop/web:nope", "pod/shop/web has no port named 'nope'", "http 8080/tcp"),
        ("web", "netns/lone", "which port of netns/lone?", "/icmp"),
        ("web", "host/example.org:80", "'example.org' is not the name of a host in this snapshot", "address"),
        ("svc/shop/api", "web:80", "svc/shop/api is not something that sends packets", "known"),
        ("10.9.9.9", "web:80", "10.9.9.9 is not something that sends packets", "known"),
        ("web", "ingress/shop/x:80", "ingress targets are not walked yet", "pod"),
    ],
)
def test_what_cannot_be_resolved_says_why(
    cluster: Snapshot, source: str, target: str, what: str, hint: str
) -> None:
    """An unknown, ambiguous or useless target is a UserError that names it and what there is."""
    with pytest.raises(UserError) as caught:
        resolve(cluster, source, target)
    assert caught.value.what == what
    assert hint in caught.value.hint


def test_what_is_not_read_is_asked_for(cluster: Snapshot) -> None:
    """A section in the way that nobody read comes back as Needs."""
    blank = cluster.with_section(SectionKey("", "kube/pods"), Missing(MissingKind.NOT_READ))
    assert resolve(blank, "pod/shop/web", "internet:80") == Needs((SectionKey("", "kube/pods"),))
    unread = cluster.with_section(SectionKey("idle", "sockets"), Missing(MissingKind.NOT_READ))
    assert resolve(unread, "pod/shop/web", "10.244.1.3") == Needs((SectionKey("idle", "sockets"),))


def test_without_objects_services_have_no_names(cluster: Snapshot) -> None:
    """Where no Kubernetes objects can be had a Service is not found, and the way out is named."""
    denied = Missing(MissingKind.UNSUPPORTED, "no manifests")
    without = cluster.with_section(SectionKey("", "kube/services"), denied)
    with pytest.raises(UserError) as caught:
        resolve(without, "netns/web", "svc/shop/api:80")
    assert "--manifests" in caught.value.hint


def test_everything_that_leads_to_a_service_is_its_ends(cluster: Snapshot) -> None:
    """Cluster IP, endpoints, and the ports of both; a named port narrows it, an address stands for itself."""
    held = EndpointSlice(
        name="x",
        namespace="shop",
        service="db",
        endpoints=(Endpoint(addresses=("10.244.9.9",)),),
        ports=(EndpointPort(port=15432),),
    )
    known = replace(cluster, kube=replace(cluster.kube, endpoint_slices=Known((held,))))
    assert ends_of(known, "svc/shop/db") == Ends(
        frozenset({"10.96.0.6", "10.244.9.9"}), frozenset({5432, 15432}), None
    )
    narrow = ends_of(known, "svc/shop/api:http")
    assert isinstance(narrow, Ends)
    assert narrow.ports == {80}
    assert ends_of(known, "10.1.2.3:53/udp") == Ends(frozenset({"10.1.2.3"}), frozenset({53}), "udp")
    assert ends_of(known, "10.1.2.3") == Ends(frozenset({"10.1.2.3"}), frozenset(), None)
    unread = replace(known, kube=replace(known.kube, endpoint_slices=NOT_READ))
    assert isinstance(ends_of(unread, "svc/shop/db"), Needs)
