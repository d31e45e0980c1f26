"""vxlan-checksum-offload: a tunnel's outer UDP checksum is wrong, and the far end drops the packet."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context, Failure
from nettrace.diagnose.look import link_in, subject_of, where
from nettrace.model.finding import Evidence, Safety
from nettrace.model.section import Known, SectionKey
from nettrace.model.step import Stage, Step, Verdict

__all__ = ["VXLAN_CHECKSUM_OFFLOAD"]


def _candidates(context: Context) -> Iterator[Candidate]:
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        step = failure.step
        if failure.verdict is not Verdict.BAD_CHECKSUM or step is None or failure.leg is None:
            continue
        into = _last(failure, "encapsulate")
        if into is None or into.device is None or (into.netns, into.device) in seen:
            continue
        seen.add((into.netns, into.device))
        yield _candidate(context, failure, into, step)


def _last(failure: Failure, verdict: str) -> Step | None:
    """Return the last step into a tunnel of the leg that failed."""
    steps = failure.leg.steps if failure.leg is not None else ()
    return next((s for s in reversed(steps) if s.stage is Stage.TUNNEL and s.verdict == verdict), None)


def _candidate(context: Context, failure: Failure, into: Step, lost: Step) -> Candidate:
    snapshot, sender = context.snapshot, into.netns
    here, there = where(snapshot, sender), where(snapshot, lost.netns)
    steps = failure.leg.steps if failure.leg is not None else ()
    rules = [s for s in steps if s.stage is Stage.HOOK and s.note == _WRITTEN]
    evidence = [
        Evidence(ref=s.why.ref, text=s.why.text, note=f"writes the checksum on {where(snapshot, s.netns)}")
        for s in rules
        if s.why is not None
    ]
    evidence += _without_offload(context, steps)
    if lost.why is not None:
        note = f"{there} drops it, and tells nobody"
        evidence.append(Evidence(ref=lost.why.ref, text=lost.why.text, note=note))
    whose = f"table {rules[-1].table}" if rules else "a rule"
    return Candidate(
        cause="vxlan-checksum-offload",
        netns=sender,
        where=here,
        subject=subject_of(snapshot, sender),
        message=(
            f"the tunnel packets of {into.device} on {here} arrive at {there} with a wrong UDP checksum, "
            f"which {whose} has written"
        ),
        changes=(),
        evidence=tuple(evidence),
        safety=Safety.ADVICE,
        owner="whoever wrote the rule; where there is none, the node's kernel or network card",
        lasting=(
            "take the rule out, so that the kernel's own checksum stands; where it is a card or an old "
            f"kernel that gets it wrong: ethtool -K {into.device} tx-checksum-ip-generic off on every node, "
            "and again at each start"
        ),
    )


def _without_offload(context: Context, steps: tuple[Step, ...]) -> Iterator[Evidence]:
    """Yield the devices that finished the checksum because they do not leave it to the next one."""
    for step in steps:
        if step.stage is not Stage.TRANSMIT or step.device is None:
            continue
        section = context.snapshot.section(SectionKey(step.netns, "offloads"))
        held = section.value if isinstance(section, Known) else ()
        if any(one.device == step.device and not one.tx_checksums for one in held):
            if link_in(context.snapshot, step.netns, step.device) is None:
                continue
            yield Evidence(
                ref=f"{step.netns}/offloads/{step.device}",
                text=f"{step.device} tx-checksumming: off",
                note=f"{where(context.snapshot, step.netns)} finishes the sum from what the rule left in it",
            )


#: What the walk says of a rule that wrote a checksum.
_WRITTEN = "checksum written over"

VXLAN_CHECKSUM_OFFLOAD = Cause(
    id="vxlan-checksum-offload",
    title="the tunnel's packets have a wrong UDP checksum",
    what=(
        "The outer UDP checksum of VXLAN packets is wrong when they arrive: a rule writes into it, or the "
        "checksum is left to a device that gets it wrong (kernels before 5.7 after a second NAT, some cards)."
    ),
    shows=(
        "What goes to another node through the tunnel is lost, or only what was translated twice: node to "
        "Service hangs for 63 s (or 1, 3, 7 s), while pod addresses work."
    ),
    dies="At the far node's tunnel port: the kernel drops it with UDP_CSUM, and tells nobody.",
    proof=(
        "`nstat -az UdpInCsumErrors` rises on the far node; `ethtool -k DEVICE` shows "
        "tx-checksum-ip-generic; `nft list ruleset` for a rule with `udp checksum set`."
    ),
    repair=(
        "Take the rule out; of a card or an old kernel: `ethtool -K flannel.1 tx-checksum-ip-generic off`, "
        "made to last by a unit of systemd or udev."
    ),
    owner="Whoever wrote the rule; the node's kernel and network card.",
    source="kubernetes#88986, kubernetes#89622, calico#3145, flannel#1279, kops#9074",
    verdicts=frozenset({Verdict.BAD_CHECKSUM}),
    candidates=_candidates,
)
