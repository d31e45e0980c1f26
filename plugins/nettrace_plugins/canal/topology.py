"""
Canal in a lab: flannel's VXLAN between the nodes, Calico's devices, routes and chains on each.

Lives here: which half comes from whom.
Not here: what flanneld does (nettrace_plugins.flannel), what Felix does (nettrace_plugins.calico).
Source: projectcalico/calico, manifests/canal.yaml: CALICO_NETWORKING_BACKEND none, no pools, host-local
with usePodCidr, flanneld with --ip-masq.
"""

import json
from ipaddress import IPv4Network
from pathlib import Path

from nettrace.lab.blueprint import Blueprint, Options
from nettrace.lab.cluster.policies import Policed
from nettrace.lab.cluster.workloads import LabNode
from nettrace.lab.topologies.bridged import leases
from nettrace.lab.topologies.kubernetes import kubernetes
from nettrace.lab.topologies.pod_network import PodNetwork, Site
from nettrace.model.xt import XtRuleset
from nettrace_plugins.calico.felix import Felix, felix, sets_text
from nettrace_plugins.calico.names import PREFIX
from nettrace_plugins.calico.topology import device_settings, pod_routes, routed_pod
from nettrace_plugins.flannel.backends import VXLAN
from nettrace_plugins.flannel.topology import subnet_env, with_masquerade

__all__ = ["canal"]

_NETWORK = "k8s-pod-network"


def canal(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster of flannel and Calico."""
    return kubernetes(_NETWORK_OF_PODS, lab, root, options)


def _annotations(node: LabNode, net: IPv4Network) -> dict[str, str]:
    return VXLAN.published(node, net)


def _wiring(site: Site) -> tuple[str, ...]:
    return (*pod_routes(site, VXLAN.mtu), *VXLAN.wiring(site))


def _rules(rules: XtRuleset, site: Site) -> Policed:
    own = Felix(
        node=site.node.name,
        kube=site.kube,
        encapsulation="",
        pools=(),
        masqueraded=(),
        hosts=tuple(node.address for node in site.nodes),
    )
    made, sets = felix(own, with_masquerade(rules, site))
    return Policed(made, sets_text(sets))


def _files(site: Site) -> dict[str, str]:
    calico = {
        "type": "calico",
        "log_level": "info",
        "datastore_type": "kubernetes",
        "nodename": site.node.name,
        "mtu": VXLAN.mtu,
        "ipam": {"type": "host-local", "subnet": "usePodCidr"},
        "policy": {"type": "k8s"},
    }
    portmap = {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}
    network = {"Network": str(site.pod_net), "Backend": {"Type": "vxlan"}}
    conflist = {"name": _NETWORK, "cniVersion": "0.3.1", "plugins": [calico, portmap]}
    return {
        **subnet_env(site, VXLAN),
        "etc/kube-flannel/net-conf.json": json.dumps(network) + "\n",
        "etc/cni/net.d/10-canal.conflist": json.dumps(conflist, indent=2) + "\n",
        "var/lib/calico/nodename": site.node.name,
        "var/lib/calico/mtu": str(VXLAN.mtu),
        **leases(site, _NETWORK),
    }


_NETWORK_OF_PODS = PodNetwork(
    topology="canal",
    annotations=_annotations,
    wiring=_wiring,
    pod_wiring=routed_pod,
    fdb=VXLAN.fdb,
    rules=_rules,
    agents=(PREFIX,),
    device_sysctls=device_settings,
    files=_files,
)
