"""docker-dnat-missing: a published port whose rule is gone."""

from collections.abc import Iterator

from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import where
from nettrace.diagnose.making import by_netns, jumps_to, owed_candidate
from nettrace.diagnose.rules import addressed_to
from nettrace.model.change import Change, RuleInsert, RuleReplace
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedRule
from nettrace.model.xt_target import Dnat
from nettrace_plugins.docker.owes import CHAIN, OWNER

__all__ = ["DOCKER_DNAT_MISSING"]


def _candidates(context: Context) -> Iterator[Candidate]:
    packet = context.walk.flow.packet
    ours = [d for d in context.differences if d.owed.owner == OWNER]
    wanted = [
        d
        for d in ours
        if isinstance(d.owed, OwedRule)
        and isinstance(d.owed.rule.target, Dnat)
        and addressed_to(d.owed.rule, packet)
    ]
    for netns, found in by_netns(wanted).items():
        place = where(context.snapshot, netns)
        # without a way to the chain its rule would do nothing
        jumps = [d for d in ours if d.owed.netns == netns and jumps_to(d, CHAIN)]
        candidate = owed_candidate(
            context,
            "docker-dnat-missing",
            [found[0], *jumps],
            f"port {packet.dport}/{packet.proto} of {place} is published for {found[0].about}, "
            "and no rule leads it there",
            safety=Safety.KICK,
            overwritten="dockerd writes the same when the container or dockerd itself is restarted",
            lasting=(
                "restart the container, or dockerd; if this returns, something flushes the nat table "
                "(a firewall reload, iptables-restore without --noflush)"
            ),
        )
        yield replace(candidate, changes=_in_place_of_others(context, candidate.changes))


def _in_place_of_others(context: Context, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Where a rule of chain DOCKER leads the port elsewhere, put the owed one in its place."""
    return tuple(_in_place(context, c) if isinstance(c, RuleInsert) else c for c in changes)


def _in_place(context: Context, insert: RuleInsert) -> Change:
    chain = context.snapshot.chain(insert.netns, insert.backend, insert.table, insert.chain)
    if chain is None or insert.chain != CHAIN or not isinstance(insert.rule.target, Dnat):
        return insert
    packet = context.walk.flow.packet
    for position, rule in enumerate(chain.rules, 1):
        if isinstance(rule.target, Dnat) and addressed_to(rule, packet):
            return RuleReplace(
                netns=insert.netns,
                backend=insert.backend,
                table=insert.table,
                chain=insert.chain,
                position=position,
                old=rule,
                rule=insert.rule,
            )
    return insert


DOCKER_DNAT_MISSING = Cause(
    id="docker-dnat-missing",
    title="a published port has no rule",
    what=(
        "The container's record publishes a port of the host, and table nat has no DNAT for it in chain "
        "DOCKER."
    ),
    shows=(
        "Connections to the published port are refused at once; with docker-proxy running they work, and "
        "the container sees the bridge's address as their source."
    ),
    dies="At the host's own sockets: nothing translates the packet, and nobody listens.",
    proof="`docker inspect` shows the port binding; `iptables -t nat -S DOCKER` has no --dport for it.",
    repair="Restart the container or dockerd; until then the rule that dockerd writes.",
    owner="dockerd",
    source="moby#10354, moby#15948, moby#16816",
    candidates=_candidates,
)
