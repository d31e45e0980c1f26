"""
The jumps of nat PREROUTING and OUTPUT to KUBE-SERVICES.

Lives here: what service-jump-missing and service-output-jump-missing share.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Context
from nettrace.diagnose.look import chains_in, has_chain, rule_ref, subject_of, where
from nettrace.diagnose.making import by_netns, jumps_to, owed_candidate
from nettrace.model.change import RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedJump, OwedRule
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment
from nettrace.model.xt_target import Jump
from nettrace.parse.iptables import rule_text

__all__ = ["missing_jump"]

_CHAIN = "KUBE-SERVICES"
_OVERWRITTEN = "kube-proxy writes the same when it notices: within 30 s (its canary), or at a full sync"
_LASTING = "find what deletes it: a firewall reload, or another program that writes the nat table"

#: What kube-proxy writes (pkg/proxy/iptables/proxier.go, iptablesJumpChains).
_JUMP = XtRule(matches=(Comment("kubernetes service portals"),), target=Jump(_CHAIN))


def missing_jump(context: Context, cause: str, hook_chain: str, message: str) -> Iterator[Candidate]:
    """
    Yield the jump from *hook_chain* of table nat where it is missing.

    Where nobody's objects say that it is owed, a chain KUBE-SERVICES without a way to it
    proves it; the rule is then copied from the other hook's jump.
    """
    wanted = [
        d
        for d in context.differences
        if jumps_to(d, _CHAIN)
        and isinstance(d.owed, OwedJump | OwedRule)
        and (d.owed.table, d.owed.chain) == ("nat", hook_chain)
        # where the chain itself is gone, more than the jump is missing
        and all(isinstance(change, RuleInsert) for change in d.restored.changes)
    ]
    for netns, found in by_netns(wanted).items():
        yield owed_candidate(
            context,
            cause,
            found,
            message.format(place=where(context.snapshot, netns)),
            safety=Safety.AUTO,
            overwritten=_OVERWRITTEN,
            lasting=_LASTING,
        )
    owing = {
        item.netns
        for item in context.owed
        if isinstance(item, OwedJump) and (item.table, item.chain) == ("nat", hook_chain)
    }
    for netns in context.visited:
        if netns not in owing:
            yield from _from_rules(context, cause, hook_chain, netns, message)


def _from_rules(
    context: Context, cause: str, hook_chain: str, netns: str, message: str
) -> Iterator[Candidate]:
    snapshot = context.snapshot
    for backend, chain in chains_in(snapshot, netns, "nat", hook_chain):
        if not has_chain(snapshot, netns, backend, "nat", _CHAIN) or _jump_of(chain) is not None:
            continue
        other = "OUTPUT" if hook_chain == "PREROUTING" else "PREROUTING"
        peer = snapshot.chain(netns, backend, "nat", other)
        copied = _jump_of(peer) if peer is not None else None
        rule = copied or _JUMP
        place = where(snapshot, netns)
        yield Candidate(
            cause=cause,
            netns=netns,
            where=place,
            subject=subject_of(snapshot, netns),
            message=message.format(place=place),
            changes=(
                RuleInsert(
                    netns=netns, backend=backend, table="nat", chain=hook_chain, position=1, rule=rule
                ),
            ),
            evidence=(
                Evidence(
                    ref=rule_ref(netns, backend, "nat", hook_chain),
                    text=f"{hook_chain} has no jump to {_CHAIN}",
                    note="what is there",
                ),
                Evidence(
                    ref=rule_ref(netns, backend, "nat", _CHAIN),
                    text=f"chain {_CHAIN} exists, and nothing leads to it from {hook_chain}",
                    note="kube-proxy is at work on this node",
                ),
                *(
                    (
                        Evidence(
                            ref=rule_ref(netns, backend, "nat", other),
                            text=f"-A {other} {rule_text(copied)}",
                            note="the same jump at the other hook",
                        ),
                    )
                    if copied is not None
                    else ()
                ),
            ),
            safety=Safety.AUTO,
            owner="kube-proxy",
            overwritten=_OVERWRITTEN,
            lasting=_LASTING,
        )


def _jump_of(chain: XtChain) -> XtRule | None:
    return next((r for r in chain.rules if isinstance(r.target, Jump) and r.target.chain == _CHAIN), None)
