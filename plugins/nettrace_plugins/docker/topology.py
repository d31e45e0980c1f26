"""
Topology ``docker``: one host with two containers on docker0, made by hand.

Lives here: what dockerd would have done: the bridge, the nat rules, its files.
Not here: the wire and the outside host (wire).
"""

import json
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path

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

__all__ = ["docker"]

_HOST = "docker-host"
_BRIDGE = "docker0"
_MTU = 1500
_CONTAINERS = {"web": 80, "app": 8080}


def docker(lab: str, root: Path, options: Options) -> Blueprint:
    """
    Describe the Docker model: ``web`` (published on the host) and ``app`` behind docker0.

    Uses ``node_net``, ``docker_net`` and ``publish`` of the options.
    """
    if options.manifests is not None:
        raise UserError(
            "the docker topology takes no manifests",
            hint="use one that is a cluster: nettrace lab topologies",
        )
    if not 1 <= options.publish <= 65535:
        raise UserError(f"{options.publish} is no port", hint="publish one of 1 to 65535")
    outer = network(options.node_net, "the node network")
    inner = network(options.docker_net, "the docker network")
    if outer.overlaps(inner):
        raise UserError(f"the networks {outer} and {inner} overlap", hint="choose two that do not")
    wire = machine(lab, WIRE, "wire", outer)
    node = machine(lab, _HOST, "node", outer)
    internet = machine(lab, INTERNET, "outside", outer)
    containers = [_container(lab, name, host(inner, 2 + index)) for index, name in enumerate(_CONTAINERS)]
    lay, ends = wire_wiring(wire, (node, internet), outer)
    bridge = [f"link add {_BRIDGE} address {mac_of(_BRIDGE)} type bridge"]
    bridge += [f"addr add {host(inner, 1)}/{inner.prefixlen} brd + dev {_BRIDGE}", f"link set {_BRIDGE} up"]
    for entry in containers:
        bridge += attach_pod(entry, _BRIDGE, _MTU, _mac(entry.addresses[0]))
    ends[node.netns] += tuple(bridge)
    return Blueprint(
        namespaces=(wire, node, internet, *containers),
        files=_files(containers, inner, options.publish),
        sysctls={
            wire.netns: base_sysctls(forward=True),
            node.netns: base_sysctls(forward=True, bridge_netfilter=True),
            **{entry.netns: base_sysctls() for entry in (internet, *containers)},
        },
        wiring=(
            lay,
            ends,
            {entry.netns: pod_wiring(entry, inner.prefixlen, host(inner, 1)) for entry in containers},
        ),
        rules={node.netns: _rules(inner, containers[0].addresses[0], options.publish)},
        daemons=(
            internet_daemon(root, internet),
            *(
                listener(
                    root, entry.netns, entry.name, entry.name, (f"tcp/0.0.0.0/{_CONTAINERS[entry.name]}",)
                )
                for entry in containers
            ),
        ),
        options={
            "node_net": str(outer),
            "docker_net": str(inner),
            "publish": str(options.publish),
        },
    )


def _container(lab: str, name: str, address: str) -> LabNetns:
    return LabNetns(
        name=name,
        netns=netns_name(lab, name),
        role="container",
        node=_HOST,
        container=name,
        addresses=(address,),
    )


def _rules(inner: IPv4Network, web: str, publish: int) -> str:
    """The nat table in the layout of dockerd, with an open filter table."""
    return f"""*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {inner} ! -o {_BRIDGE} -j MASQUERADE
-A DOCKER -i {_BRIDGE} -j RETURN
-A DOCKER ! -i {_BRIDGE} -p tcp -m tcp --dport {publish} -j DNAT --to-destination {web}:{_CONTAINERS["web"]}
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
"""


def _mac(address: str) -> str:
    """The hardware address dockerd derives from an IPv4 address (libnetwork, netutils.GenerateMACFromIP)."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _files(containers: list[LabNetns], inner: IPv4Network, publish: int) -> dict[str, str]:
    """Where dockerd keeps what it wants: two files a container, the fields that concern the network."""
    found = {}
    base = f"nodes/{_HOST}/var/lib/docker/containers"
    for entry in containers:
        ident = sha256(entry.netns.encode()).hexdigest()
        port = f"{_CONTAINERS[entry.name]}/tcp"
        bindings = {port: [{"HostIp": "", "HostPort": str(publish)}]} if entry.name == "web" else {}
        config = {
            "ID": ident,
            "Name": f"/{entry.name}",
            "State": {"Running": True, "Paused": False, "Restarting": False, "Dead": False},
            "Config": {"Hostname": ident[:12], "Image": f"lab/{entry.name}", "ExposedPorts": {port: {}}},
            "NetworkSettings": {
                "Bridge": "",
                "SandboxKey": f"/var/run/docker/netns/{ident[:12]}",
                "Ports": {port: [{"HostIp": "0.0.0.0", "HostPort": str(publish)}]}
                if bindings
                else {port: None},
                "Networks": {
                    "bridge": {
                        "IPAddress": entry.addresses[0],
                        "IPPrefixLen": inner.prefixlen,
                        "Gateway": host(inner, 1),
                        "MacAddress": _mac(entry.addresses[0]),
                    }
                },
            },
        }
        host_config = {"NetworkMode": "bridge", "PortBindings": bindings}
        found[f"{base}/{ident}/config.v2.json"] = json.dumps(config, indent=2) + "\n"
        found[f"{base}/{ident}/hostconfig.json"] = json.dumps(host_config, indent=2) + "\n"
    return found
