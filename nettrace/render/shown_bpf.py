"""
What ``nettrace show programs`` and ``show services`` list of BPF.

Lives here: the items.  Not here: their columns (bpf_text), what maps mean (plugins).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from nettrace.model.bpf import BpfMap
from nettrace.model.kube import EndpointSlice, Service, ServicePort
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.service_table import MapWords, ServiceEntry, ServiceTable
from nettrace.model.snapshot import Snapshot
from nettrace.render.contract_state import MissingView, ShowDocument, ShownFrontend, ShownMap, ShownProgram

__all__ = ["frontends", "programs_document"]


def programs_document(
    snapshot: Snapshot, words: Mapping[str, Sequence[MapWords]], context: str = ""
) -> ShowDocument:
    """
    List the programs on devices and cgroups of all namespaces, and the maps of all nodes.

    *words* are, by node, the maps that plugins can read.
    """
    missing: list[MissingView] = []
    items: list[ShownProgram | ShownMap] = []
    for netns in snapshot.namespaces.values():
        for name in ("links", "socket_programs"):
            section = getattr(netns, name)
            if isinstance(section, Missing):
                missing.append(_missing(netns.name, name, section))
        links = netns.links.value if isinstance(netns.links, Known) else ()
        items += [
            ShownProgram(netns=netns.name, device=link.name, program=one)
            for link in links
            for one in link.bpf
        ]
        sockets = netns.socket_programs.value if isinstance(netns.socket_programs, Known) else ()
        items += [ShownProgram(netns=netns.name, device="", program=one) for one in sockets]
    for node in snapshot.nodes.values():
        if isinstance(node.bpf, Missing):
            missing.append(_missing(f"node:{node.name}", "bpf", node.bpf))
            continue
        told = {one.id: one for one in words.get(node.name, ())}
        for one in node.bpf.value.maps:
            users = [p for p in node.bpf.value.programs if any(ref.id == one.id for ref in p.maps)]
            by_id = {p.id: p.name or "BPF" for p in reversed(users)}  # one program hangs in several places
            names = tuple(f"{name} (id {ident})" for ident, name in sorted(by_id.items()))
            items.append(
                ShownMap(node=node.name, map=_without_bytes(one), programs=names, words=told.get(one.id))
            )
    return ShowDocument(what="programs", context=context, items=tuple(items), missing=tuple(missing))


def _missing(netns: str, name: str, section: Missing) -> MissingView:
    return MissingView(netns=netns, section=name, reason=section.reason or section.kind.value)


def _without_bytes(one: BpfMap) -> BpfMap:
    """Leave out the entries: they are in a snapshot, and here in words."""
    return BpfMap(
        id=one.id,
        name=one.name,
        type=one.type,
        key_size=one.key_size,
        value_size=one.value_size,
        max_entries=one.max_entries,
        pinned=one.pinned,
    )


def frontends(
    snapshot: Snapshot, tables: Iterable[ServiceTable]
) -> tuple[list[ShownFrontend], list[MissingView]]:
    """Return the entries of Service tables beside the Services they are of, and what could not be told."""
    items: list[ShownFrontend] = []
    missing = [
        _missing(f"node:{node.name}", "bpf", node.bpf)
        for node in snapshot.nodes.values()
        if isinstance(node.bpf, Missing) and node.bpf.kind is MissingKind.DENIED
    ]
    for table in tables:
        for entry in table.entries:
            found = _found(snapshot, entry)
            lacks, beyond = _compared(snapshot, entry, found) if found is not None else (None, None)
            items.append(
                ShownFrontend(
                    node=table.node,
                    system=table.system,
                    entry=entry,
                    service=found.key if found is not None else "",
                    lacks=lacks,
                    beyond=beyond,
                )
            )
        missing += [
            MissingView(netns=f"node:{table.node}", section=f"bpf/{table.system}", reason=why)
            for why in table.unknown
        ]
    return items, missing


def _found(snapshot: Snapshot, entry: ServiceEntry) -> Service | None:
    """Return the Service one of whose addresses and ports it is."""
    services = snapshot.kube.services.value if isinstance(snapshot.kube.services, Known) else ()
    for service in services:
        addresses = (*service.cluster_ips, *service.external_ips, *service.load_balancer_ips)
        if entry.kind != "NodePort" and entry.address not in addresses:
            continue
        if any(_is_at(port, entry) for port in service.ports):
            return service
    return None


def _is_at(port: ServicePort, entry: ServiceEntry) -> bool:
    number = port.node_port if entry.kind == "NodePort" else port.port
    return number == entry.port and entry.proto in ("", port.protocol.lower())


def _compared(
    snapshot: Snapshot, entry: ServiceEntry, service: Service
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the ready endpoints that the entry has not, and its active backends that are none."""
    section = snapshot.kube.endpoint_slices
    if not isinstance(section, Known):
        return None, None
    names = {port.name for port in service.ports if _is_at(port, entry)}
    wanted = {text for piece in section.value if _is_of(piece, service) for text in _ready(piece, names)}
    family = {text for text in wanted if (":" in entry.address) == text.startswith("[")}
    there = {_end(one.address, one.port) for one in entry.backends if one.state == "active"}
    local = any("of this node only" in note for note in entry.notes)
    return () if local else tuple(sorted(family - there)), tuple(sorted(there - wanted))


def _is_of(piece: EndpointSlice, service: Service) -> bool:
    return (piece.namespace, piece.service) == (service.namespace, service.name)


def _ready(piece: EndpointSlice, names: set[str]) -> Iterator[str]:
    for port in piece.ports:
        if port.name in names and port.port is not None:
            for endpoint in piece.endpoints:
                if endpoint.ready:
                    yield from (_end(address, port.port) for address in endpoint.addresses)


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
