"""
Network policies in iptables: the chains and sets that enforce them, recognised by their names.

Lives here: the names of the policy controller that kube-router and k3s run, and what a walk met of
such chains.  A controller numbers its runs and hashes the number into its chains' names, so which
pod a chain is for is read from its rules.
Not here: writing them (nettrace.lab.cluster.policies), what policies mean (policy.py).

Sources: kube-router, pkg/controllers/netpol/pod.go and policy.go; weave, npc; calico, felix/rules.
"""

from base64 import b32encode
from collections.abc import Iterable
from hashlib import sha256

from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment
from nettrace.model.xt_target import Jump, MarkTarget

__all__ = [
    "COMES",
    "PASSED",
    "SENT",
    "is_pod_chain",
    "is_policy_chain",
    "is_workload_chain",
    "pod_chain",
    "policies_run",
    "policy_chain",
    "policy_set",
    "refuses",
    "refusing_rule",
    "top_comment",
]

#: weave-npc: what a pod sends is dropped in this chain of its, what comes to one behind the other, in the
#: chain that jumps there.
SENT, COMES = "WEAVE-NPC-EGRESS", "WEAVE-NPC"

#: Felix: a pod's chains to it and from it, and those of policies.
_WORKLOAD = ("cali-tw-", "cali-fw-")
_FELIX = (*_WORKLOAD, "cali-pi-", "cali-po-")

_POD = "KUBE-POD-FW-"
_POLICY = "KUBE-NWPLCY-"
_RUN = "run through nw policy "

#: The mark of a packet that some policy lets through; what does not have it is refused.
PASSED = MarkTarget(0x10000, 0x10000)


def _hashed(text: str) -> str:
    return b32encode(sha256(text.encode()).digest()).decode()[:16]


def pod_chain(namespace: str, pod: str, version: str) -> str:
    """Return the name of a pod's chain in the run *version* of the controller."""
    return _POD + _hashed(namespace + pod + version)


def policy_chain(namespace: str, policy: str, version: str) -> str:
    """Return the name of a policy's chain in the run *version* of the controller."""
    return _POLICY + _hashed(namespace + policy + version)


def policy_set(side: str, namespace: str, policy: str, part: str = "") -> str:
    """Return the name of a set: *side* SRC or DST; *part* is ``ingressrule0pod`` and the like."""
    return f"KUBE-{side}-{_hashed(namespace + policy + part)}"


def top_comment(built_in: str, chain: str) -> str:
    """Return the comment of the jump from a built-in chain; it ends in a hash of the rule."""
    words = "kube-router netpol"
    return f"{words} - {_hashed(f'{built_in}-mcomment--comment{words}-j{chain}')}"


def is_pod_chain(name: str | None) -> bool:
    """Does the chain decide for one pod, as that controller writes it?"""
    return name is not None and name.startswith(_POD)


def is_workload_chain(name: str | None) -> bool:
    """Does the chain decide for one pod, as Felix writes it?"""
    return name is not None and name.startswith(_WORKLOAD)


def is_policy_chain(name: str | None) -> bool:
    """Does the chain belong to network policies?"""
    return name is not None and name.startswith((_POD, _POLICY, "KUBE-ROUTER-", COMES, *_FELIX))


def refuses(name: str | None, passed: Iterable[str]) -> bool:
    """Is it a policy that says no where a rule of chain *name* does, behind the chains *passed* there?"""
    if is_pod_chain(name) or name == SENT or is_workload_chain(name):
        return True
    return not is_policy_chain(name) and COMES in passed


def policies_run(chain: XtChain) -> tuple[tuple[str, str], ...]:
    """Return (policy's name, its chain) of the policies that a pod's chain runs through."""
    found: list[tuple[str, str]] = []
    for rule in chain.rules:
        text = comment_of(rule)
        if isinstance(rule.target, Jump) and text.startswith(_RUN):
            found.append((text.removeprefix(_RUN), rule.target.chain))
    return tuple(found)


def comment_of(rule: XtRule) -> str:
    """Return the comment of a rule, "" without one."""
    return next((one.text for one in rule.matches if isinstance(one, Comment)), "")


def refusing_rule(chain: XtChain) -> int | None:
    """Return the position, from 1, of the first rule that deals with what no policy let through."""
    for position, rule in enumerate(chain.rules, 1):
        if comment_of(rule).startswith(("rule to log dropped traffic", "rule to REJECT traffic")):
            return position
    return None
