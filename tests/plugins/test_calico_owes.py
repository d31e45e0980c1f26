"""Calico: what follows from annotations, pools, blocks and pods, and what things are called."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.links import Address, Link
from nettrace.model.owed import Owed, OwedChain, OwedFdb, OwedJump, OwedNeighbour, OwedRoute, OwedSysctl
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.parse.manifests import kube_from_documents
from nettrace_plugins.calico import plugin
from nettrace_plugins.calico.names import policy_chain, veth, vtep_mac

NODES = {"node-a": "172.18.0.11", "node-b": "172.18.0.12", "far": "172.19.0.13"}


def crd(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """One of Calico's objects."""
    return {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def node(name: str, **notes: str) -> dict[str, Any]:
    """A Node with Calico's annotations."""
    noted = {"IPv4Address": f"{NODES[name]}/24", **notes}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {f"projectcalico.org/{k}": v for k, v in noted.items()}},
        "status": {"addresses": [{"type": "InternalIP", "address": NODES[name]}]},
    }


def pod(name: str, on: str, address: str) -> dict[str, Any]:
    """A running Pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": on, "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def world(*more: dict[str, Any], **pool: Any) -> Snapshot:
    """Three nodes, the third in another network, each with a block and a pod."""
    spec = {"cidr": "10.244.0.0/16", "natOutgoing": True, "ipipMode": "Never", "vxlanMode": "Never", **pool}
    documents = [
        *(node(name, IPv4VXLANTunnelAddr=f"10.244.{n}.0") for n, name in enumerate(NODES)),
        *(pod(f"web-{n}", name, f"10.244.{n}.5") for n, name in enumerate(NODES)),
        crd("IPPool", "pool", **spec),
        *(
            crd("BlockAffinity", name, cidr=f"10.244.{n}.0/26", node=name, state="confirmed", deleted="false")
            for n, name in enumerate(NODES)
        ),
        crd("ClusterInformation", "default", calicoVersion="v3.27.0"),
        *more,
    ]
    device = veth("shop", "web-0")
    return Snapshot(
        nodes={"node-a": NodeState(name="node-a", netns="a")},
        namespaces={
            "a": Netns(
                name="a",
                node="node-a",
                links=Known(
                    (Link(index=2, name="eth0", kind="veth"), Link(index=3, name=device, kind="veth"))
                ),
                addresses=Known(
                    (Address(device="eth0", address="172.18.0.11", prefixlen=24, scope="global"),)
                ),
            )
        },
        kube=kube_from_documents(documents, "test"),
    )


def owes(snapshot: Snapshot) -> tuple[Owed, ...]:
    """What node-a is owed."""
    return tuple(plugin.nettrace_owes(snapshot, "node-a"))


def ways(snapshot: Snapshot) -> dict[str, str]:
    """Destination -> the way that is owed, in words."""
    found = {}
    for item in owes(snapshot):
        if isinstance(item, OwedRoute):
            hop = item.route.nexthops[0] if item.route.nexthops else None
            via = f" via {hop.via}" if hop and hop.via else ""
            found[item.route.dst] = f"{hop.device}{via}" if hop else item.route.type
    return found


def test_a_route_per_pod_and_per_block() -> None:
    """The own pod by its device, the own block a blackhole, a near peer's by the peer; none to a far one."""
    assert ways(world()) == {
        "10.244.0.5/32": veth("shop", "web-0"),
        "10.244.0.0/26": "blackhole",
        "10.244.1.0/26": "eth0 via 172.18.0.12",
    }


@pytest.mark.parametrize(
    ("pool", "near", "far"),
    [
        ({"vxlanMode": "Always"}, "vxlan.calico via 10.244.1.0", "vxlan.calico via 10.244.2.0"),
        ({"vxlanMode": "CrossSubnet"}, "eth0 via 172.18.0.12", "vxlan.calico via 10.244.2.0"),
        ({"ipipMode": "Always"}, "tunl0 via 172.18.0.12", "tunl0 via 172.19.0.13"),
        ({"ipipMode": "CrossSubnet"}, "eth0 via 172.18.0.12", "tunl0 via 172.19.0.13"),
    ],
)
def test_modes_of_pools(pool: dict[str, str], near: str, far: str) -> None:
    """Encapsulation always, or only to peers of another network."""
    found = ways(world(**pool))
    assert (found["10.244.1.0/26"], found["10.244.2.0/26"]) == (near, far)


def test_ends_of_vxlan() -> None:
    """A neighbour and a forwarding entry for each peer, with the MAC that Felix makes of its name."""
    found = owes(world(vxlanMode="Always"))
    neighbours = [item.entry for item in found if isinstance(item, OwedNeighbour)]
    entries = [item.entry for item in found if isinstance(item, OwedFdb)]
    assert [one.mac for one in neighbours] == [vtep_mac("node-b"), vtep_mac("far")]
    assert [(one.mac, one.dst) for one in entries] == [
        (vtep_mac("node-b"), "172.18.0.12"),
        (vtep_mac("far"), "172.19.0.13"),
    ]
    assert not [item for item in owes(world()) if isinstance(item, OwedFdb | OwedNeighbour)]


def test_borrowed_addresses_are_told_one_by_one() -> None:
    """A pod of node-b with an address of this node's block has a route of its own."""
    assert ways(world(pod("lent", "node-b", "10.244.0.9")))["10.244.0.9/32"] == "eth0 via 172.18.0.12"


def test_pods_devices_answer_arp() -> None:
    """proxy_arp and forwarding of each own pod's device."""
    names = [item.name for item in owes(world()) if isinstance(item, OwedSysctl)]
    device = veth("shop", "web-0")
    assert names == [f"net.ipv4.conf.{device}.proxy_arp", f"net.ipv4.conf.{device}.forwarding"]


def test_rules() -> None:
    """Jumps and the masquerade of pools with natOutgoing; none of it where Felix uses no iptables."""
    found = owes(world())
    assert [item.chain for item in found if isinstance(item, OwedChain)] == ["cali-nat-outgoing"]
    assert sum(isinstance(item, OwedJump) for item in found) == 10
    assert not [item for item in owes(world(natOutgoing=False)) if isinstance(item, OwedChain)]
    for setting in ({"bpfEnabled": True}, {"nftablesMode": "Enabled"}):
        other = world(crd("FelixConfiguration", "default", **setting))
        assert not [item for item in owes(other) if isinstance(item, OwedChain | OwedJump)]
    ports = world(crd("FelixConfiguration", "default", natPortRange="20000:30000"))
    assert not [item for item in owes(ports) if isinstance(item, OwedChain)]


def test_detected_with_mode_and_version() -> None:
    """By annotation and devices; the mode is the pools', the version that of ClusterInformation."""
    found = plugin.nettrace_detect(world(vxlanMode="CrossSubnet"))
    assert found is not None
    assert (found.name, found.mode, found.version) == ("calico", "vxlan cross-subnet", "v3.27.0")
    assert [piece.text for piece in found.evidence] == [
        "projectcalico.org/IPv4Address: 172.18.0.11",
        veth("shop", "web-0"),
    ]
    bare = replace(world(), kube=kube_from_documents([], "test"))
    assert plugin.nettrace_detect(bare) is not None  # by the pod's device
    assert plugin.nettrace_detect(replace(bare, namespaces={})) is None


def test_names() -> None:
    """Devices, chains and addresses in words."""
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": "shop"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    snapshot, device = world(policy), veth("shop", "web-0")

    def named(thing: str) -> str | None:
        return plugin.nettrace_name(snapshot, "a", thing)

    assert named(f"links/{device}") == "the device of pod shop/web-0"
    assert named("links/eth0") is None
    assert named(f"xt/filter/cali-tw-{device}") == "Calico's rules for what goes to pod shop/web-0"
    assert named("xt/filter/cali-pri-kns.shop") == "Calico's profile of namespace shop, ingress"
    assert named("xt/nat/cali-nat-outgoing") == "Calico's masquerade of what leaves its pools (natOutgoing)"
    assert named("xt/filter/KUBE-FORWARD") is None
    assert named("169.254.1.1") == "the gateway of every Calico pod, for which its node answers ARP"
    assert named("10.244.1.0") == "the tunnel's end of node-b"
    chain = policy_chain("pi", "shop", "deny")
    assert named(f"xt/filter/{chain}") == "NetworkPolicy shop/deny, ingress"


def test_sections() -> None:
    """Objects, files, devices and addresses are asked for."""
    keys = plugin.nettrace_sections(world())
    assert {
        SectionKey("", "kube/custom"),
        SectionKey("node:node-a", "files"),
        SectionKey("a", "links"),
    } <= set(keys)
