"""forward-policy-drop: the policy of FORWARD drops what nobody accepted."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.difference_xt import shown
from nettrace.diagnose.look import connected_prefix, has_chain, rule_ref, subject_of, where
from nettrace.kube.services import prefixes_of_family
from nettrace.model.addr import in_prefix, prefix_contains
from nettrace.model.change import Change, PolicySet, RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedRule
from nettrace.model.packet import Packet
from nettrace.model.section import Known
from nettrace.model.step import Step, Verdict
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment, Conntrack, Negatable, Ports, Tcp, Udp
from nettrace.model.xt_target import Accept, Dnat

__all__ = ["FORWARD_POLICY_DROP"]

_COMMENT = Comment("nettrace: forward-policy-drop")
_ANSWERS = Conntrack(states=("RELATED", "ESTABLISHED"))


def _candidates(context: Context) -> Iterator[Candidate]:
    seen: set[tuple[str, str, str]] = set()
    for failure in context.failures:
        step = failure.step
        if step is None or step.before is None or not step.before.src or not _is_policy(step):
            continue
        backend = step.backend or "nft"
        chain = context.snapshot.chain(step.netns, backend, "filter", "FORWARD")
        if chain is None or chain.policy != "DROP":
            continue
        owner = context.owner(step.netns, backend, "filter", "FORWARD")
        if owner is not None and owner.told:
            continue  # a firewall's policy is what it was told, and its own commands mend it
        found = _network(context, step.netns, step.before)
        key = (step.netns, backend, found[0] if found else "")
        if key not in seen:
            seen.add(key)
            yield _candidate(context, step, step.before, chain, found)


def _is_policy(step: Step) -> bool:
    """Did the policy of FORWARD end the leg, and no rule?"""
    return (step.table, step.chain) == ("filter", "FORWARD") and step.rule in (None, 0)


def _network(context: Context, netns: str, packet: Packet) -> tuple[str, str, bool] | None:
    """
    Return (network, where it was read, is it the pods') of the bridge that the packet is to or from.

    None: neither end hangs on a bridge of this namespace.
    """
    for address in (packet.src, packet.dst):
        found = connected_prefix(context.snapshot, netns, address, "bridge")
        if found is not None:
            own, network = found
            said = f"{own.address}/{own.prefixlen} is the address of {own.device}"
            return network, said, _is_pods(context, netns, network)
        for cidr in _pod_cidrs(context, netns):
            if in_prefix(address, cidr):
                return cidr, f"{cidr} is the pod CIDR of {where(context.snapshot, netns)}", True
    return None


def _pod_cidrs(context: Context, netns: str) -> tuple[str, ...]:
    nodes = context.snapshot.kube.nodes
    name = where(context.snapshot, netns)
    known = nodes.value if isinstance(nodes, Known) else ()
    cidrs = next((node.pod_cidrs for node in known if node.name == name), ())
    return prefixes_of_family(cidrs, 4)


def _is_pods(context: Context, netns: str, network: str) -> bool:
    """Is the network behind the bridge one of pods?  The API says so, or kube-proxy is at work here."""
    snapshot = context.snapshot
    if any(prefix_contains(cidr, network) for cidr in _pod_cidrs(context, netns)):
        return True
    pods = snapshot.kube.pods
    if isinstance(pods, Known) and any(in_prefix(ip, network) for pod in pods.value for ip in pod.ips):
        return True
    return any(has_chain(snapshot, netns, b, "nat", "KUBE-SERVICES") for b in ("nft", "legacy"))


def _candidate(
    context: Context,
    step: Step,
    packet: Packet,
    chain: XtChain,
    found: tuple[str, str, bool] | None,
) -> Candidate:
    place, backend = where(context.snapshot, step.netns), step.backend or "nft"
    evidence = [
        Evidence(
            ref=rule_ref(step.netns, backend, "filter", "FORWARD", 0),
            text="-P FORWARD DROP",
            note="what is there",
        ),
        Evidence(
            ref=rule_ref(step.netns, backend, "filter", "FORWARD"),
            text=f"{packet.ends()}: none of the {len(chain.rules)} rules accepts it",
            note="dropped by the policy",
        ),
    ]
    changes: tuple[Change, ...] = ()
    if found is not None:
        network, said, pods = found
        published = _published(context, step.netns, packet)
        rules = _port_accepts(packet) if published is not None else _accepts(network, packet, pods=pods)
        changes = tuple(
            RuleInsert(
                netns=step.netns, backend=backend, table="filter", chain="FORWARD", position=at, rule=rule
            )
            for at, rule in enumerate(rules, len(chain.rules) + 1)
        )
        evidence.append(Evidence(ref=f"{step.netns}/addresses", text=said, note="whose traffic it is"))
        if published is not None:
            text, by = shown(published.chain, published.rule), f"{published.owner}: {published.source}"
            evidence.append(Evidence(ref="", text=text, note=f"owed by {by}"))
    advice = not changes
    if advice:
        # shows that the policy is the cause; whether to weaken it is for its owner to say
        changes = (
            PolicySet(netns=step.netns, backend=backend, table="filter", chain="FORWARD", policy="ACCEPT"),
        )
    return Candidate(
        cause="forward-policy-drop",
        netns=step.netns,
        where=place,
        subject=subject_of(context.snapshot, step.netns),
        message=f"the policy of FORWARD on {place} drops {packet.ends()}: no rule accepts it",
        changes=changes,
        evidence=tuple(evidence),
        safety=Safety.ADVICE if advice else Safety.GUARDED,
        owner="whoever set the policy: Docker does since 1.13, ufw and firewalld do",
        overwritten="lost when the firewall is loaded anew",
        lasting=(
            "let the CNI write its accepts (flanneld --iptables-forward-rules), "
            "or put them into the host's firewall configuration"
        ),
        notes=("the policy stays; the accepts come last, so that every rule that denies is asked first",)
        if not advice
        else (),
    )


def _accepts(network: str, packet: Packet, *, pods: bool) -> tuple[XtRule, ...]:
    """
    Return the accepts for *network*.

    Pods may be called from anywhere.  What else hangs on a bridge may call out and get its
    answers; who may call in is its owner's to say.
    """
    inside = Negatable(network)
    outward = XtRule(src=inside, matches=(_COMMENT,), target=Accept())
    if pods:
        return outward, XtRule(dst=inside, matches=(_COMMENT,), target=Accept())
    if in_prefix(packet.src, network):
        return outward, XtRule(dst=inside, matches=(_ANSWERS, _COMMENT), target=Accept())
    return ()


def _published(context: Context, netns: str, packet: Packet) -> OwedRule | None:
    """Return the owed DNAT that leads to where the packet goes: somebody publishes that port."""
    for item in context.owed:
        if isinstance(item, OwedRule) and item.netns == netns and isinstance(item.rule.target, Dnat):
            to = item.rule.target.to
            if packet.dport is not None and (to.lo, to.ports) == (packet.dst, packet.dport):
                return item
    return None


def _port_accepts(packet: Packet) -> tuple[XtRule, ...]:
    """Return the accepts for one published port: what is for it, and its answers."""
    if packet.dport is None or packet.proto not in ("tcp", "udp"):
        return ()
    end, port = Negatable(f"{packet.dst}/32"), Ports(packet.dport)
    test = Tcp(dport=port) if packet.proto == "tcp" else Udp(dport=port)
    return (
        XtRule(dst=end, proto=Negatable(packet.proto), matches=(test, _COMMENT), target=Accept()),
        XtRule(src=end, matches=(_ANSWERS, _COMMENT), target=Accept()),
    )


FORWARD_POLICY_DROP = Cause(
    id="forward-policy-drop",
    title="the policy of FORWARD drops the pods' traffic",
    what=(
        "The built-in chain FORWARD of table filter has policy DROP, and no rule accepts the traffic "
        "of the pods' network."
    ),
    shows=(
        "Pods time out to other nodes and to the outside, with br_netfilter even on the same bridge. "
        "NodePort and node to Service still work: kube-proxy accepts what it marked."
    ),
    dies="At the end of FORWARD in table filter: silently.",
    proof="`iptables -S FORWARD` shows -P FORWARD DROP and its counter grows; iptables-legacy has its own.",
    repair=(
        "iptables -A FORWARD -s PODCIDR -j ACCEPT and -d PODCIDR -j ACCEPT: narrower than another "
        "policy, and after every rule that denies"
    ),
    owner="Whoever set the policy: Docker since 1.13, ufw, firewalld.",
    source="kubernetes#40182, kubernetes#39823, kubernetes#45022, flannel#799",
    verdicts=frozenset({Verdict.DROPPED_BY_RULE}),
    candidates=_candidates,
)
