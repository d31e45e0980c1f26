"""
Clusters whose pods are made by the CNI project's own plugins, as Debian packages them.

Lives here: their conflists, the static routes between the nodes, and what the runtime asks of the plugins.
Not here: calling them (nettrace.lab.cni), the cluster (nettrace.lab.topologies.kubernetes).
"""

import json
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from nettrace.lab.blueprint import Attachment, Blueprint, Options
from nettrace.lab.cluster.policies import Policed, policed
from nettrace.lab.cluster.workloads import LabNode
from nettrace.lab.cni import find_plugin
from nettrace.lab.topologies.added import with_rules
from nettrace.lab.topologies.kubernetes import kubernetes
from nettrace.lab.topologies.pod_network import PodNetwork, Site
from nettrace.model.lab import LabNetns
from nettrace.model.xt import XtRuleset

__all__ = ["cni_bridge", "cni_ptp"]

_NETWORK = "pods"


def cni_bridge(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster whose pods are on a bridge of their node."""
    return _cluster("bridge", lab, root, options)


def cni_ptp(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster whose pods have a route of their own on their node."""
    return _cluster("ptp", lab, root, options)


def _cluster(kind: str, lab: str, root: Path, options: Options) -> Blueprint:
    for name in (kind, "portmap", "host-local"):
        find_plugin(name)  # before anything is built
    pods = PodNetwork(
        topology=f"cni-{kind}",
        annotations=_annotations,
        wiring=_wiring,
        pod_wiring=_pod_wiring,
        attach=partial(_attach, kind),
        rules=_rules,
        files=partial(_files, kind),
    )
    return kubernetes(pods, lab, root, options)


def _annotations(node: LabNode, net: IPv4Network) -> dict[str, str]:
    return {}


def _wiring(site: Site) -> tuple[str, ...]:
    """Each node has the pods of the others behind their addresses."""
    return tuple(f"route add {peer.pod_cidr} via {peer.address} dev eth0" for peer in site.peers)


def _pod_wiring(site: Site, pod: LabNetns) -> tuple[str, ...]:
    return ("link set lo up",)


def _rules(rules: XtRuleset, site: Site) -> Policed:
    """ipMasq would rewrite what is for other nodes' pods too: an agent masquerades only what leaves them."""
    leaves = f"-s {site.node.pod_cidr} ! -d {site.pod_net} -j MASQUERADE"
    made = with_rules(rules, "nat", last={"POSTROUTING": [leaves]})
    return policed(made, site.kube, site.node.name, site.service_net)


def _conf(kind: str, site: Site) -> dict[str, Any]:
    ipam: dict[str, Any] = {"type": "host-local", "ranges": [[{"subnet": str(site.node.pod_cidr)}]]}
    first: dict[str, Any] = {"type": kind, "ipam": ipam}
    if kind == "bridge":
        first |= {"bridge": "cni0", "isDefaultGateway": True, "hairpinMode": True}
    else:
        ipam["routes"] = [{"dst": "0.0.0.0/0"}]
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": _NETWORK, "plugins": [first, portmap]}


def _files(kind: str, site: Site) -> dict[str, str]:
    return {f"etc/cni/net.d/10-{kind}.conflist": json.dumps(_conf(kind, site), indent=2) + "\n"}


def _attach(kind: str, site: Site, pod: LabNetns) -> Attachment:
    """What the runtime asks: the address that the objects say, and the hostPorts."""
    namespace, _, name = (pod.pod or "").partition("/")
    container = sha256(f"{site.root} {pod.pod}".encode()).hexdigest()
    return Attachment(
        node=site.netns,
        netns=pod.netns,
        container=container,
        args=(
            ("K8S_POD_NAMESPACE", namespace),
            ("K8S_POD_NAME", name),
            ("K8S_POD_INFRA_CONTAINER_ID", container),
            ("IP", pod.addresses[0]),
        ),
        home=f"nodes/{site.node.name}",
        conf=_conf(kind, site),
    )
