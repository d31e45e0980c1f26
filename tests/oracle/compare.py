"""
What the walk said beside what was seen.

Lives here: the one judgement of the oracle.  A branch of the walk agrees if the client's outcome, the
rules in every namespace in order, the frames at every device in order, and what the kernel dropped are as
it says.  Where a frame arrived there is no client: what leaves by where it came in has to have been sent
there.
"""

from collections.abc import Sequence

from msgspec import Struct

from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.walk import Leg, Outcome, Path, Walk
from tests.oracle import dropped
from tests.oracle.bench import Seen
from tests.oracle.witness import Frame, Met, Sighting

__all__ = ["Judgement", "judge"]

_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132, "icmpv6": 58}
#: Stands in what the walk says of rules where the packet is copied.
_COPIES = Met("", "", "", -1)
_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32}
#: Errnos that come from the sender's own kernel, which goes on although the client is told.
_LOCAL = ("EPERM",)


class Judgement(Struct, frozen=True, kw_only=True):
    """``agrees`` None: the walk said UNKNOWN.  ``differences`` are sentences of the best branch."""

    agrees: bool | None
    differences: tuple[str, ...] = ()
    path: int | None = None


def judge(
    walk: Walk, seen: Seen | None, sighting: Sighting, devices: frozenset[tuple[str, str]]
) -> Judgement:
    """
    Hold one exchange against the walk's branches.

    *devices* are those at which an arriving packet is a RECEIVE step: (namespace, device), bridges left
    out, whose own device sees a frame that a port saw before.
    """
    best: tuple[int, tuple[str, ...]] | None = None
    unknown = False
    for number, path in enumerate(walk.paths):
        if path.outcome is Outcome.UNKNOWN and not (seen is None and _left(path)):
            unknown = True
            continue
        found = tuple(_differences(path, seen, sighting, devices))
        if not found:
            return Judgement(agrees=True, path=number)
        if best is None or len(found) < len(best[1]):
            best = (number, found)
    if unknown:
        return Judgement(agrees=None)
    if best is None:
        return Judgement(agrees=False, differences=("the walk has no branches",))
    return Judgement(agrees=False, differences=best[1], path=best[0])


def _differences(
    path: Path, seen: Seen | None, sighting: Sighting, devices: frozenset[tuple[str, str]]
) -> list[str]:
    found = []
    outcome, error = (path.outcome, path.errno) if seen is not None and seen.talked else _connecting(path)
    if seen is not None and (outcome, error) != (seen.outcome, seen.errno):
        found.append(
            f"outcome: walk {path.outcome} {path.errno or ''}, kernel {seen.outcome} {seen.errno or ''}"
        )
    legs = path.legs[: _handshake(path, ("data",) if seen is not None else ("ack", "data"))]
    in_parts = any("fragments" in step.note for leg in legs for step in leg.steps)
    if in_parts or any(leg.verdict is Verdict.LOOP for leg in legs):
        return found  # one step stands for several packets, or many rounds for one
    if sighting.endless:
        return [*found, "the kernel has no end of it"]
    steps = [step for leg in legs for step in leg.steps]
    copied = any(_floods(step) for step in steps)
    open_end = _goes_on(path) or _flooded(path, sighting) or (seen is not None and seen.talked)
    open_end = open_end or (seen is None and (len(legs) > 1 or _left(path)))
    found += _rules(legs, sighting.rules, open_end=open_end)
    found += _frames(steps, sighting.frames, devices, open_end=open_end)
    if sighting.lost is not None:
        found += dropped.differences(legs, sighting.lost, open_end=open_end or copied)
    if seen is None:
        found += _sent([step for step in steps if step.verdict == "leaves"], sighting.sent)
    return found


def _connecting(path: Path) -> tuple[Outcome, str | None]:
    """Return what a client sees that sends no more than the handshake."""
    failed = path.legs[path.failed].kind if path.failed is not None else ""
    if path.outcome is Outcome.STALLS or failed in ("data", "reply-data"):
        return Outcome.CONNECTED, None
    return path.outcome, path.errno


def _left(path: Path) -> bool:
    """
    Did a packet leave the snapshot where the first one had come in?

    Whoever sent that frame gets one that the walk does not follow: the tap at the device is asked.
    """
    last = path.legs[-1]
    return last.verdict is Verdict.LEFT_SNAPSHOT and last.last is not None and last.last.verdict == "leaves"


def _sent(steps: Sequence[Step], sent: Sequence[Frame]) -> list[str]:
    """Each packet that leaves was sent at the device that it leaves by."""
    found = []
    waiting = list(sent)
    for step in steps:
        packet, device = step.after or step.before, step.device or ""
        if packet is None:
            continue
        here = [frame for frame in waiting if frame.netns == step.netns and _is(frame, device, packet)]
        if here:
            waiting.remove(here[0])
        else:
            seen = [_seen(frame) for frame in waiting if (frame.netns, frame.device) == (step.netns, device)]
            found.append(f"sent in {step.netns}: walk {device} {_words(packet)}, kernel {seen or 'nothing'}")
    return found


def _handshake(path: Path, end: tuple[str, ...]) -> int:
    """How many legs there are before the full-size segments, or before those that nobody sends."""
    return next((number for number, leg in enumerate(path.legs) if leg.kind in end), len(path.legs))


def _floods(step: Step) -> bool:
    """Does a bridge send this by all its ports?  Each copy passes the hooks; the walk follows one of them."""
    return step.stage is Stage.BRIDGE and step.verdict == "flood"


def _goes_on(path: Path) -> bool:
    """May the kernel have sent what no walk follows: what answers a lost answer, or one nobody waits for?"""
    if path.errno in _LOCAL:
        return True
    if any(leg.verdict is not Verdict.DELIVERED for leg in path.legs[1:]):
        return True
    if path.request.verdict is Verdict.OTHERHOST:
        return True  # flooded: the hooks of a bridge are passed once for each port
    last = path.request.last
    packet = (last.after or last.before) if last is not None and last.stops else None
    return packet is not None and packet.inner is not None  # errors that end at a tunnel


def _flooded(path: Path, sighting: Sighting) -> bool:
    """Did others get copies of what a bridge does not give to the one it is for?"""
    stopped = path.request.verdict in (Verdict.BRIDGE_DROPPED, Verdict.LINK_DOWN)
    last = path.request.last
    here = last.netns if last is not None else ""
    return stopped and any(
        # to those behind other ports, or to a rule that stopped the copies for them
        lost.reason == "OTHERHOST" or (lost.reason == "NETFILTER_DROP" and here in lost.netns)
        for lost in sighting.lost or ()
    )


def _rules(legs: Sequence[Leg], rules: dict[str, list[Met]], *, open_end: bool) -> list[str]:
    said: dict[tuple[str, bool], list[tuple[Met, str]]] = {}
    for leg in legs:
        for step in leg.steps:
            if _floods(step):
                for legacy in (False, True):
                    said.setdefault((step.netns, legacy), []).append((_COPIES, "maybe"))
            if step.stage is Stage.HOOK and step.rule is not None and step.backend is not None:
                met = Met(step.backend, step.table or "", step.chain or "", step.rule)
                how = "maybe" if step.note.startswith("if it matches") else step.verdict
                said.setdefault((step.netns, met.backend == "legacy"), []).append((met, how))
    real: dict[tuple[str, bool], list[Met]] = {}
    for netns, mets in rules.items():
        for met in mets:
            real.setdefault((netns, met.backend == "legacy"), []).append(met)
    found = []
    for place in sorted(set(said) | set(real)):
        here, there = said.get(place, []), real.get(place, [])
        other = (place[0], not place[1])
        beside = _tables(here, there) & _tables(said.get(other, []), real.get(other, []))
        difference = _in_order(
            [(met, "maybe" if met.table in beside else how) for met, how in here],
            [met for met in there if met.table not in beside],
            open_end=open_end,
        )
        if difference:
            found.append(f"rules in {place[0]}: {difference}")
    return found


def _tables(said: list[tuple[Met, str]], real: list[Met]) -> set[str]:
    """
    The tables of one back end.

    Where both have one of a name, which of the two is asked first depends on which was registered
    last: the walk cannot know, and says UNKNOWN where it matters.  Where it does not, the rules on the
    way may differ all the same, and are not compared.
    """
    return {met.table for met, _ in said if met != _COPIES} | {met.table for met in real}


def _in_order(said: list[tuple[Met, str]], real: list[Met], *, open_end: bool) -> str:
    """Hold the rules of one back end in one namespace."""
    at = 0
    late: list[Met] = []  # a REJECT is told when its answer is on its way already
    copies = False
    for met, how in said:
        copies = copies or met == _COPIES
        if copies and met in real[at:]:
            at = real.index(met, at)
        while at < len(real) and real[at] != met and real[at] in late:
            late.remove(real[at])
            at += 1
        if at < len(real) and real[at] == met:
            at += 1
        elif how.upper() == "REJECT":
            late.append(met)
        elif how != "maybe":
            there = " ".join(map(str, real[at])) if at < len(real) else "no further rule"
            return f"walk {' '.join(map(str, met))}, kernel {there}"
    while at < len(real) and real[at] in late:
        late.remove(real[at])
        at += 1
    if open_end:
        late = [met for met in late if met not in real[at:]]
    if late:
        return f"walk {' '.join(map(str, late[0]))}, kernel no such rule"
    if at < len(real) and not (open_end or copies):
        return f"kernel goes on to {' '.join(map(str, real[at]))}"
    return ""


def _frames(
    steps: list[Step], frames: list[Frame], devices: frozenset[tuple[str, str]], *, open_end: bool
) -> list[str]:
    said: dict[str, list[tuple[str, Packet]]] = {}
    early: tuple[str, str] | None = None
    for step in steps:
        where = (step.netns, step.device or "")
        at_device = step.stage is Stage.HOOK and step.hook == "ingress"
        arrives = step.stage is Stage.RECEIVE and step.verdict == "receive"
        if not (at_device or arrives) or where not in devices or step.before is None:
            continue
        if early != where:
            said.setdefault(step.netns, []).append((where[1], step.before))
        # the tap sees a frame before the rules of the device do
        early = where if at_device else None
    real: dict[str, list[Frame]] = {}
    for frame in frames:
        if (frame.netns, frame.device) in devices:
            real.setdefault(frame.netns, []).append(frame)
    found = []
    for netns in sorted(set(said) | set(real)):
        difference = _frames_in_order(said.get(netns, []), real.get(netns, []), open_end=open_end)
        if difference:
            found.append(f"frames in {netns}: {difference}")
    return found


def _frames_in_order(said: list[tuple[str, Packet]], real: list[Frame], *, open_end: bool) -> str:
    waiting = list(real)
    for device, packet in said:
        while waiting and waiting[0].other and not _is(waiting[0], device, packet):
            waiting.pop(0)  # flooded to somebody whom it does not concern
        if not waiting:
            return f"walk {device} {packet.ends()}, kernel nothing more"
        if not _is(waiting[0], device, packet):
            return f"walk {device} {_words(packet)}, kernel {_seen(waiting[0])}"
        waiting.pop(0)
    rest = [frame for frame in waiting if not frame.other]
    if rest and not open_end:
        return f"kernel goes on with {_seen(rest[0])}"
    return ""


def _words(packet: Packet) -> str:
    kind = "/".join(sorted(packet.tcp_flags)) or packet.icmp_type
    return f"{packet.proto} {packet.ends()} ttl {packet.ttl} tos {packet.tos} {kind or ''}"


def _seen(frame: Frame) -> str:
    return (
        f"{frame.device} proto {frame.proto} {frame.src}:{frame.sport} -> {frame.dst}:{frame.dport} "
        f"ttl {frame.ttl} tos {frame.tos} flags {frame.flags:#x}"
    )


def _is(frame: Frame, device: str, packet: Packet) -> bool:
    if (frame.device, frame.src, frame.dst) != (device, packet.src, packet.dst):
        return False
    if frame.proto != _PROTOCOLS.get(packet.proto, -1) or (frame.ttl, frame.tos) != (packet.ttl, packet.tos):
        return False
    for want, have in ((packet.sport, frame.sport), (packet.dport, frame.dport)):
        if want is not None and not want.lo <= have <= want.hi:
            return False
    if packet.proto == "tcp":
        return frame.flags == sum(_FLAGS[name] for name in packet.tcp_flags)
    if packet.proto in ("icmp", "icmpv6"):
        return frame.flags == ((packet.icmp_type or 0) << 8 | (packet.icmp_code or 0))
    return True
