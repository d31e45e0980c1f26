"""
Both ends of a VXLAN tunnel that a failing branch went through.

Lives here: what vni-mismatch and vxlan-port-mismatch share: finding the two devices, and the advice to
make the wrong one anew, since the kernel changes neither number of a device that is there.
"""

from collections.abc import Iterator

from msgspec import Struct

from nettrace.diagnose.cause import Candidate, Context
from nettrace.diagnose.look import link_in, links_in, subject_of, where
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Link
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Stage, Verdict

__all__ = ["Ends", "tunnel_ends"]


class Ends(Struct, frozen=True, kw_only=True):
    """The device that sent a frame into the tunnel, and one that might have taken it out."""

    sender: str
    sending: Link
    receiver: str
    receiving: Link

    def evidence(self, snapshot: Snapshot) -> tuple[Evidence, ...]:
        """Return both devices as they are."""
        return tuple(
            Evidence(
                ref=f"{netns}/links/{link.name}",
                text=f"{link.name} vxlan id {link.vxlan.vni} dstport {link.vxlan.port}",
                note=f"{verb} on {where(snapshot, netns)}",
            )
            for netns, link, verb in (
                (self.sender, self.sending, "what sends"),
                (self.receiver, self.receiving, "what should receive"),
            )
            if link.vxlan is not None
        )

    def advice(self, context: Context, cause: str, *, sends: str, takes: str, same: str) -> Candidate:
        """
        Return the candidate that says what each end does, and to give both the *same*.

        *sends* and *takes* stand behind the names of the two nodes.
        """
        snapshot, device = context.snapshot, self.receiving.name
        here, there = where(snapshot, self.sender), where(snapshot, self.receiver)
        return Candidate(
            cause=cause,
            netns=self.receiver,
            where=there,
            subject=subject_of(snapshot, self.receiver),
            message=f"{here} {sends} ({self.sending.name}), and {there} {takes} ({device})",
            changes=(),
            evidence=self.evidence(snapshot),
            safety=Safety.ADVICE,
            owner="the CNI's agent",
            lasting=(
                f"give both nodes the same {same}, delete the device that is wrong (ip link del {device}) "
                "and restart the agent there: it makes it anew"
            ),
        )


def tunnel_ends(context: Context, verdict: Verdict) -> Iterator[Ends]:
    """Yield the ends of the last tunnel of each branch that fails with *verdict*, each pair once."""
    seen: set[tuple[str, str, str, str]] = set()
    for failure in context.failures:
        step = failure.step
        if failure.verdict is not verdict or step is None or failure.leg is None:
            continue
        into = [s for s in failure.leg.steps if s.stage is Stage.TUNNEL and s.verdict == "encapsulate"]
        sending = link_in(context.snapshot, into[-1].netns, into[-1].device) if into else None
        if sending is None or sending.vxlan is None or into[-1].netns == step.netns:
            continue
        for link in links_in(context.snapshot, step.netns):
            key = (into[-1].netns, sending.name, step.netns, link.name)
            if link.vxlan is not None and link.up and key not in seen:
                seen.add(key)
                yield Ends(sender=into[-1].netns, sending=sending, receiver=step.netns, receiving=link)
