"""policy-rule-hijack: a routing rule sends the packets into another table."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import subject_of, where
from nettrace.model.finding import Evidence, Safety
from nettrace.model.section import Known, SectionKey
from nettrace.model.step import Stage

__all__ = ["POLICY_RULE_HIJACK"]

#: Tables that the kernel's own rules look up: local, main, default (ip-rule(8)).
_OWN_TABLES = ("255", "254", "253", "local", "main", "default")


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    seen: set[str] = set()
    for step in context.steps:
        if step.stage is not Stage.ROUTE or step.why is None or step.netns in seen:
            continue
        parts = step.why.ref.split("/")
        if len(parts) < 3 or parts[1] != "routes" or parts[2] in _OWN_TABLES:
            continue
        rules = snapshot.section(SectionKey(step.netns, "rules"))
        own = [r for r in rules.value if str(r.table) == parts[2]] if isinstance(rules, Known) else []
        if not own:
            continue
        seen.add(step.netns)
        place, first = where(snapshot, step.netns), own[0]
        yield Candidate(
            cause="policy-rule-hijack",
            netns=step.netns,
            where=place,
            subject=subject_of(snapshot, step.netns),
            message=f"{place} looks {step.before.dst if step.before else 'it'} up in table {parts[2]}, "
            f"by rule {first.priority}, before the main table",
            changes=(),
            evidence=(
                Evidence(
                    ref=f"{step.netns}/rules", text=f"{first.priority}: lookup {parts[2]}", note="the rule"
                ),
                Evidence(ref=step.why.ref, text=step.why.text, note="the route that it leads to"),
            ),
            safety=Safety.ADVICE,
            owner="whoever added the rule",
            lasting="let the cluster's networks be looked up in main first: "
            f"ip rule add prio {max(1, first.priority - 1)} to PODNETWORK lookup main",
        )


POLICY_RULE_HIJACK = Cause(
    id="policy-rule-hijack",
    title="a routing rule sends the packets into another table",
    what=(
        "A policy rule before the main table's looks the destination up in a table of its own, which "
        "leads elsewhere: a VPN's, a cloud agent's."
    ),
    shows=(
        "Everything to other nodes' pods, or to Services, goes into the VPN and times out; pods on the "
        "same bridge are reached."
    ),
    dies="Wherever that table's route leads.",
    proof="`ip rule` has a rule before 32766 that is not the kernel's; `ip route get POD` shows its table.",
    repair="ip rule add to PODNETWORK lookup main, before it",
    owner="Whoever added the rule: Tailscale, WireGuard, a cloud agent.",
    source="tailscale#14706, tailscale#19876, siderolabs/extensions#626",
    candidates=_candidates,
)
