"""vxlan-port-mismatch: the two ends of a VXLAN tunnel use different UDP ports."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.tunnel_ends import tunnel_ends
from nettrace.diagnose.look import subject_of, where
from nettrace.model.finding import Safety
from nettrace.model.step import Verdict

__all__ = ["VXLAN_PORT_MISMATCH"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for ends in tunnel_ends(context, Verdict.NOT_LISTENING):
        sent, taken = ends.sending.vxlan, ends.receiving.vxlan
        if sent is None or taken is None or sent.port == taken.port:
            continue
        here, there = where(context.snapshot, ends.sender), where(context.snapshot, ends.receiver)
        yield Candidate(
            cause="vxlan-port-mismatch",
            netns=ends.receiver,
            where=there,
            subject=subject_of(context.snapshot, ends.receiver),
            message=(
                f"{here} sends the overlay's packets to UDP port {sent.port} ({ends.sending.name}), and "
                f"{there} waits for them on {taken.port} ({ends.receiving.name})"
            ),
            changes=(),
            evidence=ends.evidence(context.snapshot),
            safety=Safety.ADVICE,
            owner="the CNI's agent",
            lasting=(
                "give both nodes the same port in the agent's configuration (8472 is the kernel's default, "
                "4789 the registered one), delete the device that is wrong (ip link del "
                f"{ends.receiving.name}) and restart the agent there: it makes it anew"
            ),
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
