"""
On which addresses of a node kube-proxy serves NodePorts.

Lives here: nodePortAddresses, held against one address.
Sources: pkg/proxy/util/nodeport_addresses.go; KEP-3866 (the default ``primary`` of mode nftables).
"""

from nettrace.kube.services import prefixes_of_family
from nettrace.model.addr import family_of, in_prefix, is_loopback
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = ["excluded"]

_PRIMARY = "primary"


def excluded(snapshot: Snapshot, address: str) -> str:
    """
    Return what NodePorts are served on where *address* is not among that; "" where it is, or nobody knows.

    Loopback addresses have rules of their own (localhostNodePorts) and are never meant here.
    """
    if not isinstance(snapshot.kube.proxy, Known) or is_loopback(address):
        return ""
    config = snapshot.kube.proxy.value
    chosen = config.node_port_addresses or ((_PRIMARY,) if config.mode == "nftables" else ())
    family = family_of(address)
    if chosen == (_PRIMARY,):
        nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
        firsts = [next((ip for ip in n.internal_ips if family_of(ip) == family), "") for n in nodes]
        return "" if not nodes or address in firsts else "each node's primary address"
    prefixes = prefixes_of_family(chosen, family)
    return "" if not prefixes or any(in_prefix(address, one) for one in prefixes) else ", ".join(prefixes)
