"""
Did the packets meet the rules that the walk says, one after another?

Lives here: finding the branch that a real connection took, and holding its steps against what was
seen of it: rules and policies strictly in order, per namespace; devices, addresses and hooks by
what was seen in passing.
Not here: whether a rule that was met is the one of a step (nettrace.align.hit), outcomes
(nettrace.align.outcome).
"""

from collections.abc import Sequence

from nettrace.align.drops import with_drops
from nettrace.align.frames import frames_of, on_device, unnamed
from nettrace.align.hit import (
    hit_text,
    is_of,
    left_out,
    may_be_unseen,
    of_another_table,
    same_verdict,
    step_text,
)
from nettrace.align.visit import Visits, is_tunnelled
from nettrace.model.observation import Attempt, Comparison, Frame, Hit, LegSeen, Observed, Parting
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Leg, Outcome, Path, Walk

__all__ = ["compare_steps", "parting_text"]

#: Of these legs a real connection sends a packet that can be told from the others.
_LEGS = frozenset({"request", "reply", "error", "ack"})

#: An answer may be one of the far end or an error on the way.
_KINDS = {"reply": ("reply", "error"), "error": ("error", "reply")}


def compare_steps(walk: Walk, observed: Observed) -> tuple[Comparison, ...]:
    """Hold every attempt that was watched against the branch of *walk* that fits it best."""
    if not walk.paths:
        return ()
    watched, captured = frozenset(observed.watched), frozenset(observed.captured)
    return tuple(
        max(
            (
                with_drops(
                    _compare_path(number, attempt, index, walk.paths[index], watched, captured),
                    walk.paths[index],
                    attempt,
                    watched=observed.drops_watched,
                )
                for index in _candidates(walk, attempt)
            ),
            key=lambda found: (found.parted is None, found.agreed),
        )
        for number, attempt in enumerate(observed.attempts)
        if attempt.legs or attempt.drops or attempt.frames
    )


def parting_text(parting: Parting) -> str:
    """``at node-a the walk says filter FORWARD 1 DROP, the kernel filter FORWARD 2 jump KUBE-FORWARD``."""
    return (
        f"{parting.leg}, in {parting.netns}: the walk says {parting.predicted}, the kernel {parting.observed}"
    )


def _candidates(walk: Walk, attempt: Attempt) -> Sequence[int]:
    """Return the branches whose endpoint the packets were sent to; all if none is."""
    seen = {
        hit.packet.dst
        for leg in attempt.legs
        if leg.kind == "request"
        for hit in leg.hits
        if hit.packet is not None
    }
    ending_there = [
        index
        for index, path in enumerate(walk.paths)
        if path.endpoint is not None and path.endpoint.address in seen
    ]
    return ending_there or range(len(walk.paths))


def _compare_path(
    number: int,
    attempt: Attempt,
    index: int,
    path: Path,
    watched: frozenset[str],
    captured: frozenset[str],
) -> Comparison:
    checked: dict[str, tuple[bool | None, ...]] = {}
    parted: Parting | None = None
    for leg in path.legs:
        if leg.kind not in _LEGS or parted is not None or not (attempt.legs or attempt.frames):
            continue  # without any hit its rules were not watched
        seen = _leg_seen(attempt, leg.kind)
        frames = frames_of(attempt, _KINDS.get(leg.kind, (leg.kind,)))
        if seen is None and not frames and not _has_to_be_seen(attempt, leg):
            continue
        rules_of = watched if attempt.legs else frozenset[str]()
        compared = _Leg(leg, seen.hits if seen is not None else (), attempt, rules_of)
        compared.frames, compared.captured = frames, captured
        compared.run()
        checked[leg.kind] = tuple(compared.marks)
        parted = compared.parted
    return Comparison(attempt=number, path=index, checked=checked, parted=parted)


def _leg_seen(attempt: Attempt, kind: str) -> LegSeen | None:
    """Return what was seen of a leg; an answer may be one of the far end or an error on the way."""
    kinds = _KINDS.get(kind, (kind,))
    found = {leg.kind: leg for leg in attempt.legs}
    return next((found[one] for one in kinds if one in found), None)


def _has_to_be_seen(attempt: Attempt, leg: Leg) -> bool:
    """May it be held against the walk that nothing was seen of this leg?"""
    proto = next((step.before.proto for step in leg.steps if step.before is not None), "")
    return leg.kind == "request" or (leg.kind == "reply" and proto == "tcp")


class _Leg:
    """One leg beside the hits of it."""

    def __init__(self, leg: Leg, hits: Sequence[Hit], attempt: Attempt, watched: frozenset[str]) -> None:
        self.leg, self.hits, self.attempt, self.watched = leg, hits, attempt, watched
        self.marks: list[bool | None] = [None] * len(leg.steps)
        self.parted: Parting | None = None
        self.frames: tuple[Frame, ...] = ()
        self.captured: frozenset[str] = frozenset()
        self._visits = Visits(leg.steps)
        # The order of iptables-legacy's rules among the others is not known.
        self._rules: dict[tuple[str, str], list[Hit]] = {}
        for hit in hits:
            if hit.chain and hit.family != "arp":
                self._rules.setdefault((hit.netns, hit.backend), []).append(hit)

    def run(self) -> None:
        """Fill ``marks`` and ``parted``."""
        for index, step in enumerate(self.leg.steps):
            if step.verdict.lower() == "unknown":
                continue
            met: str | None
            if step.stage in (Stage.RECEIVE, Stage.TRANSMIT) and step.netns in self.captured:
                self.marks[index], met = on_device(step, self.frames)
                if self.marks[index] is False:
                    self._part(index, step_text(step), met)
                    return
            if step.netns not in self.watched or step.stage is Stage.TRANSMIT:
                continue
            seen = self.marks[index]
            if step.stage is Stage.HOOK and step.backend is not None and step.rule is not None:
                self.marks[index], met = self._rule(step)
            else:
                self.marks[index], met = self._stage(index, step)
            if self.marks[index] is None:
                self.marks[index] = seen
            if met is not None and self.marks[index] is False:
                self._part(index, step_text(step), met)
                return
        if self.leg.verdict not in (Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT):
            self._surplus()

    def _part(self, index: int, predicted: str, observed: str) -> None:
        self.marks[index] = False
        self.parted = Parting(
            leg=self.leg.kind,
            step=index,
            netns=self.leg.steps[index].netns,
            predicted=predicted,
            observed=observed,
        )

    # --- rules ---------------------------------------------------------------------------

    def _rule(self, step: Step) -> tuple[bool | None, str]:
        """Take the next rule that was met; tell which, if it is another one."""
        native = step.backend == "nftables"
        waiting = self._rules.get((step.netns, "nft" if native else step.backend or ""), [])
        left = of_another_table(waiting, step)
        passed = 0 if left else left_out(waiting, step)
        hit = waiting[left + passed] if left + passed < len(waiting) else None
        if hit is not None and is_of(hit, step) and same_verdict(step.verdict, hit.verdict):
            # only now: of a step that nothing is seen of, nothing may be passed over
            del waiting[left : left + passed + 1]
            return True, ""
        if (hit is None or not is_of(hit, step)) and may_be_unseen(step):
            return None, ""
        return False, hit_text(hit) if hit is not None else "no further rule"

    def _surplus(self) -> None:
        """Find what was met behind the end of the walked leg."""
        if not self.leg.steps:
            return
        last = len(self.leg.steps) - 1
        said = f"{self.leg.verdict.value}" if self.leg.verdict is not Verdict.DELIVERED else "no further rule"
        for (netns, _), waiting in self._rules.items():
            passed = left_out(waiting, None)
            at = self._visits.last_in(netns)
            if passed < len(waiting) and at is not None:
                self._part(at, said, hit_text(waiting[passed]))
                return
        stranger = next((hit for hit in self.hits if self._visits.last_in(hit.netns) is None), None)
        if stranger is not None:
            self._part(last, said, f"went on to {stranger.netns}")
            return
        beyond = unnamed(self.leg.steps, self.frames, self.captured)
        if beyond:
            self._part(last, said, beyond)

    # --- the rest ------------------------------------------------------------------------

    def _stage(self, index: int, step: Step) -> tuple[bool | None, str]:
        """Was this step seen?  None where nothing would be; with the words for what was."""
        packet = step.after or step.before
        if packet is None or step.stops:
            return None, ""
        here = [
            hit
            for hit in self.hits
            if hit.netns == step.netns and hit.packet is not None and hit.tunnelled is is_tunnelled(packet)
        ]
        match step.stage:
            case Stage.SEND:
                if self._visits.stops_at_once(index):
                    return None, ""
                return _said(_any_to(here, packet, "output"), "sent nothing there")
            case Stage.RECEIVE if self._visits.is_routed(index):
                return self._received(index, step, here, packet)
            case Stage.ROUTE:
                return self._routed(index, step, here, packet)
            case Stage.CONNTRACK | Stage.IPVS if step.after is not None and _ends(step.before) != _ends(
                step.after
            ):
                changed = any(_fits(hit.packet, packet) for hit in here)
                if not changed and self._visits.stops_in(index):
                    return None, ""
                return _said(changed, f"nothing with {packet.ends()}")
            case Stage.DELIVER if self.leg.kind == "request":
                return self._delivered(step, packet)
            case Stage.DELIVER if self.leg.kind == "reply":
                return (True if self.attempt.outcome is Outcome.CONNECTED else None), ""
            case _:
                return None, ""

    def _received(
        self, index: int, step: Step, here: Sequence[Hit], packet: Packet
    ) -> tuple[bool | None, str]:
        devices = self._visits.devices(index)
        came = [
            hit for hit in here if hit.hook == "prerouting" and hit.packet and hit.packet.dst == packet.dst
        ]
        if not came:
            return False, "saw nothing arrive"
        fits = any(hit.iif in devices for hit in came)
        return _said(fits, f"saw it arrive at {came[0].iif}")

    def _routed(self, index: int, step: Step, here: Sequence[Hit], packet: Packet) -> tuple[bool | None, str]:
        if self._visits.stops_at_once(index):
            return None, ""
        if step.verdict == "local" and self._visits.is_not_taken(index):
            return None, ""
        if step.verdict == "local":
            return _said(_any_to(here, packet, "input"), "did not deliver it here")
        if step.verdict == "forward":
            return _said(_any_to(here, packet, "forward"), "did not forward it")
        if step.verdict != "route":
            return None, ""
        left = [
            hit
            for hit in here
            if hit.hook in ("output", "postrouting") and hit.packet and hit.packet.dst == packet.dst
        ]
        if not left:
            return False, "sent nothing there"
        if any(hit.oif == step.device for hit in left):
            return True, ""
        if self._visits.is_routed_again(index) and all(hit.hook == "output" for hit in left):
            return None, ""  # OUTPUT keeps the device of the route that it began with
        return False, f"sent it by {left[0].oif}"

    def _delivered(self, step: Step, packet: Packet) -> tuple[bool | None, str]:
        """A TCP socket that took a SYN answers it."""
        reply = _leg_seen(self.attempt, "reply")
        answered = reply is not None and any(
            hit.netns == step.netns and hit.hook == "output" for hit in reply.hits
        )
        if answered or packet.proto == "tcp":
            return _said(answered, "saw no answer")
        return None, ""


def _said(agrees: bool, otherwise: str) -> tuple[bool, str]:
    return agrees, "" if agrees else otherwise


def _any_to(here: Sequence[Hit], packet: Packet, hook: str) -> bool:
    """Was a packet for the same destination seen at *hook*?"""
    return any(
        hit.hook == hook
        and hit.packet is not None
        and hit.packet.dst == packet.dst
        and (packet.dport is None or hit.packet.dport is None or hit.packet.dport.inside(packet.dport))
        for hit in here
    )


def _ends(packet: Packet | None) -> tuple[object, ...]:
    return (packet.src, packet.dst, packet.sport, packet.dport) if packet is not None else ()


def _fits(seen: Packet | None, predicted: Packet) -> bool:
    """Do addresses and ports agree, as far as the walk is certain of them?"""
    if seen is None or (seen.src, seen.dst) != (predicted.src, predicted.dst):
        return False
    return all(
        want is None or have is None or have.inside(want)
        for want, have in ((predicted.sport, seen.sport), (predicted.dport, seen.dport))
    )
