"""
What the client sees: an errno, an answer, or nothing.

Lives here: errnos of ICMP errors by protocol.
Not here: the legs (exchange).
Sources: net/ipv4/icmp.c (icmp_err_convert), tcp_ipv4.c (tcp_v4_err), udp.c (udp_err); tried
against the kernel with a plain socket: connect() for TCP, connect() and send() for UDP.
"""

from nettrace.model.packet import Packet
from nettrace.model.walk import Outcome

__all__ = ["of_answer", "of_errno"]

#: Code of type 3 -> (errno, is it fatal: told to a UDP socket that did not ask for errors).
_UNREACHABLE: dict[int, tuple[str, bool]] = {
    0: ("ENETUNREACH", False),
    1: ("EHOSTUNREACH", False),
    2: ("ENOPROTOOPT", True),
    3: ("ECONNREFUSED", True),
    4: ("EMSGSIZE", False),
    5: ("EOPNOTSUPP", False),
    6: ("ENETUNREACH", True),
    7: ("EHOSTDOWN", True),
    8: ("ENONET", True),
    9: ("ENETUNREACH", True),
    10: ("EHOSTUNREACH", True),
    11: ("ENETUNREACH", False),
    12: ("EHOSTUNREACH", False),
    13: ("EHOSTUNREACH", True),
    14: ("EHOSTUNREACH", True),
    15: ("EHOSTUNREACH", True),
}


def of_answer(proto: str, answer: Packet) -> tuple[Outcome, str | None]:
    """Return outcome and errno of a client of *proto* whose request was answered by an error or an RST."""
    if answer.proto == "tcp":
        return Outcome.REFUSED, "ECONNREFUSED"
    if answer.icmp_type == 3:
        errno, fatal = _UNREACHABLE.get(answer.icmp_code or 0, ("EHOSTUNREACH", True))
    elif answer.icmp_type == 11:
        errno, fatal = "EHOSTUNREACH", False
    else:
        errno, fatal = "EPROTO", True
    if proto == "udp" and not fatal:
        return Outcome.TIMEOUT, None
    return (Outcome.REFUSED if errno == "ECONNREFUSED" else Outcome.UNREACHABLE), errno


def of_errno(proto: str, errno: str) -> tuple[Outcome, str | None]:
    """
    Return outcome and errno where the sender's own kernel refused the packet.

    TCP's connect ignores that OUTPUT dropped its SYN and goes on trying (tcp_connect).
    """
    if errno == "EPERM":
        return (Outcome.TIMEOUT, None) if proto == "tcp" else (Outcome.DENIED, errno)
    return Outcome.UNREACHABLE, errno
