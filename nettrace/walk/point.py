"""Where in the kernel a rule set is asked, and what a test can answer."""

from typing import NamedTuple, TypeAlias

from nettrace.model.packet import PortRange
from nettrace.walk.namespace import Namespace

__all__ = ["Answered", "HookPoint", "Unsure", "in_ports", "negated"]


class HookPoint(NamedTuple):
    """
    One call of a hook (struct nf_hook_state).

    ``hook`` is ``prerouting``, ``input``, ``forward``, ``output`` or ``postrouting``;
    devices are None where the hook has none.  POSTROUTING knows the device that a forwarded
    packet came in by (ip_output passes skb->dev on).  ``family`` is the packet's, 4 or 6, which
    run_hook sets.
    """

    ns: Namespace
    hook: str
    in_device: str | None
    out_device: str | None
    family: int = 4

    @property
    def xt(self) -> str:
        """What the section keys of its iptables rule sets begin with."""
        return "xt6" if self.family == 6 else "xt"

    @property
    def device(self) -> str | None:
        """The device that a step at this hook is shown at."""
        if self.hook in ("output", "postrouting", "egress"):
            return self.out_device
        return self.in_device


class Unsure(NamedTuple):
    """A test whose answer the snapshot does not hold, and why."""

    reason: str


#: What a test says: yes, no, or that it cannot be told.
Answered: TypeAlias = bool | Unsure


def negated(answer: Answered, invert: bool) -> Answered:
    """Return the answer to ``!`` test where *invert*."""
    if isinstance(answer, Unsure):
        return answer
    return answer != invert


def in_ports(port: PortRange | None, wanted: PortRange, which: str) -> Answered:
    """Is a port in *wanted*?  Unsure where the kernel is free to choose it inside and outside."""
    if port is None:
        return False
    if port.inside(wanted):
        return True
    if port.disjoint(wanted):
        return False
    return Unsure(f"the {which}, which the kernel chooses from {port}, may or may not be in {wanted}")
