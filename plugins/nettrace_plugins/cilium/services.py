"""
Cilium's Service table, from its maps.

Lives here: frontends, their slots, and the backends that these name.
Source: cilium/cilium bpf/lib/common.h (struct lb4_key, lb4_service, lb4_backend and those of IPv6, the
flags), pkg/loadbalancer/loadbalancer.go (the types of Services).
"""

from collections.abc import Iterator

from msgspec import Struct

from nettrace.model.bpf import BpfMap, BpfState
from nettrace.model.service_table import ServiceEntry, ServiceTable, TableBackend
from nettrace_plugins.cilium.layouts import BACKENDS, SERVICES, called, named, pairs, unknown

__all__ = ["PROTOCOLS", "SYSTEM", "service_table"]

SYSTEM = "cilium"
PROTOCOLS = {0: "", 6: "tcp", 17: "udp", 132: "sctp", 1: "icmp", 58: "icmpv6"}

# lb4_service->flags, and flags2 eight bits higher
_EXTERNAL, _NODE_PORT, _EXT_LOCAL, _HOST_PORT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_AFFINITY, _BALANCER, _SOURCE_RANGE = 1 << 4, 1 << 5, 1 << 7
_REDIRECT, _L7, _INT_LOCAL = 1 << 8, 1 << 10, 1 << 12

_KINDS = (
    (_EXTERNAL, "ExternalIP"),
    (_NODE_PORT, "NodePort"),
    (_BALANCER, "LoadBalancer"),
    (_HOST_PORT, "HostPort"),
    (_REDIRECT, "LocalRedirect"),
)
_STATES = ("active", "terminating", "quarantined", "maintenance")


class _Slot(Struct, frozen=True, order=True):
    """One entry of the map: ``slot`` 0 is the frontend itself."""

    address: str
    port: int
    proto: int
    scope: int
    slot: int
    backend: int
    count: int
    flags: int
    map: str

    @property
    def frontend(self) -> tuple[str, int, int, int]:
        """What it answers for."""
        return self.address, self.port, self.proto, self.scope


def service_table(state: BpfState, node: str) -> ServiceTable | None:
    """Return the table; None if there are no such maps."""
    tables = list(called(state, SERVICES))
    if not tables:
        return None
    said = [why for one in tables if (why := unknown(one, SERVICES))]
    backends: dict[tuple[int, int], TableBackend] = {}
    # where an upgrade left maps of two layouts, the later one counts
    for one in sorted(called(state, BACKENDS), key=lambda one: (one.key_size, one.value_size)):
        why = unknown(one, BACKENDS)
        if why:
            said.append(why)
        else:
            backends.update(_backends(state, one))
    slots = sorted(slot for one in tables if not unknown(one, SERVICES) for slot in _slots(state, one))
    by_frontend: dict[tuple[str, int, int, int], list[_Slot]] = {}
    for slot in slots:
        by_frontend.setdefault(slot.frontend, []).append(slot)
    entries = [entry for group in by_frontend.values() for entry in _entry(group, backends, said)]
    return ServiceTable(node=node, system=SYSTEM, entries=tuple(entries), unknown=tuple(said))


def _slots(state: BpfState, one: BpfMap) -> Iterator[_Slot]:
    size = one.key_size - 8  # an address of 4 or 16 bytes
    for key, value in pairs(state, one):
        yield _Slot(
            address=key.address(0, size),
            port=key.network(size, 2),
            slot=key.number(size + 2, 2),
            proto=key.number(size + 4, 1),
            scope=key.number(size + 5, 1),
            backend=value.number(0, 4),
            count=value.number(4, 2),
            flags=value.number(8, 1) | value.number(9, 1) << 8,
            map=named(one),
        )


def _backends(state: BpfState, one: BpfMap) -> Iterator[tuple[tuple[int, int], TableBackend]]:
    """Yield (family, id) and the backend; a proto of the entry's own is that of its Service."""
    family, size = (4, 4) if one.value_size in (8, 12) else (6, 16)
    for key, value in pairs(state, one):
        flags = value.number(size + 3, 1)
        yield (
            (family, key.number(0, one.key_size)),
            TableBackend(
                address=value.address(0, size),
                port=value.network(size, 2),
                state=_STATES[flags & 0xF] if flags & 0xF < len(_STATES) else f"state {flags & 0xF}",
            ),
        )


def _entry(
    group: list[_Slot], backends: dict[tuple[int, int], TableBackend], said: list[str]
) -> Iterator[ServiceEntry]:
    head = group[0]
    where = f"[{head.address}]:{head.port}" if ":" in head.address else f"{head.address}:{head.port}"
    if head.slot:
        said.append(f"{head.map}: {where} has slots and no frontend")
        return
    family = 6 if ":" in head.address else 4
    found = []
    for slot in group[1:]:
        one = backends.get((family, slot.backend))
        if one is None:
            said.append(
                f"{head.map}: slot {slot.slot} of {where} names backend {slot.backend}, which no map has"
            )
        elif slot.slot > head.count and one.state == "active":
            # behind the active ones stand those that health checks took out
            found.append(TableBackend(address=one.address, port=one.port, state="quarantined"))
        else:
            found.append(one)
    lacking = head.count - sum(slot.slot <= head.count for slot in group[1:])
    if lacking > 0:
        said.append(f"{head.map}: {where} counts {head.count} backends, and {lacking} of its slots are empty")
    yield ServiceEntry(
        address=head.address,
        port=head.port,
        proto=PROTOCOLS.get(head.proto, str(head.proto)),
        kind=next((word for flag, word in _KINDS if head.flags & flag), "ClusterIP"),
        backends=tuple(found),
        notes=tuple(_notes(head)),
        source=head.map,
    )


def _notes(head: _Slot) -> Iterator[str]:
    if head.scope:
        yield "for clients inside the cluster"
    if head.flags & _EXT_LOCAL:
        yield "from outside to backends of this node only"
    if head.flags & _INT_LOCAL:
        yield "from inside to backends of this node only"
    if head.flags & _L7:
        yield f"through the proxy at port {head.backend}"
    elif head.flags & _AFFINITY:
        yield f"a client keeps its backend for {head.backend & 0xFFFFFF} s"
    if head.flags & _SOURCE_RANGE:
        yield "for some clients only (source ranges)"
