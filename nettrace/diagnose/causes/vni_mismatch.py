"""vni-mismatch: the two ends of a VXLAN tunnel have different network identifiers."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.tunnel_ends import tunnel_ends
from nettrace.model.step import Verdict

__all__ = ["VNI_MISMATCH"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for ends in tunnel_ends(context, Verdict.NO_TUNNEL_DESTINATION):
        sent, taken = ends.sending.vxlan, ends.receiving.vxlan
        if sent is None or taken is None or sent.port != taken.port or sent.vni == taken.vni:
            continue
        yield ends.advice(
            context,
            "vni-mismatch",
            sends=f"sends with VNI {sent.vni}",
            takes=f"takes VNI {taken.vni} only",
            same="VNI in the agent's configuration",
        )


VNI_MISMATCH = Cause(
    id="vni-mismatch",
    title="the two ends of a VXLAN tunnel have different VNIs",
    what=(
        "The VXLAN devices of two nodes have different network identifiers: mostly the configuration was "
        "changed while one of them ran. The kernel cannot change the VNI of a device that is there."
    ),
    shows="No traffic between the pods of two nodes in either direction.",
    dies="On the node that receives: no device there has the packet's VNI.",
    proof="`ip -d link show DEVICE` shows another vxlan id on each node.",
    repair="make the device anew with the VNI that the other nodes have: the agent's configuration",
    owner="The CNI's agent and its configuration.",
    source="containernetworking/cni#306",
    verdicts=frozenset({Verdict.NO_TUNNEL_DESTINATION}),
    candidates=_candidates,
)
