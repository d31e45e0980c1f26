"""
A Kubernetes cluster, whatever network system joins its pods.

Lives here: nodes, pods, kube-proxy, DNS, Ingress and balancer put together to a Blueprint.
Not here: what the network system does (pod_network, and each plugin's own), the objects of the
cluster (nettrace.lab.cluster), the wire (wire), kube-proxy's rules (nettrace.kube).
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from nettrace.lab.addresses import network, node_pod_cidrs
from nettrace.lab.blueprint import Blueprint, Daemon, Options
from nettrace.lab.cluster.dns import dnsmasq_conf, resolv_conf
from nettrace.lab.cluster.documents import written
from nettrace.lab.cluster.ingress import nginx_conf
from nettrace.lab.cluster.objects import Cluster, cluster
from nettrace.lab.cluster.proxy import iptables_rules, mode_of, native_rules, virtual_state
from nettrace.lab.cluster.workloads import LabContainer, LabNode, LabPod
from nettrace.lab.names import netns_name, node_name
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
from nettrace.lab.topologies.pod_network import PodNetwork, Site
from nettrace.lab.topologies.wire import (
    INTERNET,
    WIRE,
    base_sysctls,
    internet_daemon,
    listener,
    machine,
    wire_wiring,
)
from nettrace.model.errors import UserError
from nettrace.model.lab import LabNetns
from nettrace.parse.iptables import save_text

__all__ = ["DECLARED", "kubernetes"]

_MAX_NODES = 16
_DNS_PORT = 53
#: The objects as the user wrote them, below the lab's directory.
DECLARED = "declared.yaml"
#: The network system's own objects, among the manifests.
_CUSTOM = "network.yaml"
# What the balancer sends comes back by the device that it left by, which is no reason to be told of it.
_NO_REDIRECTS = {f"net.ipv4.conf.{which}.send_redirects": "0" for which in ("all", "default", "lo")}

# kube-proxy: --conntrack-tcp-timeout-established and -close-wait.
_PROXY_SYSCTLS = {
    "net.netfilter.nf_conntrack_tcp_timeout_established": "86400",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "3600",
}
# Because of --iptables-localhost-nodeports.
_IPTABLES_SYSCTLS = {"net.ipv4.conf.all.route_localnet": "1"}


def kubernetes(pod_network: PodNetwork, lab: str, root: Path, options: Options) -> Blueprint:
    """
    Describe a cluster whose pods *pod_network* joins, with kube-proxy in one of its three modes.

    Uses all options but ``docker_net`` and ``publish``.
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
        LabNode(name=entry.name, address=entry.addresses[0], pod_cidr=cidr)
        for entry, cidr in zip(machines, cidrs, strict=True)
    ]
    nodes = [replace(node, annotations=pod_network.annotations(node, outer)) for node in nodes]
    made = cluster(nodes, options)
    wire = machine(lab, WIRE, "wire", outer)
    internet = machine(lab, INTERNET, "outside", outer)
    balanced = balanced_ports(made.services, nodes)
    balancers = (machine(lab, BALANCER, "balancer", outer),) if balanced else ()
    reserved = {WIRE, INTERNET, BALANCER, *(node.name for node in nodes)}
    homes = _homes(lab, made.pods, reserved)
    by_node = {node.name: tuple(h for h in homes.values() if h.node == node.name) for node in nodes}
    netns_of = {entry.name: entry.netns for entry in machines}
    sites = [
        Site(
            root=root,
            netns=netns_of[node.name],
            node=node,
            nodes=tuple(nodes),
            pods_of=by_node,
            pod_net=pod_net,
            service_net=service_net,
            kube=made.kube,
            options=options,
        )
        for node in nodes
    ]

    lay, ends = wire_wiring(wire, (*machines, internet, *balancers), outer)
    for entry in balancers:
        for netns, lines in balancer_routes(balanced, entry, wire, internet).items():
            ends[netns] = (*ends.get(netns, ()), *lines)
    for site in sites:
        ends[site.netns] += tuple(pod_network.wiring(site))
    own = {site.netns: _addresses(ends[site.netns]) for site in sites}
    virtual = {
        site.netns: state
        for site in sites
        if (state := virtual_state(made.kube, site.node.name, own[site.netns])) is not None
    }
    for netns, state in virtual.items():
        ends[netns] += state.wiring
    enforced = {
        site.netns: pod_network.rules(iptables_rules(made.kube, site.node.name, own[site.netns]), site)
        for site in sites
    }
    custom = pod_network.objects(sites)
    native = mode_of(made.kube) == "nftables"
    proxy_sysctls = _PROXY_SYSCTLS if native or virtual else _PROXY_SYSCTLS | _IPTABLES_SYSCTLS
    return Blueprint(
        namespaces=(wire, *machines, internet, *balancers, *homes.values()),
        files=_files(root, made, homes, internet)
        | {
            f"nodes/{site.node.name}/{path}": text
            for site in sites
            for path, text in pod_network.files(site).items()
        }
        | ({f"manifests/{_CUSTOM}": written(custom)} if custom else {})
        | ({BALANCER_CONFIG: balancer_config(balanced)} if balanced else {}),
        sysctls={
            wire.netns: base_sysctls(forward=True) | _NO_REDIRECTS,
            **{one.netns: base_sysctls(forward=True) | _NO_REDIRECTS for one in balancers},
            **{
                site.netns: base_sysctls(forward=True, bridge_netfilter=True)
                | proxy_sysctls
                | (virtual[site.netns].sysctls if virtual else {})
                | pod_network.sysctls(site)
                for site in sites
            },
            **{entry.netns: base_sysctls() for entry in (internet, *homes.values())},
        },
        wiring=(
            lay,
            ends,
            {pod.netns: tuple(pod_network.pod_wiring(site, pod)) for site in sites for pod in site.pods},
        ),
        attachments=tuple(
            held for site in sites for pod in site.pods if (held := pod_network.attach(site, pod)) is not None
        ),
        device_sysctls={site.netns: values for site in sites if (values := pod_network.device_sysctls(site))},
        agents=pod_network.agents,
        modules=pod_network.modules,
        fdb={site.netns: lines for site in sites if (lines := tuple(pod_network.fdb(site)))},
        sets={netns: (virtual[netns].sets if virtual else "") + one.sets for netns, one in enforced.items()},
        servers={netns: state.servers for netns, state in virtual.items()},
        rules={netns: save_text(one.rules) for netns, one in enforced.items()},
        native={netns_of[node.name]: native_rules(made.kube, node.name) for node in nodes if native},
        programs={site.netns: opaque for site in sites if (opaque := pod_network.programs(site)) is not None},
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
            *(daemon for site in sites for daemon in pod_network.daemons(site)),
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


def _addresses(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses that lines for ip(8) give to devices."""
    return tuple(line.split()[2].partition("/")[0] for line in lines if line.startswith("addr add "))


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


def _files(root: Path, made: Cluster, homes: dict[str, LabNetns], internet: LabNetns) -> dict[str, str]:
    """The manifests, and the pods' files."""
    found = {f"manifests/{name}": text for name, text in made.files.items()}
    found[DECLARED] = written(made.declared)
    for pod in made.pods:
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
