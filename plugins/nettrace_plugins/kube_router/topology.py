"""
kube-router in a lab: what it and its CNI plugin do to a node.

Lives here: its bridge, rules and sets, and the daemons: BIRD in the place of its GoBGP, and the writer
of the routes that come by BGP.
Not here: its policies (nettrace.lab.cluster.policies), the cluster (nettrace.lab.topologies.kubernetes).
Source: kube-router, pkg/controllers/routing; daemonset/kubeadm-kuberouter.yaml for the CNI file.
"""

import json
from ipaddress import IPv4Network
from pathlib import Path

from nettrace.lab import bgp_routes
from nettrace.lab.blueprint import Blueprint, Daemon, Options
from nettrace.lab.cluster.policies import Policed, policed
from nettrace.lab.cluster.workloads import LabNode
from nettrace.lab.detach import command
from nettrace.lab.topologies.added import with_rules
from nettrace.lab.topologies.bridged import bridge_wiring, bridged_pod, leases
from nettrace.lab.topologies.kubernetes import kubernetes
from nettrace.lab.topologies.pod_network import PodNetwork, Site
from nettrace.model.xt import XtRuleset
from nettrace_plugins.kube_router.facts import BRIDGE
from nettrace_plugins.kube_router.owes import NODES_SET, PODS_SET

__all__ = ["kube_router"]

_MTU = 1500
_NETWORK = "mynet"
_ASN = 64512  # of all nodes, unless told otherwise (--cluster-asn)
_BIRD = "etc/bird/bird.conf"
_EGRESS = (
    f"-m set --match-set {PODS_SET} src -m set ! --match-set {PODS_SET} dst "
    f"-m set ! --match-set {NODES_SET} dst -j MASQUERADE --random-fully"
)
#: In the order in which they end up: each is put in front of the others.
_ACCEPTS = (
    ("allow outbound node port traffic on node interface with which node ip is associated", "-o eth0"),
    ("allow inbound traffic to pods", f"-o {BRIDGE}"),
    ("allow outbound traffic from pods", f"-i {BRIDGE}"),
)


def kube_router(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster whose nodes speak BGP."""
    return kubernetes(_NETWORK_OF_PODS, lab, root, options)


def _annotations(node: LabNode, net: IPv4Network) -> dict[str, str]:
    return {}  # it reads the Nodes, and notes nothing on them


def _wiring(site: Site) -> tuple[str, ...]:
    return bridge_wiring(site, BRIDGE, _MTU)


def _rules(rules: XtRuleset, site: Site) -> Policed:
    accepts = [f'{ends} -m comment --comment "{words}" -j ACCEPT' for words, ends in _ACCEPTS]
    made = with_rules(rules, "filter", first={"FORWARD": accepts})
    made = with_rules(made, "nat", last={"POSTROUTING": [_EGRESS]})
    done = policed(made, site.kube, site.node.name, site.service_net, always=True)
    own = _set(PODS_SET, "hash:net", [str(node.pod_cidr) for node in site.nodes])
    own += _set(NODES_SET, "hash:ip", [node.address for node in site.nodes])
    return Policed(done.rules, done.sets + own)


def _set(name: str, kind: str, members: list[str]) -> str:
    lines = [f"create {name} {kind} family inet timeout 0 -exist", f"flush {name}"]
    lines += [f"add {name} {member} timeout 0" for member in members]
    return "".join(f"{line}\n" for line in lines)


def _files(site: Site) -> dict[str, str]:
    """The CNI configuration with the node's pod CIDR, host-local's leases, BIRD's configuration."""
    bridge = {
        "name": "kubernetes",
        "type": "bridge",
        "bridge": BRIDGE,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "subnet": str(site.node.pod_cidr)},
    }
    portmap = {"type": "portmap", "capabilities": {"snat": True, "portMappings": True}}
    conflist = {"cniVersion": "0.3.0", "name": _NETWORK, "plugins": [bridge, portmap]}
    return {
        "etc/cni/net.d/10-kuberouter.conflist": json.dumps(conflist, indent=2) + "\n",
        _BIRD: _bird(site),
        **leases(site, _NETWORK),
    }


def _bird(site: Site) -> str:
    """A full mesh of iBGP; the kernel's routes are written by another."""
    node = site.node
    text = f"""\
log "{site.root}/run/{node.name}.bird.log" all;
router id {node.address};
protocol device {{ }}
protocol direct {{ ipv4; interface "eth0"; }}
protocol static pods {{ ipv4; route {node.pod_cidr} unreachable; }}
template bgp node {{
  local {node.address} as {_ASN};
  direct;
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 4;
  hold time 90;
  ipv4 {{ import all; export where source = RTS_STATIC; next hop self; gateway direct; }};
}}
"""
    for peer in site.peers:
        name = peer.name.replace("-", "_")
        text += f"protocol bgp {name} from node {{ neighbor {peer.address} as {_ASN}; }}\n"
    return text


def _daemons(site: Site) -> tuple[Daemon, ...]:
    node, home = site.node.name, f"nodes/{site.node.name}/{_BIRD}"
    conf, control = site.root / home, site.root / f"run/{node}.bird.ctl"
    pid, own = f"run/{node}.bird.pid", f"run/{node}.kube-router.pid"
    argv = ("bird", "-c", str(conf), "-s", str(control), "-P", str(site.root / pid))
    writer = command(bgp_routes, str(site.root / own), str(control), "eth0", str(len(site.peers)))
    return (
        Daemon(netns=site.netns, name=f"{node} bird", argv=argv, pid_file=pid, reads=(home,)),
        Daemon(netns=site.netns, name=f"{node} kube-router", argv=writer, pid_file=own, last=True),
    )


_NETWORK_OF_PODS = PodNetwork(
    topology="kube-router",
    annotations=_annotations,
    wiring=_wiring,
    pod_wiring=bridged_pod,
    rules=_rules,
    files=_files,
    daemons=_daemons,
)
