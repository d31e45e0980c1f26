"""
Which policy of IPsec a flow meets, and what it wants.

Lives here: selectors, priorities, what a policy makes of a packet that nothing has transformed.
Not here: where the kernel asks (xfrm), reading policies (nettrace.collect.xfrm).
Source: net/xfrm/xfrm_policy.c (xfrm_policy_lookup, xfrm_policy_match, __xfrm_policy_check).

The kernel takes the smallest priority and, of equal ones, the one that was put in first, which no dump
tells once a policy has been replaced: two of one priority that differ are undecided.
"""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from nettrace.model.addr import in_prefix
from nettrace.model.packet import PortRange
from nettrace.model.xfrm import Xfrm, XfrmPolicy
from nettrace.walk.memory import derived

__all__ = ["Effect", "Met", "XfrmFlow", "effect_of", "matches", "met"]


class Effect(Enum):
    """What becomes of a packet that is in the clear."""

    PLAIN = "passes as it is"
    BLOCK = "is blocked"
    IPSEC = "has to be, or to have been, transformed"


class XfrmFlow(NamedTuple):
    """
    What a policy is looked up by (struct flowi).

    A port range of more than one port is a port that the kernel chooses; None, with ``unsure`` ports that
    are not told.  ``device`` is that of the route, None where the kernel may or may not fill it in.
    Of ICMP the ports are type and code.
    """

    src: str
    dst: str
    proto: str
    sport: PortRange | None = None
    dport: PortRange | None = None
    device: str | None = ""
    mark: int = 0
    unsure: bool = False


class Met(NamedTuple):
    """The policy that counts, None where none is about the flow, and its effect; *why* it is undecided."""

    policy: XfrmPolicy | None
    effect: Effect
    why: str = ""


def effect_of(policy: XfrmPolicy, xfrm: Xfrm) -> Effect:
    """
    Return what *policy* makes of a packet in the clear.

    What came in passes where every template is optional (xfrm_policy_ok).  What leaves is then
    transformed by the states there are, of which none is certain only where the namespace has none.
    """
    if policy.action != "allow":
        return Effect.BLOCK
    if any(one.level != "use" for one in policy.templates):
        return Effect.IPSEC
    if policy.templates and policy.direction.endswith("out") and xfrm.states:
        return Effect.IPSEC
    return Effect.PLAIN


def matches(policy: XfrmPolicy, flow: XfrmFlow) -> bool | None:
    """Is the policy about the flow?  None: it depends on what is not told."""
    if policy.if_id or (flow.mark & policy.mark_mask) != policy.mark:
        return False
    if not in_prefix(flow.src, policy.src) or not in_prefix(flow.dst, policy.dst):
        return False
    if policy.proto and policy.proto != flow.proto:
        return False
    if policy.device and flow.device is not None and policy.device != flow.device:
        return False
    sure = not policy.context and not (policy.device and flow.device is None)
    for port, wanted, mask in (
        (flow.sport, policy.sport, policy.sport_mask),
        (flow.dport, policy.dport, policy.dport_mask),
    ):
        if not mask:
            continue
        fits = None if flow.unsure else _port_fits(port, wanted, mask)
        if fits is False:
            return False
        sure = sure and fits is True
    return True if sure else None


def _port_fits(port: PortRange | None, wanted: int, mask: int) -> bool | None:
    """A protocol without ports has 0 for them (xfrm_flowi_sport)."""
    low, high = (port.lo, port.hi) if port is not None else (0, 0)
    if low < high and mask == 0xFFFF:
        return None if low <= wanted <= high else False
    ports = range(low, high + 1)
    found = {not (number ^ wanted) & mask for number in ports}
    return found.pop() if len(found) == 1 else None


def met(xfrm: Xfrm, direction: str, flow: XfrmFlow, *, default: Effect) -> Met:
    """
    Return the policy of *direction* that counts for *flow*; *default* is what holds where none does.

    Several may be possible, where a port is the kernel's choice or their priority is the same: with
    different effects the answer says why it is undecided.
    """
    possible = list(_possible(xfrm, direction, flow))
    outcomes: dict[Effect, XfrmPolicy | None] = {}
    for policy in possible:
        outcomes.setdefault(default if policy is None else effect_of(policy, xfrm), policy)
    first = possible[0]
    for sub in (one for one in xfrm.policies if one.type != "main" and one.direction == direction):
        if matches(sub, flow) is not False:
            return Met(sub, Effect.IPSEC, f"sub policies are not walked, and one is about it: {sub}")
    if len(outcomes) > 1:
        words = " or ".join(str(one) if one is not None else "no policy" for one in outcomes.values())
        return Met(first, Effect.IPSEC, f"it is not told which of these counts: {words}")
    return Met(first, next(iter(outcomes)))


def _ranked(xfrm: Xfrm) -> dict[str, list[XfrmPolicy]]:
    """Direction -> main policies, the smallest priority first."""
    found: dict[str, list[XfrmPolicy]] = {}
    for policy in sorted(xfrm.policies, key=lambda one: one.priority):
        if policy.type == "main":
            found.setdefault(policy.direction, []).append(policy)
    return found


def _possible(xfrm: Xfrm, direction: str, flow: XfrmFlow) -> Iterator[XfrmPolicy | None]:
    """Yield the policies that may be the one, and None if it may be none of them."""
    certain: int | None = None
    for policy in derived(_ranked, xfrm).get(direction, ()):
        if certain is not None and policy.priority > certain:
            return
        fits = matches(policy, flow)
        if fits is None:
            yield policy
        elif fits:
            certain = policy.priority
            yield policy
    if certain is None:
        yield None
