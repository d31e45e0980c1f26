"""
Worlds for the tests of diagnosis: a flannel cluster and a Docker host, as the kernel shows them.

Lives here: building snapshots in code, and the owed state and causes that go with them.
"""

import json
import random
from functools import cache
from typing import Any

from msgspec.structs import replace

from nettrace.kube.iptables import ruleset
from nettrace.model.change import Change
from nettrace.model.edit import edit
from nettrace.model.kube import (
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Kube,
    KubeNode,
    KubeProxyConfig,
    Pod,
    PodContainer,
    Service,
    ServicePort,
)
from nettrace.model.links import (
    BridgeAttrs,
    FdbEntry,
    Neighbour,
    PortAttrs,
    VxlanAttrs,
)
from nettrace.model.routes import Route
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule
from tests.diagnose.box import Box, made_mac, veth, wire_to

__all__ = ["NO_OBJECTS", "Names", "World", "cluster", "docker_host", "seen_from", "with_objects"]

_NONE = Missing(MissingKind.FAILED, "no Kubernetes objects")

#: What a reader leaves where there is no cluster to ask.
NO_OBJECTS = Kube(services=_NONE, endpoint_slices=_NONE, pods=_NONE, nodes=_NONE, proxy=_NONE)


class Names:
    """Names, addresses and ports of a cluster, drawn from a seed."""

    def __init__(self, seed: int | None = None) -> None:
        draw = random.Random(seed)
        some = seed is not None
        self.nodes = [f"node-{w}" for w in (draw.sample("abcdefgh", 2) if some else "ab")]
        self.nodes.sort()
        self.outer = f"172.{draw.randrange(16, 31)}.{draw.randrange(256)}" if some else "172.18.0"
        self.pods = f"10.{draw.randrange(100, 250)}" if some else "10.244"
        self.services = f"10.{draw.randrange(20, 99)}" if some else "10.96"
        self.service = draw.choice(("hostnames", "api", "shop")) if some else "hostnames"
        self.namespace = draw.choice(("default", "team-x")) if some else "default"
        self.port = draw.choice((80, 8000, 443)) if some else 80
        self.target_port = draw.choice((9376, 7000, 5050)) if some else 9376
        self.node_port = draw.randrange(30000, 32768) if some else 30080

    @property
    def cluster_ip(self) -> str:
        """The Service's address."""
        return f"{self.services}.10.1"


class World:
    """A snapshot with what it is called."""

    def __init__(self, snapshot: Snapshot, names: Names) -> None:
        self.snapshot = snapshot
        self.names = names

    def edited(self, *changes: Change) -> "World":
        """The world after *changes*."""
        snapshot = self.snapshot
        for change in changes:
            snapshot = edit(snapshot, change)
        return World(snapshot, self.names)

    def without_objects(self) -> "World":
        """The same network, with nobody's objects or files known."""
        snapshot = replace(
            self.snapshot,
            kube=NO_OBJECTS,
            nodes={n.name: replace(n, files=Known({})) for n in self.snapshot.nodes.values()},
        )
        return World(snapshot, self.names)

    def rules_of(self, netns: str, chain: str, table: str = "nat") -> list[Any]:
        """The rules of a chain."""
        found = self.snapshot.chain(netns, "nft", table, chain)
        assert found is not None, f"no chain {chain}"
        return list(found.rules)


@cache
def cluster(names: Names | None = None) -> World:
    """
    A cluster.

    Two nodes with flannel's VXLAN, a NodePort Service with three endpoints, cluster DNS, a client
    on each node, and an outside host; the wire's router throws away what it does not know.
    """
    names = names or Names()
    near, far = names.nodes
    wire = Box(1, "wire", "wire", "wire", net__ipv4__ip_forward="1")
    wire.link("br0", "bridge", bridge=BridgeAttrs())
    wire.address("br0", f"{names.outer}.1", 24)
    wire.routes.append(Route(dst="0.0.0.0/0", type="blackhole"))
    internet = Box(2, "internet", "internet", "outside")
    wire_to(wire, internet, f"{names.outer}.100")
    internet.route("0.0.0.0/0", "eth0", f"{names.outer}.1")
    internet.listen("tcp", 80)
    boxes = [wire, internet]
    placed = {
        near: ["client-near", f"{names.service}-0", "kube-dns-0"],
        far: ["client-far", f"{names.service}-1", f"{names.service}-2"],
    }
    pods: list[Pod] = []
    kube_nodes: list[KubeNode] = []
    for number, node in enumerate(names.nodes):
        box = Box(10 + number, node, node, "node", net__ipv4__ip_forward="1")
        box.sysctls |= {
            "net.bridge.bridge-nf-call-iptables": "1",
            "net.ipv4.conf.all.route_localnet": "1",
        }
        wire_to(wire, box, f"{names.outer}.{11 + number}")
        box.route("0.0.0.0/0", "eth0", f"{names.outer}.1")
        box.link("cni0", "bridge", mtu=1450, bridge=BridgeAttrs())
        box.address("cni0", f"{names.pods}.{number + 1}.1", 24)
        boxes.append(box)
        for index, pod in enumerate(placed[node]):
            made = Box(20 + 10 * number + index, pod, node, "pod")
            device = f"veth{number}{index}"
            veth(box, device, made, "eth0", mtu=1450, master="cni0", port=PortAttrs(hairpin=True))
            address = f"{names.pods}.{number + 1}.{10 + index}"
            made.address("eth0", address, 24)
            made.route("0.0.0.0/0", "eth0", f"{names.pods}.{number + 1}.1")
            boxes.append(made)
            pods.append(_pod(names, pod, node, address, made))
        own, peer = made_mac(0xF, 0, 0, number, 1), made_mac(0xF, 0, 0, 1 - number, 1)
        vxlan = VxlanAttrs(vni=1, local=f"{names.outer}.{11 + number}", device="eth0", learning=False)
        box.link("flannel.1", "vxlan", mac=own, mtu=1450, vxlan=vxlan)
        box.address("flannel.1", f"{names.pods}.{number + 1}.0", 32)
        vtep = f"{names.pods}.{2 - number}.0"
        box.route(f"{vtep}/24", "flannel.1", vtep, onlink=True)
        box.neighbours.append(Neighbour(device="flannel.1", address=vtep, mac=peer, state="permanent"))
        peer_ip = f"{names.outer}.{12 - number}"
        box.fdb.append(FdbEntry(device="flannel.1", mac=peer, dst=peer_ip, permanent=True))
        notes = {
            "backend-data": json.dumps({"VNI": 1, "VtepMAC": own}),
            "backend-type": "vxlan",
            "kube-subnet-manager": "true",
            "public-ip": f"{names.outer}.{11 + number}",
        }
        kube_nodes.append(
            KubeNode(
                name=node,
                internal_ips=(f"{names.outer}.{11 + number}",),
                pod_cidrs=(f"{names.pods}.{number + 1}.0/24",),
                annotations={f"flannel.alpha.coreos.com/{key}": value for key, value in notes.items()},
            )
        )
    kube = _kube(names, pods, kube_nodes)
    for box in boxes:
        if box.role == "node":
            box.tables(_with_flannel(ruleset(kube, box.node), names, names.nodes.index(box.node)))
    nodes = {
        node: NodeState(name=node, netns=node, files=Known(_files(names, number)), processes=Known(()))
        for number, node in enumerate(names.nodes)
    }
    snapshot = Snapshot(
        origin="test", namespaces={box.name: box.netns() for box in boxes}, nodes=nodes, kube=kube
    )
    return World(snapshot, names)


def _pod(names: Names, pod: str, node: str, address: str, box: Box) -> Pod:
    if pod.startswith("kube-dns"):
        ports: tuple[ContainerPort, ...] = (ContainerPort(container_port=53, protocol="UDP"),)
        box.listen("udp", 53)
    else:
        number = 8080 if pod.startswith("client") else names.target_port
        ports = (ContainerPort(container_port=number),)
        box.listen("tcp", number)
        box.listen("tcp", 9999 - 1000, "127.0.0.1")
    return Pod(
        name=pod,
        namespace="kube-system" if pod.startswith("kube-dns") else names.namespace,
        node_name=node,
        ips=(address,),
        containers=(PodContainer(name="main", ports=ports),),
        netns=box.name,
    )


def _kube(names: Names, pods: list[Pod], nodes: list[KubeNode]) -> Kube:
    def slice_of(name: str, namespace: str, port: EndpointPort, prefix: str) -> EndpointSlice:
        ends = tuple(
            Endpoint(addresses=p.ips, node_name=p.node_name, target=p.key)
            for p in pods
            if p.name.startswith(prefix)
        )
        return EndpointSlice(
            name=f"{name}-x7k2q", namespace=namespace, service=name, endpoints=ends, ports=(port,)
        )

    service = Service(
        name=names.service,
        namespace=names.namespace,
        type="NodePort",
        cluster_ips=(names.cluster_ip,),
        ports=(ServicePort(port=names.port, target_port=names.target_port, node_port=names.node_port),),
    )
    dns = Service(
        name="kube-dns",
        namespace="kube-system",
        cluster_ips=(f"{names.services}.0.10",),
        ports=(ServicePort(name="dns", port=53, protocol="UDP", target_port=53),),
    )
    empty = Service(
        name="empty",
        namespace=names.namespace,
        cluster_ips=(f"{names.services}.7.7",),
        ports=(ServicePort(port=80),),
    )
    return Kube(
        origin="test",
        services=Known((service, dns, empty)),
        endpoint_slices=Known(
            (
                slice_of(names.service, names.namespace, EndpointPort(port=names.target_port), names.service),
                slice_of(
                    "kube-dns", "kube-system", EndpointPort(name="dns", protocol="UDP", port=53), "kube-dns"
                ),
            )
        ),
        pods=Known(tuple(pods)),
        nodes=Known(tuple(nodes)),
        proxy=Known(KubeProxyConfig(cluster_cidrs=(f"{names.pods}.0.0/16",))),
    )


def _with_flannel(tables: XtRuleset, names: Names, number: int) -> XtRuleset:
    network, own = f"{names.pods}.0.0/16", f"{names.pods}.{number + 1}.0/24"
    note = '-m comment --comment "flanneld masq"'
    nat = tables.tables["nat"]
    assert isinstance(nat, Known)
    chains = dict(nat.value.chains)
    texts = (
        f"-m mark --mark 0x4000/0x4000 {note} -j RETURN",
        f"-s {own} -d {network} {note} -j RETURN",
        f"-s {network} -d {own} {note} -j RETURN",
        f"! -s {network} -d {own} {note} -j RETURN",
        f"-s {network} ! -d 224.0.0.0/4 {note} -j MASQUERADE --random-fully",
        f"! -s {network} -d {network} {note} -j MASQUERADE --random-fully",
    )
    chains["FLANNEL-POSTRTG"] = Known(XtChain(rules=tuple(parse_rule(text) for text in texts)))
    post = chains["POSTROUTING"]
    assert isinstance(post, Known)
    jump = parse_rule(f"{note} -j FLANNEL-POSTRTG")
    chains["POSTROUTING"] = Known(replace(post.value, rules=(*post.value.rules, jump)))
    return XtRuleset({**tables.tables, "nat": Known(XtTable(chains))})


def _files(names: Names, number: int) -> dict[str, str]:
    return {
        "/run/flannel/subnet.env": (
            f"FLANNEL_NETWORK={names.pods}.0.0/16\nFLANNEL_SUBNET={names.pods}.{number + 1}.1/24\n"
            "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        ),
        "/etc/cni/net.d/10-flannel.conflist": json.dumps({"plugins": [{"delegate": {"hairpinMode": True}}]}),
    }


def with_objects(world: World, **sections: Any) -> World:
    """The cluster after its objects changed and kube-proxy wrote what follows from them."""
    kube = replace(world.snapshot.kube, **{name: Known(value) for name, value in sections.items()})
    snapshot = replace(world.snapshot, kube=kube)
    for number, node in enumerate(world.names.nodes):
        tables = _with_flannel(ruleset(kube, node), world.names, number)
        snapshot = snapshot.with_netns(replace(snapshot.namespaces[node], xt_nft=Known(tables)))
    return World(snapshot, world.names)


@cache
def docker_host() -> World:
    """A host with docker0 and two containers, one of them published on 8088, and an outside host."""
    wire = Box(1, "wire", "wire", "wire", net__ipv4__ip_forward="1")
    wire.link("br0", "bridge", bridge=BridgeAttrs())
    wire.address("br0", "172.18.0.1", 24)
    wire.routes.append(Route(dst="0.0.0.0/0", type="blackhole"))
    internet = Box(2, "internet", "internet", "outside")
    wire_to(wire, internet, "172.18.0.100")
    internet.route("0.0.0.0/0", "eth0", "172.18.0.1")
    internet.listen("tcp", 80)
    host = Box(3, "docker-host", "docker-host", "node", net__ipv4__ip_forward="1")
    host.sysctls["net.bridge.bridge-nf-call-iptables"] = "1"
    wire_to(wire, host, "172.18.0.11")
    host.route("0.0.0.0/0", "eth0", "172.18.0.1")
    host.link("docker0", "bridge", bridge=BridgeAttrs())
    host.address("docker0", "192.168.0.1", 24)
    boxes = [wire, internet, host]
    files: dict[str, str] = {}
    for index, (name, port) in enumerate((("web", 80), ("app", 5000))):
        box = Box(20 + index, name, "docker-host", "container")
        veth(host, f"veth{index}", box, "eth0", master="docker0", port=PortAttrs())
        address = f"192.168.0.{2 + index}"
        box.address("eth0", address, 24)
        box.route("0.0.0.0/0", "eth0", "192.168.0.1")
        box.listen("tcp", port)
        boxes.append(box)
        base = f"/var/lib/docker/containers/{index:064x}"
        ports = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8088"}]} if name == "web" else {}
        place = {"IPAddress": address, "IPPrefixLen": 24, "Gateway": "192.168.0.1"}
        files[f"{base}/config.v2.json"] = json.dumps(
            {
                "Name": f"/{name}",
                "State": {"Running": True},
                "NetworkSettings": {"Networks": {"bridge": place}, "Ports": ports},
            }
        )
        files[f"{base}/hostconfig.json"] = json.dumps({"PortBindings": ports})
    host.rules(
        PREROUTING=("-m addrtype --dst-type LOCAL -j DOCKER",),
        OUTPUT=("! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",),
        POSTROUTING=("-s 192.168.0.0/24 ! -o docker0 -j MASQUERADE",),
        DOCKER=(
            "-i docker0 -j RETURN",
            "! -i docker0 -p tcp -m tcp --dport 8088 -j DNAT --to-destination 192.168.0.2:80",
        ),
    )
    node = NodeState(name="docker-host", netns="docker-host", files=Known(files), processes=Known(()))
    snapshot = Snapshot(
        origin="test",
        namespaces={box.name: box.netns() for box in boxes},
        nodes={"docker-host": node},
        kube=NO_OBJECTS,
    )
    return World(snapshot, Names())


def seen_from(world: World, node: str) -> World:
    """What a node sees of itself: its own namespaces, and wires that lead out of them."""
    own = {name: n for name, n in world.snapshot.namespaces.items() if n.node == node}

    def cut(netns: Netns) -> Netns:
        assert isinstance(netns.links, Known)
        links = tuple(
            replace(link, peer=replace(link.peer, netns=None))
            if link.peer is not None and link.peer.netns not in own
            else link
            for link in netns.links.value
        )
        return replace(netns, links=Known(links))

    nodes = {name: state for name, state in world.snapshot.nodes.items() if name == node}
    namespaces = {name: cut(netns) for name, netns in own.items()}
    return World(replace(world.snapshot, namespaces=namespaces, nodes=nodes), world.names)
