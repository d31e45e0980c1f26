"""
What a rule is for, by its destination.

Lives here: the question that goals and causes ask of rules that dispatch by address and port.
Not here: evaluating a rule for a packet (nettrace.walk).
"""

from nettrace.model.addr import in_prefix
from nettrace.model.packet import Packet, PortRange
from nettrace.model.protocol import base_protocol
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Multiport, Tcp, Udp

__all__ = ["addressed_to"]


def addressed_to(rule: XtRule, packet: Packet) -> bool:
    """
    Does the rule name the packet's destination: its address, its port, or both?

    A rule that names neither is for nobody in particular.
    """
    if rule.proto is not None and (
        rule.proto.invert or base_protocol(rule.proto.value) != base_protocol(packet.proto)
    ):
        return False
    if rule.dst is not None and in_prefix(packet.dst, rule.dst.value) == rule.dst.invert:
        return False
    ports = _ports(rule)
    if ports is None:
        return rule.dst is not None and not rule.dst.invert
    return packet.dport is not None and any(packet.dport.inside(ports_) for ports_ in ports)


def _ports(rule: XtRule) -> tuple[PortRange, ...] | None:
    for match in rule.matches:
        if isinstance(match, Tcp | Udp) and match.dport is not None and not match.dport.invert:
            return (match.dport.range,)
        if isinstance(match, Multiport) and match.kind in ("dports", "ports") and not match.invert:
            return match.ranges
    return None
