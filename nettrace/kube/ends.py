"""
Who a target text means: the object, the namespace and the addresses, found in a snapshot by name.

Lives here: finding pods, Services, nodes, containers, namespaces and addresses.
Not here: the grammar of the text (nettrace.parse.target), ports and the flow between two of
them (nettrace.kube.resolve), reading what is missing (nettrace.app): a section that was not
read yet is raised as Wanted.
"""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeAlias

from nettrace.kube.inside import SEVERAL, container_netns, told_pods
from nettrace.kube.service_names import aliased, headless_ends
from nettrace.model.addr import ANY4, canonical_address, is_address, is_loopback
from nettrace.model.errors import UserError
from nettrace.model.flow import ObjectRef
from nettrace.model.kube import Pod, Service
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.parse.target import Target

__all__ = ["End", "Wanted", "arriving_end", "find_end", "known", "refuse", "sources_of"]


class Wanted(Exception):
    """Sections that have to be read before the answer is known."""

    def __init__(self, *keys: SectionKey) -> None:
        super().__init__()
        self.keys = keys


class End:
    """
    What a target text came to: an object, a namespace, addresses.

    ``netns`` is None for what sends nothing itself (a Service, a foreign address); ``device``
    is set for a packet that arrives there from outside.
    """

    def __init__(
        self, ref: ObjectRef, netns: str | None, addresses: tuple[str, ...], device: str | None = None
    ) -> None:
        self.ref = ref
        self.netns = netns
        self.addresses = addresses
        self.device = device
        self.service: Service | None = None
        self.pod: Pod | None = None


def arriving_end(snapshot: Snapshot, source: Target, at: str) -> End:
    """Return the source of a packet that arrives at a device."""
    netns, _, device = at.rpartition("/")
    if netns not in snapshot.namespaces:
        refuse(f"{at!r} names no device", "write NETNS/DEVICE, with a name of `show namespaces`", where=at)
    links = known(snapshot, SectionKey(netns, "links")) or ()
    if device not in {link.name for link in links}:
        refuse(f"{netns} has no device {device!r}", "nettrace show links", where=at)
    if not is_address(source.name):
        refuse(
            f"{source.text!r} is not an address", "what arrives has one: ip/203.0.113.9", where=source.text
        )
    address = canonical_address(source.name)
    return End(ObjectRef(kind="ip", name=address), netns, (address,), device)


Finder: TypeAlias = Callable[[Snapshot, Target], End]


def find_end(snapshot: Snapshot, target: Target, *, as_source: bool) -> End:
    """
    Return what *target* means; a Service is no source, so a bare name is not taken for one there.

    Raises UserError for a name that is not there and for one that means several things, Wanted
    for sections that have to be read first.
    """
    finders = {
        "pod": _pod,
        "svc": _service,
        "node": _node,
        "ip": _ip,
        "ep": _ip,
        "netns": _netns,
        "container": _container,
        "internet": _internet,
        "host": _host,
    }
    if target.kind is None:
        return _guess(snapshot, target, as_source=as_source)
    finder = finders.get(target.kind)
    if finder is None:
        refuse(f"{target.kind} targets are not walked yet", f"one of {', '.join(finders)}", where=target.text)
    return finder(snapshot, target)


def _guess(snapshot: Snapshot, target: Target, *, as_source: bool) -> End:
    """Resolve a target without a kind: an address, or whatever bears that name."""
    if is_address(target.name):
        return _ip(snapshot, target)
    if target.name == "internet" and target.namespace is None:
        return _internet(snapshot, target)
    found = _named(snapshot, target, (_pod, _node, _netns) if as_source else (_pod, _service, _node, _netns))
    if not found:
        # Containers often bear the names of what they belong to, so they come last.
        found = _named(snapshot, target, (_container,))
    if len(found) == 1:
        return found[0]
    if not found:
        refuse(f"nothing here is called {target.text!r}", sources_of(snapshot), where=target.text)
    refuse(
        f"{target.text!r} means several things",
        "write one of " + ", ".join(str(end.ref) for end in found),
        where=target.text,
    )


def _named(snapshot: Snapshot, target: Target, finders: Iterable[Finder]) -> list[End]:
    """Return what the finders find, each namespace once; UserError for a name of several namespaces."""
    found: list[End] = []
    for finder in finders:
        try:
            end = finder(snapshot, target)
        except UserError as error:
            if error.hint.startswith(SEVERAL):
                raise
            continue
        if all(end.netns is None or end.netns != other.netns for other in found):
            found.append(end)
    return found


def _pod(snapshot: Snapshot, target: Target) -> End:
    pods = known(snapshot, SectionKey("", "kube/pods")) or ()
    named = [p for p in pods if p.name == target.name and target.namespace in (None, p.namespace)]
    pod = _only(named or told_pods(snapshot, target), "pod", target)
    netns = _pod_netns(snapshot, pod)
    end = End(ObjectRef(kind="pod", name=pod.name, namespace=pod.namespace), netns, tuple(pod.ips))
    end.pod = pod
    if not end.addresses and netns is not None:
        end.addresses = _global_addresses(snapshot, netns)
    return end


def _pod_netns(snapshot: Snapshot, pod: Pod) -> str | None:
    if pod.netns is not None:
        return pod.netns
    if pod.host_network and pod.node_name in snapshot.nodes:
        return snapshot.nodes[pod.node_name].netns
    return next((n for n in snapshot.namespaces if set(pod.ips) & set(_read_addresses(snapshot, n))), None)


def _service(snapshot: Snapshot, target: Target) -> End:
    services = known(snapshot, SectionKey("", "kube/services"))
    if services is None:
        refuse(
            "no Kubernetes objects are known, so Services have no names here",
            "give --manifests DIR, or the Service's address: ip/ADDRESS:PORT",
            where=target.text,
        )
    named = [s for s in services if s.name == target.name and target.namespace in (None, s.namespace)]
    asked = _only(named, "Service", target)
    service = aliased(asked, services)
    addresses = service.cluster_ips
    if service.headless:
        slices = known(snapshot, SectionKey("", "kube/endpoint_slices")) or ()
        addresses = headless_ends(service, None, slices)[0]
    elif not addresses:
        refuse(
            f"Service {service.key} has no cluster IP",
            f"its name is {service.external_name}" if service.external_name else "give an address",
            where=target.text,
        )
    end = End(ObjectRef(kind="svc", name=asked.name, namespace=asked.namespace), None, addresses)
    end.service = service
    return end


def _node(snapshot: Snapshot, target: Target) -> End:
    node = snapshot.nodes.get(target.name) if target.namespace is None else None
    kube_nodes = known(snapshot, SectionKey("", "kube/nodes")) or ()
    addresses = next((n.internal_ips for n in kube_nodes if n.name == target.name), ())
    if node is None and not addresses:
        refuse(f"there is no node {target.name!r}", _known_list("nodes", snapshot.nodes), where=target.text)
    netns = node.netns if node else None
    if not addresses and netns is not None:
        addresses = _uplink_addresses(snapshot, netns)
    return End(ObjectRef(kind="node", name=target.name), netns, tuple(addresses))


def _netns(snapshot: Snapshot, target: Target) -> End:
    netns = snapshot.namespaces.get(target.name) if target.namespace is None else None
    if netns is None:
        refuse(
            f"there is no namespace {target.text!r}",
            _known_list("namespaces", snapshot.namespaces),
            where=target.text,
        )
    ref = ObjectRef(kind="netns", name=netns.name)
    return End(ref, netns.name, _global_addresses(snapshot, netns.name))


def _container(snapshot: Snapshot, target: Target) -> End:
    pods: tuple[Pod, ...] = known(snapshot, SectionKey("", "kube/pods")) or ()
    inside = [
        p
        for p in pods
        if any(c.name == target.name for c in p.containers)
        and target.namespace in (None, p.namespace, p.name)
    ]
    if inside:
        if len(inside) > 1:
            places = ", ".join(f"container/{p.name}/{target.name}" for p in inside)
            refuse(
                f"container {target.name!r} is ambiguous",
                f"{SEVERAL} pods: write one of {places}",
                where=target.text,
            )
        pod = inside[0]
        ref = ObjectRef(kind="container", name=target.name, namespace=pod.namespace)
        end = End(ref, _pod_netns(snapshot, pod), tuple(pod.ips))
        end.pod = pod
        return end
    netns = container_netns(snapshot, target)
    if netns is None or netns.role not in ("container", "pod"):
        names = [
            n.name for n in snapshot.namespaces.values() if n.role == "container" and not n.container_names
        ]
        names += [name for n in snapshot.namespaces.values() for name in n.container_names]
        refuse(f"there is no container {target.text!r}", _known_list("containers", names), where=target.text)
    ref = ObjectRef(kind="container", name=target.name)
    return End(ref, netns.name, _global_addresses(snapshot, netns.name))


def _internet(snapshot: Snapshot, target: Target) -> End:
    outside = [n for n in snapshot.namespaces.values() if n.role == "outside"]
    ref = ObjectRef(kind="internet", name="internet")
    if outside:
        netns = next((n for n in outside if n.name == "internet"), outside[0])
        return End(ref, netns.name, _global_addresses(snapshot, netns.name))
    refuse(
        "nobody outside the nodes is known here",
        "name a namespace, or an address: ip/ADDRESS",
        where=target.text,
    )


def _host(snapshot: Snapshot, target: Target) -> End:
    if is_address(target.name):
        return _ip(snapshot, target)
    for finder in (_node, _netns, _container):
        try:
            return finder(snapshot, target)
        except UserError:
            continue
    refuse(
        f"{target.name!r} is not the name of a host in this snapshot",
        "names of other hosts are not looked up: give the address, ip/ADDRESS:PORT",
        where=target.text,
    )


def _ip(snapshot: Snapshot, target: Target) -> End:
    if not is_address(target.name):
        refuse(
            f"{target.name!r} is not an address", "write ip/10.0.0.1:80, ip/[fd00::1]:80", where=target.text
        )
    address = canonical_address(target.name)
    ref = ObjectRef(kind="ip", name=address)
    if is_loopback(address):
        return End(ref, None, (address,))
    owner = next((n for n in snapshot.namespaces if address in _read_addresses(snapshot, n)), None)
    return End(ref, owner, (address,))


# --- looking into the snapshot ---------------------------------------------------------


def known(snapshot: Snapshot, key: SectionKey) -> Any:
    """Return the section's value; None if it cannot be had; Wanted if nobody tried yet."""
    section = snapshot.section(key)
    if isinstance(section, Known):
        return section.value
    if isinstance(section, Missing) and section.kind is MissingKind.NOT_READ:
        raise Wanted(key)
    return None


def _read_addresses(snapshot: Snapshot, netns: str) -> tuple[str, ...]:
    """Return the addresses of a namespace; asks for those of all namespaces at once."""
    section = snapshot.namespaces[netns].addresses
    if isinstance(section, Missing) and section.kind is MissingKind.NOT_READ:
        unread = [
            SectionKey(n.name, "addresses")
            for n in snapshot.namespaces.values()
            if isinstance(n.addresses, Missing) and n.addresses.kind is MissingKind.NOT_READ
        ]
        raise Wanted(*unread)
    return tuple(a.address for a in section.value) if isinstance(section, Known) else ()


def _global_addresses(snapshot: Snapshot, netns: str) -> tuple[str, ...]:
    addresses = known(snapshot, SectionKey(netns, "addresses")) or ()
    usable = [a for a in addresses if a.scope == "global" and not is_loopback(a.address)]
    return tuple(a.address for a in usable)


def _uplink_addresses(snapshot: Snapshot, netns: str) -> tuple[str, ...]:
    """Return the node's addresses, those of the device of the default route first."""
    addresses = known(snapshot, SectionKey(netns, "addresses")) or ()
    routes = known(snapshot, SectionKey(netns, "routes")) or ()
    links = known(snapshot, SectionKey(netns, "links")) or ()
    uplinks = {hop.device for r in routes if r.dst == ANY4 for hop in r.nexthops}
    bridges = {link.name for link in links if link.kind in ("bridge", "vxlan", "tun", "ipip")}

    def rank(device: str) -> int:
        return 0 if device in uplinks else 2 if device in bridges else 1

    usable = [a for a in addresses if a.scope == "global" and not is_loopback(a.address)]
    return tuple(a.address for a in sorted(usable, key=lambda a: rank(a.device)))


# --- words -----------------------------------------------------------------------------


def _only(found: list[Any], kind: str, target: Target) -> Any:
    """Return the one object of that name; UserError for none and for several."""
    if len(found) == 1:
        return found[0]
    if not found:
        inside = f" in namespace {target.namespace}" if target.namespace else ""
        refuse(
            f"there is no {kind} {target.name!r}{inside}",
            "nettrace show services|namespaces",
            where=target.text,
        )
    places = ", ".join(sorted(f"{o.namespace}/{target.name}" for o in found))
    refuse(
        f"{kind} {target.name!r} is ambiguous",
        f"{SEVERAL} namespaces: write one of {places}",
        where=target.text,
    )


def _known_list(what: str, names: Iterable[str]) -> str:
    listed = sorted(names)
    if not listed:
        return f"no {what} are known here"
    shown = ", ".join(listed[:12])
    return f"known {what}: {shown}" + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")


def sources_of(snapshot: Snapshot) -> str:
    """Return a hint that lists what can send: the namespaces."""
    return _known_list("namespaces", snapshot.namespaces)


def refuse(what: str, hint: str, *, where: str = "") -> NoReturn:
    """Raise the UserError that says *what* is wrong with the target *where*, and what to write."""
    raise UserError(what, where=where, hint=hint)
