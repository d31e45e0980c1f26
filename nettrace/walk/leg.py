"""
One packet's way, stage after stage, to its verdict.

Lives here: which function each stage is, and turning the ways a leg can end into a Leg.
Not here: which packets an exchange has (exchange).
"""

from collections.abc import Callable
from functools import partial

from nettrace.model.step import Step, Verdict
from nettrace.model.walk import Leg
from nettrace.walk.arrive import route_input
from nettrace.walk.bridge import bridge_forward, bridge_in, bridge_out
from nettrace.walk.context import Answer, Carried, Delivery, Ended, Run, Undecided
from nettrace.walk.deliver import deliver
from nettrace.walk.forward import forward
from nettrace.walk.forward6 import forward6
from nettrace.walk.leave import postrouting, transmit
from nettrace.walk.neighbour import resolve
from nettrace.walk.receive import ip_receive, local_in, receive
from nettrace.walk.send import local_out, send, send_by_port
from nettrace.walk.skb import Skb
from nettrace.walk.stages import STAGE_OF, Next
from nettrace.walk.tunnel import encapsulate

__all__ = ["Walked", "walk_leg"]


def _forward(run: Run, skb: Skb) -> Next:
    return forward6(run, skb) if skb.packet.family == 6 else forward(run, skb)


_STAGES: dict[Next, Callable[[Run, Skb], Next]] = {
    Next.SEND: send,
    Next.SEND_BY_PORT: send_by_port,
    Next.LOCAL_OUT: local_out,
    Next.RECEIVE: receive,
    Next.BRIDGE_IN: bridge_in,
    Next.BRIDGE_FORWARD: bridge_forward,
    Next.BRIDGE_OUT: bridge_out,
    Next.IP_RECEIVE: ip_receive,
    Next.ROUTE_IN: route_input,
    Next.FORWARD: _forward,
    Next.LOCAL_IN: local_in,
    Next.POSTROUTING: postrouting,
    Next.NEIGHBOUR: resolve,
    Next.TRANSMIT: transmit,
    Next.ENCAPSULATE: encapsulate,
    Next.DELIVER: deliver,
}


#: A tunnel that carries its own packets gives up (dev_xmit_recursion()).
_DEEPEST = 3


class Walked:
    """A leg with what followed from it: where it arrived, what the kernels on the way answered."""

    __slots__ = ("answers", "delivery", "errno", "leg", "skb")

    def __init__(
        self, leg: Leg, skb: Skb, errno: str | None, delivery: Delivery | None, answers: list[Answer]
    ) -> None:
        self.leg = leg
        self.skb = skb
        self.errno = errno
        self.delivery = delivery
        self.answers = answers

    @property
    def arrived(self) -> bool:
        """Did somebody take the packet?"""
        return self.leg.verdict is Verdict.DELIVERED


def _carry(run: Run, skb: Skb, begin: Next) -> Carried:
    """
    Follow a tunnel's packet that carries ARP or a flooded frame to where it is unwrapped.

    Nothing is written down, and what its connections teach is forgotten again.
    """
    if run.carrying >= _DEEPEST:
        return Carried()
    kept = run.steps, run.answers, run.quiet, run.circle, run.seen
    conns = {name: list(held) for name, held in run.conns.items()}
    run.answers, run.quiet, run.seen = [], True, set()
    depth = len(skb.inner)
    stage = begin
    outer = skb.packet.src
    run.carrying += 1
    try:
        while not (stage is Next.RECEIVE and len(skb.inner) < depth):
            run.stages += 1
            if run.stages > run.limits.stages:
                raise Undecided(f"the packet passed {run.limits.stages} stages and is still under way")
            outer = skb.packet.src
            stage = _STAGES[stage](run, skb)
    except Ended as end:
        leaves = end.reason if end.verdict is Verdict.LEFT_SNAPSHOT else ""
        return Carried(leaves=leaves)
    finally:
        run.carrying -= 1
        run.steps, run.answers, run.quiet, run.circle, run.seen = kept
        run.conns = conns
    return Carried(skb.netns, skb.device, outer)


def _told(run: Run, verdict: Verdict) -> list[Step]:
    """Return the steps of a leg: of a circle one round, unless the packet left it before its TTL ran out."""
    if not run.circle:
        return run.steps
    if verdict is Verdict.LOOP:
        return run.steps[: run.circle]
    return [*run.steps[: run.circle - 1], *run.steps[run.circle :]]


def walk_leg(run: Run, kind: str, skb: Skb, begin: Next) -> Walked:
    """Walk *skb* from *begin* until it ends; Wanted goes through to the driver."""
    run.leg = kind
    run.steps, run.answers, run.delivery = [], [], None
    run.stages = run.rules = 0
    run.seen = set()
    run.quiet, run.circle = False, 0
    run.carry = partial(_carry, run)
    stage = begin
    errno: str | None = None
    try:
        while True:
            run.stages += 1
            if run.stages > run.limits.stages:
                raise Undecided(f"the packet passed {run.limits.stages} stages and is still under way")
            stage = _STAGES[stage](run, skb)
    except Ended as end:
        verdict, reason, errno = end.verdict, end.reason, end.errno
        if run.circle and verdict is Verdict.TTL_EXCEEDED:
            verdict, reason = Verdict.LOOP, "the packet goes in a circle until its TTL is used up"
    except Undecided as unknown:
        verdict, reason = Verdict.UNKNOWN, unknown.reason
        why = unknown.why
        run.quiet = False
        run.step(
            skb,
            STAGE_OF[stage],
            "unknown",
            ref=why.ref if why else "",
            text=why.text if why else "",
            note=reason,
            stops=True,
        )
    leg = Leg(kind=kind, steps=tuple(_told(run, verdict)), verdict=verdict, reason=reason)
    return Walked(leg, skb, errno, run.delivery, list(run.answers))
