"""hostPorts that do not lead to their pod: rules flushed, rules of a pod that is gone, no plugin for them."""

import re
from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import chains_in, rule_ref, where
from nettrace.diagnose.making import by_netns, evidence_of, owed_candidate
from nettrace.diagnose.rules import addressed_to
from nettrace.kube.ipam import holders, live_containers
from nettrace.model.change import RuleDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedRule
from nettrace.model.section import Known
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment
from nettrace.model.xt_target import Dnat, Jump
from nettrace_plugins.cni.owes import HOSTPORT, PORTMAP, UNMAPPED

__all__ = ["HOSTPORT_PORTMAP_MISSING", "HOSTPORT_RULES_FLUSHED", "HOSTPORT_RULE_STALE"]

_RECREATE = "recreate the pod: its CNI plugins write these rules once, when it comes"
_ID = re.compile(r'id: "([^"]+)"')


def _flushed(context: Context) -> Iterator[Candidate]:
    packet = context.walk.flow.packet
    ours = [d for d in context.differences if d.owed.owner == PORTMAP]
    for netns, found in by_netns(ours).items():
        wanted = [
            item
            for item in context.owed
            if isinstance(item, OwedRule)
            and (item.netns, item.owner) == (netns, PORTMAP)
            and isinstance(item.rule.target, Dnat)
            and addressed_to(item.rule, packet)
        ]
        if not wanted:
            continue
        own = [d for d in found if d.owed.subject in ("", wanted[0].subject)]
        if not own:
            continue
        yield owed_candidate(
            context,
            "hostport-rules-flushed",
            own,
            f"{wanted[0].about} has lost its rules on {where(context.snapshot, netns)}",
            safety=Safety.ADVICE,
            overwritten="",
            lasting=f"{_RECREATE}; then find who flushes the nat table (a firewall's reload)",
            subject=wanted[0].subject,
        )


def _stale(context: Context) -> Iterator[Candidate]:
    packet = context.walk.flow.packet
    for node in context.snapshot.nodes.values():
        live = live_containers(context.snapshot, node.name)
        for backend, chain in chains_in(context.snapshot, node.netns, "nat", HOSTPORT):
            for position, rule in enumerate(chain.rules, 1):
                if not isinstance(rule.target, Jump) or not addressed_to(rule, packet):
                    continue
                led = _dnats(context, node.netns, backend, rule.target.chain)
                ident = _container(rule)
                gone = [address for address in led if not _held(context, address)]
                if ident in live or not gone:
                    continue
                yield _without(context, node.netns, backend, chain, position, gone[0], ident)


def _dnats(context: Context, netns: str, backend: str, chain: str) -> list[str]:
    """Return the addresses to which a chain leads the packet."""
    found = context.snapshot.chain(netns, backend, "nat", chain)
    packet = context.walk.flow.packet
    rules = found.rules if found is not None else ()
    led = [
        rule.target.to.lo for rule in rules if isinstance(rule.target, Dnat) and addressed_to(rule, packet)
    ]
    return [address for address in led if address]


def _container(rule: XtRule) -> str:
    """Return the container that the rule's comment names."""
    texts = [match.text for match in rule.matches if isinstance(match, Comment)]
    found = next((one for text in texts if (one := _ID.search(text))), None)
    return found[1] if found is not None else ""


def _held(context: Context, address: str) -> bool:
    """Has anybody the address, or can that not be told?"""
    snapshot = context.snapshot
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    if holders(snapshot, address) or any(address in pod.ips for pod in pods):
        return True
    read = all(isinstance(netns.addresses, Known) for netns in snapshot.namespaces.values())
    return not read and not pods


def _without(
    context: Context,
    netns: str,
    backend: str,
    chain: XtChain,
    position: int,
    address: str,
    container: str,
) -> Candidate:
    rule = chain.rules[position - 1]
    place = where(context.snapshot, netns)
    port = context.walk.flow.packet.dport
    return Candidate(
        cause="hostport-rule-stale",
        netns=netns,
        where=place,
        subject=f"chain/{HOSTPORT}",
        message=f"hostPort {port} on {place} leads to {address}, the address of a pod that is gone",
        changes=(
            RuleDelete(
                netns=netns, backend=backend, table="nat", chain=HOSTPORT, position=position, rule=rule
            ),
        ),
        evidence=(
            Evidence(
                ref=rule_ref(netns, backend, "nat", HOSTPORT, position),
                text=f"rule {position} of {len(chain.rules)} jumps to {rule.target.chain}"
                if isinstance(rule.target, Jump)
                else "",
                note=f"container {container[:12]}, which does not live" if container else "",
            ),
            Evidence(ref="", text=f"no namespace and no pod has {address}"),
        ),
        safety=Safety.GUARDED,
        owner=PORTMAP,
        overwritten="",
        lasting=(
            "nothing more: the chain that it led to does no harm; if this returns, pods are removed without "
            "their CNI plugins being called (a runtime that crashes, rules restored from a file)"
        ),
    )


def _unmapped(context: Context) -> Iterator[Candidate]:
    packet = context.walk.flow.packet
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedRule) or owed.owner != UNMAPPED or not addressed_to(owed.rule, packet):
            continue
        place = where(context.snapshot, owed.netns)
        yield Candidate(
            cause="hostport-portmap-missing",
            netns=owed.netns,
            where=place,
            subject=owed.subject,
            message=f"{owed.about} is mapped by nobody: the CNI configuration of {place} has no portmap",
            changes=difference.restored.changes,
            evidence=evidence_of([difference]),
            safety=Safety.ADVICE,
            owner="whoever wrote the CNI configuration",
            lasting=(
                'add {"type": "portmap", "capabilities": {"portMappings": true}} to the plugins of the CNI '
                "configuration, and recreate the pod"
            ),
        )


HOSTPORT_RULES_FLUSHED = Cause(
    id="hostport-rules-flushed",
    title="a hostPort has lost its rules",
    what=(
        "The CNI plugin portmap writes the rules of a hostPort once, when the pod comes. Somebody flushed "
        "them since (a firewall's reload), and nobody writes them again: kube-proxy does, for its own."
    ),
    shows="The hostPort is refused, while Services work again after a while.",
    dies="At the node itself: nobody translates, nobody listens.",
    proof="No jump to CNI-HOSTPORT-DNAT, or none in it for the port, while the pod runs.",
    repair="Recreate the pod.",
    owner="the CNI plugin portmap",
    source="rke2#10469, kubernetes#93091, plugins#512, cni#778",
    candidates=_flushed,
)

HOSTPORT_RULE_STALE = Cause(
    id="hostport-rule-stale",
    title="a hostPort leads to a pod that is gone",
    what=(
        "CNI-HOSTPORT-DNAT still has the rule of an earlier pod for the port, before that of the pod that "
        "has it now: the earlier one went without its CNI plugins being called."
    ),
    shows="No route to host after 3 s, or a timeout; refused where another pod has the address now.",
    dies="On the pod's bridge: nobody answers for the address.",
    proof="Two rules of CNI-HOSTPORT-DNAT for one port; the first leads to an address that no pod has.",
    repair="Delete the stale jump.",
    owner="the CNI plugin portmap",
    source="plugins#683, calico#3412, rke#3440, cilium#6499",
    candidates=_stale,
)

HOSTPORT_PORTMAP_MISSING = Cause(
    id="hostport-portmap-missing",
    title="nobody maps the pods' hostPorts",
    what=(
        "The pod asks for a hostPort, and the CNI configuration of its node has no plugin with the "
        "capability portMappings."
    ),
    shows="The hostPort is refused at once; the pod's own address works.",
    dies="At the node itself: nobody translates, nobody listens.",
    proof="The conflist has no portmap, table nat no CNI-HOSTPORT-DNAT.",
    repair="Add portmap to the conflist, and recreate the pod.",
    owner="whoever wrote the CNI configuration",
    source="kube-router#611, plugins#275, calico#1388",
    candidates=_unmapped,
)
