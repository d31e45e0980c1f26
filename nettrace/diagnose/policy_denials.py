"""
Candidates for flows that network policies deny and that are to get through all the same.

Lives here: which cause of the catalogue a denial is, the policy that would allow the flow, and the
temporary rule in the chain that refuses it.
Not here: the rule (temporary), denials that no policy asks for (causes/netpol_stale_chain.py).
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Candidates, Context, Failure
from nettrace.diagnose.look import rule_ref, subject_of, where
from nettrace.diagnose.policies import denial_by_chain, node_addresses, path_verdict
from nettrace.diagnose.temporary import temporary_rules
from nettrace.kube.policy import isolating
from nettrace.kube.policy_addition import addition
from nettrace.kube.policy_ends import Cluster, End, cluster_of, peer_matches, port_matches
from nettrace.kube.policy_opening import controller_of
from nettrace.kube.policy_words import rule_words
from nettrace.kube.selectors import selects
from nettrace.model.change import Change
from nettrace.model.finding import Evidence, Safety
from nettrace.model.kube import Pod
from nettrace.model.policy import NetworkPolicy, PolicyPort, PolicyRule
from nettrace.model.policy_verdict import Decision, DirectionVerdict, PolicyFlow, PolicyVerdict
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Step
from nettrace.model.xt_match import Comment
from nettrace.parse.iptables import rule_text

__all__ = ["denials", "pod_of", "with_words"]

_DNS = 53


class _Denial(Struct, frozen=True):
    """One direction in which policies deny a branch that fails."""

    failure: Failure
    verdict: PolicyVerdict
    direction: DirectionVerdict


def denials(cause: str) -> Candidates:
    """Return the candidates of *cause*: those denials that are of its kind."""

    def candidates(context: Context) -> Iterator[Candidate]:
        seen: set[tuple[str, str, str]] = set()
        for denial in _denials(context):
            found, near = _kind(context, denial)
            key = (denial.direction.direction, denial.verdict.flow.src, denial.verdict.flow.dst)
            if found == cause and key not in seen:
                seen.add(key)
                yield from with_words(_candidate(context, denial, cause, near))

    return candidates


def with_words(candidate: Candidate) -> Iterator[Candidate]:
    """Yield *candidate*, and its words alone: they are said where its changes turn out to hurt somebody."""
    yield candidate
    if candidate.changes:
        yield replace(candidate, changes=(), safety=Safety.ADVICE, overwritten="", notes=())


def _denials(context: Context) -> Iterator[_Denial]:
    for failure in context.failures:
        verdict = path_verdict(context.snapshot, context.walk, failure.path)
        if verdict is None or verdict.decision is not Decision.DENIED:
            continue
        for direction in (verdict.egress, verdict.ingress):
            if direction.decision is Decision.DENIED and _is_where_it_fails(
                context.snapshot, failure, direction
            ):
                yield _Denial(failure, verdict, direction)


def _is_where_it_fails(snapshot: Snapshot, failure: Failure, direction: DirectionVerdict) -> bool:
    """Is the chain that refuses it that pod's?  A refusal by other means is any direction's."""
    step = denial_by_chain(failure.path)
    if step is None:
        return True
    return pod_of(snapshot, step) in ("", direction.pod)


def pod_of(snapshot: Snapshot, step: Step) -> str:
    """Return the pod whose chain a step is in, as its comments name it; "" if they do not."""
    chain = snapshot.chain(step.netns, step.backend or "nft", step.table or "filter", step.chain or "")
    for rule in chain.rules if chain is not None else ():
        for match in rule.matches:
            if isinstance(match, Comment) and "POD name:" in match.text:
                name, _, space = match.text.partition("POD name:")[2].partition(" namespace: ")
                return f"{space.split()[0]}/{name}" if space else ""
    return ""


# --- which cause it is -----------------------------------------------------------------


def _kind(context: Context, denial: _Denial) -> tuple[str, str]:
    """Return the cause that a denial is, and what nearly allows it."""
    flow, direction = denial.verdict.flow, denial.direction.direction
    kube = context.snapshot.kube
    cluster = cluster_of(kube, node_addresses(context.snapshot))
    source, destination = cluster.end(flow.src), cluster.end(flow.dst)
    own, peer = (destination, source) if direction == "ingress" else (source, destination)
    policies = kube.network_policies.value if isinstance(kube.network_policies, Known) else ()
    asked = context.walk.flow.packet.dport
    service_port = asked.single if asked is not None else None
    for policy in isolating(policies, own.pod, direction) if own.pod is not None else ():
        for number, rule in enumerate(policy.ingress if direction == "ingress" else policy.egress, 1):
            name = f"rule {number} of NetworkPolicy {policy.key}"
            if service_port not in (None, flow.port) and _fits(
                cluster, policy, rule, peer, replace_port(flow, service_port), destination.pod
            ):
                words = (
                    f"{name} allows port {service_port}, the Service's: policies see the pod's, {flow.port}"
                )
                return "netpol-service-port", words
            if not _ports_fit(rule.ports, flow, destination.pod):
                continue
            if (asks := _label(cluster, rule, peer)) is not None:
                return "netpol-namespace-label", f"{name} asks for {asks}"
            if (host := _host_pod(context.snapshot, cluster, policy, rule, peer)) is not None:
                words = (
                    f"{name} names pod {host.key}, which is on its node's network and comes as {peer.address}"
                )
                return "netpol-hostnetwork", words
    if direction == "egress" and flow.port == _DNS:
        return "dns-policy-egress-blocked", ""
    return "netpol-default-deny", ""


def replace_port(flow: PolicyFlow, port: int | None) -> PolicyFlow:
    """Return *flow* to another port."""
    return PolicyFlow(src=flow.src, dst=flow.dst, proto=flow.proto, port=port)


def _ports_fit(ports: tuple[PolicyPort, ...], flow: PolicyFlow, destination: Pod | None) -> bool:
    return not ports or any(port_matches(one, flow, destination) is True for one in ports)


def _fits(
    cluster: Cluster,
    policy: NetworkPolicy,
    rule: PolicyRule,
    peer: End,
    flow: PolicyFlow,
    destination: Pod | None,
) -> bool:
    peers = any(peer_matches(cluster, policy.namespace, one, peer) is True for one in rule.peers)
    return (peers or not rule.peers) and _ports_fit(rule.ports, flow, destination)


def _label(cluster: Cluster, rule: PolicyRule, peer: End) -> str | None:
    """Say which namespace selector of *rule* chooses no namespace at all, where the pod would fit."""
    if peer.pod is None or cluster.namespaces is None:
        return None
    own = cluster.namespace_labels(peer.pod.namespace)
    for one in rule.peers:
        wanted = one.namespace_selector
        if wanted is None or any(
            selects(wanted, cluster.namespace_labels(n)) is not False for n in cluster.namespaces
        ):
            continue
        asked = [f"{k}={v}" for k, v in wanted.match_labels.items()] + [
            e.key for e in wanted.match_expressions
        ]
        has = ", ".join(f"{k}={v}" for k, v in sorted(own.known.items()))
        return f"a namespace with {', '.join(asked)}, and there is none ({peer.pod.namespace} has {has})"
    return None


def _host_pod(
    snapshot: Snapshot, cluster: Cluster, policy: NetworkPolicy, rule: PolicyRule, peer: End
) -> Pod | None:
    """Return a pod of the peer's node and of its network that a selector of *rule* chooses."""
    if peer.node is None:
        return None
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    return next(
        (
            p
            for p in pods
            if p.host_network
            and p.node_name == peer.node
            and any(
                one.ip_block is None
                and peer_matches(cluster, policy.namespace, one, End(address="", pod=p)) is True
                for one in rule.peers
            )
        ),
        None,
    )


# --- what would let it through ---------------------------------------------------------


def _candidate(context: Context, denial: _Denial, cause: str, near: str) -> Candidate:
    snapshot, flow, direction = context.snapshot, denial.verdict.flow, denial.direction
    step = denial_by_chain(denial.failure.path)
    netns = step.netns if step is not None else denial.failure.netns
    added = addition(snapshot.kube, flow, direction.direction, node_addresses(snapshot))
    evidence = list(_isolating(snapshot, direction))
    if near:
        evidence.append(Evidence(ref="kube/network_policies", text=near, note="nearly"))
    changes: tuple[Change, ...] = ()
    if step is not None:
        evidence.append(_refusal(snapshot, step))
        if context.goal.stated:
            changes = temporary_rules(snapshot, step, cause)
    notes = [*direction.notes]
    if added is not None:
        notes.append(
            f"the policy is about {_listed(added.subjects)} and lets in or out {_listed(added.peers)}"
        )
        lasting = f"add this policy (kubectl apply -f -):\n{added.manifest}"
    else:
        lasting = _words_instead(direction)
    if changes:
        notes.append("the rule is temporary: it counts the flow as allowed, until the chain is written anew")
    who = "; ".join(str(ref) for ref in direction.by)
    return Candidate(
        cause=cause,
        netns=netns,
        where=where(snapshot, netns) if netns else "",
        subject=f"pod/{direction.pod}" if direction.pod else subject_of(snapshot, netns),
        message=near or f"{direction.why}",
        changes=changes,
        evidence=tuple(evidence),
        safety=Safety.GUARDED if changes else Safety.ADVICE,
        owner=f"whoever wrote {who}" if who else "the policies' owner",
        overwritten=_overwritten(step) if changes and step is not None else "",
        lasting=lasting,
        notes=tuple(notes),
    )


def _overwritten(step: Step) -> str:
    return f"{controller_of(step.chain)} writes the chain anew at the next change and every few minutes"


def _isolating(snapshot: Snapshot, direction: DirectionVerdict) -> Iterator[Evidence]:
    """Yield what each policy that denies it does allow; an administrator's says itself what it does."""
    section = snapshot.kube.network_policies
    by_key = {one.key: one for one in section.value} if isinstance(section, Known) else {}
    side = "from" if direction.direction == "ingress" else "to"
    for ref in direction.by[:2]:
        policy = by_key.get(ref.name) if ref.kind == "NetworkPolicy" else None
        if policy is None:
            yield Evidence(ref="kube/admin_policies", text=direction.why, note="what the objects say")
            continue
        rules = policy.ingress if direction.direction == "ingress" else policy.egress
        allowed = "; ".join(rule_words(rule, side) for rule in rules) or "nothing"
        text = f"{ref}: {direction.direction} {allowed}"
        yield Evidence(ref="kube/network_policies", text=text, note="all that it allows")


def _words_instead(direction: DirectionVerdict) -> str:
    kinds = {ref.kind for ref in direction.by}
    if kinds & {"AdminNetworkPolicy", "BaselineAdminNetworkPolicy"}:
        return "no NetworkPolicy can allow what the administrator's policy denies: ask its owner"
    return "give the pods labels, and add a NetworkPolicy that allows this flow"


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _refusal(snapshot: Snapshot, step: Step) -> Evidence:
    backend, table, chain = step.backend or "nft", step.table or "filter", step.chain or ""
    found = snapshot.chain(step.netns, backend, table, chain)
    known = found is not None and step.rule is not None and 0 < step.rule <= len(found.rules)
    text = (
        rule_text(found.rules[step.rule - 1]) if found is not None and known and step.rule else "refused here"
    )
    ref = rule_ref(step.netns, backend, table, chain, step.rule)
    return Evidence(
        ref=ref, text=f"-A {chain} {text}", note=f"what refuses it on {where(snapshot, step.netns)}"
    )
