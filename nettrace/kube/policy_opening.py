"""
Where in the chains of network policies one more flow would be let through, and by what.

Lives here: for each controller's chains, the place before the refusal and what counts a packet as
allowed there, read from the chains as they are.
Not here: recognising the chains (policy_chains), the rule itself (nettrace.diagnose.temporary).

Sources: kube-router, pkg/controllers/netpol/pod.go; felix/rules/endpoints.go (a policy that accepts sets
the accept bit, and the pod's chain returns on it); weave, npc/controller.go and prog/weave-npc/main.go.
"""

from collections.abc import Callable

from msgspec import Struct

from nettrace.kube.policy_chains import (
    COMES,
    PASSED,
    SENT,
    is_pod_chain,
    is_policy_chain,
    is_workload_chain,
    refusing_rule,
)
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment, Mark
from nettrace.model.xt_target import Accept, Jump, MarkTarget, Nflog, Return, Target

__all__ = ["Opening", "controller_of", "opening"]

#: weave-npc: where what may be sent is marked, and where policies let in.
_ACCEPT, _INGRESS = "WEAVE-NPC-EGRESS-ACCEPT", "WEAVE-NPC-INGRESS"

#: The comments of Felix' rules that refuse what no policy, or no profile, let through.
_UNPASSED = ("no policies passed packet", "no profiles matched")


class Opening(Struct, frozen=True, kw_only=True):
    """A place in a chain, counted from 1, and the targets of the rules that belong there, in this order."""

    chain: str
    position: int
    targets: tuple[Target, ...]


def controller_of(chain: str | None) -> str:
    """Name the controller that writes the chain that refuses a packet, and says when it writes it anew."""
    if is_pod_chain(chain):
        return "the policy controller (kube-router, k3s)"
    return "Felix (calico-node)" if is_workload_chain(chain) else "weave-npc"


def opening(name: str, refused: int | None, chain_of: Callable[[str], XtChain | None]) -> Opening | None:
    """
    Return where a packet would be let through that rule *refused* of chain *name* refuses.

    *chain_of* looks a chain of table filter up.  None where the chains are not built as is known.
    """
    chain = chain_of(name)
    if chain is None:
        return None
    if is_pod_chain(name):
        position = refusing_rule(chain)
        return Opening(chain=name, position=position, targets=(PASSED,)) if position is not None else None
    if refused is None or not 0 < refused <= len(chain.rules):
        return None
    if is_workload_chain(name):
        return _of_felix(name, refused, chain)
    if name == SENT and chain_of(_ACCEPT) is not None:
        position = refused
        while position > 1 and isinstance(chain.rules[position - 2].target, Nflog):
            position -= 1  # it would be logged as refused
        return Opening(chain=name, position=position, targets=(Jump(_ACCEPT),))
    into = chain_of(_INGRESS)
    if not is_policy_chain(name) and chain_of(COMES) is not None and into is not None:
        return Opening(chain=_INGRESS, position=len(into.rules) + 1, targets=(Accept(),))
    return None


def _of_felix(name: str, refused: int, chain: XtChain) -> Opening | None:
    """The accept bit is the one on which the chain returns; it is set and the chain left."""
    texts = [match.text for match in chain.rules[refused - 1].matches if isinstance(match, Comment)]
    bit = next((bit for rule in chain.rules if (bit := _returns_on(rule)) is not None), None)
    if bit is None or not any(words in text for text in texts for words in _UNPASSED):
        return None
    return Opening(chain=name, position=refused, targets=(MarkTarget(bit, bit), Return()))


def _returns_on(rule: XtRule) -> int | None:
    """Return the bit of the mark on which a rule leaves its chain."""
    if not isinstance(rule.target, Return):
        return None
    tests = [match for match in rule.matches if not isinstance(match, Comment)]
    match tests:
        case [Mark(value=value, mask=mask, invert=False)] if value == mask and value:
            return value
    return None
