"""service-output-jump-missing: what the node itself sends is never shown to kube-proxy's rules."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.jumps import missing_jump

__all__ = ["SERVICE_OUTPUT_JUMP_MISSING"]


def _candidates(context: Context) -> Iterator[Candidate]:
    yield from missing_jump(
        context,
        "service-output-jump-missing",
        "OUTPUT",
        "no Service works from {place} itself: nat OUTPUT does not jump to KUBE-SERVICES",
    )


SERVICE_OUTPUT_JUMP_MISSING = Cause(
    id="service-output-jump-missing",
    title="OUTPUT does not lead to the Services' rules",
    what="nat OUTPUT has no jump to KUBE-SERVICES: what the node's own processes send is not translated.",
    shows=(
        "From the node and from pods with hostNetwork every Service times out, and a NodePort on "
        "localhost is refused; from other pods Services work."
    ),
    dies="After OUTPUT, as a packet to an address that nobody has.",
    proof="`iptables -t nat -S OUTPUT` has no -j KUBE-SERVICES.",
    repair="iptables -t nat -I OUTPUT 1 -j KUBE-SERVICES, with kube-proxy's comment",
    owner="kube-proxy",
    source="kubernetes#20767, kubespray#524",
    candidates=_candidates,
)
