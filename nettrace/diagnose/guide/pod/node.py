"""The pod's node: is the pod on one, which part of the network has it, which CNI configuration counts?"""

from nettrace.diagnose.causes.cni_bridge_old_address import CNI_BRIDGE_OLD_ADDRESS
from nettrace.diagnose.causes.cni_conf_broken import CNI_CONF_BROKEN
from nettrace.diagnose.causes.cni_conf_leftover import CNI_CONF_LEFTOVER
from nettrace.diagnose.causes.cni_conf_missing import CNI_CONF_MISSING
from nettrace.diagnose.causes.cni_subnet_mismatch import CNI_SUBNET_MISMATCH
from nettrace.diagnose.causes.pod_unscheduled import POD_UNSCHEDULED
from nettrace.diagnose.causes.podcidr_duplicate import PODCIDR_DUPLICATE
from nettrace.diagnose.causes.podcidr_missing import PODCIDR_MISSING
from nettrace.diagnose.guide.case import Heading, advice, names
from nettrace.diagnose.guide.pod.case import PodCase, PodNetwork, kube_node, network_of_pod
from nettrace.diagnose.guide.request import Asking, delegated, section, state
from nettrace.kube.ipam import subnets
from nettrace.model.addr import canonical_prefix, family_of, prefix_contains
from nettrace.model.cni import CONF_DIRECTORIES, CniConf, CniPlugin
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import Axis, Check
from nettrace.model.section import Known, SectionKey

__all__ = ["bridge", "configured", "scheduled", "shared"]

_POD = Heading("pod", Axis.SCOPE, "Is the pod on a node, and on the pods' network?")
_CIDR = Heading("podcidr", Axis.NODE, "Which part of the pods' network has the node?")
_CONF = Heading("conf", Axis.NODE, "Which CNI configuration counts, and does it fit?")
_BRIDGE = Heading("bridge", Axis.NODE, "Has the bridge the address that the configuration wants?")


def scheduled(case: PodCase) -> Asking[Check]:
    """Look at the object: node, phase, network, the addresses in its status."""
    snapshot = yield from state()
    looked = ("spec.nodeName, spec.hostNetwork, status.phase, status.podIPs",)
    pod = case.pod
    if not case.known:
        said = f"no object of it is known; a sandbox of {case.node} bears its name"
        return _POD.passed(said, checked=looked)
    words = f"{pod.phase}, on {case.node or 'no node'}, status.podIPs {names(list(pod.ips))}"
    seen = (Evidence(ref="kube/pods", text=f"pod {case.key}: {words}"),)
    if not case.node:
        finding = advice(
            POD_UNSCHEDULED,
            f"{case.key} is on no node",
            subject=case.subject,
            evidence=seen,
            lasting=f"kubectl -n {pod.namespace} describe pod {pod.name}",
        )
        return _POD.problem(finding, checked=looked)
    if case.over:
        return _POD.passed(f"{words}; {case.over}", checked=looked, seen=seen)
    if case.node not in snapshot.nodes:
        known = names(sorted(snapshot.nodes))
        return _POD.unknown(
            f"it is on {case.node}, which was not read; read were {known}", checked=looked, seen=seen
        )
    return _POD.passed(words, checked=looked, seen=seen)


def shared(case: PodCase) -> Asking[Check]:
    """Compare the podCIDR of the node with those of the others."""
    snapshot = yield from state()
    nodes = snapshot.kube.nodes
    if not isinstance(nodes, Known):
        return _CIDR.skipped(f"no Nodes are known: {nodes.reason or nodes.kind.value}")
    own = kube_node(snapshot, case.node)
    if own is None:
        return _CIDR.unknown(f"there is no Node called {case.node} among the objects")
    looked = (f"spec.podCIDRs of all {len(nodes.value)} Nodes",)
    for other in nodes.value:
        both = [(a, b) for a in own.pod_cidrs for b in other.pod_cidrs if _overlap(a, b)]
        if other.name != own.name and both:
            finding = advice(
                PODCIDR_DUPLICATE,
                f"{own.name} and {other.name} have the same part of the pods' network: {both[0][0]}"
                + (f" and {both[0][1]}" if both[0][0] != both[0][1] else ""),
                subject=f"node/{own.name}",
                where=own.name,
                evidence=tuple(
                    Evidence(ref="kube/nodes", text=f"Node {one.name}: podCIDRs {names(list(one.pod_cidrs))}")
                    for one in (own, other)
                ),
            )
            return _CIDR.problem(finding, checked=looked)
    if not own.pod_cidrs:
        return _CIDR.passed("it was given none: its CNI has to have addresses of its own", checked=looked)
    said = f"Node {own.name} has {names(list(own.pod_cidrs))}, and nobody else"
    seen = (Evidence(ref="kube/nodes", text=f"Node {own.name}: podCIDRs {names(list(own.pod_cidrs))}"),)
    return _CIDR.passed(said, checked=looked, seen=seen)


def _overlap(one: str, other: str) -> bool:
    try:
        a, b = canonical_prefix(one), canonical_prefix(other)
    except ValueError:
        return False
    return family_of(a) == family_of(b) and (prefix_contains(a, b) or prefix_contains(b, a))


def configured(case: PodCase) -> Asking[Check]:
    """Find the configuration that counts, and compare its ranges with the node's podCIDR."""
    network = yield from network_of_pod(case)
    looked = (f"the CNI configurations of {case.node}, by name: the first counts",)
    if isinstance(network, str):
        return _CONF.unknown(network, checked=looked)
    snapshot = yield from state()
    seen = tuple(
        Evidence(ref=f"node:{case.node}/files", text=_words(conf), note="it counts" if not at else "")
        for at, conf in enumerate(network.confs)
    )
    node = kube_node(snapshot, case.node)
    cidrs = node.pod_cidrs if node is not None else ()
    finding = (
        _absent(case, network)
        or (yield from _leftover(case, network, cidrs))
        or _unready(case, network, cidrs)
        or _outside(case, network, cidrs)
    )
    if finding is not None:
        return _CONF.problem(finding, checked=looked, seen=(*seen, *finding.evidence))
    conf, plugin = network.conf, network.plugin
    assert conf is not None  # noqa: S101  (without one there is a finding)
    assert plugin is not None  # noqa: S101
    giver = f"addresses from {plugin.ipam.type if plugin.ipam is not None else plugin.type}"
    ranges = names(list(subnets(plugin.ipam))) if plugin.ipam is not None and plugin.ipam.ranges else ""
    said = f"{conf.path}: network {conf.name}, {giver}{f' of {ranges}' if ranges else ''}"
    if plugin.source:
        said += f", by {plugin.source}"
    return _CONF.passed(said, checked=looked, seen=seen)


def _words(conf: CniConf) -> str:
    if conf.error:
        return f"{conf.path}: {conf.error}"
    types = ", ".join(plugin.type for plugin in conf.plugins)
    ipam = conf.plugins[0].ipam
    ranges = f"; {ipam.type} {', '.join(subnets(ipam))}".rstrip() if ipam is not None else ""
    return f"{conf.path}: {conf.name} ({types}{ranges})"


def _absent(case: PodCase, network: PodNetwork) -> Finding | None:
    """Return the finding of no configuration, or of one that is none."""
    if not network.confs:
        return advice(
            CNI_CONF_MISSING,
            f"{case.node} has no CNI configuration",
            subject=f"node/{case.node}",
            where=case.node,
            evidence=(
                Evidence(
                    ref=f"node:{case.node}/files",
                    text="no .conflist, .conf or .json",
                    note=", ".join(CONF_DIRECTORIES),
                ),
            ),
        )
    first, *others = network.confs
    if not first.error:
        return None
    valid = next((conf for conf in others if not conf.error), None)
    note = "containerd takes no other" + (f"; CRI-O goes on with {valid.path}" if valid is not None else "")
    return advice(
        CNI_CONF_BROKEN,
        f"{first.path} on {case.node} is no CNI configuration: {first.error}",
        subject=f"node/{case.node}",
        where=case.node,
        evidence=(Evidence(ref=f"node:{case.node}/files", text=_words(first), note=note),),
        lasting=f"mend {first.path}, or move it out of the directory",
    )


def _within(ranges: tuple[str, ...], cidrs: tuple[str, ...]) -> bool:
    """Are all *ranges* within the node's podCIDRs of their family?  True where nothing says otherwise."""
    for one in ranges:
        same = [cidr for cidr in cidrs if family_of(cidr) == family_of(one)]
        if same and not any(prefix_contains(canonical_prefix(cidr), one) for cidr in same):
            return False
    return True


def _ranges(plugin: CniPlugin | None) -> tuple[str, ...]:
    return tuple(subnets(plugin.ipam)) if plugin is not None and plugin.ipam is not None else ()


def _leftover(case: PodCase, network: PodNetwork, cidrs: tuple[str, ...]) -> Asking[Finding | None]:
    """Return the finding of a configuration that does not fit the node, before one that does."""
    first = network.conf
    ours = _ranges(network.plugin)
    if first is None or not ours or _within(ours, cidrs):
        return None
    for other in network.confs[1:]:
        if other.error:
            continue
        plugin = yield from delegated(case.node, other.plugins[0])
        if not _within(_ranges(plugin), cidrs) or plugin.problem:
            continue
        return advice(
            CNI_CONF_LEFTOVER,
            f"{first.path} on {case.node} comes before {other.path}, "
            f"and gives addresses of {names(list(ours))}, which the node was not given",
            subject=f"node/{case.node}",
            where=case.node,
            evidence=(
                Evidence(ref=f"node:{case.node}/files", text=_words(first), note="the first by name"),
                Evidence(ref=f"node:{case.node}/files", text=_words(other), note="the one that fits"),
                Evidence(ref="kube/nodes", text=f"Node {case.node}: podCIDRs {names(list(cidrs))}"),
            ),
            lasting=(
                f"mv {first.path} {first.path}.off on {case.node}, then recreate the pods that it attached"
            ),
        )
    return None


def _unready(case: PodCase, network: PodNetwork, cidrs: tuple[str, ...]) -> Finding | None:
    """Return the finding of a plugin whose agent has not written what it needs."""
    plugin = network.plugin
    if plugin is None or not plugin.problem:
        return None
    what = "its Node has a podCIDR" if cidrs else "its Node has no podCIDR"
    return advice(
        PODCIDR_MISSING,
        f"the CNI plugin {plugin.type} on {case.node} can make no pod: {plugin.problem}",
        subject=f"node/{case.node}",
        where=case.node,
        evidence=(
            Evidence(ref=f"node:{case.node}/files", text=plugin.problem),
            Evidence(ref="kube/nodes", text=f"{what}: {names(list(cidrs))}"),
        ),
        lasting=(
            f"restart the agent of {plugin.type} on {case.node}, and see in its log why it has not written it"
            if cidrs
            else ""
        ),
    )


def _outside(case: PodCase, network: PodNetwork, cidrs: tuple[str, ...]) -> Finding | None:
    """Return the finding of ranges that are not the node's."""
    conf, ours = network.conf, _ranges(network.plugin)
    if conf is None or _within(ours, cidrs):
        return None
    return advice(
        CNI_SUBNET_MISMATCH,
        f"{conf.path} on {case.node} gives addresses of {names(list(ours))}, and the node has "
        f"{names(list(cidrs))}",
        subject=f"node/{case.node}",
        where=case.node,
        evidence=(
            Evidence(ref=f"node:{case.node}/files", text=_words(conf)),
            Evidence(ref="kube/nodes", text=f"Node {case.node}: podCIDRs {names(list(cidrs))}"),
        ),
        lasting=f"write {names(list(cidrs))} into {conf.path}, and recreate the pods of {case.node}",
    )


def bridge(case: PodCase) -> Asking[Check]:
    """Compare the address of the bridge with the gateway of the ranges."""
    network = yield from network_of_pod(case)
    if isinstance(network, str):
        return _BRIDGE.unknown(network)
    plugin = network.plugin
    if plugin is None or not plugin.bridge:
        made = plugin.type if plugin is not None else "no plugin"
        return _BRIDGE.skipped(f"its device is made by {made}, without a bridge")
    if not (plugin.settings.get("isGateway") or plugin.settings.get("isDefaultGateway")):
        return _BRIDGE.skipped(f"{plugin.bridge} is to have no address (isGateway)")
    snapshot = yield from state()
    netns = snapshot.nodes[case.node].netns
    links = yield from section(SectionKey(netns, "links"))
    held = yield from section(SectionKey(netns, "addresses"))
    looked = (f"the addresses of {plugin.bridge} on {case.node}, beside the gateway of the ranges",)
    if not isinstance(links, Known) or not isinstance(held, Known):
        return _BRIDGE.unknown(f"the devices of {case.node} were not read", checked=looked)
    if all(link.name != plugin.bridge for link in links.value):
        return _BRIDGE.passed(f"there is no {plugin.bridge} yet: the first pod brings it", checked=looked)
    wanted = (
        {row.gateway for rows in plugin.ipam.ranges for row in rows} if plugin.ipam is not None else set()
    )
    here = [a for a in held.value if a.device == plugin.bridge and a.scope == "global"]
    seen = tuple(
        Evidence(ref=f"{netns}/addresses", text=f"{a.address}/{a.prefixlen} dev {a.device}") for a in here
    )
    for gateway in sorted(wanted):
        same = [a for a in here if family_of(a.address) == family_of(gateway)]
        if not same or any(a.address == gateway for a in same) or plugin.settings.get("forceAddress"):
            continue
        old = same[0]
        finding = advice(
            CNI_BRIDGE_OLD_ADDRESS,
            f"{plugin.bridge} on {case.node} has {old.address}/{old.prefixlen}, and is to have {gateway}",
            subject=f"node/{case.node}",
            where=case.node,
            evidence=(
                *seen,
                Evidence(
                    ref=f"node:{case.node}/files",
                    text=f"gateway {gateway}",
                    note=plugin.source or (network.conf.path if network.conf is not None else ""),
                ),
            ),
            lasting=f"drain {case.node}, then ip link delete {plugin.bridge}: the next pod makes it anew",
        )
        return _BRIDGE.problem(finding, checked=looked)
    said = f"{plugin.bridge} has {names([a.address for a in here])}"
    return _BRIDGE.passed(said, checked=looked, seen=seen)
