"""reject-route: a route refuses what is for another node's pods."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.pod_route_missing import route_candidates

__all__ = ["REJECT_ROUTE"]


def _candidates(context: Context) -> Iterator[Candidate]:
    yield from route_candidates(context, "reject-route")


REJECT_ROUTE = Cause(
    id="reject-route",
    title="a route refuses what is for another node's pods",
    what=(
        "The route to a peer's pod CIDR is of type blackhole, unreachable or prohibit instead of leading "
        "there."
    ),
    shows="No route to host at once for unreachable and prohibit; a timeout for a blackhole.",
    dies="At the routing decision.",
    proof="`ip route show type blackhole` (unreachable, prohibit) has the network.",
    repair="The route that its agent owes, in its place.",
    owner="The CNI's agent.",
    source="calico#2457, calico#4471",
    candidates=_candidates,
)
