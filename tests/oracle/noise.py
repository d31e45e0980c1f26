"""
Packets that come beside a probe, and that no walk follows.

Lives here: telling them from their headers.
"""

from nettrace.model.packet import Packet

__all__ = ["is_beside", "is_noise", "quotes_discovery"]

_ICMP, _IGMP, _ICMPV6 = 1, 2, 58
_ECHO = 128
_REDIRECT = 5
_HALF = 128
#: Of ICMPv6: who listens to a group (130 to 132, 143), discovery and redirects (133 to 137).
_OWN_AFFAIRS = frozenset({*range(130, 138), 143})


def is_noise(packet: bytes) -> bool:
    """
    Is this, from its IP header on, something that comes beside and not each time?

    Advice about a better router, groups, and neighbour discovery.
    """
    if len(packet) < 21:
        return False
    if packet[0] >> 4 == 6:
        if len(packet) < 41:
            return False
        if packet[24] == 0xFF or packet[6] != _ICMPV6:
            return packet[24] == 0xFF
        return packet[40] in _OWN_AFFAIRS or (packet[40] < _ECHO and quotes_discovery(packet[48:]))
    return packet[9] == _IGMP or (packet[0] == 0x45 and packet[9] == _ICMP and packet[20] == _REDIRECT)


def quotes_discovery(quoted: bytes) -> bool:
    """
    Does an error quote a message of discovery?

    It alone of ICMPv6 sets out with a hop limit of 255, and rules take little of that away.
    """
    return len(quoted) >= 8 and quoted[6] == _ICMPV6 and quoted[7] > _HALF


def is_beside(packet: Packet, quoted: bytes) -> bool:
    """The same of a packet that was read, with what follows its first 8 bytes behind the IP header."""
    if packet.family == 6:
        if packet.proto != "icmpv6" or packet.icmp_type is None:
            return packet.dst.startswith("ff")
        error = packet.icmp_type < _ECHO
        return packet.icmp_type in _OWN_AFFAIRS or (error and quotes_discovery(quoted))
    return packet.icmp_type == _REDIRECT or packet.proto == str(_IGMP)
