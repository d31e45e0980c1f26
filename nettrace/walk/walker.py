"""
The walk: every branch of an exchange, or what has to be read first.

Lives here: ``walk``, enumerating the branches, the verdict over all of them.
Not here: one branch (exchange).
"""

from fractions import Fraction

from nettrace.model.addr import family_of
from nettrace.model.flow import Flow
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Leg, Needs, Outcome, Path, Walk
from nettrace.walk.context import Run, Wanted
from nettrace.walk.exchange import exchange
from nettrace.walk.limits import Limits

__all__ = ["walk"]

_WITH_PORTS = ("tcp", "udp", "sctp")
#: The echo request of each.
_ECHO = {"icmp": 8, "icmpv6": 128}
#: Protocols that have names here; all others are written as their number.
_NAMED = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "132": "sctp"}


def walk(snapshot: Snapshot, flow: Flow, *, limits: Limits | None = None) -> Walk | Needs:
    """
    Walk *flow* over *snapshot*: what the kernels would do with it and with its answers.

    Returns Needs where a section in the way was not read yet.  What cannot be read, or is
    not understood, is a path of verdict UNKNOWN that says so.  Nothing is guessed: a path
    that is not UNKNOWN follows from the snapshot alone.
    """
    refused = _not_walked(flow)
    if refused:
        leg = Leg(kind="request", steps=(), verdict=Verdict.UNKNOWN, reason=refused)
        return _whole(flow, [_unknown(leg, Fraction(1))])
    return _branches(snapshot, flow, limits or Limits())


def _not_walked(flow: Flow) -> str:
    packet = flow.packet
    if packet.src and family_of(packet.src) != packet.family:
        return f"{packet.src} cannot send to {packet.dst}: they are of different families"
    if packet.proto in _ECHO and (packet.proto == "icmpv6") != (packet.family == 6):
        return f"{packet.proto} is not for {packet.dst}"
    if packet.proto == "icmpv6" and packet.icmp_type not in (None, _ECHO["icmpv6"]):
        return f"of ICMPv6 only echo is walked, not type {packet.icmp_type}"
    if packet.proto in _NAMED:
        return f"protocol {packet.proto} is called {_NAMED[packet.proto]}"
    if packet.proto not in (*_WITH_PORTS, *_ECHO) and not packet.proto.isdecimal():
        return f"protocol {packet.proto} is not known"
    if packet.proto in _WITH_PORTS and packet.dport is None:
        return "the flow has no destination port"
    return ""


def _branches(snapshot: Snapshot, flow: Flow, limits: Limits) -> Walk | Needs:
    """Run the exchange once for each way its draws can go, each time from the start."""
    open_ways: list[tuple[tuple[int, ...], Fraction]] = [((), Fraction(1))]
    done: list[tuple[tuple[int, ...], Path]] = []
    wanted: list[SectionKey] = []
    runs = 0
    while open_ways and runs < limits.branches:
        prefix, _ = open_ways.pop()
        runs += 1
        run = Run(snapshot=snapshot, flow=flow, limits=limits, decided=prefix)
        try:
            path = exchange(run)
            done.append((tuple(run.taken), path))
        except Wanted as missing:
            wanted.extend(missing.keys)
        open_ways.extend(zip(run.siblings, run.sibling_shares, strict=True))
    if wanted:
        return Needs(tuple(dict.fromkeys(wanted)))
    paths = [path for _, path in sorted(done, key=lambda one: one[0])]
    if open_ways:
        rest = sum((share for _, share in open_ways), Fraction(0))
        reason = f"more than {limits.branches} branches; the others were not walked"
        paths.append(_unknown(Leg(kind="request", steps=(), verdict=Verdict.UNKNOWN, reason=reason), rest))
    return _whole(flow, paths)


def _unknown(leg: Leg, share: Fraction) -> Path:
    return Path(
        probability=float(share),
        legs=(leg,),
        verdict=Verdict.UNKNOWN,
        outcome=Outcome.UNKNOWN,
        failed=0,
        reason=leg.reason,
    )


def _whole(flow: Flow, paths: list[Path]) -> Walk:
    """Join the branches: what they agree on, else the likeliest failure and ``mixed``."""
    outcomes = {path.outcome for path in paths}
    verdicts = {path.verdict for path in paths}
    verdict = paths[0].verdict
    if len(verdicts) > 1:
        shares: dict[Verdict, float] = {}
        for path in paths:
            if path.verdict is not Verdict.DELIVERED:
                shares[path.verdict] = shares.get(path.verdict, 0.0) + path.probability
        verdict = max(shares, key=lambda one: shares[one])
    return Walk(
        flow=flow,
        paths=tuple(paths),
        verdict=verdict,
        outcome=paths[0].outcome if len(outcomes) == 1 else Outcome.MIXED,
    )
