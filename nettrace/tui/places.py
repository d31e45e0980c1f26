"""
Where one is: nodes, pods and Services as a tree, and how they are wired.

Lives here: lines over a snapshot, with the marks that the walk gives.  A mark is only made of
what was read or walked.  Not here: the widget.
"""

from collections.abc import Collection
from typing import NamedTuple, TypeVar

from nettrace.model.links import Link
from nettrace.model.section import Known, Section
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.render.contract import WalkDocument
from nettrace.render.contract_walk import PathView
from nettrace.render.culprit import culprit
from nettrace.render.page import Look, Span, Style, line
from nettrace.tui.entries import Entry, Listed

__all__ = ["End", "Lit", "lit_by", "tree", "wiring"]

T = TypeVar("T")


class End(NamedTuple):
    """What a line of the tree stands for: the target text, and what it is called."""

    target: str
    name: str


class Lit(NamedTuple):
    """What the walk went through: devices as (namespace, device), and where it went wrong."""

    devices: frozenset[tuple[str, str]] = frozenset()
    ended: str | None = None  # the namespace in which it ended without arriving
    fault: str | None = None  # the namespace in which the first finding's repair takes hold


def lit_by(document: WalkDocument | None, path: PathView | None) -> Lit:
    """Return what one branch lights up."""
    if document is None or path is None:
        return Lit()
    legs = [path.request, path.reply, *path.legs]
    steps = [step for leg in legs if leg is not None for step in leg.steps]
    failed = [leg for leg in legs if leg is not None and leg.kind == path.failed and leg.steps]
    found = culprit(path, document.findings)
    return Lit(
        devices=frozenset((step.netns, step.device or "") for step in steps),
        ended=failed[0].steps[-1].netns if failed else None,
        fault=found.netns if found is not None else None,
    )


def tree(snapshot: Snapshot, lit: Lit, folded: Collection[str], look: Look) -> Listed:
    """Return nodes with what is on them, then Services, then whoever is outside."""
    entries: list[Entry] = []
    pods = {pod.netns: pod for pod in _known(snapshot.kube.pods) if pod.netns}
    of_node: dict[str, list[Netns]] = {}
    for netns in snapshot.namespaces.values():
        of_node.setdefault(netns.node, []).append(netns)
    own = {node.netns: node.name for node in snapshot.nodes.values()}
    for name in snapshot.nodes:
        inside = [netns for netns in of_node.get(name, ()) if netns.name not in own]
        entries.append(_node(name, snapshot, lit, look, shut=name in folded))
        if name in folded:
            continue
        for netns in inside:
            pod = pods.get(netns.name)
            end = End(f"pod/{pod.key}", pod.name) if pod else End(f"netns/{netns.name}", netns.name)
            entries.append(_end(end, netns, lit, look, indent="  "))
    services = [service for service in _known(snapshot.kube.services) if service.ports]
    if services:
        shut = "services" in folded
        entries.append(Entry(line(Span(f"{_sign(shut, look)} Services", Style.HEAD)), fold="services"))
        for service in services if not shut else ():
            for port in service.ports:
                proto = f"/{port.protocol.lower()}" if port.protocol != "TCP" else ""
                target = f"svc/{service.key}:{port.port}{proto}"
                name = f"{service.name}:{port.port}{proto}"
                entries.append(Entry(line(f"    {name}"), key=End(target, name)))
    for netns in snapshot.namespaces.values():
        if netns.node in snapshot.nodes or netns.role == "wire":
            continue
        target = "internet" if netns.role == "outside" else f"netns/{netns.name}"
        entries.append(_end(End(target, netns.name), netns, lit, look, indent=""))
    return Listed(entries or [Entry(line("nothing was found"))])


def _node(name: str, snapshot: Snapshot, lit: Lit, look: Look, *, shut: bool) -> Entry:
    netns = snapshot.namespaces.get(snapshot.nodes[name].netns)
    marks = _marks(netns, lit, look) if netns is not None else []
    head = line(Span(f"{_sign(shut, look)} {name}", Style.NAME), *marks)
    return Entry(head, key=End(f"node/{name}", name), fold=name, problem=bool(marks))


def _end(end: End, netns: Netns, lit: Lit, look: Look, *, indent: str) -> Entry:
    marks = _marks(netns, lit, look)
    return Entry(line(f"{indent}  {end.name}", *marks), key=end, problem=bool(marks))


def _marks(netns: Netns, lit: Lit, look: Look) -> list[Span]:
    """Return what is wrong here, as far as it was read or walked."""
    marks: list[Span] = []
    if netns.name == lit.fault:
        marks.append(Span(" !", Style.WARN))
    if netns.name == lit.ended:
        marks.append(Span(f" {look.cross}", Style.BAD))
    if any(not link.up or not link.carrier for link in _links(netns) if link.name != "lo"):
        marks.append(Span(" down", Style.WARN))
    return marks


def _sign(shut: bool, look: Look) -> str:
    if look.ascii:
        return "+" if shut else "-"
    return "\u25b8" if shut else "\u25be"


def _known(section: Section[tuple[T, ...]]) -> tuple[T, ...]:
    return section.value if isinstance(section, Known) else ()


def _links(netns: Netns) -> tuple[Link, ...]:
    return netns.links.value if isinstance(netns.links, Known) else ()


# --- the wiring --------------------------------------------------------------------------


def wiring(snapshot: Snapshot, lit: Lit, look: Look) -> Listed:
    """Return a picture: every namespace that has ports or tunnels, its devices and their other ends."""
    entries: list[Entry] = []
    names = {
        (netns.name, link.index): link.name
        for netns in snapshot.namespaces.values()
        for link in _links(netns)
    }
    for netns in snapshot.namespaces.values():
        if netns.role in ("pod", "container", "outside"):
            continue
        entries.append(Entry(line(Span(netns.name, Style.NAME), *_marks(netns, lit, look)), key=None))
        links = [link for link in _links(netns) if link.name != "lo"]
        for link in (link for link in links if link.master is None):
            entries.append(_device(netns, link, names, lit, look, indent="  "))
            ports = [port for port in links if port.master == link.name]
            for number, port in enumerate(ports):
                corner = ("`-" if look.ascii else "\u2514\u2500") if number + 1 == len(ports) else None
                tee = corner or ("|-" if look.ascii else "\u251c\u2500")
                entries.append(_device(netns, port, names, lit, look, indent=f"  {tee}"))
        if not isinstance(netns.links, Known):
            entries.append(Entry(line(Span("  ? devices not read", Style.UNSURE))))
    return Listed(entries or [Entry(line("nothing was found"))])


def _device(
    netns: Netns, link: Link, names: dict[tuple[str, int], str], lit: Lit, look: Look, *, indent: str
) -> Entry:
    on = (netns.name, link.name) in lit.devices
    arrow = "--" if look.ascii else "\u2500\u2500"
    if on:
        arrow = "==" if look.ascii else "\u2550\u2550"
    text = link.name
    if link.peer is not None and link.peer.netns is not None:
        other = names.get((link.peer.netns, link.peer.ifindex), "?")
        on = on or (link.peer.netns, other) in lit.devices
        text += f" {arrow} {link.peer.netns} {other}"
    elif link.vxlan is not None:
        text += f" {arrow} vxlan {link.vxlan.vni} over {link.vxlan.device or '*'}"
    elif link.kind != "device":
        text += f"  {link.kind}"
    addresses = (
        [a for a in netns.addresses.value if a.device == link.name]
        if isinstance(netns.addresses, Known)
        else []
    )
    more = "  " + " ".join(f"{a.address}/{a.prefixlen}" for a in addresses[:2]) if addresses else ""
    state = "" if link.up and link.carrier else "  down" if not link.up else "  no carrier"
    lamp = "*" if on else " "
    style = Style.CHANGE if on else Style.PLAIN
    return Entry(
        line(
            Span(lamp, style), indent[1:], Span(text, style), Span(more, Style.DIM), Span(state, Style.WARN)
        ),
        problem=bool(state),
    )
