"""service-jump-missing: what comes in is never shown to kube-proxy's rules."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.jumps import missing_jump

__all__ = ["SERVICE_JUMP_MISSING"]


def _candidates(context: Context) -> Iterator[Candidate]:
    yield from missing_jump(
        context,
        "service-jump-missing",
        "PREROUTING",
        "no Service works for pods on {place}: nat PREROUTING does not jump to KUBE-SERVICES",
    )


SERVICE_JUMP_MISSING = Cause(
    id="service-jump-missing",
    title="PREROUTING does not lead to the Services' rules",
    what=(
        "nat PREROUTING has no jump to KUBE-SERVICES: what comes in from pods and from outside is not "
        "translated, whatever kube-proxy's rules say."
    ),
    shows=(
        "From pods every Service times out, and NodePorts are refused; from the node itself Services "
        "work, by the jump in OUTPUT."
    ),
    dies="After PREROUTING, as a packet to an address that nobody has; a NodePort at the node's sockets.",
    proof="`iptables -t nat -S PREROUTING` has no -j KUBE-SERVICES.",
    repair="iptables -t nat -I PREROUTING 1 -j KUBE-SERVICES, with kube-proxy's comment",
    owner="kube-proxy",
    source="kubernetes#36652, kubernetes#24357, containernetworking/plugins#512",
    candidates=_candidates,
)
