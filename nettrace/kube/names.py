"""
How kube-proxy names things: service ports, endpoints, chains, the masquerade mark.

Lives here: the recipes, as facts of what the real kube-proxy writes (checked against its
dumps in fixtures/kube-proxy).
Not here: which of these chains a node is owed (nettrace.kube.iptables).
"""

from base64 import b32encode
from functools import lru_cache
from hashlib import sha256

__all__ = [
    "SERVICE_PREFIXES",
    "XLB_PREFIX",
    "endpoint_chain",
    "endpoint_text",
    "masquerade_mark",
    "service_chain",
    "service_port_name",
]

#: Chains of one service port: by traffic policy Cluster and Local, for traffic from outside
#: the cluster, and for the source ranges of a load balancer.
SERVICE_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-")

#: Before KUBE-EXT and KUBE-SVL: traffic from outside to a Service of policy Local.
XLB_PREFIX = "KUBE-XLB-"


@lru_cache(maxsize=1 << 17)
def _hashed(text: str) -> str:
    """
    Return the first 16 letters of the digest in base 32; ten bytes make exactly these.

    A chain's name has at most 28 characters (XT_EXTENSION_MAXNAMELEN less the NUL byte).
    """
    return b32encode(sha256(text.encode()).digest()[:10]).decode()


def service_port_name(namespace: str, service: str, port_name: str = "") -> str:
    """``namespace/name:port``, without the colon where the port has no name."""
    return f"{namespace}/{service}:{port_name}" if port_name else f"{namespace}/{service}"


def service_chain(prefix: str, service_port: str, proto: str) -> str:
    """
    Return the name of a chain of one service port.

    *prefix* is one of SERVICE_PREFIXES or XLB_PREFIX, *service_port* as service_port_name() gives it,
    *proto* ``tcp``, ``udp`` or ``sctp``.  The cluster IP is not in the hash, so IPv4 and
    IPv6 share the name.
    """
    return prefix + _hashed(service_port + proto)


def endpoint_chain(service_port: str, proto: str, endpoint: str) -> str:
    """Return ``KUBE-SEP-...`` of one endpoint; *endpoint* as endpoint_text() gives it."""
    return "KUBE-SEP-" + _hashed(service_port + proto + endpoint)


def endpoint_text(address: str, port: int) -> str:
    """``10.244.1.10:9376``, ``[fd00::1]:8080``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def masquerade_mark(bit: int) -> int:
    """Return the mark of packets to be masqueraded; kube-proxy's default bit is 14 (0x4000)."""
    return 1 << bit
