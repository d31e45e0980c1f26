"""
The health of nodes: what owners owe them and is not there, whether or not a packet was lost on it.

Lives here: which sections that takes, and findings from differences without a flow.
Not here: the comparison (nettrace.diagnose.difference), who owes what (nettrace.kube, plugins).
"""

from collections.abc import Iterable, Mapping, Sequence

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference, differences
from nettrace.diagnose.goal import Goal
from nettrace.diagnose.look import subject_of, where
from nettrace.diagnose.making import changes_of, evidence_of
from nettrace.model.check import Checked, Status
from nettrace.model.finding import Finding, Repair, Safety, Severity
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.owed import (
    Owed,
    OwedAddress,
    OwedChain,
    OwedFdb,
    OwedJump,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
    OwedSysctl,
    OwedVirtualServer,
)
from nettrace.model.packet import Packet
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Needs, Outcome, Walk
from nettrace.model.xt import BACKENDS

__all__ = ["compared_services", "node_health"]

_NAME = "node-health"

#: The cause that is said where no other has a name for a difference.
_UNNAMED = "owed-state-missing"

#: Chains of Services that are compared without being asked for all of them.
_CHAINS = 4000

_SECTIONS: dict[type, str] = {
    OwedAddress: "addresses",
    OwedVirtualServer: "ipvs",
    OwedFdb: "fdb",
    OwedLink: "links",
    OwedNeighbour: "neighbours",
    OwedRoute: "routes",
    OwedSysctl: "sysctls",
}


def compared_services(owed: Sequence[Owed], *, everything: bool) -> tuple[frozenset[str] | None, str]:
    """
    Return the Services whose rules are compared, None for all, and a sentence about the others.

    Tens of thousands of chains are minutes of work; what serves no single Service always is compared.
    """
    chains = [item for item in owed if isinstance(item, OwedChain)]
    subjects = list(dict.fromkeys(i.subject for i in chains if i.subject.startswith("svc/")))
    if everything or len(chains) <= _CHAINS:
        return None, ""
    kept = max(1, len(subjects) * _CHAINS // len(chains))
    step = max(1, len(subjects) // kept)
    chosen = frozenset(subjects[::step])
    return chosen, f"{_NAME}: the rules of {len(chosen)} of {len(subjects)} Services were compared"


def node_health(
    snapshot: Snapshot,
    owed: Sequence[Owed],
    causes: Sequence[Cause],
    subjects: frozenset[str] | None = None,
) -> tuple[Checked, ...] | Needs:
    """
    Hold every node against what is owed to it: one check a node.

    Needs the sections that hold what is owed.  *subjects* as from compared_services().
    """
    wanted = [item for item in owed if subjects is None or _is_wanted(item, subjects)]
    keys = _keys(snapshot, wanted)
    unread = tuple(key for key in keys if _kind(snapshot, key) is MissingKind.NOT_READ)
    if unread:
        return Needs(unread)
    found = differences(snapshot, owed, subjects=subjects)
    return tuple(
        _node(snapshot, node, wanted, [d for d in found if d.owed.netns == node.netns], causes, keys)
        for node in snapshot.nodes.values()
    )


def _is_wanted(item: Owed, subjects: frozenset[str]) -> bool:
    return not item.subject.startswith("svc/") or item.subject in subjects


def _kind(snapshot: Snapshot, key: SectionKey) -> MissingKind | None:
    section = snapshot.section(key)
    return section.kind if isinstance(section, Missing) else None


def _keys(snapshot: Snapshot, owed: Iterable[Owed]) -> tuple[SectionKey, ...]:
    """Return the sections that hold what is owed, as far as they are known to exist."""
    found: dict[SectionKey, None] = {}
    for item in owed:
        if not isinstance(item, OwedChain | OwedJump | OwedRule):
            found[SectionKey(item.netns, _SECTIONS[type(item)])] = None
            continue
        for backend in BACKENDS:
            path = f"xt/{backend}"
            for part in ("", f"/{item.table}", f"/{item.chain}"):
                path += part
                key = SectionKey(item.netns, path)
                section = snapshot.section(key)
                if isinstance(section, Known) and section.value is None:
                    break
                found[key] = None
                if isinstance(section, Missing):
                    break
    return tuple(found)


def _node(
    snapshot: Snapshot,
    node: NodeState,
    owed: Sequence[Owed],
    found: Sequence[Difference],
    causes: Sequence[Cause],
    keys: Iterable[SectionKey],
) -> Checked:
    own = [item for item in owed if item.netns == node.netns]
    owners = sorted({item.owner for item in own})
    findings = _findings(snapshot, own, found, causes)
    missing = [
        f"{key}: {section.reason or section.kind}"
        for key in keys
        if key.netns == node.netns and isinstance(section := snapshot.section(key), Missing)
    ]
    missing += _objects_missing(snapshot)
    status, reason = Status.PASSED, ""
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        status, reason = Status.INCONCLUSIVE, f"could not be read: {'; '.join(missing[:3])}{more}"
    if findings:
        status, reason = Status.FAILED, f"{len(found)} of {len(own)} owed things are not there"
    expected = f"what {', '.join(owners)} owe it" if owners else "nothing that is known is owed to it"
    return Checked(
        name=_NAME,
        kind=_NAME,
        source=f"node/{node.name}",
        target="",
        expected=expected,
        status=status,
        reason=reason,
        findings=findings,
        notes=tuple(f"not read: {words}" for words in missing) if findings else (),
    )


def _objects_missing(snapshot: Snapshot) -> list[str]:
    """Return the objects without which it is not known what is owed; none where none were given."""
    sections = {name: getattr(snapshot.kube, name) for name in ("services", "endpoint_slices", "nodes")}
    absent = [(n, s) for n, s in sections.items() if isinstance(s, Missing)]
    if len(absent) == len(sections) and all(s.kind is MissingKind.UNSUPPORTED for _, s in absent):
        return []
    return [f"kube/{name}: {section.reason or section.kind}" for name, section in absent]


# --- findings --------------------------------------------------------------------------


def _findings(
    snapshot: Snapshot, owed: Sequence[Owed], found: Sequence[Difference], causes: Sequence[Cause]
) -> tuple[Finding, ...]:
    """Group differences under the causes that name them; what none names is said as it is."""
    if not found:
        return ()
    context = Context(
        snapshot=snapshot,
        walk=_NO_WALK,
        goal=Goal(because="what is owed is there"),
        owed=tuple(owed),
        differences=tuple(found),
    )
    by_id = {cause.id: cause for cause in causes}
    named = [c for cause in causes if cause.id != _UNNAMED for c in cause.candidates(context) if c.from_owner]
    named.sort(key=lambda candidate: -len(candidate.changes))
    left = list(found)
    made: list[Finding] = []
    for candidate in named:
        own = [d for d in left if _claims(candidate, d)]
        if own:
            left = [d for d in left if not _claims(candidate, d)]
            made.append(_finding(snapshot, candidate.cause, own, by_id, candidate))
    groups: dict[str, list[Difference]] = {}
    for difference in left:
        groups.setdefault(difference.owed.owner, []).append(difference)
    made.extend(_finding(snapshot, _UNNAMED, group, by_id, None) for group in groups.values())
    return tuple(made)


def _claims(candidate: Candidate, difference: Difference) -> bool:
    changes = difference.restored.changes
    here = difference.owed.netns == candidate.netns
    return here and bool(changes) and all(change in candidate.changes for change in changes)


def _finding(
    snapshot: Snapshot,
    cause: str,
    found: Sequence[Difference],
    causes: Mapping[str, Cause],
    candidate: Candidate | None,
) -> Finding:
    first = found[0]
    place = where(snapshot, first.owed.netns)
    owner = first.owed.owner
    about = f" ({first.about})" if first.about else ""
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    verb = "lacks" if first.restored.absent else "has otherwise"
    changes = changes_of(found)
    repair = Repair(
        id=candidate.id if candidate is not None else f"{cause}@{first.owed.netns}:{owner}",
        changes=changes,
        safety=candidate.safety if candidate is not None else Safety.KICK,
        owner=owner,
        overwritten=candidate.overwritten
        if candidate is not None
        else f"{owner} writes the same when it next syncs or starts",
        lasting=candidate.lasting if candidate is not None else f"restart {owner}, and find what removes it",
    )
    return Finding(
        cause=cause,
        severity=causes[cause].severity if cause in causes else Severity.ERROR,
        message=f"{place} {verb} what {owner} has to have put there: {first.restored.owed}{about}{more}",
        subject=first.subject or subject_of(snapshot, first.owed.netns),
        where=place,
        evidence=evidence_of(found),
        repairs=(repair,) if changes else (),
    )


#: Causes look at a walk; here there is none, so that only those speak that need no failing step.
_NO_WALK = Walk(
    flow=Flow(
        origin=Origin(netns=""),
        packet=Packet(src="", dst="0.0.0.0", proto="tcp"),
        source=ObjectRef(kind="netns", name=""),
        target=ObjectRef(kind="netns", name=""),
    ),
    paths=(),
    verdict=Verdict.UNKNOWN,
    outcome=Outcome.UNKNOWN,
)
