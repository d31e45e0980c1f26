"""masquerade-missing: traffic leaves the pod network with an address nobody can answer."""

from collections.abc import Iterable, Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import chains_in, connected_prefix, rule_ref, subject_of, where
from nettrace.diagnose.making import by_netns, owed_candidate, owed_rules
from nettrace.model.change import RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import Owed, OwedChain, OwedJump, OwedRule
from nettrace.model.packet import Packet
from nettrace.model.step import Stage
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Comment, Negatable
from nettrace.model.xt_target import Jump, Masquerade, Snat

__all__ = ["MASQUERADE_MISSING", "is_masquerade", "masquerading_chains"]

_KUBE_PROXYS = "KUBE-POSTROUTING"


def _candidates(context: Context) -> Iterator[Candidate]:
    masquerading = masquerading_chains(context.owed)
    wanted = [d for d in context.differences if _masquerades(d, masquerading)]
    for netns, found in by_netns(wanted).items():
        for owner in dict.fromkeys(d.owed.owner for d in found):
            yield _owed(context, netns, [d for d in found if d.owed.owner == owner])
    owing = {item.netns for item in context.owed if is_masquerade(item, masquerading)}
    for netns in context.visited:
        if netns not in owing:
            yield from _unclaimed(context, netns)


def masquerading_chains(owed: Iterable[Owed]) -> frozenset[tuple[str, str]]:
    """Return (namespace, chain) of the owed chains that masquerade, kube-proxy's own aside."""
    return frozenset(
        (item.netns, item.chain)
        for item in owed
        if isinstance(item, OwedChain) and item.chain != _KUBE_PROXYS and any(map(_rewrites, item.rules))
    )


def _rewrites(rule: XtRule) -> bool:
    return isinstance(rule.target, Masquerade | Snat)


def is_masquerade(item: Owed, chains: frozenset[tuple[str, str]]) -> bool:
    """Does the item rewrite sources, or lead to one of *chains*, which masquerading_chains() found?"""
    match item:
        case OwedChain():
            return (item.netns, item.chain) in chains
        case OwedRule() | OwedJump():
            target = item.rule.target
            return _rewrites(item.rule) or (isinstance(target, Jump) and (item.netns, target.chain) in chains)
    return False


def _masquerades(difference: Difference, chains: frozenset[tuple[str, str]]) -> bool:
    return bool(owed_rules(difference)) and is_masquerade(difference.owed, chains)


def _owed(context: Context, netns: str, found: list[Difference]) -> Candidate:
    place, owner = where(context.snapshot, netns), found[0].owed.owner
    return owed_candidate(
        context,
        "masquerade-missing",
        found,
        f"packets leave {place} with a source address that the outside cannot answer: "
        f"{owner}'s masquerade rules are not all there",
        safety=Safety.GUARDED,
        overwritten=f"{owner} writes the same when it next syncs or starts",
        lasting=(
            f"restart {owner}; if this returns, something flushes the nat table "
            "(a firewall reload, iptables-restore without --noflush)"
        ),
        before=_leaving(context, netns),
    )


def _departures(context: Context, netns: str) -> Iterator[tuple[Packet, str]]:
    """Yield (packet, device) for what was forwarded out of *netns*, as it left."""
    for failure in context.failures:
        for step in failure.path.legs[0].steps if failure.path.legs else ():
            packet = step.after if step.after is not None else step.before
            if step.netns == netns and step.stage is Stage.TRANSMIT and packet is not None and step.device:
                yield packet, step.device


def _leaving(context: Context, netns: str) -> tuple[Evidence, ...]:
    last = next(reversed(list(_departures(context, netns))), None)
    if last is None:
        return ()
    packet, device = last
    text = f"{innermost(packet).ends()} by {device}"
    return (Evidence(ref=f"{netns}/links/{device}", text=text, note="how it leaves"),)


def _unclaimed(context: Context, netns: str) -> Iterator[Candidate]:
    """
    Propose a rule where nobody is known to owe one: network and way out as the packet has them.

    The way out is named, so that what goes to other nodes by a tunnel keeps its source.
    """
    seen: set[str] = set()
    for packet, device in _departures(context, netns):
        found = connected_prefix(context.snapshot, netns, packet.src, "bridge") if packet.src else None
        if found is None or found[0].device == device or found[1] in seen:
            continue
        own, network = found
        seen.add(network)
        for backend, chain in chains_in(context.snapshot, netns, "nat", "POSTROUTING"):
            rule = XtRule(
                src=Negatable(network),
                out_device=Negatable(device),
                matches=(Comment("nettrace: masquerade-missing"),),
                target=Masquerade(),
            )
            insert = RuleInsert(
                netns=netns,
                backend=backend,
                table="nat",
                chain="POSTROUTING",
                position=len(chain.rules) + 1,
                rule=rule,
            )
            place = where(context.snapshot, netns)
            yield Candidate(
                cause="masquerade-missing",
                netns=netns,
                where=place,
                subject=subject_of(context.snapshot, netns),
                message=(
                    f"packets leave {place} with a source address of {network}, "
                    "which the outside cannot answer"
                ),
                changes=(insert,),
                evidence=(
                    Evidence(
                        ref=f"{netns}/links/{device}",
                        text=f"{packet.ends()} by {device}",
                        note="how it leaves",
                    ),
                    Evidence(
                        ref=rule_ref(netns, backend, "nat", "POSTROUTING"),
                        text=f"none of the {len(chain.rules)} rules rewrites its source",
                        note="what is there",
                    ),
                    Evidence(
                        ref=f"{netns}/addresses",
                        text=f"{own.address}/{own.prefixlen} is the address of {own.device}",
                        note="the network behind it",
                    ),
                ),
                safety=Safety.GUARDED,
                owner="nobody that nettrace knows",
                overwritten="lost when the nat table is loaded anew",
                lasting="make the rule part of what sets this network up, or give the outside a route back",
            )


MASQUERADE_MISSING = Cause(
    id="masquerade-missing",
    title="traffic leaves the pod network unmasqueraded",
    what=(
        "No rule rewrites the source of what leaves the pods' or containers' network, so it goes out "
        "with an address that only the node knows."
    ),
    shows="Pods time out to the internet and to hosts of the LAN; pod to pod works.",
    dies="The request arrives, or is filtered upstream; the reply has no way back to the pod's address.",
    proof=(
        "nat POSTROUTING has no MASQUERADE for the network; the flow's conntrack entry waits for a reply "
        "to the pod's own address."
    ),
    repair="the owner's own rules; iptables -t nat -A POSTROUTING -s NETWORK -o UPLINK -j MASQUERADE",
    owner="flanneld --ip-masq, dockerd, ip-masq-agent, the bridge plugin's ipMasq.",
    source="flannel#799, felix#1093, calicoctl#1249, kubernetes#40182",
    candidates=_candidates,
)
