"""kube-router's hooks."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.diagnose.difference import route_text
from nettrace.kube.policy_chains import is_pod_chain, is_policy_chain, policies_run
from nettrace.model.finding import Evidence
from nettrace.model.links import Link
from nettrace.model.owed import Owed
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.xt import BACKENDS, XtChain
from nettrace.model.xt_match import Comment
from nettrace.plugin_api import Detection, Topology, hookimpl
from nettrace_plugins.kube_router.bgp import KUBE_ROUTER_BGP_DOWN
from nettrace_plugins.kube_router.facts import (
    BRIDGE,
    PROXY_DEVICE,
    cni_file,
    nodes_of,
    proxies,
    router_devices,
)
from nettrace_plugins.kube_router.owes import OWNER, PROTOCOL, owed_by_kube_router
from nettrace_plugins.kube_router.proxy import SERVICE_CHAIN, evidence_of_proxy, owed_by_proxy

__all__ = ["KubeRouter", "plugin"]

_NAMES = {
    f"links/{BRIDGE}": "the bridge of kube-router's pods",
    f"links/{PROXY_DEVICE}": "the device that has the ClusterIPs of kube-router's service proxy",
    "xt/filter/KUBE-ROUTER-INPUT": "kube-router's way to the pods' policies, for what comes to the node",
    "xt/filter/KUBE-ROUTER-FORWARD": "kube-router's way to the pods' policies, for what is passed on",
    "xt/filter/KUBE-ROUTER-OUTPUT": "kube-router's way to the pods' policies, for what the node sends",
    f"xt/filter/{SERVICE_CHAIN}": "kube-router's service proxy: what may come in to Services' addresses",
    "xt/nat/KUBE-ROUTER-HAIRPIN": "kube-router's service proxy: masquerade of pods that reach themselves",
    "xt/filter/KUBE-NWPLCY-DEFAULT": "kube-router's pass for pods that no policy isolates",
}

#: Routes that are shown as evidence.
_ROUTES = 2

_FAULTS = (
    *("bridge-nf-off", "forward-policy-drop", "hairpin-off", "ip-forward-off", "kube-postrouting-missing"),
    *("masquerade-missing", "pod-route-missing", "service-jump-missing", "service-rules-absent"),
    *("stale-endpoint-rule", "svc-wrong-targetport"),
)


class KubeRouter:
    """What kube-router adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """
        kube-router is there where a CNI configuration names its bridge, or the bridge or its process is.

        Its chains of policies alone are no sign: k3s has them with another network.
        """
        evidence: list[Evidence] = []
        nodes: list[str] = []
        modes: set[str] = set()
        for node in snapshot.nodes.values():
            found = list(_evidence(snapshot, node))
            if not found:
                continue
            nodes.append(node.name)
            evidence += found
            kinds = {link.kind for link in router_devices(snapshot, node.netns)}
            modes.add("bgp")
            modes |= {"ipip"} & kinds | ({"ipvs proxy"} if "dummy" in kinds else set())
        if not nodes:
            return None
        return Detection(
            name="kube-router",
            mode=", ".join(sorted(modes)),
            nodes=tuple(nodes),
            evidence=tuple(evidence),
            owners=(OWNER,),
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """
        Return the Nodes, each node's files, devices, routes, and addresses (for peers on its network).

        Where kube-router is the service proxy, its virtual servers too.
        """
        found = [SectionKey("", "kube/nodes")]
        for node in snapshot.nodes.values():
            found.append(SectionKey(f"node:{node.name}", "files"))
            found += [SectionKey(node.netns, name) for name in ("links", "addresses", "routes")]
            if proxies(snapshot, node.netns):
                found.append(SectionKey(node.netns, "ipvs"))
        return found

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name kube-router's devices, and the chains of pods and policies by what their rules say."""
        if thing in _NAMES:
            return _NAMES[thing]
        for link in router_devices(snapshot, netns):
            if thing == f"links/{link.name}":
                return _tunnel_name(snapshot, link)
        chain = thing.removeprefix("xt/filter/")
        return _chain_name(snapshot, netns, chain) if chain != thing and is_policy_chain(chain) else None

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return what kube-router has to have put on *node*."""
        state = snapshot.nodes.get(node)
        served = owed_by_proxy(snapshot, state.netns, OWNER) if state is not None else ()
        return (*owed_by_kube_router(snapshot, node), *served)

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return kube-router's cause."""
        return (KUBE_ROUTER_BGP_DOWN,)

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return a cluster whose nodes speak BGP."""
        return (
            Topology(
                name="kube-router",
                summary="a cluster whose nodes tell each other by BGP where their pods are, by kube-router",
                builder="nettrace_plugins.kube_router.topology:kube_router",
                cluster=True,
                faults=_FAULTS,
            ),
        )


def _tunnel_name(snapshot: Snapshot, link: Link) -> str:
    """Name a tunnel by the node at its far end, as far as a Node has that address."""
    far = link.ipip.remote if link.ipip is not None else None
    peer = next((one.name for one in nodes_of(snapshot).values() if one.address == far), None)
    to = f"{peer} ({far}), " if peer is not None else ""
    return f"kube-router's tunnel to {to}a node of another network"


def _evidence(snapshot: Snapshot, node: NodeState) -> Sequence[Evidence]:
    found = []
    path = cni_file(snapshot, node.name)
    if path is not None:
        found.append(Evidence(ref=f"node:{node.name}/files", text=path, note=f"names {BRIDGE}"))
    found += [
        Evidence(ref=f"{node.netns}/links/{link.name}", text=f"{link.name} ({link.kind})")
        for link in router_devices(snapshot, node.netns)
    ]
    found += evidence_of_proxy(snapshot, node)
    routes = snapshot.section(SectionKey(node.netns, "routes"))
    injected = (
        [one for one in routes.value if one.protocol == PROTOCOL]
        if found and isinstance(routes, Known)
        else []
    )
    found += [
        Evidence(
            ref=f"{node.netns}/routes/{one.table}/{one.dst}",
            text=f"{route_text(one)} proto {PROTOCOL}",
            note="as it writes those that come by BGP",
        )
        for one in injected[:_ROUTES]
    ]
    processes = node.processes.value if isinstance(node.processes, Known) else ()
    found += [
        Evidence(ref=f"node:{node.name}/processes", text=f"kube-router (pid {one.pid})", note="runs")
        for one in processes
        if one.name == "kube-router"
    ]
    return found


def _chain_name(snapshot: Snapshot, netns: str, name: str) -> str | None:
    for backend in BACKENDS:
        chain = snapshot.chain(netns, backend, "filter", name)
        if chain is not None and is_pod_chain(name):
            pod = _pod(chain)
            return f"policies for pod {pod}" if pod else None
        table = snapshot.section(SectionKey(netns, f"xt/{backend}/filter"))
        if not isinstance(table, Known) or table.value is None:
            continue
        for section in table.value.chains.values():
            for policy, own in policies_run(section.value) if isinstance(section, Known) else ():
                if own == name:
                    return f"policy {policy}"
    return None


def _pod(chain: XtChain) -> str:
    """``namespace/name`` of the pod that a chain is for, from the comment of the rule that refuses."""
    for rule in chain.rules:
        for match in rule.matches:
            words = match.text.partition("POD name:")[2] if isinstance(match, Comment) else ""
            name, _, space = words.partition(" namespace: ")
            if space:
                return f"{space.split()[0]}/{name}"
    return ""


plugin = KubeRouter()
