"""kube-postrouting-missing: marked for masquerade, and never masqueraded."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import has_chain, rule_ref, where
from nettrace.diagnose.making import by_netns, jumps_to, owed_candidate
from nettrace.model.change import ChainSet, Change, RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedChain
from nettrace.model.step import Step
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment, Mark
from nettrace.model.xt_target import Jump, MarkTarget, Masquerade, Return

__all__ = ["KUBE_POSTROUTING_MISSING"]

_CHAIN = "KUBE-POSTROUTING"
_MARKING = "KUBE-MARK-MASQ"
_MESSAGE = "packets marked for masquerade leave {place} without it"
_OVERWRITTEN = "kube-proxy writes the same again at its next full sync"
_LASTING = (
    "restart kube-proxy; if this returns, something removes it "
    "(a firewall reload, iptables-restore without --noflush)"
)


def _candidates(context: Context) -> Iterator[Candidate]:
    wanted = [d for d in context.differences if _is_ours(d.owed) or jumps_to(d, _CHAIN)]
    for netns, found in by_netns(wanted).items():
        whole = any(isinstance(d.owed, OwedChain) for d in found)
        yield owed_candidate(
            context,
            "kube-postrouting-missing",
            found,
            _MESSAGE.format(place=where(context.snapshot, netns)),
            # the jump alone is what kube-proxy itself puts back whenever it looks
            safety=Safety.KICK if whole else Safety.AUTO,
            overwritten=_OVERWRITTEN,
            lasting=_LASTING,
            before=_marking(context, netns),
        )
    claimed = {item.netns for item in context.owed if _is_ours(item)}
    for netns in context.visited:
        if netns not in claimed:
            yield from _from_rules(context, netns)


def _is_ours(item: object) -> bool:
    return isinstance(item, OwedChain) and (item.table, item.chain) == ("nat", _CHAIN)


def _marked(context: Context, netns: str) -> Step | None:
    """Return the step at which kube-proxy's rules marked the packet in *netns*."""
    return next(
        (
            s
            for s in context.steps
            if s.netns == netns and s.chain == _MARKING and s.before and s.after and s.after.mark
        ),
        None,
    )


def _marking(context: Context, netns: str) -> tuple[Evidence, ...]:
    step = _marked(context, netns)
    if step is None or step.why is None:
        return ()
    return (Evidence(ref=step.why.ref, text=step.why.text, note="marked here"),)


def _from_rules(context: Context, netns: str) -> Iterator[Candidate]:
    """
    Propose it from the node's own rules, where nobody's objects say what is owed.

    The mark is that of KUBE-MARK-MASQ; the rules are kube-proxy's for any such mark
    (pkg/proxy/iptables/proxier.go, syncProxyRules).
    """
    step = _marked(context, netns)
    if step is None or step.backend is None or step.rule is None:
        return
    snapshot, backend = context.snapshot, step.backend
    marking = snapshot.chain(netns, backend, "nat", _MARKING)
    chain = snapshot.chain(netns, backend, "nat", _CHAIN)
    postrouting = snapshot.chain(netns, backend, "nat", "POSTROUTING")
    if marking is None or postrouting is None:
        return
    target = marking.rules[step.rule - 1].target
    if not isinstance(target, MarkTarget) or target.value == 0:
        return
    changes: list[Change] = []
    evidence: list[Evidence] = []
    unread = chain is None and has_chain(snapshot, netns, backend, "nat", _CHAIN)
    if not unread and (chain is None or not any(isinstance(r.target, Masquerade) for r in chain.rules)):
        changes.append(
            ChainSet(netns=netns, backend=backend, table="nat", chain=_CHAIN, rules=_rules(target.value))
        )
        evidence.append(_standing(netns, backend, chain))
    if not any(isinstance(r.target, Jump) and r.target.chain == _CHAIN for r in postrouting.rules):
        jump = XtRule(matches=(Comment("kubernetes postrouting rules"),), target=Jump(_CHAIN))
        changes.append(
            RuleInsert(netns=netns, backend=backend, table="nat", chain="POSTROUTING", position=1, rule=jump)
        )
        text = f"POSTROUTING has no jump to {_CHAIN}"
        evidence.append(
            Evidence(ref=rule_ref(netns, backend, "nat", "POSTROUTING"), text=text, note="what is there")
        )
    if not changes:
        return
    place = where(snapshot, netns)
    yield Candidate(
        cause="kube-postrouting-missing",
        netns=netns,
        where=place,
        subject=f"chain/{_CHAIN}",
        message=_MESSAGE.format(place=place),
        changes=tuple(changes),
        evidence=(*_marking(context, netns), *evidence),
        safety=Safety.KICK if isinstance(changes[0], ChainSet) else Safety.AUTO,
        owner="kube-proxy",
        overwritten=_OVERWRITTEN,
        lasting=_LASTING,
    )


def _standing(netns: str, backend: str, chain: XtChain | None) -> Evidence:
    text = f"table nat has no chain {_CHAIN}" if chain is None else f"chain {_CHAIN} masquerades nothing"
    return Evidence(ref=rule_ref(netns, backend, "nat", _CHAIN), text=text, note="what is there")


def _rules(mark: int) -> tuple[XtRule, ...]:
    traffic = Comment("kubernetes service traffic requiring SNAT")
    return (
        XtRule(matches=(Mark(mark, mark, invert=True),), target=Return()),
        XtRule(target=MarkTarget(mark, 0)),
        XtRule(matches=(traffic,), target=Masquerade(random_fully=True)),
    )


KUBE_POSTROUTING_MISSING = Cause(
    id="kube-postrouting-missing",
    title="packets marked for masquerade leave without it",
    what=(
        "kube-proxy marks what has to come back through this node (KUBE-MARK-MASQ) and masquerades it in "
        "KUBE-POSTROUTING. That chain is empty, or POSTROUTING does not jump to it."
    ),
    shows=(
        "A NodePort of a node that does not hold the pod times out; so does a pod that calls its own "
        "Service. ClusterIPs work otherwise."
    ),
    dies=(
        "The request arrives; the reply goes straight to the client, past the node that holds the NAT, "
        "and the client resets what it never asked for."
    ),
    proof=(
        "nat KUBE-POSTROUTING is empty or not jumped to; the connection's conntrack entry expects the "
        "reply at the client's own address."
    ),
    repair="Put the jump or the chain's three rules back; kube-proxy does at its next full sync.",
    owner="kube-proxy",
    source="kubernetes#36835, kubernetes#44916, kubernetes#66062 (the IPVS analogue)",
    candidates=_candidates,
)
