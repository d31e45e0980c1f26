"""xfrm-policy-drop: a policy of IPsec blocks packets, or wants IPsec of what comes in the clear."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import step_text, subject_of, where
from nettrace.model.finding import Evidence, Safety
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns
from nettrace.model.step import Stage, Step, Verdict
from nettrace.model.xfrm import XfrmPolicy

__all__ = ["XFRM_POLICY_DROP"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        step = failure.step
        if failure.verdict is not Verdict.DROPPED_BY_XFRM or step is None or step.why is None:
            continue
        if step.stage is not Stage.XFRM or (step.netns, step.why.text) in seen:
            continue
        seen.add((step.netns, step.why.text))
        place = where(snapshot, step.netns)
        policy = _policy(snapshot.namespaces[step.netns], step.why.text)
        packet = step.before
        ends = f"{packet.src} -> {packet.dst}" if packet is not None else "the packet"
        wants = policy is not None and policy.action == "allow"
        says = f"blocks {ends}"
        if wants:
            says = f"lets in only what comes by IPsec, and {ends} comes in the clear"
        yield Candidate(
            cause="xfrm-policy-drop",
            netns=step.netns,
            where=place,
            subject=subject_of(snapshot, step.netns),
            message=f"an IPsec policy of {place} {says}: {step.why.text}",
            changes=(),
            evidence=(
                Evidence(ref=step.why.ref, text=step_text(step), note="the policy that decides"),
                *_states(snapshot.namespaces[step.netns], step),
            ),
            safety=Safety.ADVICE,
            owner="whoever set the policy (an IKE daemon, the network system, a script)",
            lasting=_lasting(policy, wants=wants),
        )


def _policy(space: Netns, text: str) -> XfrmPolicy | None:
    """Return the policy that the step names, None for the default."""
    policies = space.xfrm.value.policies if isinstance(space.xfrm, Known) else ()
    return next((one for one in policies if str(one) == text), None)


def _states(space: Netns, step: Step) -> Iterator[Evidence]:
    """Say whether the namespace could take anything by IPsec at all."""
    if not isinstance(space.xfrm, Known):
        return
    count = len(space.xfrm.value.states)
    peers = sorted({one.src for one in space.xfrm.value.states})
    yield Evidence(
        ref=f"{step.netns}/xfrm",
        text=f"{count} states (ip xfrm state)",
        note=f"from {', '.join(peers[:4])}"
        if peers
        else "nothing could come by IPsec here, whoever sends it",
    )


def _lasting(policy: XfrmPolicy | None, *, wants: bool) -> str:
    if policy is None:
        return "look at `ip xfrm policy getdefault`: whoever set it has to allow this flow by a policy"
    words = f"ip xfrm policy delete {policy.selector} dir {policy.direction}"
    if wants:
        return (
            "have the sender use IPsec too (is its daemon up, has it the policy and a state?), or, if "
            f"nothing is encrypted any more and this is a leftover, have its owner take it away: {words}"
        )
    return f"ask its owner what it is for; if it is a leftover: {words}"


XFRM_POLICY_DROP = Cause(
    id="xfrm-policy-drop",
    title="an IPsec policy drops the packets",
    what=(
        "A policy of IPsec (xfrm) is about the packets and blocks them, or lets in only what comes by IPsec "
        "while they come in the clear: one end encrypts and the other does not, or policies were left behind "
        "when encryption was switched off or changed."
    ),
    shows="Connections time out though rules and routes are right; what the node sends fails with EPERM.",
    dies=(
        "Where the kernel asks its policies: before the first rule of OUTPUT, before FORWARD, or behind "
        "INPUT at the socket; the drop reason is XFRM_POLICY."
    ),
    proof=(
        "XfrmInTmplMismatch, XfrmInPolBlock, XfrmInNoPols or XfrmOutPolBlock in /proc/net/xfrm_stat grows; "
        "`nettrace show xfrm`, `ip xfrm policy`."
    ),
    repair="None by itself: a policy of IPsec is somebody's decision.  The finding names it and what to ask.",
    owner="The IKE daemon (strongSwan, Libreswan), or the network system that encrypts (Cilium, Weave).",
    source="flannel#1131, cilium#24780, cilium#25735",
    verdicts=frozenset({Verdict.DROPPED_BY_XFRM}),
    candidates=_candidates,
)
