"""
Cilium in a lab: what its CNI plugin and agent do to a node, with programs that let everything pass.

Lives here: native routing with endpoint routes, where the kernel's own stack carries the packets
between Cilium's programs.  The names, devices, chains and maps are Cilium's; what its programs do with a
packet is not, and nettrace could not tell: its walk ends at them.
Not here: the entries of maps (entries), the cluster (nettrace.lab.topologies.kubernetes).
"""

import hashlib
import json
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from nettrace.lab.addresses import host
from nettrace.lab.blueprint import Blueprint, Opaque, OpaqueProgram, Options
from nettrace.lab.cluster.policies import Policed
from nettrace.lab.cluster.workloads import LabNode
from nettrace.lab.topologies.kubernetes import kubernetes
from nettrace.lab.topologies.pod_network import PodNetwork, Site
from nettrace.lab.topologies.wire import route_pod
from nettrace.model.lab import LabNetns
from nettrace.model.section import Known, Section
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule
from nettrace_plugins.cilium.entries import cluster_maps, identity_of
from nettrace_plugins.cilium.owes import ANNOTATION

__all__ = ["cilium"]

T = TypeVar("T")

_MTU = 1500
_HOST, _REMOTE, _WORLD = 1, 6, 2  # reserved identities


def cilium(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster on whose devices Cilium's programs are."""
    network = PodNetwork(
        topology="cilium",
        annotations=_annotations,
        wiring=_wiring,
        pod_wiring=_pod_wiring,
        rules=_rules,
        agents=("CILIUM_",),
        device_sysctls=_device_sysctls,
        files=_files,
        programs=_programs,
    )
    return kubernetes(network, lab, root, options)


def _router(node: LabNode) -> str:
    return str(host(node.pod_cidr, 1))


def _device(pod: LabNetns) -> str:
    """``lxc`` and 12 hexadecimal digits, of the container's id there, of the pod's name here."""
    return f"lxc{hashlib.sha256((pod.pod or pod.name).encode()).hexdigest()[:12]}"


def _mac(node: LabNode, device: str) -> str:
    digest = hashlib.sha256(f"{node.name}/{device}".encode()).digest()
    return bytes((digest[0] & 0xFC | 0x02, *digest[1:6])).hex(":")


def _annotations(node: LabNode, _: IPv4Network) -> dict[str, str]:
    """As the agent writes them with annotate-k8s-node."""
    return {
        f"{ANNOTATION}ipv4-cilium-host": _router(node),
        f"{ANNOTATION}ipv4-pod-cidr": str(node.pod_cidr),
    }


def _wiring(site: Site) -> tuple[str, ...]:
    node = site.node
    pods = (
        line for pod in site.pods for line in route_pod(pod, _device(pod), _MTU, _mac(node, _device(pod)))
    )
    ends = [(name, _mac(node, name)) for name in ("cilium_host", "cilium_net")]
    (first, first_mac), (second, second_mac) = ends
    pair = f"{first} address {first_mac} type veth peer name {second} address {second_mac}"
    return (
        f"link add {pair} netns {site.netns}",
        *(f"link set {name} arp off up" for name, _ in ends),
        f"addr add {_router(node)}/32 dev {first} scope link",
        *pods,
        *(f"route add {peer.pod_cidr} via {peer.address} dev eth0 proto kernel" for peer in site.peers),
    )


def _pod_wiring(site: Site, pod: LabNetns) -> tuple[str, ...]:
    """As cilium-cni leaves it: an address of its own, and the router as a neighbour on the link."""
    router = _router(site.node)
    return (
        "link set lo up",
        "link set eth0 up",
        f"addr add {pod.addresses[0]}/32 dev eth0",
        f"route add {router} dev eth0 scope link",
        f"route add default via {router} dev eth0",
    )


def _device_sysctls(site: Site) -> dict[str, str]:
    """What the agent sets (pkg/datapath/loader/base.go, pkg/datapath/connector)."""
    devices = ["cilium_host", "cilium_net", *(_device(pod) for pod in site.pods)]
    found = {"net.ipv4.conf.cilium_net.accept_local": "1"}
    for device in devices:
        found |= {f"net.ipv4.conf.{device}.rp_filter": "0", f"net.ipv4.conf.{device}.forwarding": "1"}
    return found


def _files(site: Site) -> dict[str, str]:
    conflist = {
        "cniVersion": "0.3.1",
        "name": "cilium",
        "plugins": [
            {"type": "cilium-cni", "enable-debug": False, "log-file": "/var/run/cilium/cilium-cni.log"}
        ],
    }
    return {"etc/cni/net.d/05-cilium.conflist": json.dumps(conflist, indent=2) + "\n"}


# --- programs and maps -----------------------------------------------------------------


def _programs(site: Site) -> Opaque:
    """Those of bpf_lxc.c on pods' devices, those of bpf_host.c on the node's own."""
    hooks = [
        ("eth0", "ingress", "cil_from_netdev"),
        ("eth0", "egress", "cil_to_netdev"),
        ("cilium_host", "ingress", "cil_to_host"),
        ("cilium_host", "egress", "cil_from_host"),
        ("cilium_net", "ingress", "cil_to_host"),
    ]
    for pod in site.pods:
        hooks += [
            (_device(pod), "ingress", "cil_from_container"),
            (_device(pod), "egress", "cil_to_container"),
        ]
    identities = [("0.0.0.0/0", _WORLD)]
    for node in site.nodes:
        number = _HOST if node.name == site.node.name else _REMOTE
        identities += [(f"{address}/32", number) for address in (node.address, _router(node))]
    for pods in site.pods_of.values():
        identities += [(f"{pod.addresses[0]}/32", identity_of(pod.pod or pod.name)) for pod in pods]
    return Opaque(
        programs=tuple(OpaqueProgram(device=d, side=side, name=name) for d, side, name in hooks),
        maps=cluster_maps(site.kube, site.node.address, identities),
    )


# --- rules -----------------------------------------------------------------------------


def _accept(match: str, words: str) -> str:
    return f'{match} -m comment --comment "cilium: {words} forward accept{{}}" -j ACCEPT'


def _rules(rules: XtRuleset, site: Site) -> Policed:
    """
    Add what the agent adds (pkg/datapath/iptables/iptables.go), policies aside: they are in its programs.

    Masquerading is by iptables (enable-bpf-masquerade off), forwarding by endpoint routes.
    """
    forward = (
        _accept("-o cilium_host", "any->cluster on cilium_host").format(""),
        _accept("-i cilium_host", "cluster->any on cilium_host").format(" (nodeport)"),
        _accept("-i lxc+", "cluster->any on lxc+").format(""),
        _accept("-i cilium_net", "cluster->any on cilium_net").format(" (nodeport)"),
        _accept("-o lxc+", "any->cluster on lxc+").format(""),
        _accept("-i lxc+", "cluster->any on lxc+").format(" (nodeport)"),
    )
    masquerade = (
        f"-s {site.node.pod_cidr} ! -d {site.pod_net} ! -o cilium_+ "
        '-m comment --comment "cilium masquerade non-cluster" -j MASQUERADE'
    )
    made = _with_chain(rules, "filter", "FORWARD", "CILIUM_FORWARD", forward)
    return Policed(_with_chain(made, "nat", "POSTROUTING", "CILIUM_POST_nat", (masquerade,)), "")


def _with_chain(rules: XtRuleset, table: str, hook: str, name: str, specs: tuple[str, ...]) -> XtRuleset:
    """Add a chain, and the jump to it before all others (the agent prepends it)."""
    there = _known(rules.tables[table])
    base = _known(there.chains[hook])
    jump = parse_rule(f'-m comment --comment "cilium-feeder: {name}" -j {name}')
    chains = {
        **there.chains,
        hook: Known(replace(base, rules=(jump, *base.rules))),
        name: Known(XtChain(rules=tuple(parse_rule(spec) for spec in specs))),
    }
    return XtRuleset({**rules.tables, table: Known(XtTable(chains))})


def _known(section: Section[T]) -> T:
    assert isinstance(section, Known)  # noqa: S101  (made here, not read)
    return section.value
