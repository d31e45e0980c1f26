"""
What the client sees: an errno, an answer, or nothing.

Lives here: the errnos of ICMP errors, and of failures in the sender's own kernel.
Not here: the legs (exchange).
Sources: net/ipv4/icmp.c (icmp_err_convert), tcp_ipv4.c (tcp_v4_err), udp.c (udp_err), raw.c;
net/ipv6/icmp.c (tab_unreach).
The client of a walk hears of every error that is told to its socket: TCP's connect does; a
UDP or ICMP socket does if it asked for errors (IP_RECVERR), as nettrace's own probe.  One
that did not ask hears of port, protocol and administrative errors only.
"""

from nettrace.model.packet import Packet
from nettrace.model.walk import Outcome

__all__ = ["of_answer", "of_errno"]

#: Code of type 3 -> errno.
_UNREACHABLE = {
    0: "ENETUNREACH",
    1: "EHOSTUNREACH",
    2: "ENOPROTOOPT",
    3: "ECONNREFUSED",
    4: "EMSGSIZE",
    5: "EOPNOTSUPP",
    6: "ENETUNREACH",
    7: "EHOSTDOWN",
    8: "ENONET",
    9: "ENETUNREACH",
    10: "EHOSTUNREACH",
    11: "ENETUNREACH",
    12: "EHOSTUNREACH",
    13: "EHOSTUNREACH",
    14: "EHOSTUNREACH",
    15: "EHOSTUNREACH",
}


#: Code of ICMPv6's type 1 -> errno (tab_unreach).
_UNREACHABLE6 = {
    0: "ENETUNREACH",
    1: "EACCES",
    2: "EHOSTUNREACH",
    3: "EHOSTUNREACH",
    4: "ECONNREFUSED",
    5: "EACCES",
    6: "EACCES",
}


def of_answer(proto: str, answer: Packet) -> tuple[Outcome, str | None]:
    """Return outcome and errno of a client of *proto* whose request was answered by an error or an RST."""
    if answer.proto == "tcp":
        return Outcome.REFUSED, "ECONNREFUSED"
    if answer.proto == "icmpv6":
        return _of_answer6(proto, answer)
    if answer.icmp_type == 3 and answer.icmp_code == 4 and proto == "tcp":
        return Outcome.TIMEOUT, None  # a SYN that is too big is sent again as it is
    errno = "EHOSTUNREACH"  # also for type 11, time exceeded
    if answer.icmp_type == 3:
        errno = _UNREACHABLE.get(answer.icmp_code or 0, "EHOSTUNREACH")
    return (Outcome.REFUSED if errno == "ECONNREFUSED" else Outcome.UNREACHABLE), errno


def _of_answer6(proto: str, answer: Packet) -> tuple[Outcome, str | None]:
    """icmpv6_err_convert."""
    if answer.icmp_type == 2:  # packet too big
        return (Outcome.TIMEOUT, None) if proto == "tcp" else (Outcome.UNREACHABLE, "EMSGSIZE")
    errno = "EHOSTUNREACH"  # also for type 3, time exceeded
    if answer.icmp_type == 4:
        errno = "EPROTO"
    if answer.icmp_type == 1:
        errno = _UNREACHABLE6.get(answer.icmp_code or 0, "EPROTO")
    return (Outcome.REFUSED if errno == "ECONNREFUSED" else Outcome.UNREACHABLE), errno


def of_errno(proto: str, errno: str, *, routed: bool = False) -> tuple[Outcome, str | None]:
    """
    Return outcome and errno where the sender's own kernel refused the packet.

    TCP's connect ignores that OUTPUT dropped its SYN and goes on trying (tcp_connect); not so where
    a policy of IPsec refused it its route (*routed*).
    """
    if errno == "EPERM":
        if routed:
            return Outcome.DENIED, errno
        return (Outcome.TIMEOUT, None) if proto == "tcp" else (Outcome.DENIED, errno)
    return Outcome.UNREACHABLE, errno
