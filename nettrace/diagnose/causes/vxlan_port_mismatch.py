"""vxlan-port-mismatch: the two ends of a VXLAN tunnel use different UDP ports."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.tunnel_ends import tunnel_ends
from nettrace.model.step import Verdict

__all__ = ["VXLAN_PORT_MISMATCH"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for ends in tunnel_ends(context, Verdict.NOT_LISTENING):
        sent, taken = ends.sending.vxlan, ends.receiving.vxlan
        if sent is None or taken is None or sent.port == taken.port:
            continue
        yield ends.advice(
            context,
            "vxlan-port-mismatch",
            sends=f"sends the overlay's packets to UDP port {sent.port}",
            takes=f"waits for them on {taken.port}",
            same="port in the agent's configuration (8472 is the kernel's default, 4789 the registered one)",
        )


VXLAN_PORT_MISMATCH = Cause(
    id="vxlan-port-mismatch",
    title="the two ends of a VXLAN tunnel use different UDP ports",
    what=(
        "One node sends the overlay's packets to a UDP port on which the other has no VXLAN device. The "
        "kernel's default is 8472, the registered port 4789."
    ),
    shows="No traffic between the pods of two nodes, with everything else on them in order.",
    dies="On the node that receives: no socket waits at that port.",
    proof="`ip -d link show DEVICE` shows another dstport on each node.",
    repair="make the device anew with the port that the other nodes use: the agent's configuration",
    owner="The CNI's agent and its configuration.",
    source="openshift-docs#18315, libnetwork's VXLAN at 4789",
    verdicts=frozenset({Verdict.NOT_LISTENING}),
    candidates=_candidates,
)
