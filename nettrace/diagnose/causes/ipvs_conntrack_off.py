"""ipvs-conntrack-off: IPVS keeps its connections from conntrack, so nobody masquerades them."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedSysctl
from nettrace.model.step import Stage

__all__ = ["IPVS_CONNTRACK_OFF"]

_NAME = "net.ipv4.vs.conntrack"


def _candidates(context: Context) -> Iterator[Candidate]:
    through = {step.netns for step in context.steps if step.stage is Stage.IPVS}
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedSysctl) or owed.name != _NAME or owed.netns not in through:
            continue
        place = where(context.snapshot, owed.netns)
        yield owed_candidate(
            context,
            "ipvs-conntrack-off",
            [difference],
            f"{place} does not masquerade what IPVS sends on, and its answers belong to no connection: "
            f"{_NAME} is 0",
            safety=Safety.AUTO,
            overwritten="only if something sets it to 0 again",
            lasting=f"write {_NAME}=1 to a file in /etc/sysctl.d/; {owed.owner} sets it when it starts",
        )


IPVS_CONNTRACK_OFF = Cause(
    id="ipvs-conntrack-off",
    title="IPVS's connections are not tracked",
    what=(
        "net.ipv4.vs.conntrack is 0: what IPVS sends on is taken away from conntrack. The nat table's "
        "POSTROUTING does not see it, and its answers are INVALID where they come back."
    ),
    shows="Services time out for clients that have to be masqueraded, or wherever INVALID is dropped.",
    dies="The answer goes past the node, or FORWARD drops it as INVALID.",
    proof="sysctl net.ipv4.vs.conntrack is 0; conntrack -L has no entry for the virtual address.",
    repair="sysctl -w net.ipv4.vs.conntrack=1",
    owner="kube-proxy sets it when it starts; otherwise the node's sysctl configuration.",
    source="kernel: Documentation/networking/ipvs-sysctl.rst; kube-proxy's proxier",
    candidates=_candidates,
)
