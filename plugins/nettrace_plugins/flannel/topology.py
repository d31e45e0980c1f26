"""
flannel in a lab: what flanneld and its CNI plugin do to a node.

Lives here: a PodNetwork for each back end, and the topologies that are made of them.
Not here: what differs between the back ends (backends), the cluster (nettrace.lab.topologies.kubernetes).
"""

import json
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from nettrace.lab.addresses import host
from nettrace.lab.blueprint import Blueprint, Daemon, Options
from nettrace.lab.cluster.policies import Policed, policed
from nettrace.lab.topologies.bridged import bridge_wiring, bridged_pod, leases
from nettrace.lab.topologies.kubernetes import kubernetes
from nettrace.lab.topologies.pod_network import PodNetwork, Site
from nettrace.model.lab import LabNetns
from nettrace.model.section import Known, Section
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule
from nettrace_plugins.flannel.backends import HOST_GW, UDP, VXLAN, VXLAN_DIRECT, Backend
from nettrace_plugins.flannel.masquerade import CHAIN

__all__ = [
    "flannel_host_gw",
    "flannel_udp",
    "flannel_vxlan",
    "flannel_vxlan_direct",
    "pod_network",
    "subnet_env",
    "with_masquerade",
]

T = TypeVar("T")

_BRIDGE = "cni0"
_NETWORK = "cbr0"


def flannel_vxlan(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster whose nodes a VXLAN joins."""
    return kubernetes(pod_network(VXLAN), lab, root, options)


def flannel_vxlan_direct(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster with VXLAN and DirectRouting: nodes of one network need no tunnel."""
    return kubernetes(pod_network(VXLAN_DIRECT), lab, root, options)


def flannel_host_gw(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster whose nodes have routes to each other's pods."""
    return kubernetes(pod_network(HOST_GW), lab, root, options)


def flannel_udp(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a cluster where flanneld carries the packets itself."""
    return kubernetes(pod_network(UDP), lab, root, options)


def pod_network(backend: Backend) -> PodNetwork:
    """Return what flannel with this back end does on the nodes."""

    def wiring(site: Site) -> tuple[str, ...]:
        return (*bridge_wiring(site, _BRIDGE, backend.mtu), *backend.wiring(site))

    def daemons(site: Site) -> tuple[Daemon, ...]:
        return (backend.daemon(site),) if backend.daemon is not None else ()

    def files(site: Site) -> dict[str, str]:
        return _files(site, backend)

    return PodNetwork(
        topology=backend.topology,
        annotations=backend.published,
        wiring=wiring,
        pod_wiring=_pod_wiring,
        fdb=backend.fdb,
        rules=_rules,
        files=files,
        daemons=daemons,
    )


def _pod_wiring(site: Site, pod: LabNetns) -> tuple[str, ...]:
    lines = bridged_pod(site, pod)
    if site.node.pod_cidr != site.pod_net:  # flannel's CNI plugin has host-local give every pod this route
        lines += (f"route add {site.pod_net} via {host(site.node.pod_cidr, 1)} dev eth0",)
    return lines


def _rules(rules: XtRuleset, site: Site) -> Policed:
    return policed(with_masquerade(rules, site), site.kube, site.node.name, site.service_net)


def with_masquerade(rules: XtRuleset, site: Site) -> XtRuleset:
    """Add what `flanneld --ip-masq` adds, in its present layout (flannel, pkg/trafficmngr/iptables)."""
    own, pod_net = site.node.pod_cidr, site.pod_net
    note = '-m comment --comment "flanneld masq"'
    jump = parse_rule(f"{note} -j {CHAIN}")
    specs = (
        f"-m mark --mark 0x4000/0x4000 {note} -j RETURN",
        f"-s {own} -d {pod_net} {note} -j RETURN",
        f"-s {pod_net} -d {own} {note} -j RETURN",
        f"! -s {pod_net} -d {own} {note} -j RETURN",
        f"-s {pod_net} ! -d 224.0.0.0/4 {note} -j MASQUERADE --random-fully",
        f"! -s {pod_net} -d {pod_net} {note} -j MASQUERADE --random-fully",
    )
    nat = _known(rules.tables["nat"])
    last = _known(nat.chains["POSTROUTING"])
    chains = {
        **nat.chains,
        "POSTROUTING": Known(replace(last, rules=(*last.rules, jump))),
        CHAIN: Known(XtChain(rules=tuple(parse_rule(spec) for spec in specs))),
    }
    return XtRuleset({**rules.tables, "nat": Known(XtTable(chains))})


def _known(section: Section[T]) -> T:
    assert isinstance(section, Known)  # noqa: S101  (made here, not read)
    return section.value


def _files(site: Site, backend: Backend) -> dict[str, str]:
    """What flanneld, the CNI configuration and host-local leave on a node."""
    conflist = {
        "name": _NETWORK,
        "cniVersion": "0.3.1",
        "plugins": [{"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}}],
    }
    found = {
        **subnet_env(site, backend),
        "etc/cni/net.d/10-flannel.conflist": json.dumps(conflist, indent=2) + "\n",
        **leases(site, _NETWORK),
    }
    if backend.conf:
        conf = f'{{"Network": "{site.pod_net}", "Backend": {backend.conf}}}\n'
        found["etc/kube-flannel/net-conf.json"] = conf
    return found


def subnet_env(site: Site, backend: Backend) -> dict[str, str]:
    """Return the file in which flanneld tells a node's CNI plugins what is theirs."""
    cidr = site.node.pod_cidr
    text = (
        f"FLANNEL_NETWORK={site.pod_net}\n"
        f"FLANNEL_SUBNET={host(cidr, 1)}/{cidr.prefixlen}\n"
        f"FLANNEL_MTU={backend.mtu}\n"
        "FLANNEL_IPMASQ=true\n"
    )
    return {"run/flannel/subnet.env": text}
