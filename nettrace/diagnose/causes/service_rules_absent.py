"""service-rules-absent: kube-proxy's rules for one Service are not on the node."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import where
from nettrace.diagnose.making import by_netns, owed_candidate
from nettrace.diagnose.rules import addressed_to
from nettrace.diagnose.services import subjects_of
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedChain

__all__ = ["SERVICE_RULES_ABSENT"]


def _candidates(context: Context) -> Iterator[Candidate]:
    subjects = subjects_of(context.snapshot, context.walk)
    wanted = [
        d
        for d in context.differences
        if isinstance(d.owed, OwedChain)
        and d.owed.table == "nat"
        and d.subject in subjects
        and d.restored.absent
    ]
    packet = context.walk.flow.packet
    for netns, found in by_netns(wanted).items():
        for subject in dict.fromkeys(d.subject for d in found):
            own = [d for d in found if d.subject == subject]
            # of several ways into a Service that are gone, the one that was asked for is enough
            asked = [d for d in own if d.restored.rule is not None and addressed_to(d.restored.rule, packet)]
            yield _candidate(context, netns, subject, [*_chains(own), *(asked or _rules(own))])


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
