"""
A Kubernetes cluster whose nodes flannel joins, by any of its back ends.

Lives here: what flanneld, the CNI plugins and kube-proxy do to a node.
Not here: what differs between the back ends (flannel_backends), the objects of the cluster
(nettrace.lab.cluster), the wire (wire), kube-proxy's rules (nettrace.kube).
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from nettrace.lab.addresses import host, network, node_pod_cidrs
from nettrace.lab.blueprint import Blueprint, Daemon, Options
from nettrace.lab.cluster.dns import dnsmasq_conf, resolv_conf
from nettrace.lab.cluster.documents import written
from nettrace.lab.cluster.ingress import nginx_conf
from nettrace.lab.cluster.objects import Cluster, cluster
from nettrace.lab.cluster.policies import policed
from nettrace.lab.cluster.proxy import iptables_rules, mode_of, native_rules
from nettrace.lab.cluster.workloads import LabContainer, LabNode, LabPod
from nettrace.lab.names import mac_of, netns_name, node_name
from nettrace.lab.topologies.edge import (
    BALANCER,
    BALANCER_CONFIG,
    balanced_ports,
    balancer_config,
    balancer_daemon,
    balancer_routes,
    health_daemons,
    ingress_daemon,
    nginx_home,
    nginx_pid,
    runs_nginx,
)
from nettrace.lab.topologies.flannel_backends import Backend
from nettrace.lab.topologies.wire import (
    INTERNET,
    WIRE,
    attach_pod,
    base_sysctls,
    internet_daemon,
    listener,
    machine,
    pod_wiring,
    wire_wiring,
)
from nettrace.model.errors import UserError
from nettrace.model.lab import LabNetns
from nettrace.model.section import Known, Section
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule, save_text

__all__ = ["DECLARED", "MASQUERADE_CHAIN", "flannel"]

T = TypeVar("T")

#: The directory of manifests whose workload the clusters of all back ends run.
_MANIFESTS = "flannel-vxlan"
_BRIDGE = "cni0"
MASQUERADE_CHAIN = "FLANNEL-POSTRTG"
_MAX_NODES = 16
_DNS_PORT = 53
#: The objects as the user wrote them, below the lab's directory.
DECLARED = "declared.yaml"
# What the balancer sends comes back by the device that it left by, which is no reason to be told of it.
_NO_REDIRECTS = {f"net.ipv4.conf.{which}.send_redirects": "0" for which in ("all", "default", "lo")}

# kube-proxy: --conntrack-tcp-timeout-established and -close-wait.
_PROXY_SYSCTLS = {
    "net.netfilter.nf_conntrack_tcp_timeout_established": "86400",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "3600",
}
# Because of --iptables-localhost-nodeports.
_IPTABLES_SYSCTLS = {"net.ipv4.conf.all.route_localnet": "1"}


def flannel(backend: Backend, lab: str, root: Path, options: Options) -> Blueprint:
    """
    Describe a cluster with a back end of flannel and kube-proxy's rules, of iptables or nftables.

    Uses all options but those of the docker topology.
    """
    if not 1 <= options.nodes <= _MAX_NODES:
        raise UserError(f"a lab has 1 to {_MAX_NODES} nodes, not {options.nodes}")
    outer = network(options.node_net, "the node network")
    pod_net = network(options.pod_cidr, "the pod network")
    service_net = network(options.service_cidr, "the service network")
    nets = (outer, pod_net, service_net)
    for index, one in enumerate(nets):
        for other in nets[index + 1 :]:
            if one.overlaps(other):
                raise UserError(f"the networks {one} and {other} overlap", hint="choose two that do not")
    cidrs = node_pod_cidrs(pod_net, options.nodes)
    machines = [machine(lab, node_name(index), "node", outer, index) for index in range(options.nodes)]
    nodes = [
        LabNode(
            name=entry.name,
            address=entry.addresses[0],
            pod_cidr=cidr,
            annotations=backend.published(entry.name, entry.addresses[0]),
        )
        for entry, cidr in zip(machines, cidrs, strict=True)
    ]
    made = cluster(_MANIFESTS, nodes, options)
    wire = machine(lab, WIRE, "wire", outer)
    internet = machine(lab, INTERNET, "outside", outer)
    balanced = balanced_ports(made.services, nodes)
    balancers = (machine(lab, BALANCER, "balancer", outer),) if balanced else ()
    reserved = {WIRE, INTERNET, BALANCER, *(node.name for node in nodes)}
    homes = _homes(lab, made.pods, reserved)
    by_node = {node.name: [h for pod, h in homes.items() if h.node == node.name] for node in nodes}

    lay, ends = wire_wiring(wire, (*machines, internet, *balancers), outer)
    for entry in balancers:
        for netns, lines in balancer_routes(balanced, entry, wire, internet).items():
            ends[netns] = (*ends.get(netns, ()), *lines)
    for entry, node in zip(machines, nodes, strict=True):
        ends[entry.netns] += _node_wiring(node, nodes, by_node[node.name], backend)
    netns_of = {entry.name: entry.netns for entry in machines}
    enforced = {
        node.name: policed(
            _with_masquerade(iptables_rules(made.kube, node.name), node, pod_net),
            made.kube,
            node.name,
            service_net,
        )
        for node in nodes
    }
    native = mode_of(made.kube) == "nftables"
    proxy_sysctls = _PROXY_SYSCTLS if native else _PROXY_SYSCTLS | _IPTABLES_SYSCTLS
    return Blueprint(
        namespaces=(wire, *machines, internet, *balancers, *homes.values()),
        files=_files(root, made, nodes, homes, pod_net, internet, backend)
        | ({BALANCER_CONFIG: balancer_config(balanced)} if balanced else {}),
        sysctls={
            wire.netns: base_sysctls(forward=True) | _NO_REDIRECTS,
            **{one.netns: base_sysctls(forward=True) | _NO_REDIRECTS for one in balancers},
            **{
                entry.netns: base_sysctls(forward=True, bridge_netfilter=True) | proxy_sysctls
                for entry in machines
            },
            **{entry.netns: base_sysctls() for entry in (internet, *homes.values())},
        },
        wiring=(
            lay,
            ends,
            {
                homes[pod.key].netns: _pod_wiring(homes[pod.key], node, pod_net)
                for node in nodes
                for pod in made.pods
                if pod.node == node.name and pod.key in homes
            },
        ),
        fdb={netns_of[node.name]: lines for node in nodes if (lines := tuple(backend.fdb(node, nodes)))},
        sets={netns_of[name]: one.sets for name, one in enforced.items()},
        rules={netns_of[name]: save_text(one.rules) for name, one in enforced.items()},
        native={netns_of[node.name]: native_rules(made.kube, node.name) for node in nodes if native},
        daemons=(
            internet_daemon(root, internet),
            *(
                _daemon(
                    root, pod, container, homes[pod.key].netns if pod.key in homes else netns_of[pod.node]
                )
                for pod in made.pods
                for container in pod.containers
                if container.listens
            ),
            *(
                backend.daemon(root, node, nodes, netns_of[node.name], pod_net)
                for node in nodes
                if backend.daemon is not None
            ),
            *health_daemons(root, made.services, made.slices, nodes, netns_of),
            *(balancer_daemon(root, one) for one in balancers),
        ),
        has_manifests=True,
        notes=made.notes,
        options={
            "nodes": str(options.nodes),
            "pod_cidr": str(pod_net),
            "service_cidr": str(service_net),
            "node_net": str(outer),
            "proxy": mode_of(made.kube),
        },
    )


def _homes(lab: str, pods: Sequence[LabPod], reserved: set[str]) -> dict[str, LabNetns]:
    """Each pod's namespace by ``namespace/name``; those on the host's network have none of their own."""
    found = {}
    taken = set(reserved)
    for pod in pods:
        if pod.host_network:
            continue
        name = next(name for name in (pod.name, f"{pod.namespace}.{pod.name}") if name not in taken)
        taken.add(name)
        found[pod.key] = LabNetns(
            name=name,
            netns=netns_name(lab, name),
            role="pod",
            node=pod.node,
            pod=pod.key,
            addresses=(pod.address,),
        )
    return found


def _node_wiring(
    node: LabNode, nodes: Sequence[LabNode], pods: Sequence[LabNetns], backend: Backend
) -> tuple[str, ...]:
    gateway = host(node.pod_cidr, 1)
    lines = [
        f"link add {_BRIDGE} mtu {backend.mtu} address {mac_of(f'{node.name} {_BRIDGE}')} type bridge",
        f"addr add {gateway}/{node.pod_cidr.prefixlen} brd + dev {_BRIDGE}",
        f"link set {_BRIDGE} up",
    ]
    for pod in pods:
        lines += attach_pod(pod, _BRIDGE, backend.mtu, hairpin=True)
    return (*lines, *backend.wiring(node, nodes))


def _pod_wiring(pod: LabNetns, node: LabNode, pod_net: IPv4Network) -> tuple[str, ...]:
    gateway = host(node.pod_cidr, 1)
    lines = pod_wiring(pod, node.pod_cidr.prefixlen, gateway)
    if node.pod_cidr != pod_net:  # flannel's CNI plugin has host-local give every pod this route
        lines += (f"route add {pod_net} via {gateway} dev eth0",)
    return lines


def _with_masquerade(rules: XtRuleset, node: LabNode, pod_net: IPv4Network) -> XtRuleset:
    """Add what `flanneld --ip-masq` adds, in its present layout (flannel, pkg/trafficmngr/iptables)."""
    note = '-m comment --comment "flanneld masq"'
    jump = parse_rule(f"{note} -j {MASQUERADE_CHAIN}")
    specs = (
        f"-m mark --mark 0x4000/0x4000 {note} -j RETURN",
        f"-s {node.pod_cidr} -d {pod_net} {note} -j RETURN",
        f"-s {pod_net} -d {node.pod_cidr} {note} -j RETURN",
        f"! -s {pod_net} -d {node.pod_cidr} {note} -j RETURN",
        f"-s {pod_net} ! -d 224.0.0.0/4 {note} -j MASQUERADE --random-fully",
        f"! -s {pod_net} -d {pod_net} {note} -j MASQUERADE --random-fully",
    )
    nat = _known(rules.tables["nat"])
    last = _known(nat.chains["POSTROUTING"])
    chains = {
        **nat.chains,
        "POSTROUTING": Known(replace(last, rules=(*last.rules, jump))),
        MASQUERADE_CHAIN: Known(XtChain(rules=tuple(parse_rule(spec) for spec in specs))),
    }
    return XtRuleset({**rules.tables, "nat": Known(XtTable(chains))})


def _known(section: Section[T]) -> T:
    assert isinstance(section, Known)  # noqa: S101  (made here, not read)
    return section.value


def _daemon(root: Path, pod: LabPod, container: LabContainer, netns: str) -> Daemon:
    name = f"{pod.key} {container.name}"
    if runs_nginx(pod, container):
        return ingress_daemon(root, pod, container, netns)
    if not _serves_dns(pod, container):
        return listener(root, netns, name, pod.name, container.listens)
    pid_file = f"run/{pod.namespace}.{pod.name}.{container.name}.pid"
    argv = ("dnsmasq", f"--conf-file={root / _dns_conf(pod)}", f"--pid-file={root / pid_file}")
    return Daemon(netns=netns, name=name, argv=argv, pid_file=pid_file, reads=(_dns_conf(pod),))


def _serves_dns(pod: LabPod, container: LabContainer) -> bool:
    return pod.labels.get("k8s-app") == "kube-dns" and any(
        port == _DNS_PORT for _, port, _ in container.ports
    )


def _dns_conf(pod: LabPod) -> str:
    return f"pods/{pod.namespace}/{pod.name}/etc/dnsmasq.conf"


def _files(
    root: Path,
    made: Cluster,
    nodes: Sequence[LabNode],
    homes: dict[str, LabNetns],
    pod_net: IPv4Network,
    internet: LabNetns,
    backend: Backend,
) -> dict[str, str]:
    """The manifests, what flanneld and the CNI plugins leave on each node, and the pods' files."""
    found = {f"manifests/{name}": text for name, text in made.files.items()}
    found[DECLARED] = written(made.declared)
    conflist = {
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [{"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}}],
    }
    for node in nodes:
        base = f"nodes/{node.name}"
        found[f"{base}/run/flannel/subnet.env"] = (
            f"FLANNEL_NETWORK={pod_net}\n"
            f"FLANNEL_SUBNET={host(node.pod_cidr, 1)}/{node.pod_cidr.prefixlen}\n"
            f"FLANNEL_MTU={backend.mtu}\n"
            "FLANNEL_IPMASQ=true\n"
        )
        found[f"{base}/etc/cni/net.d/10-flannel.conflist"] = json.dumps(conflist, indent=2) + "\n"
        if backend.conf:
            conf = f'{{"Network": "{pod_net}", "Backend": {backend.conf}}}\n'
            found[f"{base}/etc/kube-flannel/net-conf.json"] = conf
    for pod in made.pods:
        if pod.key in homes:
            sandbox = sha256(pod.key.encode()).hexdigest()
            lease = f"nodes/{pod.node}/var/lib/cni/networks/cbr0/{pod.address}"
            found[lease] = f"{sandbox}\neth0"  # host-local: no newline at the end
        if made.dns_address:
            text = resolv_conf(pod.namespace, made.dns_address)
            found[f"pods/{pod.namespace}/{pod.name}/etc/resolv.conf"] = text
        if any(_serves_dns(pod, container) for container in pod.containers):
            found[_dns_conf(pod)] = dnsmasq_conf(made.services, made.slices, internet.addresses[0])
        for container in pod.containers:
            if runs_nginx(pod, container):
                home = nginx_home(pod)
                found[f"{home}/nginx.conf"] = nginx_conf(
                    made.ingresses,
                    made.services,
                    made.slices,
                    root / home,
                    root / nginx_pid(pod),
                    [number for _, number, proto in container.ports if proto == "TCP"],
                )
    return found
