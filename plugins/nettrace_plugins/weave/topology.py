"""
Weave in a lab: what its router, its CNI plugin and weave-npc do to a node.

Lives here: bridge, datapath and tunnel, rules and sets, the router.
Not here: policies (npc), the cluster (nettrace.lab.topologies.kubernetes).

Weave's datapath is one of Open vSwitch, which few kernels for namespaces have: a bridge of the kernel
stands for it, with a VXLAN that learns.  It answers no ARP, and frames in it are not for iptables, as in
Open vSwitch; so the sysctl bridge-nf-call-iptables is off and Weave's own bridge has its own switch on.
Source: weave, net/bridge.go, net/expose.go; prog/weave-kube/weave-daemonset-k8s-1.11.yaml.
"""

import json
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path

from msgspec.structs import replace

from nettrace.lab import weave_mesh
from nettrace.lab.addresses import host
from nettrace.lab.blueprint import Blueprint, Daemon, Options
from nettrace.lab.cluster.policies import Policed
from nettrace.lab.cluster.workloads import LabNode
from nettrace.lab.detach import command
from nettrace.lab.names import mac_of
from nettrace.lab.topologies.added import with_rules
from nettrace.lab.topologies.kubernetes import kubernetes
from nettrace.lab.topologies.pod_network import PodNetwork, Site
from nettrace.lab.topologies.wire import attach_pod, pod_wiring
from nettrace.model.lab import LabNetns
from nettrace.model.xt import XtRuleset
from nettrace_plugins.weave.names import (
    BRIDGE,
    DATAPATH,
    DATAPATH_PORT,
    EGRESS,
    MASQUERADE,
    NO_MASQUERADE,
    PORT,
    TUNNEL,
    UPLINK,
)
from nettrace_plugins.weave.npc import made_for
from nettrace_plugins.weave.owes import forward_rules, masquerade_rules

__all__ = ["weave"]

_MTU = 1376  # of Weave's own choice: what is left of 1460 with all headers, encrypted
_TUNNEL_MTU = 65485
_CANARY = "WEAVE-CANARY"
_CONTROL = (
    "-d 127.0.0.1/32 -p tcp -m tcp --dport 6784 -m addrtype ! --src-type LOCAL "
    "-m conntrack ! --ctstate RELATED,ESTABLISHED "
    '-m comment --comment "Block non-local access to Weave Net control port" -j DROP'
)
#: IPALLOC_RANGE, unless the user wants another network.
_RANGE = "10.32.0.0/12"


def weave(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster on one network of frames."""
    if options.pod_cidr == Options().pod_cidr:
        options = replace(options, pod_cidr=_RANGE)
    return kubernetes(_NETWORK_OF_PODS, lab, root, options)


def _annotations(node: LabNode, net: IPv4Network) -> dict[str, str]:
    return {}  # it keeps its peers in a ConfigMap


def _wiring(site: Site) -> tuple[str, ...]:
    name, gateway = site.node.name, host(site.node.pod_cidr, 1)
    mac = {one: mac_of(f"{name} {one}") for one in (BRIDGE, DATAPATH, DATAPATH_PORT, UPLINK, TUNNEL)}
    peer = f"peer name {UPLINK} mtu {_MTU} address {mac[UPLINK]} netns {site.netns}"
    ends = f"id 0 local {site.node.address} dstport {PORT + 1}"
    lines = [
        f"link add {BRIDGE} mtu {_MTU} address {mac[BRIDGE]} type bridge nf_call_iptables 1",
        f"link add {DATAPATH} mtu {_MTU} address {mac[DATAPATH]} type bridge",
        f"link add {DATAPATH_PORT} mtu {_MTU} address {mac[DATAPATH_PORT]} type veth {peer}",
        f"link set {UPLINK} master {BRIDGE} up",
        f"link set {DATAPATH_PORT} master {DATAPATH} up",
        f"link add {TUNNEL} mtu {_TUNNEL_MTU} address {mac[TUNNEL]} type vxlan {ends}",
        f"link set {TUNNEL} master {DATAPATH} up",
        f"link set {DATAPATH} arp off up",
        f"addr add {gateway}/{site.pod_net.prefixlen} brd + dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ]
    for pod in site.pods:
        device = f"vethwepl{sha256((pod.pod or '').encode()).hexdigest()[:7]}"
        lines += attach_pod(pod, BRIDGE, _MTU, hairpin=True, device=device)
    return tuple(lines)


def _pod_wiring(site: Site, pod: LabNetns) -> tuple[str, ...]:
    return pod_wiring(pod, site.pod_net.prefixlen, host(site.node.pod_cidr, 1))


def _rules(rules: XtRuleset, site: Site) -> Policed:
    made = made_for(site.kube)
    chains: dict[str, list[str]] = {**made.chains, _CANARY: []}
    found = with_rules(
        rules,
        "filter",
        chains=chains,
        first={"FORWARD": forward_rules()},
        last={"INPUT": (_CONTROL, f"-i {BRIDGE} -j {EGRESS}")},
    )
    found = with_rules(
        found,
        "nat",
        chains={MASQUERADE: masquerade_rules(str(site.pod_net), local=True), _CANARY: ()},
        last={"POSTROUTING": (f"-j {MASQUERADE}",)},
    )
    sets = {**made.sets, NO_MASQUERADE: ("hash:net", {str(site.node.pod_cidr): ""})}
    ordered = sorted(
        sets.items(), key=lambda item: item[1][0] == "list:set"
    )  # whose members have to be there
    return Policed(found, "".join(_set(name, kind, members) for name, (kind, members) in ordered))


def _set(name: str, kind: str, members: dict[str, str]) -> str:
    size = " size 1024" if kind == "list:set" else " family inet"
    lines = [f"create {name} {kind}{size} comment -exist", f"flush {name}"]
    lines += [f"add {name} {one}" + (f' comment "{note}"' if note else "") for one, note in members.items()]
    return "".join(f"{line}\n" for line in lines)


def _sysctls(site: Site) -> dict[str, str]:
    return {f"net.bridge.bridge-nf-call-{kind}": "0" for kind in ("iptables", "ip6tables", "arptables")}


def _files(site: Site) -> dict[str, str]:
    weave_net = {"name": "weave", "type": "weave-net", "hairpinMode": True}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    conflist = {"cniVersion": "0.3.0", "name": "weave", "plugins": [weave_net, portmap]}
    return {"etc/cni/net.d/10-weave.conflist": json.dumps(conflist, indent=4) + "\n"}


def _daemons(site: Site) -> tuple[Daemon, ...]:
    node = site.node
    pid_file = f"run/{node.name}.weaver.pid"
    argv = command(
        weave_mesh,
        *(str(site.root / pid_file), TUNNEL, node.address, str(PORT), *(peer.address for peer in site.peers)),
    )
    counted = f"bridge fdb show dev {TUNNEL} | grep -c ^00:00:00:00:00:00"
    return (
        Daemon(
            netns=site.netns,
            name=f"{node.name} weaver",
            argv=argv,
            pid_file=pid_file,
            settled=("sh", "-c", f"test $({counted}) -eq {len(site.peers)}"),
        ),
    )


_NETWORK_OF_PODS = PodNetwork(
    topology="weave",
    annotations=_annotations,
    wiring=_wiring,
    pod_wiring=_pod_wiring,
    rules=_rules,
    agents=("WEAVE",),
    sysctls=_sysctls,
    files=_files,
    daemons=_daemons,
)
