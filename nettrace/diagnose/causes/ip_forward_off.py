"""ip-forward-off: the node forwards nothing."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import subject_of, sysctl, where
from nettrace.model.change import SysctlSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.step import Verdict

__all__ = ["IP_FORWARD_OFF"]

_NAME = "net.ipv4.ip_forward"

#: Who has no business forwarding: enabling it there would make a router of an end point.
_ENDS = ("pod", "container", "outside")


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    seen: set[str] = set()
    for failure in context.failures:
        step = failure.step
        if failure.verdict is not Verdict.NOT_FORWARDED or step is None or step.netns in seen:
            continue
        seen.add(step.netns)
        netns = snapshot.namespaces.get(step.netns)
        if netns is None or netns.role in _ENDS or sysctl(snapshot, step.netns, _NAME) != "0":
            continue
        place = where(snapshot, step.netns)
        packet = step.before
        ends = packet.ends() if packet is not None else "the packet"
        yield Candidate(
            cause="ip-forward-off",
            netns=step.netns,
            where=place,
            subject=subject_of(snapshot, step.netns),
            message=f"{place} does not forward packets: {_NAME} is 0",
            changes=(SysctlSet(netns=step.netns, name=_NAME, value="1"),),
            evidence=(
                Evidence(ref=f"{step.netns}/sysctls/{_NAME}", text=f"{_NAME} = 0", note="what is there"),
                Evidence(
                    ref=f"{step.netns}/links/{step.device}" if step.device else "",
                    text=f"{ends} came in by {step.device or 'a device'} and is for somebody else",
                    note="dropped at the routing decision, without an answer",
                ),
            ),
            safety=Safety.AUTO,
            owner="the node's sysctl configuration",
            overwritten="only if something sets it to 0 again: sysctl --system, a restarted network service",
            lasting=f"write {_NAME}=1 to a file in /etc/sysctl.d/",
        )


IP_FORWARD_OFF = Cause(
    id="ip-forward-off",
    title="the node forwards nothing",
    what=(
        "net.ipv4.ip_forward is 0 in the node's network namespace: it takes packets that are for "
        "itself and drops all others."
    ),
    shows=(
        "Pods and containers reach nothing off their own subnet: connections time out. Traffic on "
        "the same bridge and from the node itself still works, Services from the node included."
    ),
    dies="At the routing decision of a packet that came in, before FORWARD: silently, no ICMP.",
    proof="sysctl net.ipv4.ip_forward (each namespace has its own) is 0.",
    repair="sysctl -w net.ipv4.ip_forward=1",
    owner="The node's sysctl configuration; Docker and CNI plugins set it when they start.",
    source="moby#27319, moby#30205, wg-easy#225, kubernetes#45022",
    verdicts=frozenset({Verdict.NOT_FORWARDED}),
    candidates=_candidates,
)
