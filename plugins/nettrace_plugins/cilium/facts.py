"""
What of Cilium is on a node, as far as the state shows it.

Lives here: its devices, programs, chains, files and process, and what they were recognised by.
Not here: its maps (layouts, services, identities), what it owes (owes).
"""

import re
from collections.abc import Iterator

from nettrace.model.bpf import BpfProgram
from nettrace.model.finding import Evidence
from nettrace.model.links import Link
from nettrace.model.section import Known
from nettrace.model.snapshot import NodeState, Process, Snapshot
from nettrace.model.xt import BACKENDS

__all__ = [
    "CHAINS",
    "PROGRAMS",
    "agent",
    "chains",
    "device_words",
    "devices",
    "evidence",
    "links",
    "mode",
    "pod_devices",
    "programs",
    "replaces_kube_proxy",
]

#: Cilium's chains (pkg/datapath/iptables/iptables.go), and with OLD_ those of the agent before.
CHAINS = ("CILIUM_", "OLD_CILIUM_")
#: Its programs since 1.13 (bpf/bpf_lxc.c, bpf_host.c, bpf_overlay.c, bpf_xdp.c, bpf_sock.c).
PROGRAMS = ("cil_",)

_DEVICES = {
    "cilium_host": "Cilium's router: the node's end of the pair that leads to its pods' gateway",
    "cilium_net": "the other end of cilium_host",
    "cilium_vxlan": "Cilium's VXLAN device; where to, its programs say",
    "cilium_geneve": "Cilium's Geneve device; where to, its programs say",
    "cilium_wg0": "Cilium's WireGuard device, between nodes",
}
_POD = re.compile(r"lxc[0-9a-f]{12,13}|lxc_health")
_SOCKETS = ("cil_sock4_connect", "cil_sock6_connect")


def links(snapshot: Snapshot, netns: str) -> tuple[Link, ...]:
    """Return the devices of a namespace that were read."""
    section = snapshot.namespaces[netns].links if netns in snapshot.namespaces else None
    return section.value if isinstance(section, Known) else ()


def device_words(name: str) -> str | None:
    """Call a device by what it is to Cilium."""
    if name in _DEVICES:
        return _DEVICES[name]
    if name == "lxc_health":
        return "Cilium's end of the veth to its health endpoint"
    return "Cilium's end of the veth of a pod" if _POD.fullmatch(name) else None


def devices(snapshot: Snapshot, netns: str) -> list[Link]:
    """Return Cilium's devices in a namespace."""
    return [link for link in links(snapshot, netns) if device_words(link.name) is not None]


def pod_devices(snapshot: Snapshot, netns: str) -> list[Link]:
    """Return the node's ends of the veth pairs, or netkit pairs, of pods."""
    return [link for link in links(snapshot, netns) if _POD.fullmatch(link.name) and link.peer is not None]


def programs(snapshot: Snapshot, netns: str) -> list[tuple[str, BpfProgram]]:
    """Return (reference, program) of Cilium's programs on a namespace's devices and its sockets."""
    found = [
        (f"{netns}/links/{link.name}", program) for link in links(snapshot, netns) for program in link.bpf
    ]
    section = snapshot.namespaces[netns].socket_programs if netns in snapshot.namespaces else None
    sockets: tuple[BpfProgram, ...] = section.value if isinstance(section, Known) else ()
    found += [(f"{netns}/socket_programs", program) for program in sockets]
    return [(ref, program) for ref, program in found if program.name.startswith(PROGRAMS)]


def chains(snapshot: Snapshot, netns: str, prefixes: tuple[str, ...] = CHAINS) -> Iterator[tuple[str, str]]:
    """Yield (reference, name) of the chains whose names begin so, of all tables that were read."""
    space = snapshot.namespaces.get(netns)
    for backend in BACKENDS if space is not None else ():
        ruleset = getattr(space, f"xt_{backend}")
        tables = ruleset.value.tables if isinstance(ruleset, Known) else {}
        for table, section in tables.items():
            names = section.value.chains if isinstance(section, Known) else {}
            yield from (
                (f"{netns}/xt/{backend}/{table}/{name}", name) for name in names if name.startswith(prefixes)
            )


def agent(node: NodeState) -> Process | None:
    """Return the agent's process, if it was seen."""
    processes = node.processes.value if isinstance(node.processes, Known) else ()
    return next((one for one in processes if one.name == "cilium-agent"), None)


def _files(node: NodeState) -> list[str]:
    files = node.files.value if isinstance(node.files, Known) else {}
    return [path for path in sorted(files) if path.startswith("/run/cilium/") or _is_conflist(path)]


def _is_conflist(path: str) -> bool:
    return path.startswith("/etc/cni/net.d/") and "cilium" in path.rsplit("/", 1)[-1]


def evidence(snapshot: Snapshot, node: NodeState) -> list[Evidence]:
    """Return what shows that Cilium runs here, chains aside: these it leaves behind."""
    found = [
        Evidence(ref=f"{node.netns}/links/{link.name}", text=f"{link.name} ({link.kind})")
        for link in devices(snapshot, node.netns)
    ]
    found += [Evidence(ref=ref, text=str(program)) for ref, program in programs(snapshot, node.netns)]
    process = agent(node)
    if process is not None:
        found.append(Evidence(ref=f"node:{node.name}/processes", text=f"{process.name} ({process.pid})"))
    found += [Evidence(ref=f"node:{node.name}/files", text=path) for path in _files(node)]
    return found


def mode(snapshot: Snapshot, netns: str) -> str:
    """Return how packets get to other nodes, as far as devices tell: ``vxlan``, ``geneve``, ``native``."""
    names = {link.name for link in devices(snapshot, netns)}
    for kind in ("vxlan", "geneve"):
        if f"cilium_{kind}" in names:
            return kind
    return "native routing" if "cilium_host" in names else ""


def replaces_kube_proxy(snapshot: Snapshot, netns: str) -> BpfProgram | None:
    """Return the program that answers for Services in connect(), if there is one."""
    heads = {name[:15] for name in _SOCKETS}
    return next((one for _, one in programs(snapshot, netns) if one.name[:15] in heads), None)
