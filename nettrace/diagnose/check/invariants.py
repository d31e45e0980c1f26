"""
The invariants: what holds in every cluster, as single questions.

Lives here: the rules of the Kubernetes network model and its goals (the documentation's "Cluster
Networking" and "Services, Load Balancing, and Networking"), asked of a sample that sees each pair of
nodes and each Service.  What the sample leaves out is said.
Not here: the health of the nodes (health.py), expectations of a file (expand.py).
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice

from nettrace.diagnose.check.asked import Asked, Expanded, with_port
from nettrace.diagnose.check.expand import is_running
from nettrace.diagnose.look import addresses_in
from nettrace.kube.services import ProxiedPort, proxied_ports
from nettrace.model.addr import family_of
from nettrace.model.check import Checked, Status
from nettrace.model.kube import Pod
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs

__all__ = ["SAMPLE", "invariant", "sees_itself"]

#: How many pods of a node are asked, unless somebody says otherwise.
SAMPLE = 2

#: No invariant asks more questions than this; with ``sample`` None there is no limit.
LIMIT = 300

_PODS, _NODES, _SERVICES, _SLICES = (
    SectionKey("", f"kube/{name}") for name in ("pods", "nodes", "services", "endpoint_slices")
)


def invariant(snapshot: Snapshot, name: str, sample: int | None = SAMPLE) -> Expanded | Needs:
    """
    Return the questions of the invariant *name*, one of INVARIANTS but for the two that are no flows.

    *sample* pods of each node are asked, all with None.
    """
    keys = (_PODS, _NODES, _SERVICES, _SLICES)
    unread = tuple(key for key in keys if _is(snapshot, key, MissingKind.NOT_READ))
    if unread:
        return Needs(unread)
    missing = [(key, snapshot.section(key)) for key in keys if not isinstance(snapshot.section(key), Known)]
    if missing:
        key, section = missing[0]
        words = f"{key.name.removeprefix('kube/')} could not be read: {section.reason or section.kind}"
        if all(one.kind is MissingKind.UNSUPPORTED for _, one in missing):
            return Expanded(left_out=(f"{name}: {section.reason or 'there are no Kubernetes objects'}",))
        return Expanded(
            asked=(Asked(name=name, kind=name, source=name, target="", problem=words, unread=True),)
        )
    return _BY_NAME[name](snapshot, sample)


def _is(snapshot: Snapshot, key: SectionKey, kind: MissingKind) -> bool:
    section = snapshot.section(key)
    return isinstance(section, Missing) and section.kind is kind


# --- who is there ----------------------------------------------------------------------


def _pods(snapshot: Snapshot) -> dict[str, list[Pod]]:
    """Return the pods with a network of their own that can be walked from, by node."""
    found: dict[str, list[Pod]] = {}
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    for pod in sorted(pods, key=lambda p: p.key):
        if is_running(pod) and not pod.host_network and pod.netns in snapshot.namespaces:
            found.setdefault(snapshot.namespaces[pod.netns or ""].node, []).append(pod)
    return found


def _unwalked(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """Say which pods are out of reach: those of nodes that were not read."""
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    away = [p for p in pods if is_running(p) and not p.host_network and p.netns not in snapshot.namespaces]
    nodes = sorted({pod.node_name or "no node" for pod in away})
    shown = ", ".join(nodes[:5]) + (f" and {len(nodes) - 5} more" if len(nodes) > 5 else "")
    return (f"{name}: {len(away)} pods of {shown}, which were not read",) if away else ()


def _spread(pods: Sequence[Pod], sample: int | None) -> list[Pod]:
    """Return *sample* of the pods, those that declare a port first."""
    ordered = sorted(pods, key=lambda p: not _ports(p))
    return ordered if sample is None else ordered[:sample]


def _ports(pod: Pod) -> list[str]:
    return [f"{p.container_port}/{p.protocol.lower()}" for c in pod.containers for p in c.ports]


def _call(name: str, source: str, pod: Pod, *, kept: str = "kept") -> Asked:
    """Ask a pod on its first declared port, or for an echo where it declares none."""
    port = next(iter(_ports(pod)), "icmp")
    return Asked(name=name, kind=name, source=source, target=with_port(f"pod/{pod.key}", port), kept=kept)


def _limited(
    name: str,
    questions: Iterable[Asked],
    whole: int,
    sample: int | None,
    left_out: tuple[str, ...],
    what: str,
) -> Expanded:
    """Cut the questions at the limit and say how many of all there are were asked."""
    asked = tuple(questions if sample is None else islice(questions, LIMIT))
    words = (f"{name}: asked {len(asked)} of {whole} {what}",) if len(asked) < whole else ()
    return Expanded(asked=asked, left_out=(*left_out, *words))


# --- the invariants --------------------------------------------------------------------


def _pod_to_pod(snapshot: Snapshot, sample: int | None) -> Expanded:
    name = "pod-to-pod"
    pods = _pods(snapshot)
    count = sum(len(found) for found in pods.values())
    chosen = {node: _spread(found, sample) for node, found in pods.items()}
    pairs = (
        (a, b)
        for node in chosen
        for other in chosen
        for a in chosen[node]
        for b in chosen[other]
        if a is not b
    )
    questions = (_call(name, f"pod/{a.key}", b) for a, b in pairs)
    return _limited(
        name, questions, count * (count - 1), sample, _unwalked(snapshot, name), "ordered pairs of pods"
    )


def _node_to_pod(snapshot: Snapshot, sample: int | None) -> Expanded:
    name = "node-to-pod"
    pods = _pods(snapshot)
    nodes = _members(snapshot)
    questions = (
        _call(name, f"node/{node}", pod)
        for node in nodes
        for found in pods.values()
        for pod in _spread(found, sample)
    )
    whole = len(nodes) * sum(len(found) for found in pods.values())
    return _limited(name, questions, whole, sample, _unwalked(snapshot, name), "pairs of a node and a pod")


def _members(snapshot: Snapshot) -> list[str]:
    """Return the nodes of the cluster that were read."""
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    return sorted(node.name for node in nodes if node.name in snapshot.nodes)


def _containers(snapshot: Snapshot, sample: int | None) -> Expanded:
    name = "container-to-container"
    questions: list[Asked] = []
    for found in _pods(snapshot).values():
        several = [pod for pod in found if len(pod.containers) > 1]
        for pod in _spread(several, sample):
            for client in pod.containers:
                for server in pod.containers:
                    questions.extend(
                        Asked(
                            name=name,
                            kind=name,
                            source=f"container/{pod.name}/{client.name}",
                            target=f"container/{pod.name}/{server.name}:{p.container_port}/{p.protocol.lower()}",
                        )
                        for p in server.ports
                        if client is not server
                    )
    if not questions:
        return Expanded(left_out=(f"{name}: no pod here has several containers with ports",))
    return Expanded(asked=tuple(questions if sample is None else questions[:LIMIT]))


def _services(snapshot: Snapshot) -> list[ProxiedPort]:
    services = snapshot.kube.services.value if isinstance(snapshot.kube.services, Known) else ()
    found = [*proxied_ports(services, 4), *proxied_ports(services, 6)]
    unique = {(one.subject, one.proto, one.port.port): one for one in reversed(found)}
    return sorted(unique.values(), key=lambda one: (one.subject, one.port.port, one.proto))


def _pod_to_service(snapshot: Snapshot, sample: int | None) -> Expanded:
    name = "pod-to-service"
    few = 1 if sample is not None else None
    services = _services(snapshot)
    clients = [pod for found in _pods(snapshot).values() for pod in _spread(found, few)]
    walkable = {pod.key for found in _pods(snapshot).values() for pod in found}
    questions = (
        Asked(
            name=name,
            kind=name,
            source=f"pod/{pod}",
            target=f"{service.subject}:{service.port.port}/{service.proto}",
        )
        for service in services
        for pod in dict.fromkeys(
            [*(pod.key for pod in clients), *_own_endpoints(snapshot, service, walkable)[:few]]
        )
    )
    whole = len(services) * sum(len(found) for found in _pods(snapshot).values())
    return _limited(name, questions, whole, sample, (), "pairs of a pod and a Service port")


def _own_endpoints(snapshot: Snapshot, service: ProxiedPort, walkable: Collection[str]) -> list[str]:
    """Return pods that serve the Service: calling themselves through it is a way of its own (hairpin)."""
    slices = snapshot.kube.endpoint_slices
    return [
        endpoint.target
        for held in (slices.value if isinstance(slices, Known) else ())
        if (held.namespace, held.service) == (service.service.namespace, service.service.name)
        for endpoint in held.endpoints
        if endpoint.ready and endpoint.target in walkable and endpoint.target is not None
    ]


def _outside_to_service(snapshot: Snapshot, sample: int | None) -> Expanded:
    name = "outside-to-service"
    if not any(netns.role == "outside" for netns in snapshot.namespaces.values()):
        return Expanded(left_out=(f"{name}: nobody outside the nodes is known here to ask it of",))
    nodes = _members(snapshot)
    texts: list[str] = []
    for service in _services(snapshot):
        own = f"{service.port.port}/{service.proto}"
        if service.port.node_port:
            texts += [f"node/{node}:{service.port.node_port}/{service.proto}" for node in nodes]
        for address in service.service.load_balancer_ips:
            inside = f"[{address}]" if family_of(address) == 6 else address
            texts.append(f"ip/{inside}:{own}")
    questions = (Asked(name=name, kind=name, source="internet", target=text) for text in texts)
    if not texts:
        return Expanded(left_out=(f"{name}: no Service here has a node port or a load balancer",))
    return _limited(name, questions, len(texts), sample, (), "node ports and load balancer addresses")


_BY_NAME: dict[str, Callable[[Snapshot, int | None], Expanded]] = {
    "pod-to-pod": _pod_to_pod,
    "node-to-pod": _node_to_pod,
    "container-to-container": _containers,
    "pod-to-service": _pod_to_service,
    "outside-to-service": _outside_to_service,
}


# --- a pod sees itself as others see it ------------------------------------------------


def sees_itself(snapshot: Snapshot) -> tuple[Checked, ...] | Needs:
    """
    Compare each pod's own addresses with those that its object tells the others.

    All pods that were read: this takes no walk.
    """
    name = "pod-sees-itself"
    if _is(snapshot, _PODS, MissingKind.NOT_READ):
        return Needs((_PODS,))
    pods = [pod for found in _pods(snapshot).values() for pod in found]
    keys = [SectionKey(pod.netns or "", "addresses") for pod in pods]
    unread = tuple(key for key in keys if _is(snapshot, key, MissingKind.NOT_READ))
    if unread:
        return Needs(unread)
    return tuple(_seen(snapshot, name, pod) for pod in pods)


def _seen(snapshot: Snapshot, name: str, pod: Pod) -> Checked:
    section = snapshot.section(SectionKey(pod.netns or "", "addresses"))
    status, reason = Status.PASSED, ""
    if not isinstance(section, Known):
        status = Status.INCONCLUSIVE
        reason = f"the pod's addresses could not be read: {section.reason or section.kind}"
    else:
        own = {one.address for one in addresses_in(snapshot, pod.netns or "")}
        absent = [ip for ip in pod.ips if ip not in own]
        if absent:
            shown = ", ".join(sorted(own)) or "none"
            status = Status.FAILED
            reason = f"others know it as {', '.join(absent)}; its own addresses are {shown}"
    return Checked(
        name=name,
        kind=name,
        source=f"pod/{pod.key}",
        target="",
        expected=f"has {', '.join(pod.ips)}",
        status=status,
        reason=reason,
    )
