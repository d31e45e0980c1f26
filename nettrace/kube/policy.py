"""
What network policies say about a flow: allowed, denied or not to be told, by which, and why.

Lives here: the semantics of networking.k8s.io/v1 and of policy.networking.k8s.io/v1alpha1, whatever
plugin realises them.
Not here: chains (policy_chains.py), what the node does with the flow (nettrace.walk).

The order, for each of the two directions by itself: AdminNetworkPolicies by priority, first rule
that matches, where Pass goes on; then NetworkPolicies, which isolate a pod and only ever add to
what is allowed; where none isolates it, the baseline policy; where that says nothing, allowed.
Answers belong to their connection and are never asked about.

The specification leaves to the plugin, and so does this: protocols other than TCP, UDP and SCTP
(undecided where a pod is isolated), pods of a node's network (they are that node), and whether
an address is seen before or after it is rewritten outside of the pod network.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from nettrace.kube.policy_ends import (
    DEFINED,
    Cluster,
    End,
    admin_peer_matches,
    admin_port_matches,
    cluster_of,
    is_subject,
    peer_matches,
    port_matches,
)
from nettrace.kube.selectors import Labels, Truth, Unsure, all_of, any_of, selects
from nettrace.model.kube import Kube, Pod
from nettrace.model.policy import AdminPolicy, AdminRule, NetworkPolicy, PolicyRule
from nettrace.model.policy_verdict import Decision, DirectionVerdict, PolicyFlow, PolicyRef, PolicyVerdict
from nettrace.model.section import Known

__all__ = ["decide", "isolating"]


def decide(
    kube: Kube,
    flow: PolicyFlow,
    node_addresses: Mapping[str, str] | None = None,
    *,
    cluster: Cluster | None = None,
) -> PolicyVerdict:
    """
    Say what the policies of *kube* make of *flow*.

    *node_addresses*: addresses of nodes that their Node objects do not tell (of bridges and
    tunnels) -> names of nodes.  *cluster*: what cluster_of() makes of both, for who asks often.  A
    missing section leads to UNKNOWN wherever it could matter.
    """
    needs = _needs(kube)
    cluster = cluster or cluster_of(kube, node_addresses or {})
    source, destination = cluster.end(flow.src), cluster.end(flow.dst)
    if needs:
        why = f"{' and '.join(needs)} not read"
        egress, ingress = (_verdict(d, Decision.UNKNOWN, why) for d in ("egress", "ingress"))
    elif source.pod is not None and source.pod == destination.pod:
        why = f"a pod cannot be kept from itself ({source.words})"
        egress, ingress = (
            replace(_verdict(d, Decision.ALLOWED, why, source.pod.key), always=True)
            for d in ("egress", "ingress")
        )
    else:
        egress = _direction(kube, cluster, flow, "egress", source, destination)
        ingress = _direction(kube, cluster, flow, "ingress", destination, source)
    both = (egress.decision, ingress.decision)
    decision = next((d for d in (Decision.DENIED, Decision.UNKNOWN) if d in both), Decision.ALLOWED)
    return PolicyVerdict(
        flow=flow,
        source=source.words,
        destination=destination.words,
        decision=decision,
        egress=egress,
        ingress=ingress,
        needs=needs,
    )


def isolating(policies: Iterable[NetworkPolicy], pod: Pod, direction: str) -> tuple[NetworkPolicy, ...]:
    """Return the NetworkPolicies that isolate *pod* in *direction* (``ingress``, ``egress``)."""
    own = Labels(known=pod.labels)
    return tuple(
        one
        for one in policies
        if one.namespace == pod.namespace
        and direction.capitalize() in one.types
        and selects(one.pod_selector, own) is True
    )


def _needs(kube: Kube) -> tuple[str, ...]:
    wanted = (
        ("Pods", kube.pods),
        ("NetworkPolicies", kube.network_policies),
        ("admin policies", kube.admin_policies),
    )
    return tuple(name for name, section in wanted if not isinstance(section, Known))


def _verdict(direction: str, decision: Decision, why: str, pod: str = "") -> DirectionVerdict:
    return DirectionVerdict(direction=direction, decision=decision, why=why, pod=pod)


def _direction(
    kube: Kube, cluster: Cluster, flow: PolicyFlow, direction: str, subject: End, peer: End
) -> DirectionVerdict:
    if subject.pod is None:
        return _verdict(direction, Decision.ALLOWED, f"{subject.words} is no pod with a network of its own")
    pod = subject.pod
    if peer.node is not None and peer.node == pod.node_name:
        why = f"traffic between {subject.words} and its own node is always allowed"
        return replace(_verdict(direction, Decision.ALLOWED, why, pod.key), always=True)
    asked = _Asked(
        cluster=cluster,
        flow=flow,
        direction=direction,
        pod=pod,
        peer=peer,
        destination=pod if direction == "ingress" else peer.pod,
    )
    admin = kube.admin_policies.value if isinstance(kube.admin_policies, Known) else ()
    policies = kube.network_policies.value if isinstance(kube.network_policies, Known) else ()
    above = [one for one in admin if not one.baseline]
    levels = [
        [one for one in above if one.priority == number]
        for number in sorted({p.priority or 0 for p in above})
    ]
    base = [one for one in admin if one.baseline]
    found = _levels(
        asked,
        levels,
        lambda: _policies(asked, policies, lambda: _levels(asked, [base], lambda: _free(asked))),
    )
    return replace(found, pod=pod.key)


class _Asked(Struct, frozen=True, kw_only=True):
    """One direction of one flow."""

    cluster: Cluster
    flow: PolicyFlow
    direction: str
    pod: Pod
    peer: End
    destination: Pod | None


def _free(asked: _Asked) -> DirectionVerdict:
    return _verdict(asked.direction, Decision.ALLOWED, f"no policy isolates pod {asked.pod.key}")


# --- NetworkPolicies -------------------------------------------------------------------


def _policies(
    asked: _Asked, policies: Sequence[NetworkPolicy], otherwise: Callable[[], DirectionVerdict]
) -> DirectionVerdict:
    own = isolating(policies, asked.pod, asked.direction)
    if not own:
        return otherwise()
    refs = tuple(PolicyRef(kind="NetworkPolicy", name=one.key) for one in own)
    names = " and ".join(f"NetworkPolicy {one.key}" for one in own)
    isolate = "isolates" if len(own) == 1 else "isolate"
    if asked.flow.proto not in DEFINED:
        why = f"{names} {isolate} pod {asked.pod.key}: {asked.flow.proto} is the plugin's to allow or deny"
        return DirectionVerdict(direction=asked.direction, decision=Decision.UNKNOWN, why=why, by=refs)
    unsure: tuple[PolicyRef, Unsure] | None = None
    for policy in own:
        for number, rule in enumerate(_rules(policy, asked.direction), 1):
            truth = _rule_matches(asked, policy, rule)
            ref = PolicyRef(kind="NetworkPolicy", name=policy.key, rule=number)
            if truth is True:
                return DirectionVerdict(
                    direction=asked.direction,
                    decision=Decision.ALLOWED,
                    why=f"{ref} allows it",
                    by=(ref,),
                    notes=_block_notes(asked, [rule]),
                )
            if isinstance(truth, Unsure):
                unsure = unsure or (ref, truth)
    if unsure is not None:
        why = f"{unsure[0]} may allow it: {unsure[1].why}"
        return DirectionVerdict(direction=asked.direction, decision=Decision.UNKNOWN, why=why, by=refs)
    toward = "from" if asked.direction == "ingress" else "to"
    refused = f"{_asked_for(asked.flow)} {toward} {asked.peer.words}"
    return DirectionVerdict(
        direction=asked.direction,
        decision=Decision.DENIED,
        why=f"{names} {isolate} pod {asked.pod.key}, and no rule allows {refused}",
        by=refs,
        notes=_block_notes(asked, [r for one in own for r in _rules(one, asked.direction)]),
    )


def _asked_for(flow: PolicyFlow) -> str:
    return f"{flow.proto} port {flow.port}" if flow.port is not None else flow.proto


def _rules(policy: NetworkPolicy, direction: str) -> tuple[PolicyRule, ...]:
    return policy.ingress if direction == "ingress" else policy.egress


def _rule_matches(asked: _Asked, policy: NetworkPolicy, rule: PolicyRule) -> Truth:
    peers = any_of(peer_matches(asked.cluster, policy.namespace, one, asked.peer) for one in rule.peers)
    ports = any_of(port_matches(one, asked.flow, asked.destination) for one in rule.ports)
    return all_of((peers if rule.peers else True, ports if rule.ports else True))


def _block_notes(asked: _Asked, rules: Iterable[PolicyRule]) -> tuple[str, ...]:
    """Say what of address blocks is not defined, where one was looked at."""
    if not any(peer.ip_block is not None for rule in rules for peer in rule.peers):
        return ()
    if asked.peer.pod is not None:
        return ("an ipBlock is meant for what is outside: some plugins never hold it against a pod",)
    address = asked.peer.address
    return (
        f"an ipBlock was held against {address}: whether that is seen before or after NAT is not defined",
    )


# --- policies of the cluster's administrator -------------------------------------------


def _levels(
    asked: _Asked, levels: Sequence[Sequence[AdminPolicy]], otherwise: Callable[[], DirectionVerdict]
) -> DirectionVerdict:
    """Ask the policies of each priority in turn, then *otherwise*."""
    if not levels:
        return otherwise()

    def rest() -> DirectionVerdict:
        return _levels(asked, levels[1:], otherwise)

    found = [_first_match(asked, policy, rest, otherwise) for policy in levels[0]]
    said = [one for one in found if one is not None]
    if not said:
        return rest()
    if len({one.decision for one in said}) == 1:
        return said[0]
    by = tuple(ref for one in said for ref in one.by)
    why = (
        f"{' and '.join(map(str, by))} have the same priority and disagree: which comes first is not defined"
    )
    return DirectionVerdict(direction=asked.direction, decision=Decision.UNKNOWN, why=why, by=by)


def _first_match(
    asked: _Asked,
    policy: AdminPolicy,
    rest: Callable[[], DirectionVerdict],
    otherwise: Callable[[], DirectionVerdict],
    start: int = 0,
) -> DirectionVerdict | None:
    """Return what the first rule from *start* on that matches decides; None if none does."""
    subject = is_subject(asked.cluster, policy.subject, asked.pod)
    if subject is False:
        return None
    kind = "BaselineAdminNetworkPolicy" if policy.baseline else "AdminNetworkPolicy"
    rules = policy.ingress if asked.direction == "ingress" else policy.egress
    for number, rule in enumerate(rules[start:], start + 1):
        truth = all_of((subject, _admin_matches(asked, rule)))
        if truth is False:
            continue
        ref = PolicyRef(kind=kind, name=policy.name, rule=number)
        decided = _act(asked, rule, ref, otherwise)
        if truth is True:
            return decided
        # it may match: no matter, where all that could follow comes to the same
        following = _first_match(asked, policy, rest, otherwise, number) or rest()
        if following.decision is decided.decision:
            return decided
        why = f"{ref} may match: {truth.why}" if isinstance(truth, Unsure) else ""
        return DirectionVerdict(direction=asked.direction, decision=Decision.UNKNOWN, why=why, by=(ref,))
    return None


def _act(
    asked: _Asked, rule: AdminRule, ref: PolicyRef, otherwise: Callable[[], DirectionVerdict]
) -> DirectionVerdict:
    if rule.action == "Pass":
        found = otherwise()
        return replace(found, by=(ref, *found.by), why=f"{ref} passes it on; {found.why}")
    decision = Decision.ALLOWED if rule.action == "Allow" else Decision.DENIED
    verb = "allows" if rule.action == "Allow" else "denies"
    called = f" ({rule.name})" if rule.name else ""
    return DirectionVerdict(
        direction=asked.direction, decision=decision, why=f"{ref}{called} {verb} it", by=(ref,)
    )


def _admin_matches(asked: _Asked, rule: AdminRule) -> Truth:
    peers = any_of(admin_peer_matches(asked.cluster, one, asked.peer) for one in rule.peers)
    ports = any_of(admin_port_matches(one, asked.flow, asked.destination) for one in rule.ports)
    return all_of((peers, ports if rule.ports else True))
