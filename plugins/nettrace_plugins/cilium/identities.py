"""
Cilium's other maps in words: identities, endpoints, connections, what replies are translated back to.

Source: cilium/cilium bpf/lib/eps.h (struct ipcache_key, remote_endpoint_info, endpoint_key,
endpoint_info), bpf/lib/common.h (struct ipv4_ct_tuple, ct_entry), pkg/identity/numericidentity.go.
"""

from collections.abc import Callable, Iterator, Mapping

from nettrace.model.bpf import BpfMap, BpfState
from nettrace.model.service_table import MapWords
from nettrace_plugins.cilium.layouts import (
    BACKENDS,
    CONNECTIONS,
    ENDPOINTS,
    IPCACHE,
    REVERSE,
    SERVICES,
    Bytes,
    called,
    pairs,
    unknown,
)
from nettrace_plugins.cilium.services import PROTOCOLS, SYSTEM

__all__ = ["address_words", "identity_words", "map_words"]

_RESERVED = {
    0: "unknown",
    1: "host",
    2: "world",
    3: "unmanaged",
    4: "health",
    5: "init",
    6: "remote-node",
    7: "kube-apiserver",
    8: "ingress",
    9: "world-ipv4",
    10: "world-ipv6",
    11: "encrypted-overlay",
}
_IPV4, _IPV6 = 1, 2  # ENDPOINT_KEY_IPV4, _IPV6
_STATIC_PREFIX = 32  # bits of ipcache_key between the length and the address
_HOST, _AT_HOST = 1, 2  # ENDPOINT_F_HOST, ENDPOINT_F_ATHOSTNS
_IN, _RELATED, _SERVICE = 1, 2, 4  # TUPLE_F_*
_CT_FLAGS = {
    0: "closing here",
    1: "closing there",
    3: "to itself by a Service",
    5: "NodePort",
    6: "through a proxy",
    7: "answered directly (DSR)",
    10: "from a tunnel",
}


def identity_words(number: int) -> str:
    """Name an identity: ``identity 2 (world)``, ``identity 4711 (a set of labels)``."""
    scope = number >> 24
    if number in _RESERVED:
        word = _RESERVED[number]
    elif number < 256:
        word = "reserved"
    elif scope == 1:
        word = "a CIDR, of this node's numbering"
    elif scope == 2:
        word = "a remote node, of this node's numbering"
    elif scope:
        word = f"of scope {scope}"
    else:
        word = "a set of labels"
    return f"identity {number} ({word})"


def map_words(state: BpfState, devices: Mapping[int, str]) -> Iterator[MapWords]:
    """Yield all maps of Cilium's; *devices* are the node's, by interface index."""
    kinds: tuple[tuple[tuple[str, ...], str, Callable[[Bytes, Bytes], str]], ...] = (
        (SERVICES, "Services: frontends and their slots", _slot),
        (BACKENDS, "Services: backends by number", _backend),
        (REVERSE, "Services: what replies come from", _reverse),
        (IPCACHE, "identities of addresses", _cached),
        (ENDPOINTS, "endpoints of this node", lambda key, value: _endpoint(key, value, devices)),
        (CONNECTIONS, "connections", _connection),
    )
    for names, what, words in kinds:
        for one in called(state, names):
            why = unknown(one, names)
            rows = () if why else tuple(words(key, value) for key, value in pairs(state, one))
            yield MapWords(id=one.id, name=one.name, system=SYSTEM, what=what, rows=rows, unknown=why)


def address_words(state: BpfState, address: str, devices: Mapping[int, str]) -> str | None:
    """Call an address by its endpoint and its identity; None where no map has it."""
    endpoint = identity = ""
    for one in _readable(state, ENDPOINTS):
        for key, value in pairs(state, one):
            if _endpoint_address(key) == address:
                endpoint = _endpoint_words(value, devices)
    bits = 128 if ":" in address else 32
    for one in _readable(state, IPCACHE):
        for key, value in pairs(state, one):
            if _cached_prefix(key) == f"{address}/{bits}":
                identity = identity_words(value.number(0, 4))
    return ", ".join(word for word in (endpoint, identity) if word) or None


def _readable(state: BpfState, names: tuple[str, ...]) -> Iterator[BpfMap]:
    return (one for one in called(state, names) if not unknown(one, names))


def _slot(key: Bytes, value: Bytes) -> str:
    size = len(key.raw) - 8
    proto = PROTOCOLS.get(key.number(size + 4, 1), "")
    front = _end(key.address(0, size), key.network(size, 2)) + (f"/{proto}" if proto else "")
    slot = key.number(size + 2, 2)
    if slot:
        return f"{front} slot {slot}: backend {value.number(0, 4)}"
    count = value.number(4, 2)
    return f"{front}: {count} backend{'s' * (count != 1)}, reverse NAT {value.network(6, 2)}"


def _backend(key: Bytes, value: Bytes) -> str:
    size = 4 if len(value.raw) in (8, 12) else 16
    return f"backend {key.number(0, len(key.raw))}: {_end(value.address(0, size), value.network(size, 2))}"


def _reverse(key: Bytes, value: Bytes) -> str:
    size = len(value.raw) - 2
    return f"reverse NAT {key.network(0, 2)}: {_end(value.address(0, size), value.network(size, 2))}"


def _cached_prefix(key: Bytes) -> str:
    size = {_IPV4: 4, _IPV6: 16}.get(key.number(7, 1))
    if size is None:
        return f"an address of family {key.number(7, 1)}"
    return f"{key.address(8, size)}/{key.number(0, 4) - _STATIC_PREFIX}"


def _cached(key: Bytes, value: Bytes) -> str:
    if len(value.raw) == 12:
        end = value.address(4, 4) if value.number(4, 4) else ""
    else:
        flags = value.number(23, 1)
        end = value.address(4, 16 if flags & 4 else 4) if any(value.raw[4:20]) else ""
    cluster = key.number(4, 2)
    return (
        f"{_cached_prefix(key)}: {identity_words(value.number(0, 4))}"
        + (f", by the tunnel to {end}" if end else "")
        + (f", in cluster {cluster}" if cluster else "")
    )


def _endpoint_address(key: Bytes) -> str:
    return key.address(0, 4 if key.number(16, 1) == _IPV4 else 16)


def _endpoint_words(value: Bytes, devices: Mapping[int, str]) -> str:
    flags = value.number(8, 4)
    if flags & _HOST:
        return "this node"
    index = value.number(0, 4)
    device = devices.get(index, f"device {index}")
    where = "in the node's own namespace, " if flags & _AT_HOST else ""
    return f"endpoint {value.number(6, 2)} {where}behind {device}, MAC {value.mac(16)}"


def _endpoint(key: Bytes, value: Bytes, devices: Mapping[int, str]) -> str:
    identity = value.number(32, 4)  # versions before 1.15 leave it 0
    words = f"{_endpoint_address(key)}: {_endpoint_words(value, devices)}"
    return f"{words}, {identity_words(identity)}" if identity else words


def _connection(key: Bytes, value: Bytes) -> str:
    """Addresses stand as in the reply, ports as in the request."""
    size = (len(key.raw) - 6) // 2
    flags = key.number(2 * size + 5, 1)
    proto = key.number(2 * size + 4, 1)
    way = "to a Service" if flags & _SERVICE else "in" if flags & _IN else "out"
    state = value.number(36, 2)
    more = [word for bit, word in _CT_FLAGS.items() if state >> bit & 1]
    identity = value.number(44, 4)
    if identity:
        more.append(f"from {identity_words(identity)}")
    if reverse := value.network(38, 2):
        more.append(f"reverse NAT {reverse}")
    source = _end(key.address(0, size), key.network(2 * size + 2, 2))
    target = _end(key.address(size, size), key.network(2 * size, 2))
    related = " (related)" if flags & _RELATED else ""
    words = f"{PROTOCOLS.get(proto) or proto} {way}{related} {source} -> {target}"
    return ", ".join((words, *more))


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
