"""ufw-routed-deny: ufw drops what it was not told to pass on."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import rule_ref, subject_of, where
from nettrace.model.addr import in_prefix
from nettrace.model.change import RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.section import Known
from nettrace.model.step import Step, Verdict
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Negatable
from nettrace.model.xt_target import Accept
from nettrace_plugins.firewall.facts import forward_policy
from nettrace_plugins.firewall.owners import UFW

__all__ = ["UFW_ROUTED_DENY"]

_CHAIN = "ufw-user-forward"


def _candidates(context: Context) -> Iterator[Candidate]:
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for failure in context.failures:
        step = failure.step
        if step is None or step.hook != "forward" or step.before is None or not step.before.src:
            continue
        backend, chain = step.backend or "", step.chain or ""
        if step.table != "filter" or context.owner(step.netns, backend, "filter", chain) is not UFW:
            continue
        networks = tuple(_networks(context, (step.before.src, step.before.dst)))
        if (step.netns, networks) not in seen:
            seen.add((step.netns, networks))
            yield _candidate(context, step, backend, networks)


def _networks(context: Context, ends: tuple[str, str]) -> Iterator[str]:
    """Return the pods' networks that the ends are in; the ends themselves where neither is a pod's."""
    nodes = context.snapshot.kube.nodes
    cidrs = [cidr for node in (nodes.value if isinstance(nodes, Known) else ()) for cidr in node.pod_cidrs]
    of_pods = dict.fromkeys(cidr for cidr in cidrs if any(in_prefix(end, cidr) for end in ends))
    yield from of_pods or [f"{end}/{128 if ':' in end else 32}" for end in ends[:1]]


def _candidate(context: Context, step: Step, backend: str, networks: tuple[str, ...]) -> Candidate:
    place = where(context.snapshot, step.netns)
    user = context.snapshot.chain(step.netns, backend, "filter", _CHAIN)
    at = len(user.rules) if user is not None else 0
    rules = [
        rule
        for network in networks
        for rule in (
            XtRule(src=Negatable(network), target=Accept()),
            XtRule(dst=Negatable(network), target=Accept()),
        )
    ]
    packet = step.before
    evidence = [
        Evidence(
            ref=step.why.ref if step.why is not None else "",
            text=f"filter {step.chain}: {step.why.text if step.why is not None else step.verdict}",
            note=f"met by {packet.ends()}" if packet is not None else "",
        ),
        Evidence(
            ref=rule_ref(step.netns, backend, "filter", _CHAIN),
            text=f"{_CHAIN} has {at} rules, and none of them accepts it",
            note="what `ufw route allow` has written",
        ),
    ]
    said = forward_policy(context.snapshot, step.netns)
    if said is not None:
        evidence.append(said)
    commands = [f"ufw route allow {way} {network}" for network in networks for way in ("from", "to")]
    return Candidate(
        cause="ufw-routed-deny",
        netns=step.netns,
        where=place,
        subject=subject_of(context.snapshot, step.netns),
        message=f"ufw on {place} was not told to pass on {packet.ends() if packet is not None else 'it'}",
        # what `ufw route allow` writes; it proves the cause, and to do it is for whoever runs the firewall
        changes=tuple(
            RuleInsert(netns=step.netns, backend=backend, table="filter", chain=_CHAIN, position=n, rule=rule)
            for n, rule in enumerate(rules, at + 1)
        ),
        evidence=tuple(evidence),
        safety=Safety.ADVICE,
        owner=UFW.name,
        overwritten=UFW.overwritten,
        lasting=f"{'; '.join(commands)} (or for all: DEFAULT_FORWARD_POLICY in /etc/default/ufw)",
    )


UFW_ROUTED_DENY = Cause(
    id="ufw-routed-deny",
    title="ufw drops what the node passes on for its pods",
    what=(
        "ufw denies routed traffic unless told otherwise: DEFAULT_FORWARD_POLICY is DROP, and FORWARD of "
        "table filter has its chains and that policy.  It knows nothing of pods."
    ),
    shows=(
        "Pods of other nodes, Services and the outside time out for all pods of the node; the kernel's log "
        "has [UFW BLOCK] lines with their addresses."
    ),
    dies="In FORWARD of table filter: by the policy, or in one of ufw's chains.",
    proof="`ufw status verbose` says deny (routed) or disabled (routed); the counter of the policy grows.",
    repair="ufw route allow from PODNETWORK; ufw route allow to PODNETWORK",
    owner="ufw",
    source="k3s#1280, k3s#1159, rancher/docs#2732, kubernetes#45022",
    verdicts=frozenset({Verdict.DROPPED_BY_RULE, Verdict.REJECTED}),
    candidates=_candidates,
)
