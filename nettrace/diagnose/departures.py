"""
What kube-proxy owes beside the rules that are there, and what each difference means.

Lives here: whole tables, jumps, chains of many Services, chains of the frame.
Not here: the chains of one Service and of one endpoint (service_departures.py), what a
difference does to one flow (difference.py, the search).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nettrace.diagnose.departure import Departure, DepartureKind
from nettrace.diagnose.difference_xt import plain, shown
from nettrace.diagnose.found_chains import FoundChains
from nettrace.diagnose.service_departures import SERVICE_CHAINS, destinations, service_departures
from nettrace.model.owed import Owed, OwedChain, OwedJump, OwedRule, OwedSysctl, RuleNote
from nettrace.model.xt import XtRule, XtRuleset
from nettrace.model.xt_target import Jump

__all__ = ["departures"]

_UNMASKED = (
    "Service traffic that is marked leaves with its own source: answers go past this node; NodePorts by "
    "way of other nodes, and pods that reach themselves by their Service, time out"
)
_UNMARKED = (
    "Service traffic that has to be masqueraded is not marked for it, or with another bit than "
    "KUBE-POSTROUTING tests"
)
_FRAME_CAUSES = {
    "KUBE-POSTROUTING": ("kube-postrouting-missing", _UNMASKED),
    "KUBE-MARK-MASQ": ("masquerade-missing", _UNMARKED),
    "KUBE-FORWARD": (
        "owed-state-missing",
        "forwarded Service traffic depends on the policy of FORWARD, or its INVALID packets pass",
    ),
    "KUBE-FIREWALL": (
        "owed-state-missing",
        "127.0.0.0/8 can be reached from the network, as route_localnet is set",
    ),
}

_JUMP_CAUSES = {
    ("nat", "PREROUTING", "KUBE-SERVICES"): (
        "service-jump-missing",
        "the chain is not linked: pods and others outside reach no Service here; NodePorts are refused",
    ),
    ("nat", "OUTPUT", "KUBE-SERVICES"): (
        "service-output-jump-missing",
        "the chain is not linked: this node itself and its hostNetwork pods reach no Service",
    ),
    ("nat", "POSTROUTING", "KUBE-POSTROUTING"): (
        "kube-postrouting-missing",
        "the chain is not linked: what is marked is not masqueraded, so answers go past this node",
    ),
}

_REFUSALS = ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES")


def departures(
    owed: Sequence[Owed], rules: XtRuleset, family: int, sysctls: Mapping[str, str] | None = None
) -> tuple[Departure, ...]:
    """
    Compare *owed* with *rules*, one back end of one family; *sysctls* None: they are not known.

    Comments, counters and how source ports are drawn are set aside: they change no packet's
    way.  A chain that was not read is not compared; the caller has to know of it.  In the order
    of what breaks most: tables, jumps, chains.
    """
    found = FoundChains(rules, family)
    chains = [item for item in owed if isinstance(item, OwedChain)]
    jumps = [item for item in owed if isinstance(item, OwedJump)]
    ends = destinations(chains)
    gone = {table for table in ("nat", "filter") if _is_flushed(table, jumps, chains, found)}
    result = [_flushed(table, jumps, chains, found) for table in sorted(gone, reverse=True)]
    for item in owed:
        if isinstance(item, OwedSysctl):
            result.extend(_sysctl(item, found, sysctls))
        elif isinstance(item, OwedJump | OwedRule) and item.table not in gone:
            result.extend(_single(item, found))
    for chain in chains:
        if chain.table in gone:
            continue
        there = found.rules(chain.table, chain.chain)
        if there is None:
            result.extend(_canary(chain, found))
        elif not chain.ordered:
            result.extend(_shared(chain, there, found, chains))
        elif chain.chain.startswith(SERVICE_CHAINS):
            result.extend(service_departures(chain, there, found, ends))
        else:
            result.extend(_frame(chain, there, found))
    return tuple(result)


# --- whole tables ----------------------------------------------------------------------


def _is_flushed(
    table: str, jumps: Sequence[OwedJump], chains: Sequence[OwedChain], found: FoundChains
) -> bool:
    """Are all jumps of the table gone, and all chains with rules empty or gone?"""
    mine = [jump for jump in jumps if jump.table == table]
    filled = [chain for chain in chains if chain.table == table and chain.rules]
    if not mine or any(not found.is_read(table, name) for name in {j.chain for j in mine}):
        return False
    return all(not found.has(jump.table, jump.chain, jump.rule) for jump in mine) and all(
        found.is_read(table, chain.chain) and not found.rules(table, chain.chain) for chain in filled
    )


def _flushed(
    table: str, jumps: Sequence[OwedJump], chains: Sequence[OwedChain], found: FoundChains
) -> Departure:
    mine = [jump for jump in jumps if jump.table == table]
    filled = [chain for chain in chains if chain.table == table and chain.rules]
    never = not found.any_of_kube_proxy()
    words = (
        "no chain of kube-proxy's is here: it does not run on this node, or never got to write its rules"
        if never
        else "somebody flushed the table; kube-proxy writes it again when it next looks (30 s, or an hour "
        "without its canary), or when it is restarted"
    )
    dead = (
        "no Service works from or through this node" if table == "nat" else "Services without endpoints hang"
    )
    return Departure(
        kind="flushed",
        cause="kubeproxy-not-running" if never else "rules-flushed",
        family=found.family,
        table=table,
        chain="",
        owed=f"{len(mine)} jumps and {len(filled)} chains with rules",
        meaning=f"all of kube-proxy's rules in table {table} are gone, so {dead}: {words}",
    )


def _canary(chain: OwedChain, found: FoundChains) -> Iterator[Departure]:
    """
    Tell of a missing canary.

    Any other chain that is not there is told where the rule is missing that leads to it: the
    kernel has no jump to a chain that does not exist.
    """
    if chain.chain == "KUBE-PROXY-CANARY" and found.is_read(chain.table, chain.chain):
        yield Departure(
            kind="rule-missing",
            cause="rules-flushed",
            family=found.family,
            table=chain.table,
            chain=chain.chain,
            owed=f"-N {chain.chain}",
            meaning="the chain by which kube-proxy sees that a table was flushed is gone: it was, a moment "
            "ago, or kube-proxy does not look",
        )


# --- jumps and single rules ------------------------------------------------------------


def _single(item: OwedJump | OwedRule, found: FoundChains) -> Iterator[Departure]:
    if not found.is_read(item.table, item.chain) or found.has(item.table, item.chain, item.rule):
        return
    to = item.rule.target.chain if isinstance(item.rule.target, Jump) else ""
    linking = isinstance(item, OwedJump)
    cause, meaning = _JUMP_CAUSES.get(
        (item.table, item.chain, to),
        ("owed-state-missing", f"the chain is not linked: {item.about}" if linking else item.about),
    )
    yield Departure(
        kind="not-linked" if linking else "rule-missing",
        cause=cause,
        family=found.family,
        table=item.table,
        chain=item.chain,
        owed=shown(item.chain, item.rule),
        meaning=meaning,
    )


def _sysctl(item: OwedSysctl, found: FoundChains, sysctls: Mapping[str, str] | None) -> Iterator[Departure]:
    value = None if sysctls is None else sysctls.get(item.name)
    if value is None or value in item.values:
        return
    yield Departure(
        kind="sysctl",
        cause="route-localnet-off",
        family=found.family,
        table="",
        chain="",
        owed=f"{item.name} = {item.values[0]}",
        found=f"{item.name} = {value}",
        meaning="connections from this node to its own NodePorts by 127.0.0.1 hang",
    )


# --- chains that all Services share ----------------------------------------------------


def _shared(
    item: OwedChain, there: Sequence[XtRule], found: FoundChains, chains: Sequence[OwedChain]
) -> Iterator[Departure]:
    left = Counter(plain(rule) for rule in there)
    last = {plain(rule) for rule in item.last}
    for number, rule in enumerate(item.rules):
        if left[plain(rule)] > 0:
            left[plain(rule)] -= 1
            continue
        note = item.notes[number] if number < len(item.notes) else None
        yield _shared_missing(item, rule, note, found, ends=plain(rule) in last)
    owned = {chain.chain for chain in chains}
    for position, rule in enumerate(there, 1):
        if left[plain(rule)] > 0:
            left[plain(rule)] -= 1
            yield _shared_extra(item, rule, position, found, owned)
    ending = [position for position, rule in enumerate(there, 1) if plain(rule) in last]
    if ending and ending[0] <= len(there) - len(ending):
        yield Departure(
            kind="rule-order",
            cause="owed-state-missing",
            family=found.family,
            table=item.table,
            chain=item.chain,
            found=shown(item.chain, there[ending[0] - 1]),
            position=ending[0],
            meaning="rules come after the one for NodePorts, which has to be the last: traffic to an address "
            "of this node on the port of a NodePort is taken before them",
        )


def _shared_missing(
    item: OwedChain, rule: XtRule, note: RuleNote | None, found: FoundChains, *, ends: bool
) -> Departure:
    about = note.about if note is not None and note.about else item.about
    kind: DepartureKind = "rule-missing"
    cause, meaning = "owed-state-missing", f"nothing is done about {about}"
    if ends:
        meaning = "traffic to this node's own addresses does not reach NodePorts"
    elif item.table == "nat" and isinstance(rule.target, Jump) and rule.target.chain == "KUBE-MARK-MASQ":
        kind, cause = "masquerade-missing", "masquerade-missing"
        meaning = f"{about} is missing: answers may go past this node"
    elif item.table == "nat":
        kind, cause = "service-missing", "service-rules-absent"
        meaning = (
            f"the rule for {about} is missing: its traffic goes on to that address, where nobody answers"
        )
    elif item.chain in _REFUSALS:
        meaning = f"{about} is missing: instead of a refusal the client gets no answer"
    elif item.chain == "KUBE-PROXY-FIREWALL":
        meaning = f"{about} are not enforced: sources outside them go on to the load balancer's address"
    return Departure(
        kind=kind,
        cause=cause,
        family=found.family,
        table=item.table,
        chain=item.chain,
        subject=note.subject if note is not None else item.subject,
        owed=shown(item.chain, rule),
        meaning=meaning,
    )


def _shared_extra(
    item: OwedChain, rule: XtRule, position: int, found: FoundChains, owned: set[str]
) -> Departure:
    """Tell of a rule that is not owed: of a Service that is gone, of an older state, or somebody's own."""
    target = rule.target.chain if isinstance(rule.target, Jump) else ""
    named = rule.comment.split(" ", 1)[0]
    if target.startswith(("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-")):
        gone = target not in owned
        cause = "stale-endpoint-rule"
        meaning = (
            f"it leads to {named or target}, a Service port that the cluster does not have, or not so"
            if gone
            else f"kube-proxy does not owe it: {named or target} is not reached so any more"
        )
    elif item.table == "filter":
        cause = "owed-state-missing"
        meaning = (
            f"kube-proxy does not owe it: {named or 'traffic'} is refused or accepted that should not be"
        )
    else:
        cause, meaning = "owed-state-missing", "kube-proxy did not write it"
    return Departure(
        kind="rule-extra",
        cause=cause,
        family=found.family,
        table=item.table,
        chain=item.chain,
        found=shown(item.chain, rule),
        position=position,
        meaning=meaning,
    )


# --- the frame -------------------------------------------------------------------------


def _frame(item: OwedChain, there: Sequence[XtRule], found: FoundChains) -> Iterator[Departure]:
    have, want = [plain(rule) for rule in there], [plain(rule) for rule in item.rules]
    if have == want:
        return
    cause, words = _FRAME_CAUSES.get(item.chain, ("owed-state-missing", item.about))
    left = Counter(have)
    place: dict[str, Any] = {"family": found.family, "table": item.table, "chain": item.chain}
    missing = 0
    for rule in item.rules:
        if left[plain(rule)] > 0:
            left[plain(rule)] -= 1
            continue
        missing += 1
        masks = item.chain in ("KUBE-POSTROUTING", "KUBE-MARK-MASQ")
        yield Departure(
            kind="masquerade-missing" if masks else "rule-missing",
            cause=cause,
            owed=shown(item.chain, rule),
            meaning=words,
            **place,
        )
    extra = 0
    for position, rule in enumerate(there, 1):
        if left[plain(rule)] > 0:
            left[plain(rule)] -= 1
            extra += 1
            yield Departure(
                kind="rule-extra",
                cause="owed-state-missing",
                found=shown(item.chain, rule),
                position=position,
                meaning=f"kube-proxy did not write it: {item.about} is not as it means it",
                **place,
            )
    if not missing and not extra:
        yield Departure(
            kind="rule-order",
            cause="owed-state-missing",
            meaning=f"the rules stand in another order than kube-proxy writes them: {item.about}",
            **place,
        )
