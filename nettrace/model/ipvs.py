"""
IPVS: virtual servers and the real servers behind them.

Lives here: the shapes.  Not here: text (nettrace.parse.ipvs), who owes what (nettrace.kube).
Source: include/uapi/linux/ip_vs.h.
"""

from msgspec import Struct

__all__ = ["RealServer", "VirtualServer"]


class RealServer(Struct, frozen=True, kw_only=True):
    """One real server; ``forwarding`` is ``masq``, ``tunnel`` or ``route``."""

    address: str
    port: int
    weight: int = 1
    forwarding: str = "masq"


class VirtualServer(Struct, frozen=True, kw_only=True):
    """
    One virtual server.

    ``persistent`` is the timeout in seconds, None without affinity; ``flags`` are those of the
    scheduler as ipvsadm writes them behind ``-b`` (``sh-port``, ``mh-fallback``).
    """

    address: str
    port: int
    proto: str = "tcp"
    scheduler: str = "rr"
    persistent: int | None = None
    flags: tuple[str, ...] = ()
    real_servers: tuple[RealServer, ...] = ()
