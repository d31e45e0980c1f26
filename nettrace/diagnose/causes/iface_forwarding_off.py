"""iface-forwarding-off: a device does not forward what comes in by it."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import links_in, subject_of, sysctl, where
from nettrace.model.change import SysctlSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.step import Verdict

__all__ = ["IFACE_FORWARDING_OFF"]

_ENDS = ("pod", "container", "outside")


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        step = failure.step
        if failure.verdict is not Verdict.NOT_FORWARDED or step is None:
            continue
        netns = snapshot.namespaces.get(step.netns)
        if netns is None or netns.role in _ENDS or sysctl(snapshot, step.netns, "net.ipv4.ip_forward") != "1":
            continue
        for link in links_in(snapshot, step.netns):
            name = f"net.ipv4.conf.{link.name.replace('.', '/')}.forwarding"
            if (step.netns, name) in seen or sysctl(snapshot, step.netns, name) != "0":
                continue
            seen.add((step.netns, name))
            place = where(snapshot, step.netns)
            yield Candidate(
                cause="iface-forwarding-off",
                netns=step.netns,
                where=place,
                subject=subject_of(snapshot, step.netns),
                message=f"{place} does not forward what comes in by {link.name}: {name} is 0",
                changes=(SysctlSet(netns=step.netns, name=name, value="1"),),
                evidence=(
                    Evidence(ref=f"{step.netns}/sysctls/{name}", text=f"{name} = 0", note="what is there"),
                ),
                safety=Safety.AUTO,
                owner="the node's sysctl configuration",
                overwritten="only if something sets it to 0 again",
                lasting="see /etc/sysctl.d/ and the network manager's IPForward settings",
            )


IFACE_FORWARDING_OFF = Cause(
    id="iface-forwarding-off",
    title="a device does not forward what comes in by it",
    what=(
        "net.ipv4.conf.DEVICE.forwarding is 0 while net.ipv4.ip_forward is 1: packets that come in by "
        "this device and are for somebody else are dropped."
    ),
    shows=(
        "What comes by one device (the pods' bridge, the uplink) goes nowhere; the node's own traffic works."
    ),
    dies="At the routing decision, before FORWARD: silently, no ICMP.",
    proof="sysctl net.ipv4.conf.DEVICE.forwarding is 0.",
    repair="sysctl -w net.ipv4.conf.DEVICE.forwarding=1",
    owner="The node's sysctl configuration, a network manager.",
    source="measured in a lab, not a known report",
    verdicts=frozenset({Verdict.NOT_FORWARDED}),
    candidates=_candidates,
)
