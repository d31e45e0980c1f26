"""
IPVS: virtual servers, the real servers behind them, and the connections that it remembers.

Lives here: the shapes.  Not here: text (nettrace.parse.ipvs), who owes what (nettrace.kube).
Source: include/uapi/linux/ip_vs.h, net/netfilter/ipvs/ip_vs_conn.c.
"""

from msgspec import Struct

__all__ = ["NO_SCHEDULER", "IpvsConnection", "RealServer", "VirtualServer"]

#: The scheduler of a virtual server that has none: every connection is refused.
NO_SCHEDULER = "none"


class RealServer(Struct, frozen=True, kw_only=True):
    """
    One real server; ``forwarding`` is ``masq``, ``tunnel``, ``route``, ``local`` or ``bypass``.

    ``upper`` and ``lower`` are connection thresholds, 0 for none; ``active`` and ``inactive`` count
    its connections when it was read.  ``tunnel`` is how a tunnel wraps its packets: ``ipip``,
    ``gue`` or ``gre``.
    """

    address: str
    port: int
    weight: int = 1
    forwarding: str = "masq"
    upper: int = 0
    lower: int = 0
    active: int = 0
    inactive: int = 0
    tunnel: str = "ipip"


class VirtualServer(Struct, frozen=True, kw_only=True):
    """
    One virtual server: an address, port and protocol, or a firewall mark (``fwmark`` not 0).

    One by mark has neither address nor port nor protocol; ``six`` tells that it is IPv6's.
    ``persistent`` is the timeout in seconds, None without affinity; ``netmask`` how many bits of a
    client's address count for it, None for all; ``engine`` the persistence engine (``sip``).
    ``flags`` are those of the scheduler as ipvsadm writes them behind ``-b`` (``sh-port``,
    ``mh-fallback``), and ``ops`` for one-packet scheduling.  The real servers stand in the kernel's
    order, in which its schedulers look at them.
    """

    address: str
    port: int
    proto: str = "tcp"
    scheduler: str = "rr"
    persistent: int | None = None
    flags: tuple[str, ...] = ()
    real_servers: tuple[RealServer, ...] = ()
    fwmark: int = 0
    six: bool = False
    netmask: int | None = None
    engine: str = ""

    @property
    def family(self) -> int:
        """The version of IP whose packets it takes."""
        return 6 if self.six or ":" in self.address else 4


class IpvsConnection(Struct, frozen=True, kw_only=True):
    """
    One connection that IPVS remembers (/proc/net/ip_vs_conn).

    ``client_port`` 0: a template, by which affinity sends a client's next connections to the same
    real server.  One of a mark's virtual server has protocol ``ip`` and the mark, written as an
    address, for its virtual address.  ``expires`` is in seconds.
    """

    proto: str
    client: str
    client_port: int
    address: str
    port: int
    server: str
    server_port: int
    state: str = ""
    expires: int = 0
