"""
Expect, whole: what kube-proxy and the network systems owe one node.

Lives here: which owners are asked for, which node, and what is said where one of them does not tell.
Not here: kube-proxy's part (nettrace.app.expect), a system's (nettrace.app.claims), the comparison
(nettrace.app.expect_diff).
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from nettrace.app.claims import read_claims
from nettrace.app.context import Context
from nettrace.app.expect import Question, Wanted, wanted
from nettrace.app.node_rules import NodeRules
from nettrace.model.errors import UserError
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.system import Claim

__all__ = ["KUBE_PROXY", "Owing", "owing"]

KUBE_PROXY = "kube-proxy"


class Owing(Struct, frozen=True, kw_only=True):
    """
    Who owes a node what.

    ``proxy`` is kube-proxy's part, None where it is not asked for or nothing is known of it.  ``claims``
    are the systems', of ``snapshot``; none where no node is looked at.  ``remarks`` tell what was assumed.
    """

    node: str
    netns: str
    proxy: Wanted | None
    claims: tuple[Claim, ...] = ()
    snapshot: Snapshot | None = None
    remarks: tuple[str, ...] = ()


def owing(
    question: Question,
    context: Context | None,
    manifests: Path | None,
    *,
    there: NodeRules | None = None,
    owners: Sequence[str] = (),
) -> Owing:
    """
    Find out who owes the node that is asked for; *owners* narrows it, all without any.

    *there* is what is known of the node without a *context*.  UserError for an owner who is nobody, or not
    there, and where nobody's part can be told.
    """
    _check_names(owners, context)
    proxy: Wanted | None = None
    refusal: UserError | None = None
    if not owners or KUBE_PROXY in owners:
        try:
            proxy = wanted(question, context, manifests, there)
        except UserError as error:
            refusal = error
    state = _state(proxy.node if proxy is not None else question.node, context)
    claims = _chosen(context, state, owners) if context is not None and state is not None else ()
    if proxy is None and state is None and context is not None and context.snapshot.nodes:
        which = f"there is no node {question.node!r}" if question.node else "which node? --node is missing"
        raise UserError(which, hint=f"known: {', '.join(sorted(context.snapshot.nodes))}")
    if refusal is not None and (owners or not claims):
        raise refusal
    told = (f"kube-proxy's part is not told: {refusal.what}",) if refusal is not None else ()
    return Owing(
        node=proxy.node if proxy is not None else state.name if state is not None else "",
        netns=state.netns if state is not None else "",
        proxy=proxy,
        claims=claims,
        snapshot=context.snapshot if context is not None else None,
        remarks=(*told, *(proxy.remarks if proxy is not None else ())),
    )


def _chosen(context: Context, state: NodeState, owners: Sequence[str]) -> tuple[Claim, ...]:
    """Return the claims that are asked for; UserError where a system that is asked for is not there."""
    claims = read_claims(context, state)
    for name in owners:
        if name != KUBE_PROXY and all(one.name != name for one in claims):
            raise UserError(
                f"{name} was not recognised on {state.name}",
                where=context.label,
                hint="`nettrace show systems` says what is there, and what that was told by",
            )
    return tuple(one for one in claims if not owners or one.name in owners)


def _check_names(owners: Sequence[str], context: Context | None) -> None:
    if context is None:
        systems = [name for name in owners if name != KUBE_PROXY]
        if systems:
            raise UserError(
                f"what {systems[0]} owes stands in the node's own state, and no node is looked at",
                hint="run it on the node, or give --lab or --from SNAPSHOT",
            )
        return
    known = (KUBE_PROXY, *context.plugins.names)
    for name in owners:
        if name not in known:
            raise UserError(f"no system is called {name!r}", hint=f"known are: {', '.join(known)}")


def _state(node: str, context: Context | None) -> NodeState | None:
    """Return a node's state, of the only one without a name; None where there is none."""
    if context is None:
        return None
    nodes = context.snapshot.nodes
    if node:
        return nodes.get(node)
    return next(iter(nodes.values())) if len(nodes) == 1 else None
