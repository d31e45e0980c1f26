"""veth-host-down: a pod's veth is down."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.links_down import down_candidates

__all__ = ["VETH_HOST_DOWN"]


def _candidates(context: Context) -> Iterator[Candidate]:
    yield from down_candidates(
        context,
        "veth-host-down",
        ("veth",),
        "the CNI plugin that made the pair",
        "see who takes it down: `ip monitor link`, a network manager that thinks it owns veths",
    )


VETH_HOST_DOWN = Cause(
    id="veth-host-down",
    title="a pod's veth is down",
    what="The node's end of a pod's veth pair, or the pod's own, is down.",
    shows="Nothing reaches the pod: no route to host after 3 s. The other pods of the node work.",
    dies="At ARP: the pod has no carrier and answers nothing.",
    proof="`ip link` shows the veth DOWN, its peer NO-CARRIER.",
    repair="ip link set dev VETH up",
    owner="The CNI plugin that made the pair.",
    source="measured in a lab, not a known report",
    candidates=_candidates,
)
