"""
Topologies ``docker-27`` and ``docker-28``: one host, three networks, dockerd's rules of either layout.

Lives here: the host: docker0 with ``web`` (published) and ``app``, a network ``shop`` with ``api``
(published) and ``db``, an internal network ``vault`` with ``safe``.
Not here: the rules (layout), the wire and the outside host (wire).
"""

import json
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path

from msgspec import Struct

from nettrace.lab.addresses import host, network
from nettrace.lab.blueprint import Blueprint, Options
from nettrace.lab.names import mac_of, netns_name
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
from nettrace_plugins.docker.layout import BEFORE_28, SINCE_28, DockerNetwork, PublishedPort, rules_text

__all__ = ["docker_27", "docker_28"]

_HOST = "docker-host"
_MTU = 1500


class _Plan(Struct, frozen=True, kw_only=True):
    """A network of the lab: containers with the port that each listens at, and the host's for one of them."""

    name: str
    bridge: str
    prefix: IPv4Network
    listens: dict[str, int]
    published: dict[str, int]
    internal: bool = False


def docker_27(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a host of Docker before version 28."""
    return _described(BEFORE_28, lab, root, options)


def docker_28(lab: str, root: Path, options: Options) -> Blueprint:
    """Describe a host of Docker since version 28."""
    return _described(SINCE_28, lab, root, options)


def _plans(options: Options) -> tuple[_Plan, ...]:
    inner = network(options.docker_net, "the docker network")
    others = [
        IPv4Network((int(inner.broadcast_address) + 1 + n * inner.num_addresses, inner.prefixlen))
        for n in (0, 1)
    ]
    publish = options.publish
    return (
        _Plan(
            name="bridge",
            bridge="docker0",
            prefix=inner,
            listens={"web": 80, "app": 8080},
            published={"web": publish},
        ),
        _Plan(
            name="shop",
            bridge=_bridge("shop"),
            prefix=others[0],
            listens={"api": 8080, "db": 5432},
            published={"api": publish + 1},
        ),
        _Plan(
            name="vault",
            bridge=_bridge("vault"),
            prefix=others[1],
            listens={"safe": 8080, "clerk": 8080},
            published={},
            internal=True,
        ),
    )


def _bridge(name: str) -> str:
    """``br-`` and the beginning of the network's id."""
    return f"br-{sha256(name.encode()).hexdigest()[:12]}"


def _described(layout: str, lab: str, root: Path, options: Options) -> Blueprint:
    if options.manifests is not None:
        raise UserError(
            "the docker topologies take no manifests",
            hint="use one that is a cluster: nettrace lab topologies",
        )
    if not 1 <= options.publish <= 65534:
        raise UserError(f"{options.publish} is no port with one behind it", hint="publish one of 1 to 65534")
    outer = network(options.node_net, "the node network")
    plans = _plans(options)
    for plan in plans:
        if outer.overlaps(plan.prefix):
            raise UserError(f"the networks {outer} and {plan.prefix} overlap", hint="choose two that do not")
    wire = machine(lab, WIRE, "wire", outer)
    node = machine(lab, _HOST, "node", outer)
    internet = machine(lab, INTERNET, "outside", outer)
    held = {plan.name: _containers(lab, plan) for plan in plans}
    every = [entry for entries in held.values() for entry in entries]
    lay, ends = wire_wiring(wire, (node, internet), outer)
    ends[node.netns] += tuple(line for plan in plans for line in _wiring(plan, held[plan.name]))
    made = [_network(plan, held[plan.name]) for plan in plans]
    return Blueprint(
        namespaces=(wire, node, internet, *every),
        files=_files(plans, held),
        sysctls={
            wire.netns: base_sysctls(forward=True),
            node.netns: base_sysctls(forward=True, bridge_netfilter=True),
            **{entry.netns: base_sysctls() for entry in (internet, *every)},
        },
        # without the proxy 127.0.0.1 of the host leads to containers too
        device_sysctls={node.netns: {f"net.ipv4.conf.{plan.bridge}.route_localnet": "1" for plan in plans}},
        wiring=(
            lay,
            ends,
            {entry.netns: _inside(plan, entry) for plan in plans for entry in held[plan.name]},
        ),
        rules={node.netns: rules_text(layout, made)},
        daemons=(
            internet_daemon(root, internet),
            *(
                listener(
                    root, entry.netns, entry.name, entry.name, (f"tcp/0.0.0.0/{plan.listens[entry.name]}",)
                )
                for plan in plans
                for entry in held[plan.name]
            ),
        ),
        options={
            "node_net": str(outer),
            "docker_net": str(plans[0].prefix),
            "publish": str(options.publish),
        },
    )


def _containers(lab: str, plan: _Plan) -> list[LabNetns]:
    return [
        LabNetns(
            name=name,
            netns=netns_name(lab, name),
            role="container",
            node=_HOST,
            container=name,
            addresses=(host(plan.prefix, 2 + index),),
        )
        for index, name in enumerate(plan.listens)
    ]


def _wiring(plan: _Plan, containers: list[LabNetns]) -> list[str]:
    lines = [
        f"link add {plan.bridge} address {mac_of(plan.bridge)} type bridge",
        f"addr add {host(plan.prefix, 1)}/{plan.prefix.prefixlen} brd + dev {plan.bridge}",
        f"link set {plan.bridge} up",
    ]
    for entry in containers:
        lines += attach_pod(entry, plan.bridge, _MTU, _mac(entry.addresses[0]), hairpin=True)
    return lines


def _inside(plan: _Plan, entry: LabNetns) -> tuple[str, ...]:
    """Return the lines inside a container: in an internal network there is no way out."""
    lines = pod_wiring(entry, plan.prefix.prefixlen, host(plan.prefix, 1))
    return tuple(line for line in lines if not (plan.internal and line.startswith("route ")))


def _mac(address: str) -> str:
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _network(plan: _Plan, containers: list[LabNetns]) -> DockerNetwork:
    by_name = {entry.name: entry.addresses[0] for entry in containers}
    return DockerNetwork(
        bridge=plan.bridge,
        prefix=str(plan.prefix),
        containers=tuple(by_name.values()),
        published=tuple(
            PublishedPort(host_port=number, address=by_name[name], port=plan.listens[name])
            for name, number in plan.published.items()
        ),
        internal=plan.internal,
    )


def _files(plans: tuple[_Plan, ...], held: dict[str, list[LabNetns]]) -> dict[str, str]:
    """What dockerd keeps of its containers, and its configuration."""
    found = {f"nodes/{_HOST}/etc/docker/daemon.json": '{"userland-proxy": false}\n'}
    for plan in plans:
        for entry in held[plan.name]:
            ident = sha256(entry.netns.encode()).hexdigest()
            inside = f"{plan.listens[entry.name]}/tcp"
            number = plan.published.get(entry.name)
            ports = {inside: [{"HostIp": "0.0.0.0", "HostPort": str(number)}] if number else None}
            place = {
                "IPAddress": entry.addresses[0],
                "IPPrefixLen": plan.prefix.prefixlen,
                "Gateway": "" if plan.internal else host(plan.prefix, 1),
                "MacAddress": _mac(entry.addresses[0]),
            }
            config = {
                "ID": ident,
                "Name": f"/{entry.name}",
                "State": {"Running": True, "Paused": False, "Restarting": False, "Dead": False},
                "Config": {"Hostname": ident[:12], "Image": f"lab/{entry.name}"},
                "NetworkSettings": {"Ports": ports, "Networks": {plan.name: place}},
            }
            bindings = {inside: [{"HostIp": "", "HostPort": str(number)}]} if number else {}
            base = f"nodes/{_HOST}/var/lib/docker/containers/{ident}"
            found[f"{base}/config.v2.json"] = json.dumps(config, indent=2) + "\n"
            found[f"{base}/hostconfig.json"] = (
                json.dumps({"NetworkMode": plan.name, "PortBindings": bindings}, indent=2) + "\n"
            )
    return found
