"""
Network policies in words, for lists.

Lives here: selectors, peers, ports and rules as short phrases.
"""

from nettrace.model.policy import (
    AdminPeer,
    AdminPort,
    AdminRule,
    Expression,
    IpBlock,
    LabelSelector,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
)

__all__ = ["admin_peer_words", "admin_rule_words", "rule_words", "selector_words"]


def selector_words(selector: LabelSelector, everything: str) -> str:
    """``app=web,tier in (a,b)`` as kubectl prints selectors; *everything* for the empty one."""
    found = [f"{key}={value}" for key, value in selector.match_labels.items()]
    found += [_expression(one) for one in selector.match_expressions]
    return ",".join(found) or everything


def _expression(one: Expression) -> str:
    match one.operator:
        case "Exists":
            return one.key
        case "DoesNotExist":
            return f"!{one.key}"
        case _:
            return f"{one.key} {'in' if one.operator == 'In' else 'notin'} ({','.join(one.values)})"


def rule_words(rule: PolicyRule, side: str) -> str:
    """``from pods app=web or 10.0.0.0/8 on TCP 80``; *side* is ``from`` or ``to``."""
    peers = " or ".join(_peer(one) for one in rule.peers) or "anybody"
    ports = ", ".join(_port(one) for one in rule.ports)
    return f"{side} {peers}" + (f" on {ports}" if ports else "")


def _peer(peer: PolicyPeer) -> str:
    if peer.ip_block is not None:
        return _block(peer.ip_block)
    pods = "" if peer.pod_selector is None else selector_words(peer.pod_selector, "")
    said = f"pods {pods}" if pods else "all pods"
    if peer.namespace_selector is None:
        return f"{said} of its namespace"
    return f"{said} of {_spaces(peer.namespace_selector)}"


def _spaces(selector: LabelSelector) -> str:
    words = selector_words(selector, "")
    return f"namespaces {words}" if words else "any namespace"


def _block(block: IpBlock) -> str:
    return block.cidr + (f" without {', '.join(block.excepted)}" if block.excepted else "")


def _port(port: PolicyPort) -> str:
    if port.port is None:
        return port.protocol
    last = f"-{port.end_port}" if port.end_port is not None else ""
    return f"{port.protocol} {port.port}{last}"


def admin_peer_words(peer: AdminPeer) -> str:
    """Say whom a peer or the subject of an administrator's policy names."""
    if peer.unread:
        return peer.unread
    if peer.networks:
        return ", ".join(peer.networks)
    if peer.node_selector is not None:
        return f"nodes {selector_words(peer.node_selector, '')}".strip()
    pods = "" if peer.pod_selector is None else selector_words(peer.pod_selector, "")
    return (
        f"{f'pods {pods}' if pods else 'all pods'} of {_spaces(peer.namespace_selector or LabelSelector())}"
    )


def admin_rule_words(rule: AdminRule, side: str) -> str:
    """``Deny from all pods of namespaces team=a on TCP 80``."""
    peers = " or ".join(admin_peer_words(one) for one in rule.peers)
    ports = ", ".join(_admin_port(one) for one in rule.ports)
    return f"{rule.action} {side} {peers}" + (f" on {ports}" if ports else "")


def _admin_port(port: AdminPort) -> str:
    if port.name:
        return port.name
    last = f"-{port.last}" if port.last != port.first else ""
    return f"{port.protocol} {port.first}{last}"
