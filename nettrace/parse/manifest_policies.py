"""
Namespace and network policy objects to the model.

Sources: k8s.io/api networking/v1 types and defaults; policy.networking.k8s.io/v1alpha1 types
(network-policy-api, v0.1).  What the API server refuses is refused here too, since no cluster can
hold it: a peer without any field, an address block beside selectors, an ``endPort`` of a name.
"""

from ipaddress import ip_network

from nettrace.model.addr import canonical_prefix, family_of, prefix_contains
from nettrace.model.policy import (
    NAMESPACE_NAME,
    AdminPeer,
    AdminPolicy,
    AdminPort,
    AdminRule,
    Expression,
    IpBlock,
    LabelSelector,
    Namespace,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
)
from nettrace.parse.fields import Fields

__all__ = ["admin_policy", "baseline_policy", "namespace", "network_policy"]

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("Ingress", "Egress")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def namespace(fields: Fields) -> Namespace:
    """Return a Namespace, with the label that the API server adds."""
    metadata = fields.inside("metadata")
    name = metadata.required("name")
    return Namespace(name=name, labels={**metadata.mapping("labels"), NAMESPACE_NAME: name})


def network_policy(fields: Fields) -> NetworkPolicy:
    """Return a NetworkPolicy.  Without ``policyTypes``: Ingress, and Egress if it has such rules."""
    metadata, spec = fields.inside("metadata"), fields.inside("spec")
    types = spec.texts("policyTypes")
    for index, one in enumerate(types):
        if one not in _TYPES:
            spec.fail(f"`{one}` is none of {', '.join(_TYPES)}", f"policyTypes[{index}]")
    egress = tuple(_rule(entry, "to") for entry in spec.objects("egress"))
    return NetworkPolicy(
        name=metadata.required("name"),
        namespace=metadata.text("namespace", "default"),
        pod_selector=_selector(spec.inside("podSelector")),
        types=tuple(dict.fromkeys(types)) or (_TYPES if egress else _TYPES[:1]),
        ingress=tuple(_rule(entry, "from") for entry in spec.objects("ingress")),
        egress=egress,
    )


def _rule(fields: Fields, peers: str) -> PolicyRule:
    return PolicyRule(
        peers=tuple(_peer(entry) for entry in fields.objects(peers)),
        ports=tuple(_port(entry) for entry in fields.objects("ports")),
    )


def _peer(fields: Fields) -> PolicyPeer:
    found = PolicyPeer(
        pod_selector=_maybe_selector(fields, "podSelector"),
        namespace_selector=_maybe_selector(fields, "namespaceSelector"),
        ip_block=_block(fields.inside("ipBlock")) if fields.value.get("ipBlock") is not None else None,
    )
    if found == PolicyPeer():
        fields.fail("the peer names nobody: podSelector, namespaceSelector or ipBlock")
    if found.ip_block is not None and (found.pod_selector or found.namespace_selector):
        fields.fail("ipBlock stands alone in a peer, without selectors", "ipBlock")
    return found


def _block(fields: Fields) -> IpBlock:
    cidr = _prefix(fields, "cidr", fields.required("cidr"))
    excepted = tuple(
        _prefix(fields, f"except[{index}]", text) for index, text in enumerate(fields.texts("except"))
    )
    for index, one in enumerate(excepted):
        if family_of(one) != family_of(cidr) or one == cidr or not prefix_contains(cidr, one):
            fields.fail(f"{one} is no part of {cidr}", f"except[{index}]")
    return IpBlock(cidr=cidr, excepted=excepted)


def _prefix(fields: Fields, name: str, text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError:
        fields.fail(f"`{text}` is not a prefix such as 10.0.0.0/8", name)
    return canonical_prefix(text)


def _port(fields: Fields) -> PolicyPort:
    port = fields.value.get("port")
    end = fields.number("endPort", 1, 65535)
    if not isinstance(port, str):
        port = fields.number("port", 1, 65535)
    if end is not None and (not isinstance(port, int) or end < port):
        fields.fail("endPort needs a port that is a number and not above it", "endPort")
    return PolicyPort(protocol=fields.chosen("protocol", _PROTOCOLS, "TCP"), port=port, end_port=end)


def _maybe_selector(fields: Fields, name: str) -> LabelSelector | None:
    """An empty selector selects everything; one that is absent nothing at all."""
    return _selector(fields.inside(name)) if fields.value.get(name) is not None else None


def _selector(fields: Fields) -> LabelSelector:
    return LabelSelector(
        match_labels=fields.mapping("matchLabels"),
        match_expressions=tuple(_expression(entry) for entry in fields.objects("matchExpressions")),
    )


def _expression(fields: Fields) -> Expression:
    operator = fields.chosen("operator", _OPERATORS, "")
    values = fields.texts("values")
    if (operator in ("In", "NotIn")) != bool(values):
        wants = "values" if operator in ("In", "NotIn") else "no values"
        fields.fail(f"{operator} takes {wants}", "values")
    return Expression(key=fields.required("key"), operator=operator, values=values)


# --- policies of the cluster's administrator -------------------------------------------


def admin_policy(fields: Fields) -> AdminPolicy:
    """Return an AdminNetworkPolicy."""
    priority = fields.inside("spec").number("priority", 0, 1000)
    if priority is None:
        fields.inside("spec").fail("priority is missing", "priority")
    return _admin(fields, priority, ("Allow", "Deny", "Pass"))


def baseline_policy(fields: Fields) -> AdminPolicy:
    """Return a BaselineAdminNetworkPolicy; there is only one, called ``default``."""
    return _admin(fields, None, ("Allow", "Deny"))


def _admin(fields: Fields, priority: int | None, actions: tuple[str, ...]) -> AdminPolicy:
    spec = fields.inside("spec")
    return AdminPolicy(
        name=fields.inside("metadata").required("name"),
        priority=priority,
        subject=_admin_peer(spec.inside("subject")),
        ingress=tuple(_admin_rule(entry, "from", actions) for entry in spec.objects("ingress")),
        egress=tuple(_admin_rule(entry, "to", actions) for entry in spec.objects("egress")),
    )


def _admin_rule(fields: Fields, peers: str, actions: tuple[str, ...]) -> AdminRule:
    found = tuple(_admin_peer(entry) for entry in fields.objects(peers))
    if not found:
        fields.fail(f"{peers} needs at least one peer", peers)
    return AdminRule(
        action=fields.chosen("action", actions, ""),
        name=fields.text("name"),
        peers=found,
        ports=tuple(_admin_port(entry) for entry in fields.objects("ports")),
    )


def _admin_peer(fields: Fields) -> AdminPeer:
    namespaces, pods = _maybe_selector(fields, "namespaces"), fields.value.get("pods")
    if namespaces is not None:
        return AdminPeer(namespace_selector=namespaces)
    if pods is not None:
        inner = fields.inside("pods")
        return AdminPeer(
            namespace_selector=_selector(inner.inside("namespaceSelector")),
            pod_selector=_selector(inner.inside("podSelector")),
        )
    nodes = _maybe_selector(fields, "nodes")
    if nodes is not None:
        return AdminPeer(node_selector=nodes)
    networks = fields.texts("networks")
    if networks:
        return AdminPeer(
            networks=tuple(_prefix(fields, f"networks[{i}]", text) for i, text in enumerate(networks))
        )
    others = sorted(str(name) for name in fields.value)
    if not others:
        fields.fail("the peer names nobody: namespaces, pods, nodes or networks")
    return AdminPeer(unread=", ".join(others))


def _admin_port(fields: Fields) -> AdminPort:
    if name := fields.text("namedPort"):
        return AdminPort(name=name)
    if fields.value.get("portRange") is not None:
        inner = fields.inside("portRange")
        first, last = inner.number("start", 1, 65535), inner.number("end", 1, 65535)
        if first is None or last is None or last < first:
            inner.fail("start and end have to be ports, the end not below the start")
    else:
        inner = fields.inside("portNumber")
        first = last = inner.number("port", 1, 65535)
        if first is None:
            inner.fail("port is missing", "port")
    return AdminPort(protocol=inner.chosen("protocol", _PROTOCOLS, "TCP"), first=first, last=last)
