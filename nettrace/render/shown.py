"""
From a snapshot to what ``nettrace show`` lists.

A section that is not known is listed as missing with its reason, never left out.
Lives here: the items of each word.  Not here: their columns (nettrace.render.show_text).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct, field

from nettrace.kube.policy import isolating
from nettrace.kube.policy_ends import Cluster, cluster_of, is_subject
from nettrace.kube.policy_words import admin_peer_words, admin_rule_words, rule_words, selector_words
from nettrace.kube.selectors import Unsure
from nettrace.model.kube import EndpointSlice, Pod
from nettrace.model.nft import nft_path
from nettrace.model.policy import AdminPolicy
from nettrace.model.section import Known, Section
from nettrace.model.service_table import ServiceTable
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.system import System
from nettrace.model.xt import BACKENDS, BUILTIN_CHAINS, XT_SECTIONS, XtChain, XtRuleset
from nettrace.parse.iptables import rule_text
from nettrace.parse.nft import rule_text as native_rule_text
from nettrace.render.contract_state import (
    MissingView,
    ShowDocument,
    ShowItem,
    ShownChain,
    ShownConntrack,
    ShownLink,
    ShownNativeChain,
    ShownNetns,
    ShownOffloads,
    ShownPolicy,
    ShownPolicyRule,
    ShownRoute,
    ShownService,
    ShownSet,
    ShownSocket,
    ShownSystem,
    ShownVirtualServer,
    ShownXfrmDefault,
    ShownXfrmPolicy,
    ShownXfrmState,
)
from nettrace.render.shown_bpf import frontends

__all__ = ["show_document", "systems_document"]

T = TypeVar("T")


class _Found(Struct):
    """What is being gathered."""

    items: list[ShowItem] = field(default_factory=list)
    missing: list[MissingView] = field(default_factory=list)

    def value(self, netns: str, name: str, section: Section[T]) -> T | None:
        """Return the value of a section; note it as missing if it has none."""
        if isinstance(section, Known):
            return section.value
        self.missing.append(
            MissingView(netns=netns, section=name, reason=section.reason or section.kind.value)
        )
        return None


def show_document(
    what: str, snapshot: Snapshot, context: str = "", *, tables: Sequence[ServiceTable] = ()
) -> ShowDocument:
    """
    List *what* of all namespaces in *snapshot*, with Services the *tables* that answer for them.

    Raises KeyError for a word that is none of nettrace show's.
    """
    found = _Found()
    if what == "services":
        if not tables or isinstance(snapshot.kube.services, Known):
            _services(snapshot, found)
        shown, missing = frontends(snapshot, tables)
        found.items.extend(shown)
        found.missing.extend(missing)
    elif what == "policies":
        _policies(snapshot, found)
    else:
        gather = _BY_NETNS[what]
        for netns in snapshot.namespaces.values():
            gather(netns, snapshot, found)
    return ShowDocument(what=what, context=context, items=tuple(found.items), missing=tuple(found.missing))


def systems_document(
    systems: Iterable[System],
    asked: Iterable[str],
    missing: Mapping[tuple[str, str], str],
    context: str = "",
) -> ShowDocument:
    """List *systems*; *missing* maps (namespace, section) that could not be read to the reason."""
    return ShowDocument(
        what="systems",
        context=context,
        items=tuple(ShownSystem(system=system) for system in systems),
        missing=tuple(MissingView(netns=n, section=s, reason=why) for (n, s), why in missing.items()),
        asked=tuple(asked),
    )


def _namespaces(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    links = found.value(netns.name, "links", netns.links)
    addresses = found.value(netns.name, "addresses", netns.addresses)
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    pod = next((pod.key for pod in pods if pod.netns == netns.name), None)
    found.items.append(
        ShownNetns(
            netns=netns.name,
            node=netns.node,
            role=netns.role,
            pod=pod,
            devices=len(links) if links is not None else None,
            addresses=tuple(
                f"{address.address}/{address.prefixlen}"
                for address in addresses or ()
                if address.scope == "global"
            ),
        )
    )


def _links(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    addresses = found.value(netns.name, "addresses", netns.addresses) or ()
    for link in found.value(netns.name, "links", netns.links) or ():
        mine = tuple(address for address in addresses if address.device == link.name)
        found.items.append(ShownLink(netns=netns.name, link=link, addresses=mine))


def _routes(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    for rule in found.value(netns.name, "rules", netns.rules) or ():
        found.items.append(ShownPolicyRule(netns=netns.name, rule=rule))
    for route in found.value(netns.name, "routes", netns.routes) or ():
        found.items.append(ShownRoute(netns=netns.name, route=route))


def _rules(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    for head, backend in ((head, backend) for head in XT_SECTIONS for backend in BACKENDS):
        key = f"{head}/{backend}"
        ruleset: XtRuleset | None = found.value(netns.name, key, getattr(netns, f"{head}_{backend}"))
        for table, body in (ruleset.tables if ruleset is not None else {}).items():
            tabled = found.value(netns.name, f"{key}/{table}", body)
            if tabled is None:
                continue
            for name in _in_order(table, tabled.chains):
                chain = found.value(netns.name, f"{key}/{table}/{name}", tabled.chains[name])
                if chain is not None:
                    found.items.append(
                        _chain(netns.name, 6 if head == "xt6" else 4, backend, table, name, chain)
                    )
    _native(netns, found)


def _native(netns: Netns, found: _Found) -> None:
    ruleset = found.value(netns.name, "nft", netns.nft)
    for table in (ruleset.tables if ruleset is not None else {}).values():
        for name, chain in table.chains.items():
            rules = found.value(netns.name, nft_path(table, name), chain.rules)
            if ruleset is None or rules is None:
                continue
            words = (native_rule_text(rule, table, ruleset.byteorder) for rule in rules)
            found.items.append(
                ShownNativeChain(
                    netns=netns.name,
                    family=table.family,
                    table=table.name,
                    chain=name,
                    base=chain.base,
                    rules=tuple(
                        f'{text} comment "{rule.comment}"' if rule.comment else text
                        for text, rule in zip(words, rules, strict=True)
                    ),
                    packets=tuple(rule.packets for rule in rules),
                )
            )


def _in_order(table: str, chains: Iterable[str]) -> list[str]:
    """Order chains as iptables-save does: the built-in ones first, the others by name."""
    built_in = BUILTIN_CHAINS.get(table, ())
    names = set(chains)
    return [name for name in built_in if name in names] + sorted(names - set(built_in))


def _chain(netns: str, family: int, backend: str, table: str, name: str, chain: XtChain) -> ShownChain:
    return ShownChain(
        netns=netns,
        family=family,
        backend=backend,
        table=table,
        chain=name,
        policy=chain.policy,
        rules=tuple(rule_text(rule) for rule in chain.rules),
        packets=tuple(c.packets for c in chain.counters) if chain.counters is not None else None,
    )


def _sets(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    for one in found.value(netns.name, "ipsets", netns.ipsets) or ():
        found.items.append(
            ShownSet(netns=netns.name, name=one.name, type=one.type, family=one.family, members=one.members)
        )


def _ipvs(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    for one in found.value(netns.name, "ipvs", netns.ipvs) or ():
        found.items.append(ShownVirtualServer(netns=netns.name, server=one))


def _offloads(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    for one in found.value(netns.name, "offloads", netns.offloads) or ():
        found.items.append(ShownOffloads(netns=netns.name, offloads=one))


def _xfrm(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    """Policies in the order in which they count: by direction and priority."""
    xfrm = found.value(netns.name, "xfrm", netns.xfrm)
    if xfrm is None:
        return
    ranked = sorted(xfrm.policies, key=lambda one: (one.direction, one.priority))
    found.items += [ShownXfrmPolicy(netns=netns.name, policy=one) for one in ranked]
    found.items += [ShownXfrmDefault(netns=netns.name, direction=one) for one in xfrm.blocks]
    found.items += [ShownXfrmState(netns=netns.name, state=one) for one in xfrm.states]


def _services(snapshot: Snapshot, found: _Found) -> None:
    slices = found.value("", "kube/endpoint_slices", snapshot.kube.endpoint_slices) or ()
    by_service: dict[tuple[str, str | None], list[EndpointSlice]] = {}
    for one in slices:
        by_service.setdefault((one.namespace, one.service), []).append(one)
    for service in found.value("", "kube/services", snapshot.kube.services) or ():
        mine = by_service.get((service.namespace, service.name), ())
        found.items.append(ShownService(service=service, slices=tuple(mine)))


def _policies(snapshot: Snapshot, found: _Found) -> None:
    kube = snapshot.kube
    pods = found.value("", "kube/pods", kube.pods) or ()
    admin = found.value("", "kube/admin_policies", kube.admin_policies) or ()
    policies = found.value("", "kube/network_policies", kube.network_policies) or ()
    cluster = cluster_of(kube, {})
    for one in sorted(admin, key=lambda p: (p.baseline, p.priority or 0, p.name)):
        if not one.baseline:
            found.items.append(_admin_policy(one, cluster, pods))
    for policy in policies:
        chosen = [
            pod.key
            for pod in pods
            if not pod.host_network and any(isolating([policy], pod, d) for d in ("ingress", "egress"))
        ]
        rules = {
            "Ingress": tuple(rule_words(rule, "from") for rule in policy.ingress),
            "Egress": tuple(rule_words(rule, "to") for rule in policy.egress),
        }
        found.items.append(
            ShownPolicy(
                type="NetworkPolicy",
                name=policy.name,
                namespace=policy.namespace,
                order="",
                selector=selector_words(policy.pod_selector, "all pods"),
                pods=tuple(chosen),
                undecided=(),
                ingress=rules["Ingress"] if "Ingress" in policy.types else None,
                egress=rules["Egress"] if "Egress" in policy.types else None,
            )
        )
    found.items.extend(_admin_policy(one, cluster, pods) for one in admin if one.baseline)


def _admin_policy(policy: AdminPolicy, cluster: Cluster, pods: Iterable[Pod]) -> ShownPolicy:
    truths = {pod.key: is_subject(cluster, policy.subject, pod) for pod in pods if not pod.host_network}
    return ShownPolicy(
        type="BaselineAdminNetworkPolicy" if policy.baseline else "AdminNetworkPolicy",
        name=policy.name,
        namespace="",
        order="baseline" if policy.priority is None else str(policy.priority),
        selector=admin_peer_words(policy.subject),
        pods=tuple(key for key, truth in truths.items() if truth is True),
        undecided=tuple(key for key, truth in truths.items() if isinstance(truth, Unsure)),
        ingress=tuple(admin_rule_words(rule, "from") for rule in policy.ingress),
        egress=tuple(admin_rule_words(rule, "to") for rule in policy.egress),
    )


def _conntrack(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    for entry in found.value(netns.name, "conntrack", netns.conntrack) or ():
        found.items.append(ShownConntrack(netns=netns.name, entry=entry))


def _sockets(netns: Netns, snapshot: Snapshot, found: _Found) -> None:
    for socket in found.value(netns.name, "sockets", netns.sockets) or ():
        found.items.append(ShownSocket(netns=netns.name, socket=socket))


_BY_NETNS: dict[str, Callable[[Netns, Snapshot, _Found], Any]] = {
    "namespaces": _namespaces,
    "links": _links,
    "routes": _routes,
    "rules": _rules,
    "sets": _sets,
    "ipvs": _ipvs,
    "offloads": _offloads,
    "xfrm": _xfrm,
    "conntrack": _conntrack,
    "sockets": _sockets,
}
