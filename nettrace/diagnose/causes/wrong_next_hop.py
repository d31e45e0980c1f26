"""wrong-next-hop: the route to another node's pods leads elsewhere."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.pod_route_missing import route_candidates

__all__ = ["WRONG_NEXT_HOP"]


def _candidates(context: Context) -> Iterator[Candidate]:
    yield from route_candidates(context, "wrong-next-hop")


WRONG_NEXT_HOP = Cause(
    id="wrong-next-hop",
    title="the route to another node's pods leads elsewhere",
    what="The route to a peer's pod CIDR has another next hop or device than its agent owes it.",
    shows="Pods of that peer time out; those of others are reached.",
    dies="Wherever the wrong next hop sends it.",
    proof="`ip route get POD` beside the peer's address.",
    repair="The route that its agent owes, in its place.",
    owner="The CNI's agent.",
    source="flannel#254, flannel#996",
    candidates=_candidates,
)
