"""
Addresses: which part of a lab gets which.

Lives here: cutting prefixes, and giving out addresses in the order of host-local and of the
API server's allocator.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from nettrace.model.errors import UserError

__all__ = ["host", "in_network", "network", "node_pod_cidrs", "service_addresses"]


def network(text: str, what: str, *, longest: int = 28) -> IPv4Network:
    """Return *text* as an IPv4 network of at most *longest* bits; *what* names it in the UserError."""
    try:
        found = IPv4Network(text)
    except ValueError as error:
        raise UserError(
            f"{what} {text!r} is no IPv4 network: {error}", hint="write it as 10.1.0.0/16"
        ) from error
    if found.prefixlen > longest:
        raise UserError(f"{what} {text} is too small for a lab", hint=f"use /{longest} or shorter")
    return found


def host(net: IPv4Network, number: int) -> str:
    """The address *number* places into *net*; UserError if that is its broadcast address or beyond."""
    if number >= net.num_addresses - 1:
        raise UserError(f"{net} has no room for {number} addresses", hint="use a shorter prefix")
    return str(net.network_address + number)


def node_pod_cidrs(cluster: IPv4Network, nodes: int) -> tuple[IPv4Network, ...]:
    """
    Cut one podCIDR a node out of the cluster's network.

    /24 each as kube-controller-manager does, or smaller ones if they do not fit.  The first is
    left out where there is room: it would be that of the control plane.
    """
    length = max(24, cluster.prefixlen)
    while 1 << (length - cluster.prefixlen) < nodes:
        length += 1
    if length > 28:
        raise UserError(f"{cluster} is too small for {nodes} nodes", hint="use a shorter pod CIDR")
    parts = 1 << (length - cluster.prefixlen)
    skip = 1 if parts > nodes else 0
    size = 1 << (32 - length)
    start = int(cluster.network_address)
    return tuple(IPv4Network((start + (skip + index) * size, length)) for index in range(nodes))


def service_addresses(net: IPv4Network, taken: set[str]) -> Iterator[str]:
    """
    Yield free ClusterIPs, the higher part first.

    The API server too keeps the first addresses for those who ask for them by number, as
    kube-dns does (pkg/registry/core/service/ipallocator, KEP-3070).
    """
    reserved = min(max(16, net.num_addresses // 16), 256)
    for number in (*range(reserved, net.num_addresses - 1), *range(1, min(reserved, net.num_addresses - 1))):
        address = str(net.network_address + number)
        if address not in taken:
            taken.add(address)
            yield address


def in_network(address: str, net: IPv4Network) -> bool:
    """Is *address* an IPv4 address inside *net*?"""
    try:
        return IPv4Address(address) in net
    except ValueError:
        return False
