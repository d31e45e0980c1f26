"""stale-endpoint-rule: a Service's rule leads to an address that is no endpoint."""

from collections.abc import Iterator

from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Cause, Context, Failure
from nettrace.diagnose.causes.dnats import Translation, destination, met_rules, translations
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import holder_of, rule_ref, where
from nettrace.diagnose.making import by_netns, owed_candidate
from nettrace.diagnose.services import subjects_of
from nettrace.model.change import ChainSet, RuleReplace
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedChain
from nettrace.model.section import Known
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Match, Statistic
from nettrace.model.xt_target import Dnat, Jump

__all__ = ["STALE_ENDPOINT_RULE"]

#: The kernel draws a 31-bit number (net/netfilter/xt_statistic.c).
_ONE = 1 << 31
#: kube-proxy's chains.
_OWN = "KUBE-"


def _candidates(context: Context) -> Iterator[Candidate]:
    subjects = subjects_of(context.snapshot, context.walk)
    wanted = [
        d
        for d in context.differences
        if isinstance(d.owed, OwedChain) and d.owed.subject in subjects and _is_stale(context, d, d.owed)
    ]
    for netns, found in by_netns(wanted).items():
        yield _owed(context, netns, found)
    claimed = {
        (item.netns, item.chain)
        for item in context.owed
        if isinstance(item, OwedChain) and item.table == "nat"
    }
    for translation in translations(context):
        way = _way_to(context, translation.failure, translation)
        if not translation.chain.startswith(_OWN):
            continue  # another agent's (a hostPort, a published port): no Service's rule
        if way is not None and not {(translation.netns, n) for n in (way[0], translation.chain)} & claimed:
            yield from _branch(context, translation, way)


def _is_stale(context: Context, difference: Difference, owed: OwedChain) -> bool:
    """
    Does the chain, as it stands, lead where its owner does not want it to?

    Either its DNAT has another address than is owed, or it jumps to a chain that is not owed.
    """
    chain = context.snapshot.chain(owed.netns, difference.restored.backend, owed.table, owed.chain)
    if chain is None or not owed.ordered:
        return False
    return bool(_addresses(chain.rules) - _addresses(owed.rules)) or bool(
        _jumps(chain.rules) - _jumps(owed.rules)
    )


def _addresses(rules: tuple[XtRule, ...]) -> set[str | None]:
    return {rule.target.to.lo for rule in rules if isinstance(rule.target, Dnat)}


def _jumps(rules: tuple[XtRule, ...]) -> set[str]:
    return {rule.target.chain for rule in rules if isinstance(rule.target, Jump)}


def _owed(context: Context, netns: str, found: list[Difference]) -> Candidate:
    gone = [
        destination(change.old.target)
        for d in found
        for change in d.restored.changes
        if isinstance(change, RuleReplace) and isinstance(change.old.target, Dnat)
    ]
    name = found[0].subject.removeprefix("svc/")
    led = f"to {', '.join(gone)}" if gone else "elsewhere"
    return owed_candidate(
        context,
        "stale-endpoint-rule",
        found,
        f"a rule of Service {name} on {where(context.snapshot, netns)} leads {led}, "
        "which is none of its ready endpoints",
        safety=Safety.KICK,
        overwritten="kube-proxy writes the same again when the Service's endpoints change or it restarts",
        lasting="restart kube-proxy on this node and look at its log: it has missed a change of endpoints",
    )


# --- without anybody's objects ---------------------------------------------------------


def _branch(context: Context, stale: Translation, way: tuple[str, int, XtChain]) -> Iterator[Candidate]:
    """Propose to take out the branch that leads to an address which nobody has."""
    address = stale.target.to.lo
    if address is None or not _nobody_has(context, address):
        return
    name, position, chain = way
    rules = without_branch(chain.rules, position)
    if rules is None:
        return
    snapshot, place = context.snapshot, where(context.snapshot, stale.netns)
    yield Candidate(
        cause="stale-endpoint-rule",
        netns=stale.netns,
        where=place,
        subject=f"chain/{name}",
        message=f"a Service's rule on {place} leads to {destination(stale.target)}, which nobody has",
        changes=(ChainSet(netns=stale.netns, backend=stale.backend, table="nat", chain=name, rules=rules),),
        evidence=(
            stale.evidence,
            Evidence(
                ref=rule_ref(stale.netns, stale.backend, "nat", name, position),
                text=f"rule {position} of {len(chain.rules)} in {name} leads there",
                note="the other branches keep their shares among themselves",
            ),
            Evidence(
                ref="",
                text=f"no namespace has {address}"
                + (", and no pod does" if isinstance(snapshot.kube.pods, Known) else ""),
                note=stale.failure.path.reason or stale.failure.verdict.value,
            ),
        ),
        safety=Safety.GUARDED,
        owner="kube-proxy",
        overwritten="kube-proxy writes the chain anew when the Service's endpoints change or it restarts",
        lasting="restart kube-proxy on this node and look at its log: it has missed a change of endpoints",
    )


def _nobody_has(context: Context, address: str) -> bool:
    snapshot = context.snapshot
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    held = any(address in pod.ips for pod in pods) or holder_of(snapshot, address) is not None
    unread = any(not isinstance(n.addresses, Known) for n in snapshot.namespaces.values())
    return not held and (bool(pods) or not unread)


def _way_to(context: Context, failure: Failure, stale: Translation) -> tuple[str, int, XtChain] | None:
    """Return (chain, position, chain as it is) of the jump to the stale rule's chain."""
    for step, rule in met_rules(context, failure):
        if isinstance(rule.target, Jump) and rule.target.chain == stale.chain and step.netns == stale.netns:
            chain = context.snapshot.chain(stale.netns, stale.backend, "nat", step.chain or "")
            if chain is not None and step.chain and step.rule and chain.policy is None:
                return step.chain, step.rule, chain
    return None


def without_branch(rules: tuple[XtRule, ...], position: int) -> tuple[XtRule, ...] | None:
    """
    Return a balancing chain without its rule *position*, the other branches equally likely.

    kube-proxy gives branch i of n the probability 1/(n-i), and the last one no statistic at
    all.  None if no branch is left.
    """
    left = [rule for number, rule in enumerate(rules, 1) if number != position]
    branches = [i for i, rule in enumerate(left) if isinstance(rule.target, Jump) and _balances(rule, rules)]
    if not branches:
        return None
    for order, index in enumerate(branches):
        rule = left[index]
        matches: tuple[Match, ...] = tuple(m for m in rule.matches if not isinstance(m, Statistic))
        share = len(branches) - order
        if share > 1:
            matches = (*matches, Statistic(mode="random", probability=round(_ONE / share)))
        left[index] = replace(rule, matches=matches)
    return tuple(left)


def _balances(rule: XtRule, rules: tuple[XtRule, ...]) -> bool:
    """Is the rule one of the chain's branches?  Those have a statistic, and the chain's last rule is one."""
    return any(isinstance(m, Statistic) for m in rule.matches) or rule is rules[-1] or rule == rules[-1]


STALE_ENDPOINT_RULE = Cause(
    id="stale-endpoint-rule",
    title="a Service's rule leads to an endpoint that is gone",
    what=(
        "A DNAT rule of the Service leads to an address that is not, or no longer, one of its ready "
        "endpoints: kube-proxy missed the change, or somebody edited its chains."
    ),
    shows=(
        "1 of N connections fails: no route to host after 3 s on a bridge, a timeout elsewhere, refused "
        "where another pod has the address now."
    ),
    dies="On the dead pod's node, when nobody answers ARP for the address.",
    proof="The DNAT in a KUBE-SEP chain names an address that no EndpointSlice of the Service has as ready.",
    repair="Restart kube-proxy; until then the chain as it is owed, or the Service without that branch.",
    owner="kube-proxy",
    source="kubernetes#80407, kubernetes#76376, kubernetes#109811, kubernetes#98570",
    candidates=_candidates,
)
