"""
Expectations to single questions: every source against every target and port.

Lives here: groups by label selector, endpoints by name.
Not here: the invariants (invariants.py).
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from nettrace.diagnose.check.asked import Asked, Expanded, with_port
from nettrace.kube.selectors import Labels, selects
from nettrace.model.addr import canonical_address
from nettrace.model.check import Expectation, Group, Side
from nettrace.model.kube import Pod, Service
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Needs
from nettrace.parse.target import parse_target

__all__ = ["OBJECTS", "expand", "is_running"]

#: Groups -> the section that holds them.
OBJECTS = {"pods": "kube/pods", "services": "kube/services", "nodes": "kube/nodes"}


class _Member(Struct, frozen=True):
    """One member of a side: its target text, and the ports that it is asked on if none is given."""

    text: str
    ports: tuple[str, ...] = ()


class _Chosen(Struct, frozen=True):
    """The members of a side, or why there are none."""

    members: tuple[_Member, ...] = ()
    left_out: tuple[str, ...] = ()
    problem: str = ""
    unread: bool = False


def expand(snapshot: Snapshot, expectation: Expectation) -> Expanded | Needs:
    """
    Return the questions of *expectation*; Needs the objects that its selectors choose from.

    A pod is not asked to reach itself in a matrix.  A selector that chooses nothing is a question
    that cannot be asked, not one that is passed.
    """
    groups = [side for side in (*expectation.sources, *expectation.targets) if isinstance(side, Group)]
    unread = {SectionKey("", OBJECTS[group.kind]) for group in groups}
    if expectation.endpoints:
        unread.add(SectionKey("", OBJECTS["pods"]))
    needed = tuple(key for key in sorted(unread) if _unread(snapshot, key))
    if needed:
        return Needs(needed)
    sources = [_members(snapshot, side, as_source=True) for side in expectation.sources]
    targets = [_members(snapshot, side, as_source=False) for side in expectation.targets]
    asked: list[Asked] = []
    for start, from_side in zip(sources, expectation.sources, strict=True):
        for end, to_side in zip(targets, expectation.targets, strict=True):
            asked.extend(_pairs(snapshot, expectation, start, end, from_side, to_side))
    left_out = tuple(
        dict.fromkeys(
            f"{expectation.name}: {words}" for side in (*sources, *targets) for words in side.left_out
        )
    )
    return Expanded(asked=tuple(asked), left_out=left_out)


def _pairs(
    snapshot: Snapshot,
    expectation: Expectation,
    start: _Chosen,
    end: _Chosen,
    from_side: Side,
    to_side: Side,
) -> Iterable[Asked]:
    endpoints, unknown = _endpoints(snapshot, expectation.endpoints)
    for side in (start, end):
        if side.problem or unknown:
            yield _question(
                expectation,
                str(from_side),
                str(to_side),
                problem=side.problem or unknown,
                unread=side.unread,
            )
            return
    groups = isinstance(from_side, Group) and isinstance(to_side, Group)
    pairs = [(a, b) for a in start.members for b in end.members if not (groups and a.text == b.text)]
    if not pairs:
        problem = "the only pod that both sides choose is the same"
        yield _question(expectation, str(from_side), str(to_side), problem=problem)
    for a, b in pairs:
        for port in expectation.ports or b.ports or ("",):
            made = _question(expectation, a.text, with_port(b.text, port))
            yield made if endpoints is None else Asked(**{**_fields(made), "endpoints": endpoints})


def _fields(asked: Asked) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in Asked.__struct_fields__}


def _question(
    expectation: Expectation, source: str, target: str, *, problem: str = "", unread: bool = False
) -> Asked:
    return Asked(
        name=expectation.name,
        kind="expectation",
        source=source,
        target=target,
        expect=expectation.expect,
        kept=expectation.source,
        via=expectation.via,
        line=expectation.line,
        problem=problem,
        unread=unread,
    )


# --- groups ----------------------------------------------------------------------------


def is_running(pod: Pod) -> bool:
    """Is it there to be asked?  A pod that has ended keeps its object for a while."""
    return pod.phase in ("Running", "") and bool(pod.ips)


def _members(snapshot: Snapshot, side: Side, *, as_source: bool) -> _Chosen:
    if not isinstance(side, Group):
        return _Chosen((_Member(side),))
    section = snapshot.section(SectionKey("", OBJECTS[side.kind]))
    if not isinstance(section, Known):
        return _Chosen(
            problem=f"{side.kind} could not be read: {section.reason or section.kind}", unread=True
        )
    chosen = [
        one
        for one in section.value
        if side.namespace in ("", getattr(one, "namespace", ""))
        and selects(side.selector, Labels(known=one.labels)) is True
    ]
    if not chosen:
        return _Chosen(problem=f"no {side.kind} match{_inside(side)}: {_selector_text(side)}")
    if side.kind == "nodes":
        return _usable(
            side, [(f"node/{one.name}", (), one.name in snapshot.nodes) for one in chosen], as_source
        )
    if side.kind == "services":
        return _services(side, chosen, as_source=as_source)
    running = [pod for pod in chosen if is_running(pod)]
    if not running:
        return _Chosen(problem=f"none of the pods that match is running{_inside(side)}")
    texts = [(f"pod/{pod.key}", (), _is_here(snapshot, pod)) for pod in running]
    found = _usable(side, texts, as_source)
    ended = len(chosen) - len(running)
    if ended:
        words = f"{ended} of {len(chosen)} pods that match are not running"
        return _Chosen(found.members, (*found.left_out, words), found.problem, found.unread)
    return found


def _usable(side: Group, texts: Iterable[tuple[str, tuple[str, ...], bool]], as_source: bool) -> _Chosen:
    """Leave out sources of which no state was read; targets may be anywhere."""
    given = list(texts)
    here = [_Member(text, ports) for text, ports, is_here in given if is_here or not as_source]
    away = len(given) - len(here)
    if not here:
        return _Chosen(problem=f"the nodes of all {side.kind} that match were not read", unread=True)
    words = f"{away} of {len(given)} {side.kind} as sources: their nodes were not read"
    return _Chosen(tuple(here), (words,) if away else ())


def _services(side: Group, chosen: list[Service], *, as_source: bool) -> _Chosen:
    if as_source:
        return _Chosen(problem="services send nothing: give pods or nodes as the source")
    walked = [service for service in chosen if service.cluster_ips]
    if not walked:
        return _Chosen(problem=f"none of the services that match has a cluster IP{_inside(side)}")
    members = tuple(
        _Member(f"svc/{s.key}", tuple(f"{p.port}/{p.protocol.lower()}" for p in s.ports)) for s in walked
    )
    without = len(chosen) - len(walked)
    words = f"{without} of {len(chosen)} services: they have no cluster IP"
    return _Chosen(members, (words,) if without else ())


def _is_here(snapshot: Snapshot, pod: Pod) -> bool:
    return pod.netns in snapshot.namespaces or pod.node_name in snapshot.nodes


def _inside(side: Group) -> str:
    return f" in namespace {side.namespace}" if side.namespace else ""


def _selector_text(side: Group) -> str:
    terms = [f"{key}={value}" for key, value in side.selector.match_labels.items()]
    for one in side.selector.match_expressions:
        values = f" ({', '.join(one.values)})" if one.values else ""
        terms.append(f"{one.key} {one.operator}{values}")
    return ", ".join(terms) or "all"


# --- endpoints -------------------------------------------------------------------------


def _endpoints(
    snapshot: Snapshot, texts: Iterable[str]
) -> tuple[frozenset[tuple[str, int | None]] | None, str]:
    """Return the endpoints that the texts name, None for no texts; and what is wrong with them."""
    found: set[tuple[str, int | None]] = set()
    section = snapshot.section(SectionKey("", OBJECTS["pods"]))
    pods: tuple[Pod, ...] = section.value if isinstance(section, Known) else ()
    for text in texts:
        target = parse_target(text)
        port = target.port if isinstance(target.port, int) else None
        if target.kind in ("ip", "ep"):
            found.add((canonical_address(target.name), port))
            continue
        named = [p for p in pods if p.name == target.name and target.namespace in (None, p.namespace)]
        if target.kind not in (None, "pod") or not named:
            return None, f"endpoints: {text!r} is neither an address nor a pod that is known"
        found |= {(address, port) for pod in named for address in pod.ips}
    return (frozenset(found) if found else None), ""


def _unread(snapshot: Snapshot, key: SectionKey) -> bool:
    section = snapshot.section(key)
    return isinstance(section, Missing) and section.kind is MissingKind.NOT_READ
