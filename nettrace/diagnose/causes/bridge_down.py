"""bridge-down: the pods' bridge is down."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.links_down import down_candidates

__all__ = ["BRIDGE_DOWN"]


def _candidates(context: Context) -> Iterator[Candidate]:
    yield from down_candidates(
        context,
        "bridge-down",
        ("bridge",),
        "the CNI plugin or Docker",
        "see who takes it down: `ip monitor link`, a network manager",
    )


BRIDGE_DOWN = Cause(
    id="bridge-down",
    title="the pods' bridge is down",
    what="The bridge that the pods hang on is down, and with it the route to the node's own pods.",
    shows="Every pod of the node is cut off: no route to host in the pods, timeouts from elsewhere.",
    dies="In the pod at ARP for its gateway; on the node at the routing decision.",
    proof="`ip link show BRIDGE` says DOWN; `ip route` lacks the pods' network.",
    repair="ip link set dev BRIDGE up",
    owner="The CNI plugin or Docker, which made the bridge.",
    source="coredns#2284",
    candidates=_candidates,
)
