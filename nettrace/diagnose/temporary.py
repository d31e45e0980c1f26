"""
The temporary rule that counts one packet as allowed by a policy.

Lives here: the rule, for the place that nettrace.kube.policy_opening names.
Not here: which flow it is for and why (policy_denials, causes/netpol_stale_chain.py).
"""

from nettrace.kube.policy_opening import opening
from nettrace.model.change import Change, RuleInsert
from nettrace.model.packet import Packet, PortRange
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Step
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment, Negatable, Ports, Tcp, Udp
from nettrace.model.xt_target import Target

__all__ = ["temporary_rules"]

_TESTS = {"tcp": Tcp, "udp": Udp}


def temporary_rules(snapshot: Snapshot, step: Step, cause: str) -> tuple[Change, ...]:
    """
    Return the rules that let the packet of *step* through, just before what refuses it there.

    They do what the chains of policies do with what they allow, so that the other pod's chain is still
    asked.  Nothing for IPv6 or a protocol without ports, and where the chain is not built like that.
    """
    packet, backend = step.before, step.backend or "nft"

    def chain_of(name: str) -> XtChain | None:
        return snapshot.chain(step.netns, backend, "filter", name)

    found = opening(step.chain or "", step.rule, chain_of)
    if found is None or packet is None:
        return ()
    made = [_rule(packet, target, cause) for target in found.targets]
    return tuple(
        RuleInsert(
            netns=step.netns,
            backend=backend,
            table="filter",
            chain=found.chain,
            position=found.position + number,
            rule=rule,
        )
        for number, rule in enumerate(made)
        if rule is not None
    )


def _rule(packet: Packet, target: Target, cause: str) -> XtRule | None:
    port = packet.dport.single if packet.dport is not None else None
    if packet.family != 4 or packet.proto not in _TESTS or port is None:
        return None
    return XtRule(
        src=Negatable(f"{packet.src}/32"),
        dst=Negatable(f"{packet.dst}/32"),
        proto=Negatable(packet.proto),
        matches=(
            _TESTS[packet.proto](dport=Ports(PortRange(port, port))),
            Comment(f"nettrace: temporary, {cause}"),
        ),
        target=target,
    )
