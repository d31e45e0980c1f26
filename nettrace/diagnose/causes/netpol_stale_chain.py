"""netpol-stale-chain: policies allow a flow, and the pod's chain on the node refuses it."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import rule_ref, where
from nettrace.diagnose.policies import denial_by_chain, is_rewritten, path_verdict
from nettrace.diagnose.policy_denials import pod_of, with_words
from nettrace.diagnose.temporary import temporary_rules
from nettrace.kube.policy_chains import is_pod_chain, policies_run
from nettrace.kube.policy_opening import controller_of
from nettrace.model.addr import in_prefix
from nettrace.model.finding import Evidence, Safety
from nettrace.model.packet import Packet
from nettrace.model.policy_verdict import Decision, DirectionVerdict, PolicyVerdict
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Step, Verdict
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import SetMatch
from nettrace.model.xt_target import MarkTarget
from nettrace.parse.iptables import rule_text

__all__ = ["NETPOL_STALE_CHAIN"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for failure in context.failures:
        step = denial_by_chain(failure.path)
        verdict = path_verdict(context.snapshot, context.walk, failure.path)
        if step is None or verdict is None or verdict.decision is not Decision.ALLOWED:
            continue
        if is_rewritten(step, verdict):
            continue  # netpol-ipblock-snat
        yield from with_words(_candidate(context.snapshot, step, verdict))


def _candidate(snapshot: Snapshot, step: Step, verdict: PolicyVerdict) -> Candidate:
    place, name = where(snapshot, step.netns), step.chain or ""
    backend = step.backend or "nft"
    chain = snapshot.chain(step.netns, backend, "filter", name) or XtChain()
    gap = next(iter(_gaps(snapshot, step, chain, verdict)), "it is not what the policies ask for")
    ref = rule_ref(step.netns, backend, "filter", name, step.rule)
    refusing = chain.rules[step.rule - 1] if step.rule and step.rule <= len(chain.rules) else XtRule()
    flow = f"{verdict.source} -> {verdict.destination}"
    pod = pod_of(snapshot, step)
    return Candidate(
        cause="netpol-stale-chain",
        netns=step.netns,
        where=place,
        subject=f"pod/{pod}" if pod else "",
        message=f"policies allow {flow}, and {name} on {place} refuses it: {gap}",
        changes=temporary_rules(snapshot, step, "netpol-stale-chain"),
        evidence=(
            Evidence(ref="kube/network_policies", text=verdict.words(), note="what the objects say"),
            Evidence(ref=ref, text=f"-A {name} {rule_text(refusing)}", note="what the node does"),
            Evidence(
                ref=rule_ref(step.netns, backend, "filter", name), text=gap, note="where the chain differs"
            ),
        ),
        safety=Safety.KICK,
        owner=controller_of(name),
        overwritten=f"{controller_of(name)} writes the chain anew when it runs",
        lasting="restart the policy controller on this node; if there is none any more, take its chains away",
        from_owner=True,
    )


def _gaps(snapshot: Snapshot, step: Step, chain: XtChain, verdict: PolicyVerdict) -> Iterator[str]:
    """Say in what the pod's chain differs from what the policy that allows the flow would have there."""
    run = policies_run(chain)
    if any(one.always for one in (verdict.egress, verdict.ingress)):
        yield "no policy can deny that, and this controller does all the same"
    if not is_pod_chain(step.chain):
        return  # of another controller, whose chains are not compared
    own_pod = pod_of(snapshot, step)
    for direction in (verdict.egress, verdict.ingress):
        if own_pod not in ("", direction.pod):
            continue
        named = [ref for ref in direction.by if ref.kind == "NetworkPolicy" and ref.rule is not None]
        for ref in named:
            own = [made for name, made in run if name == ref.name.partition("/")[2]]
            if not own and direction.pod:
                yield f"it does not run through policy {ref.name}"
            if own and step.before is not None:
                yield from _chain_gap(snapshot, step, own, step.before, direction)
        if not direction.by and direction.pod and run and not verdict.is_judged:
            yield f"no policy isolates {direction.pod}, and the chain still runs through {run[0][0]}"


def _chain_gap(
    snapshot: Snapshot, step: Step, chains: list[str], packet: Packet, direction: DirectionVerdict
) -> Iterator[str]:
    """Say which set of the policy's chain lacks an end of the packet."""
    section = snapshot.section(SectionKey(step.netns, "ipsets"))
    sets = {one.name: one for one in section.value} if isinstance(section, Known) else {}
    for name in chains:
        made = snapshot.chain(step.netns, step.backend or "nft", "filter", name)
        marking = [r for r in made.rules if isinstance(r.target, MarkTarget)] if made is not None else []
        if made is not None and not marking:
            yield f"{name}, the chain of {direction.by[0].name}, allows nothing"
        for rule in marking:
            for match in rule.matches:
                held = sets.get(match.name) if isinstance(match, SetMatch) else None
                if held is None or not isinstance(match, SetMatch):
                    continue
                address = packet.src if match.directions[0] == "src" else packet.dst
                if not any(in_prefix(address, member) for member in held.members):
                    yield f"the set {held.name} of {name} lacks {address}"


NETPOL_STALE_CHAIN = Cause(
    id="netpol-stale-chain",
    title="network policies allow the flow, and the pod's chain refuses it",
    what=(
        "The rules that enforce policies on this node are not those that the policies ask for: the "
        "controller is gone, hangs, or has not run since the pod, its labels or the policy changed."
    ),
    shows="A pod is refused although policies allow it: for seconds, or until the agent runs again.",
    dies="In the pod's own chain of table filter, on the pod's node.",
    proof="The verdict on the objects, the rule that refuses, and what the chain or its sets lack.",
    repair="restart the policy controller; until then a rule that counts the flow as allowed",
    owner="The policy controller (kube-router, k3s).",
    source="kube-router#873, kube-router#1309, kubernetes#58908, bootkube#698",
    verdicts=frozenset({Verdict.REJECTED, Verdict.DROPPED_BY_RULE}),
    candidates=_candidates,
)
