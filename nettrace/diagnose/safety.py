"""
Safety: does a repair hurt anybody else?

Lives here: walking the owed flows before and after, and saying what got worse.
Not here: which flows (safety_flows.py).
"""

from collections.abc import Sequence

from nettrace.diagnose.difference_xt import is_owed
from nettrace.diagnose.goal import original_source
from nettrace.diagnose.policies import ends_of, path_verdict
from nettrace.diagnose.safety_flows import safety_flows
from nettrace.model.flow import Flow
from nettrace.model.owed import Owed
from nettrace.model.policy_verdict import Decision
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Step, Verdict
from nettrace.model.walk import Needs, Outcome, Path, Walk
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Conntrack, Rpfilter, State
from nettrace.walk.walker import walk

__all__ = ["SafetySet", "worse"]

#: Verdicts that rules give on purpose.
_DENIALS = (Verdict.DROPPED_BY_RULE, Verdict.REJECTED, Verdict.DENIED)


class SafetySet:
    """The owed flows of one diagnosis, walked on the state as it is once and on each repair."""

    def __init__(self, snapshot: Snapshot, walked: Walk, owed: Sequence[Owed], limit: int) -> None:
        self.snapshot = snapshot
        self.walked = walked
        self.owed = owed
        self.limit = limit
        self._before: tuple[Walk, ...] | None = None

    @property
    def size(self) -> int:
        """How many flows were walked."""
        return len(self._before or ())

    def refusal(self, repaired: Snapshot) -> str | Needs:
        """Return why a repair is refused, "" if nobody is worse off; all Needs of the set at once."""
        before = self._base()
        if isinstance(before, Needs):
            return before
        after = _walks(repaired, [w.flow for w in before])
        if isinstance(after, Needs):
            return after
        for old, new in zip(before, after, strict=True):
            reason = worse(self.snapshot, old, new, own=self.walked, owed=self.owed)
            if reason:
                return f"{old.flow.source} -> {old.flow.target}: {reason}"
        return ""

    def _base(self) -> tuple[Walk, ...] | Needs:
        if self._before is None:
            flows = safety_flows(self.snapshot, self.walked, self.owed, self.limit)
            if isinstance(flows, Needs):
                return flows
            walked = _walks(self.snapshot, flows)
            if isinstance(walked, Needs):
                return walked
            self._before = walked
        return self._before


def _walks(snapshot: Snapshot, flows: Sequence[Flow]) -> tuple[Walk, ...] | Needs:
    found: list[Walk] = []
    needed: dict[SectionKey, None] = {}
    for flow in flows:
        walked = walk(snapshot, flow)
        if isinstance(walked, Needs):
            needed |= dict.fromkeys(walked.keys)
        else:
            found.append(walked)
    return Needs(tuple(needed)) if needed else tuple(found)


def worse(
    snapshot: Snapshot, before: Walk, after: Walk, *, own: Walk | None = None, owed: Sequence[Owed] = ()
) -> str:
    """
    Say in what *after* is worse than *before*, "" if in nothing.

    Worse is: connecting less often (what cannot be told any more counts as not), losing an
    endpoint, a pod seeing another source than the pod that called it, and getting through where a
    rule of *snapshot* or a network policy denies it.  What comes to the same as the flow *own* that is
    to be mended, from the same sender by another address, may get through like that one.
    """
    old, new = _connected(before), _connected(after)
    was, now = _share(old), _share(new)
    if now < was - 1e-9:
        return f"connected in {now:.0%} instead of {was:.0%}"
    lost = _ends(old) - _ends(new)
    if lost:
        return f"no longer reaches {', '.join(sorted(lost))}"
    kept = {end for end, is_kept in _sources(snapshot, old) if is_kept}
    changed = {end for end, is_kept in _sources(snapshot, new) if not is_kept}
    if kept & changed:
        return f"its source is rewritten on the way to {', '.join(sorted(kept & changed))}"
    if not old and new and not _comes_to(snapshot, own, after):
        policy = _policy(snapshot, after)
        if policy:
            return f"it would get through, and {policy}"
        denial = _denial(snapshot, before, owed)
        if denial is not None:
            return f"it would get through, and {_place(denial)} denies it"
    return ""


def _connected(walked: Walk) -> list[Path]:
    """Return the branches that connect, or get as far as the snapshot goes."""
    return [p for p in walked.paths if p.outcome is Outcome.CONNECTED or p.verdict is Verdict.LEFT_SNAPSHOT]


def _share(paths: Sequence[Path]) -> float:
    return sum(path.probability for path in paths)


def _end(path: Path) -> str:
    return f"{path.endpoint.address}:{path.endpoint.port}" if path.endpoint is not None else ""


def _ends(paths: Sequence[Path]) -> set[str]:
    return {_end(path) for path in paths} - {""}


def _sources(snapshot: Snapshot, paths: Sequence[Path]) -> set[tuple[str, bool]]:
    """
    Return (endpoint, did it see the source as it was sent?) for what one pod asks another.

    Nobody is promised more: a node's own source is one of several that it has, a NodePort's
    is rewritten so that the answer comes back, what leaves the cluster is masqueraded.
    """
    found: set[tuple[str, bool]] = set()
    for path in paths:
        sender = path.request.steps[0].netns if path.request.steps else ""
        if path.endpoint is None or not path.endpoint.source or sender == path.endpoint.netns:
            continue
        ends = [snapshot.namespaces.get(name) for name in (sender, path.endpoint.netns)]
        if all(netns is not None and netns.role in ("pod", "container") for netns in ends):
            found.add((_end(path), path.endpoint.source == original_source(path)))
    return found


def _comes_to(snapshot: Snapshot, own: Walk | None, other: Walk) -> bool:
    """Does *other* call nobody but those whom *own* calls, from the same sender?"""
    if own is None:
        return False
    same = (own.flow.origin, own.flow.packet.proto) == (other.flow.origin, other.flow.packet.proto)
    return same and ends_of(snapshot, other) <= ends_of(snapshot, own)


def _policy(snapshot: Snapshot, after: Walk) -> str:
    """Say which network policies deny what now connects, "" if none does."""
    for path in _connected(after):
        verdict = path_verdict(snapshot, after, path)
        if verdict is not None and verdict.decision is Decision.DENIED:
            return verdict.words().removeprefix("denied: ")
    return ""


def _denial(snapshot: Snapshot, walked: Walk, owed: Sequence[Owed]) -> Step | None:
    """
    Return the rule's step that denies the request on purpose, if all branches are denied so.

    A policy is nobody's word about this flow, and what INVALID hits is an accident of state, as is what
    rpfilter hits of the routes.  A rule that an owner has put there is no word about it either: what it is
    to drop the owner's objects say.
    """
    found: Step | None = None
    for path in walked.paths:
        step = path.failing_step
        if path.verdict not in _DENIALS or path.failed != 0 or step is None or not step.rule:
            return None
        chain = snapshot.chain(step.netns, step.backend or "", step.table or "", step.chain or "")
        rule = chain.rules[step.rule - 1] if chain is not None and step.rule <= len(chain.rules) else None
        if rule is not None and (
            _is_about_state(rule) or is_owed(owed, step.netns, step.table or "", step.chain or "", rule)
        ):
            return None
        found = step
    return found


def _is_about_state(rule: XtRule) -> bool:
    return any(
        isinstance(m, Rpfilter) or (isinstance(m, Conntrack | State) and "INVALID" in m.states)
        for m in rule.matches
    )


def _place(step: Step) -> str:
    return f"rule {step.rule} of {step.chain} on {step.node or step.netns}"
