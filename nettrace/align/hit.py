"""
One rule that a packet met beside one step of the walk.

Lives here: are they the same, with the same verdict; which hits stand before the one of a step;
both in words.
Not here: whole legs (nettrace.align.steps).
"""

from collections.abc import Sequence

from nettrace.align.visit import is_tunnelled
from nettrace.model.observation import Hit
from nettrace.model.step import Stage, Step

__all__ = ["hit_text", "is_of", "left_out", "may_be_unseen", "of_another_table", "same_verdict", "step_text"]

_NAT = frozenset({"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP"})
_ENDING = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
#: Of iptables' targets: the rule does something, and the next one follows.
_CONTINUING = frozenset({"continue", "MARK", "CONNMARK", "CT", "NOTRACK", "LOG", "NFLOG", "TCPMSS"})
#: Of nftables' statements with a verdict of their own.
_NATIVE = {"dnat": "accept", "snat": "accept", "masquerade": "accept", "redirect": "accept", "reject": "drop"}

#: iptables' tables that packets of a known connection meet too.
_FOR_ALL = frozenset({"raw", "mangle", "filter", "security"})
#: Of these families a packet may pass chains before it is recognised.
_BELOW = ("bridge ", "netdev ")


def is_of(hit: Hit, step: Step) -> bool:
    """Is it the rule or the policy of *step* that was met?"""
    table = hit.table
    if step.backend == "nftables":
        table = f"{hit.family} {hit.table}"
    elif hit.family not in ("ip", "ip6"):
        return False
    return (table, hit.chain, hit.rule) == (step.table, step.chain, step.rule)


def left_out(waiting: Sequence[Hit], step: Step | None) -> int:
    """
    Return how many hits stand before the one of *step* that the walk leaves out.

    Chains of which nothing but the policy was met may be empty.  A tunnel's own packets meet
    nat rules only while their connection is new; its source port is a hash of what is
    inside, so the walk cannot know.
    """
    for index, hit in enumerate(waiting):
        if step is not None and is_of(hit, step):
            return index
        nothing = hit.rule == 0 and hit.verdict == "policy accept"
        if not nothing and not (hit.tunnelled and hit.table not in _FOR_ALL):
            return index
    return len(waiting)


def of_another_table(waiting: Sequence[Hit], step: Step) -> int:
    """
    Return how many hits of other tables at this hook stand before the one of *step*; 0 if it has none.

    Which of two tables with one priority is first, the walk cannot know where it does not matter.
    """
    for index, hit in enumerate(waiting):
        if hit.hook != step.hook:
            return 0
        if is_of(hit, step):
            return index
        if step.table in (hit.table, f"{hit.family} {hit.table}"):
            return 0
    return 0


def may_be_unseen(step: Step) -> bool:
    """May the packet have met the rule of *step* without a hit of it?"""
    below = (step.table or "").startswith(_BELOW)
    return below or _is_carriers_nat(step) or step.note.startswith("if it matches")


def _is_carriers_nat(step: Step) -> bool:
    packet = step.before or step.after
    return step.table not in _FOR_ALL and packet is not None and is_tunnelled(packet)


def same_verdict(predicted: str, seen: str) -> bool:
    """Is the verdict that nf_tables told what the target's name stands for?"""
    word = predicted.split(maxsplit=1)[0] if predicted else ""
    if seen == "met":
        return True  # all that iptables-legacy tells of a target that is not a common one
    if word == "policy":
        return seen == predicted.lower()
    if word in _NATIVE:
        return seen == _NATIVE[word]
    if word in ("accept", "drop", "return", "jump", "goto"):
        return seen == predicted
    if word in _ENDING:
        return seen == _ENDING[word]
    if word in _NAT:
        return seen == "accept"
    if word in _CONTINUING:
        return seen == "continue"
    if seen.startswith(("jump ", "goto ")):
        return seen.split()[1] == word
    return True  # a target whose verdict is its own matter


def hit_text(hit: Hit) -> str:
    """``filter FORWARD 2 jump KUBE-FORWARD``: what the kernel told."""
    rule = hit.rule if hit.rule is not None else f"(a rule that is gone, handle {hit.handle})"
    return f"{hit.table} {hit.chain} {hit.verdict if not hit.rule else f'{rule} {hit.verdict}'}"


def step_text(step: Step) -> str:
    """``filter FORWARD 1 DROP``, or the stage with device and packet: what the walk says."""
    if step.stage is Stage.HOOK and step.rule is not None:
        rule = f" {step.rule}" if step.rule else ""
        return f"{step.table} {step.chain}{rule} {step.verdict}"
    packet = step.after or step.before
    device = f" {step.device}" if step.device else ""
    return f"{step.stage.value}{device} {packet.ends() if packet is not None else step.verdict}"
