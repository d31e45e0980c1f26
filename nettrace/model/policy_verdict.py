"""
What network policies say about a flow, as types.

Lives here: verdicts, which nettrace.kube.policy makes, and what the node does about them.
"""

from enum import StrEnum

from msgspec import Struct

__all__ = ["Decision", "DirectionVerdict", "Enforced", "PolicyFlow", "PolicyRef", "PolicyVerdict"]


class Decision(StrEnum):
    """What policies say."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "unknown"


class PolicyFlow(Struct, frozen=True, kw_only=True):
    """
    A first packet as policies judge it: after DNAT, before SNAT.

    ``proto`` as in Packet; ``port`` is that of the destination, None if there is none or it is
    open.
    """

    src: str
    dst: str
    proto: str = "tcp"
    port: int | None = None


class PolicyRef(Struct, frozen=True, kw_only=True):
    """A policy that decides.  ``rule`` counts from 1 within its direction; None: no rule of it matches."""

    kind: str
    name: str
    rule: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f", rule {self.rule}" if self.rule is not None else "")


class DirectionVerdict(Struct, frozen=True, kw_only=True):
    """
    What is said in one direction, ``ingress`` or ``egress``.

    ``pod`` is whose policies these are, "" where that end is no pod.  ``by`` are those that
    decide: the one that allows, or all that isolate the pod and let nothing of this in.  ``always``: no
    policy can deny it, as between a pod and its own node.
    """

    direction: str
    decision: Decision
    why: str
    pod: str = ""
    by: tuple[PolicyRef, ...] = ()
    notes: tuple[str, ...] = ()
    always: bool = False


class PolicyVerdict(Struct, frozen=True, kw_only=True):
    """What is said of a flow: denied if one direction denies it, allowed if both allow it."""

    flow: PolicyFlow
    source: str
    destination: str
    decision: Decision
    egress: DirectionVerdict
    ingress: DirectionVerdict
    needs: tuple[str, ...] = ()  # sections that are missing

    @property
    def deciding(self) -> tuple[DirectionVerdict, ...]:
        """The directions that make it what it is, those without any policy left out."""
        both = [one for one in (self.egress, self.ingress) if one.decision is self.decision]
        by = tuple(one for one in both if one.by)
        return by or tuple(sorted(both, key=lambda one: not one.pod)[:1])

    @property
    def is_judged(self) -> bool:
        """Has any policy a say in it?"""
        return bool(self.egress.by or self.ingress.by)

    def words(self) -> str:
        """Say it in one line: ``denied: ingress: NetworkPolicy shop/deny-all ...``."""
        said = "; ".join(f"{one.direction}: {one.why}" for one in self.deciding)
        return f"{self.decision.value}: {said}"


class Enforced(Struct, frozen=True, kw_only=True):
    """
    A verdict, and what the walked node does with the same flow.

    ``node`` says it in words: ``the node lets it through``.  ``agrees`` is None where the flow
    does not get as far as to a rule that would enforce the policy, or nothing is certain.
    """

    verdict: PolicyVerdict
    node: str
    agrees: bool | None
