"""
Topology ``lvs``: a Service made by hand, by ipvsadm and a local route for its address.

Lives here: a director, three real servers and a client behind it, and the files that keep what was made.
Not here: the wire and the outside host (wire), loading IPVS (nettrace.lab.ipvs).
"""

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

__all__ = ["lvs"]

_DIRECTOR = "director"
_BRIDGE = "lvs0"
_MTU = 1500
_REALS = ("rs1", "rs2", "rs3")
_CLIENT = "client"
_PORT, _REAL_PORT = 80, 8080
_VIP_HOST = 80  # of the Services' network

_SYSCTLS = {"net.ipv4.vs.conntrack": "1", "net.ipv4.vs.expire_nodest_conn": "1"}


def lvs(lab: str, root: Path, options: Options) -> Blueprint:
    """
    Describe the director; the virtual address is the 80th of ``service_cidr``.

    Uses ``node_net``, ``docker_net`` (the network behind the director) and ``service_cidr``.
    """
    if options.manifests is not None:
        raise UserError(
            "the lvs topology takes no manifests", hint="use one that is a cluster: nettrace lab topologies"
        )
    outer = network(options.node_net, "the node network")
    inner = network(options.docker_net, "the network behind the director")
    service = network(options.service_cidr, "the service network")
    for one, other in ((outer, inner), (outer, service), (inner, service)):
        if one.overlaps(other):
            raise UserError(f"the networks {one} and {other} overlap", hint="choose two that do not")
    vip = host(service, _VIP_HOST)
    wire = machine(lab, WIRE, "wire", outer)
    director = machine(lab, _DIRECTOR, "node", outer)
    internet = machine(lab, INTERNET, "outside", outer)
    behind = [_machine(lab, name, host(inner, 11 + n)) for n, name in enumerate((*_REALS, _CLIENT))]
    reals = behind[: len(_REALS)]
    lay, ends = wire_wiring(wire, (director, internet), outer)
    lines = [
        f"link add {_BRIDGE} address {mac_of(_BRIDGE)} type bridge",
        f"addr add {host(inner, 1)}/{inner.prefixlen} brd + dev {_BRIDGE}",
        f"link set {_BRIDGE} up",
        f"route add local {vip} dev lo",
    ]
    for entry in behind:
        lines += attach_pod(entry, _BRIDGE, _MTU)
    ends[director.netns] += tuple(lines)
    ends[internet.netns] += (f"route add {vip} via {director.addresses[0]} dev eth0",)
    servers = _servers(vip, [entry.addresses[0] for entry in reals])
    return Blueprint(
        namespaces=(wire, director, internet, *behind),
        files=_files(vip, servers),
        sysctls={
            wire.netns: base_sysctls(forward=True),
            # the bridge stands for a switch: what real servers say to each other passes no rules
            director.netns: base_sysctls(forward=True) | _SYSCTLS,
            **{entry.netns: base_sysctls() for entry in (internet, *behind)},
        },
        wiring=(
            lay,
            ends,
            {entry.netns: pod_wiring(entry, inner.prefixlen, host(inner, 1)) for entry in behind},
        ),
        servers={director.netns: servers},
        rules={director.netns: _rules(inner)},
        daemons=(
            internet_daemon(root, internet),
            *(
                listener(root, entry.netns, entry.name, entry.name, (f"tcp/0.0.0.0/{_REAL_PORT}",))
                for entry in reals
            ),
        ),
        options={
            "node_net": str(outer),
            "docker_net": str(inner),
            "service_cidr": str(service),
            "vip": vip,
        },
    )


def _machine(lab: str, name: str, address: str) -> LabNetns:
    return LabNetns(
        name=name,
        netns=netns_name(lab, name),
        role="container",
        node=_DIRECTOR,
        container=name,
        addresses=(address,),
    )


def _servers(vip: str, reals: list[str]) -> str:
    """What ipvsadm-save -n prints of it."""
    lines = [f"-A -t {vip}:{_PORT} -s rr"]
    lines += [f"-a -t {vip}:{_PORT} -r {address}:{_REAL_PORT} -m -w 1" for address in reals]
    return "".join(f"{line}\n" for line in lines)


def _rules(inner: IPv4Network) -> str:
    """Clients of the real servers' own network would be answered past the director."""
    return f"""*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s {inner} -d {inner} -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
"""


def _files(vip: str, servers: str) -> dict[str, str]:
    """Where Debian keeps it: ipvsadm's init script, ifupdown, and sysctl."""
    base = f"nodes/{_DIRECTOR}/etc"
    interfaces = f"auto lo\niface lo inet loopback\n    up ip route add local {vip} dev lo\n"
    sysctls = "".join(f"{name} = {value}\n" for name, value in _SYSCTLS.items())
    return {
        f"{base}/ipvsadm.rules": servers,
        f"{base}/network/interfaces.d/lvs": interfaces,
        f"{base}/sysctl.d/90-lvs.conf": sysctls,
    }
