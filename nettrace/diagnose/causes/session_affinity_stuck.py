"""session-affinity-stuck: a Service with affinity remembers a client for an endpoint that does not answer."""

import re
from collections.abc import Iterator

from nettrace.diagnose.cause import NATIVE, Candidate, Cause, Context
from nettrace.diagnose.look import rule_ref, step_text, where
from nettrace.diagnose.services import subjects_of
from nettrace.model.change import Change, RecentDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.section import Known, SectionKey
from nettrace.model.step import Step
from nettrace.model.xt_match import Recent
from nettrace.model.xt_target import Dnat, Jump
from nettrace.parse.iptables import rule_text

__all__ = ["SESSION_AFFINITY_STUCK"]

#: kube-proxy's chain of one endpoint, and its set of clients in mode nftables.
_ENDPOINT, _SET = "KUBE-SEP-", "affinity-"
#: How the name of an endpoint's chain ends in mode nftables: ``10.244.1.3/9376``.
_ADDRESS = re.compile(r"^(\S+)/(\d+)$")


def _candidates(context: Context) -> Iterator[Candidate]:
    told = set[tuple[str, str]]()
    for step in context.steps:
        if step.before is None or (step.netns, step_text(step)) in told:
            continue
        told.add((step.netns, step_text(step)))
        if step.backend == NATIVE:
            yield from _in_a_set(context, step)
        elif step.rule and step.chain and step.backend and step.table:
            yield from _in_a_list(context, step)


def _in_a_list(context: Context, step: Step) -> Iterator[Candidate]:
    """Propose to make the list forget the client that a rule of affinity sends to its endpoint."""
    backend, table, name = step.backend or "", step.table or "", step.chain or ""
    chain = context.snapshot.chain(step.netns, backend, table, name)
    if chain is None or step.before is None or not step.rule or step.rule > len(chain.rules):
        return
    rule = chain.rules[step.rule - 1]
    match = next((one for one in rule.matches if isinstance(one, Recent)), None)
    if match is None or match.invert or match.action not in ("rcheck", "update"):
        return
    if not isinstance(rule.target, Jump) or not rule.target.chain.startswith(_ENDPOINT):
        return  # a list of somebody's firewall: no affinity
    address = step.before.src
    entry = _entry(context, step.netns, match.name, address)
    if entry is None:
        return
    seen = f"{entry.last_seen:.0f} s ago"
    kept = f", kept for {match.seconds} s" if match.seconds else ""
    end = _end(context, step, rule.target.chain)
    owed = context.goal.endpoints
    wrong = end is not None and owed is not None and not {end, (end[0], None)} & owed
    yield _candidate(
        context,
        step,
        address,
        f"{end[0]}:{end[1]}" if end is not None else "an endpoint",
        f"remembered {seen}{kept}",
        from_owner=wrong,
        changes=(RecentDelete(netns=step.netns, name=match.name, address=address),),
        evidence=(
            Evidence(
                ref=f"{step.netns}/recent",
                text=f"/proc/net/xt_recent/{match.name}: {address}, last seen {seen}",
                note="what the node remembers",
            ),
            Evidence(
                ref=rule_ref(step.netns, backend, table, name, step.rule),
                text=f"-A {name} {rule_text(rule)}",
                note="and this rule heeds",
            ),
            Evidence(
                ref="kube/endpoint_slices" if wrong else "",
                text=context.goal.describe(),
                note="which it is none of" if wrong else "what is owed",
            ),
        ),
    )


def _end(context: Context, step: Step, chain: str) -> tuple[str, int | None] | None:
    """Return the address and port that an endpoint's chain leads to."""
    found = context.snapshot.chain(step.netns, step.backend or "", step.table or "", chain)
    for rule in found.rules if found is not None else ():
        if isinstance(rule.target, Dnat) and rule.target.to.lo is not None:
            ports = rule.target.to.ports
            return rule.target.to.lo, ports.single if ports is not None else None
    return None


def _entry(context: Context, netns: str, name: str, address: str) -> RecentEntry | None:
    section = context.snapshot.section(SectionKey(netns, "recent"))
    lists: tuple[RecentList, ...] = section.value if isinstance(section, Known) else ()
    held = next((one.entries for one in lists if one.name == name), ())
    return next((entry for entry in held if entry.address == address), None)


def _in_a_set(context: Context, step: Step) -> Iterator[Candidate]:
    """Explain a rule of mode nftables that finds the client in an endpoint's set."""
    text = step_text(step)
    word = next((w for w in text.replace("@", " ").split() if w.startswith(_SET)), "")
    if not word or "goto" not in step.verdict or step.before is None:
        return
    address = step.before.src
    yield _candidate(
        context,
        step,
        address,
        _ADDRESS.sub(r"\1:\2", step.verdict.rpartition("__")[2]).removeprefix("goto "),
        f"it is in the set {word}",
        changes=(),
        evidence=(
            Evidence(ref=step.why.ref if step.why is not None else "", text=text, note="what the node heeds"),
        ),
        lasting=f"nft delete element {step.table} {word} '{{ {address} }}'",
    )


def _candidate(
    context: Context,
    step: Step,
    address: str,
    end: str,
    how: str,
    *,
    changes: tuple[Change, ...],
    evidence: tuple[Evidence, ...],
    from_owner: bool = False,
    lasting: str = "",
) -> Candidate:
    place = where(context.snapshot, step.netns)
    service = next(iter(sorted(subjects_of(context.snapshot, context.walk))), f"chain/{step.chain}")
    return Candidate(
        cause="session-affinity-stuck",
        netns=step.netns,
        where=place,
        subject=service,
        message=(
            f"{place} sends {address} to {end}, the endpoint of {service} that it had before and that does "
            f"not serve: {how}"
        ),
        changes=changes,
        evidence=evidence,
        safety=Safety.GUARDED if changes else Safety.ADVICE,
        owner="the kernel; each packet of the client renews the entry",
        overwritten="the next connection is remembered again, for the endpoint that it then gets",
        from_owner=from_owner,
        lasting=lasting or "restart kube-proxy on this node: the list goes with the chain of its endpoint",
    )


SESSION_AFFINITY_STUCK = Cause(
    id="session-affinity-stuck",
    title="session affinity keeps a client at an endpoint that does not serve any more",
    what=(
        "With sessionAffinity: ClientIP the node remembers each client's endpoint, in a list of -m recent or "
        "in a set of nftables. What it remembers comes before the choice among those that are ready, and "
        "every try renews it, so that a client which tries again and again never gets away."
    ),
    shows="One client times out at a Service for hours; all others are served.",
    dies="Where the remembered endpoint was: at an address that nobody has, or whose pod does not serve.",
    proof="/proc/net/xt_recent/KUBE-SEP-... has the client's address, younger than --seconds.",
    repair="make the list forget the client: echo -ADDRESS > /proc/net/xt_recent/KUBE-SEP-...",
    owner="The kernel; kube-proxy writes the rules.",
    source="kubernetes#110302, kubernetes#81587, kubernetes#55603, longhorn#7748",
    candidates=_candidates,
)
