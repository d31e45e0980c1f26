"""service-rules-absent: kube-proxy's rules for one Service are not on the node."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.hairpin_masq_missing import marks_itself
from nettrace.diagnose.causes.virtual import asked_servers, name_of_server, server_candidate
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import where
from nettrace.diagnose.making import by_netns, owed_candidate
from nettrace.diagnose.rules import addressed_to
from nettrace.diagnose.services import entrance, index_services, subjects_of
from nettrace.model.addr import family_of
from nettrace.model.change import IpvsServiceAdd
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedChain
from nettrace.model.xt_target import Jump

__all__ = ["SERVICE_RULES_ABSENT"]

_NODE_PORTS = "KUBE-NODEPORTS"


def _candidates(context: Context) -> Iterator[Candidate]:
    subjects = subjects_of(context.snapshot, context.walk)
    absent = [
        d
        for d in context.differences
        if isinstance(d.owed, OwedChain)
        and d.owed.table == "nat"
        and d.restored.absent
        and not marks_itself(d)  # hairpin_masq_missing.py has it
    ]
    packet = context.walk.flow.packet
    for netns, found in by_netns(absent).items():
        ways = [d for d in found if _leads_to_node_ports(d)] if _asks_node_port(context) else []
        own_subjects = [d.subject for d in found if d.subject in subjects]
        for subject in dict.fromkeys(own_subjects or (sorted(subjects) if ways else ())):
            own = [d for d in found if d.subject == subject]
            # of several ways into a Service that are gone, the one that was asked for is enough
            asked = [d for d in own if d.restored.rule is not None and addressed_to(d.restored.rule, packet)]
            lacking = [*_chains(own), *(asked or ([] if ways else _rules(own))), *ways]
            yield _candidate(context, netns, subject, lacking)
    for owed, lacking in asked_servers(context, IpvsServiceAdd):
        yield server_candidate(
            context,
            "service-rules-absent",
            lacking,
            f"IPVS has no virtual server {name_of_server(owed)}, the node takes its packets for its own",
        )


def _asks_node_port(context: Context) -> bool:
    packet = context.walk.flow.packet
    found = entrance(context.snapshot, index_services(context.snapshot.kube, family_of(packet.dst)), packet)
    return found is not None and found.way == "node"


def _leads_to_node_ports(difference: Difference) -> bool:
    """Is it the rule that all NodePorts share: from the node's own addresses to KUBE-NODEPORTS?"""
    rule = difference.restored.rule
    return rule is not None and isinstance(rule.target, Jump) and rule.target.chain == _NODE_PORTS


def _chains(differences: list[Difference]) -> list[Difference]:
    return [d for d in differences if d.restored.rule is None]


def _rules(differences: list[Difference]) -> list[Difference]:
    return [d for d in differences if d.restored.rule is not None]


def _candidate(context: Context, netns: str, subject: str, found: list[Difference]) -> Candidate:
    place = where(context.snapshot, netns)
    name = subject.removeprefix("svc/")
    packet = context.walk.flow.packet
    address = f"{packet.dst}:{packet.dport}" if packet.dport is not None else packet.dst
    return owed_candidate(
        context,
        "service-rules-absent",
        found,
        f"{place} has no rule that leads {address} to Service {name}",
        safety=Safety.KICK,
        overwritten="kube-proxy writes the same again at its next full sync",
        lasting="restart kube-proxy on this node and look at its log: it may fail to write its rules",
        subject=subject,
    )


SERVICE_RULES_ABSENT = Cause(
    id="service-rules-absent",
    title="a Service has no rules on this node",
    what=(
        "The Service exists and has ready endpoints, and kube-proxy's rules for it are not on the node: "
        "no rule in KUBE-SERVICES leads its address to its endpoints."
    ),
    shows="One Service times out from this node and its pods; others work.",
    dies="Nothing translates the cluster IP: it leaves by the default gateway, where nobody knows it.",
    proof="The API has the Service with ready endpoints; `iptables -t nat -S KUBE-SERVICES` lacks it.",
    repair="Restart kube-proxy; until then the rule that it owes.",
    owner="kube-proxy",
    source="kubernetes#61005, kubernetes#35641, kubernetes#98570, kubernetes#91812",
    candidates=_candidates,
)
