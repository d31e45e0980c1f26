"""
Entries of Cilium's maps, as its agent writes them: for labs.

Lives here: Services, backends, reverse NAT and identities of a cluster, in the layouts of 1.16.
Not here: reading them (layouts, services, identities).
"""

import hashlib
import struct
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

from nettrace.model.bpf import BpfEntry, BpfMap
from nettrace.model.kube import EndpointSlice, Kube, Service, ServicePort
from nettrace.model.section import Known

__all__ = ["cluster_maps", "identity_of"]

_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_NODE_PORT = 0x42  # SVC_FLAG_NODEPORT | SVC_FLAG_ROUTABLE
_IPV4 = 1
#: Identities below are reserved, and those of other clusters begin above.
_FIRST, _COUNT = 256, 65536 - 256
_MOST = 65536


def identity_of(labels: str) -> int:
    """Return the number that a lab gives a set of labels; a cluster counts up."""
    return _FIRST + int.from_bytes(hashlib.sha256(labels.encode()).digest()[:4], "big") % _COUNT


def cluster_maps(kube: Kube, node: str, identities: Sequence[tuple[str, int]]) -> tuple[BpfMap, ...]:
    """
    Return the maps that the agent on *node*, an address, fills from a cluster's objects.

    *identities* are (prefix, number).
    """
    services = kube.services.value if isinstance(kube.services, Known) else ()
    slices = kube.endpoint_slices.value if isinstance(kube.endpoint_slices, Known) else ()
    frontends: list[BpfEntry] = []
    reverse: list[BpfEntry] = []
    backends: dict[tuple[str, int, int], int] = {}
    for service in services:
        for port in service.ports:
            proto = _PROTOCOLS[port.protocol]
            ids = [
                backends.setdefault((address, number, proto), len(backends) + 1)
                for address, number in _endpoints(slices, service, port)
            ]
            for address, number, flags in _fronts(service, port, node):
                back = len(reverse) + 1
                reverse.append(_entry(struct.pack(">H", back), _ip(address) + struct.pack(">H", number)))
                frontends += _slots(address, number, proto, ids, flags, back)
    held = [
        _entry(struct.pack("=I", ident), _ip(address) + struct.pack(">HBB", number, proto, 0) + bytes(4))
        for (address, number, proto), ident in backends.items()
    ]
    known = [_identity(prefix, number) for prefix, number in identities]
    return (
        _map("cilium_lb4_services_v2", "hash", 12, 12, frontends),
        _map("cilium_lb4_backends_v3", "hash", 4, 12, held),
        _map("cilium_lb4_reverse_nat", "hash", 2, 6, reverse),
        _map("cilium_ipcache", "lpm_trie", 24, 12, known),
        _map("cilium_lxc", "hash", 20, 48, []),
        _map("cilium_ct4_global", "lru_hash", 14, 56, []),
    )


def _map(name: str, kind: str, key: int, value: int, entries: Sequence[BpfEntry]) -> BpfMap:
    return BpfMap(
        id=0,
        name=name,
        type=kind,
        key_size=key,
        value_size=value,
        max_entries=_MOST,
        entries=Known(tuple(entries)),
    )


def _entry(key: bytes, value: bytes) -> BpfEntry:
    return BpfEntry(key.hex(), value.hex())


def _ip(address: str) -> bytes:
    return ip_address(address).packed


def _fronts(service: Service, port: ServicePort, node: str) -> Iterator[tuple[str, int, int]]:
    """Yield address, port and flags of what the Service is reached by; a lab's is IPv4."""
    for address in service.cluster_ips:
        if "." in address:
            yield address, port.port, 0
    if port.node_port:
        yield "0.0.0.0", port.node_port, _NODE_PORT
        yield node, port.node_port, _NODE_PORT


def _endpoints(
    slices: Sequence[EndpointSlice], service: Service, port: ServicePort
) -> Iterator[tuple[str, int]]:
    for piece in slices:
        if (piece.namespace, piece.service) != (service.namespace, service.name):
            continue
        numbers = [one.port for one in piece.ports if one.name == port.name and one.port is not None]
        for endpoint in piece.endpoints:
            if endpoint.ready:
                yield from ((a, number) for number in numbers for a in endpoint.addresses if "." in a)


def _slots(
    address: str, port: int, proto: int, ids: Sequence[int], flags: int, back: int
) -> Iterator[BpfEntry]:
    for slot, ident in enumerate((0, *ids)):
        key = _ip(address) + struct.pack(">H", port) + struct.pack("=HBB2x", slot, proto, 0)
        count = len(ids) if slot == 0 else 0
        value = struct.pack("=IH", ident, count) + struct.pack(">H", back) + struct.pack("=H2x", flags)
        yield _entry(key, value)


def _identity(prefix: str, number: int) -> BpfEntry:
    net = ip_network(prefix)
    key = struct.pack("=IHBB", 32 + net.prefixlen, 0, 0, _IPV4) + net.network_address.packed + bytes(12)
    return _entry(key, number.to_bytes(4, sys.byteorder) + bytes(8))
