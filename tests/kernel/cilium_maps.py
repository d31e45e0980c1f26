"""Maps of Cilium's shape, filled as its agent fills them (pkg/maps/lbmap, ipcache, lxcmap, ctmap)."""

import ipaddress
import struct

from nettrace.observe.bpf import Bpf
from tests.kernel.bpf import HASH, LPM_TRIE, LRU_HASH, NO_PREALLOC

PROTOCOLS = {"tcp": 6, "udp": 17, "any": 0}


def raw(address: str) -> bytes:
    """An address as it is on the wire."""
    return ipaddress.ip_address(address).packed


class Cilium:
    """The maps of one agent; those of backends in the layout *version*."""

    def __init__(self, made: Bpf, version: int = 3) -> None:
        self.made = made
        self.version = version
        self.backend_ids: dict[tuple[str, int], int] = {}
        value = {1: 8, 2: 8, 3: 12}[version]
        name = "cilium_lb4_backends" + ("" if version == 1 else f"_v{version}")
        self.services = made.map(HASH, 12, 12, 64, name="cilium_lb4_services_v2")
        self.services6 = made.map(HASH, 24, 12, 64, name="cilium_lb6_services_v2")
        self.backends = made.map(HASH, 2 if version == 1 else 4, value, 64, name=name)
        self.backends6 = made.map(HASH, 4, 24, 64, name="cilium_lb6_backends_v3")
        self.reverse = made.map(HASH, 2, 6, 64, name="cilium_lb4_reverse_nat")
        self.ipcache = made.map(LPM_TRIE, 24, 24, 64, name="cilium_ipcache_v2", flags=NO_PREALLOC)
        self.ipcache1 = made.map(LPM_TRIE, 24, 12, 64, name="cilium_ipcache", flags=NO_PREALLOC)
        self.endpoints = made.map(HASH, 20, 48, 64, name="cilium_lxc")
        self.connections = made.map(LRU_HASH, 14, 56, 64, name="cilium_ct4_global")

    @property
    def all(self) -> tuple[int, ...]:
        """All descriptors."""
        return (
            self.services,
            self.services6,
            self.backends,
            self.backends6,
            self.reverse,
            self.ipcache,
            self.ipcache1,
            self.endpoints,
            self.connections,
        )

    def backend(self, address: str, port: int, state: int = 0) -> int:
        """Enter a backend and return its number."""
        number = self.backend_ids.setdefault((address, port), len(self.backend_ids) + 1)
        value = raw(address) + struct.pack(">HBB", port, 0, state)
        if ":" in address:
            self.made.put(self.backends6, struct.pack("=I", number), value + bytes(4))
            return number
        key = struct.pack("=H" if self.version == 1 else "=I", number)
        self.made.put(self.backends, key, value + (bytes(4) if self.version == 3 else b""))
        return number

    def service(
        self,
        address: str,
        port: int,
        proto: str,
        *backends: int,
        flags: int = 0,
        scope: int = 0,
        affinity: int = 0,
        count: int | None = None,
        reverse: int = 7,
    ) -> None:
        """Enter a frontend and its slots."""
        where = self.services6 if ":" in address else self.services

        def put(slot: int, first: int, active: int) -> None:
            key = raw(address) + struct.pack(">H", port) + struct.pack("=H", slot)
            key += struct.pack("=BB2x", PROTOCOLS[proto], scope)
            value = struct.pack("=IH", first, active) + struct.pack(">H", reverse)
            self.made.put(where, key, value + struct.pack("=H2x", flags))

        put(0, affinity, len(backends) if count is None else count)
        for slot, number in enumerate(backends, 1):
            put(slot, number, 0)

    def identity(self, prefix: str, number: int, tunnel: str = "") -> None:
        """Enter whose an address is, in the layout of today."""
        network = ipaddress.ip_network(prefix)
        family = 1 if network.version == 4 else 2
        key = struct.pack("=IHBB", 32 + network.prefixlen, 0, 0, family)
        key += network.network_address.packed.ljust(16, b"\0")
        end = raw(tunnel).ljust(16, b"\0") if tunnel else bytes(16)
        flags = (2 if tunnel else 0) | (4 if ":" in tunnel else 0)
        self.made.put(self.ipcache, key, struct.pack("=I", number) + end + struct.pack("=HBB", 0, 0, flags))

    def identity_before(self, prefix: str, number: int, tunnel: str) -> None:
        """Enter whose an address is, in the layout of before 1.18."""
        network = ipaddress.ip_network(prefix)
        key = struct.pack("=IHBB", 32 + network.prefixlen, 0, 0, 1)
        key += network.network_address.packed.ljust(16, b"\0")
        self.made.put(self.ipcache1, key, struct.pack("=I", number) + raw(tunnel) + bytes(4))

    def endpoint(self, address: str, index: int, number: int, mac: str, identity: int = 0) -> None:
        """Enter an endpoint of this node."""
        key = raw(address).ljust(16, b"\0") + struct.pack("=BBH", 1, 0, 0)
        own = bytes.fromhex(mac.replace(":", "")) + bytes(2)
        value = struct.pack("=IHHI4x", index, 0, number, 0) + own + own + struct.pack("=II8x", identity, 0)
        self.made.put(self.endpoints, key, value)

    def connection(
        self, source: tuple[str, int], target: tuple[str, int], proto: str, flags: int, identity: int
    ) -> None:
        """Enter a connection: the addresses as in the reply, the ports as in the request."""
        key = raw(source[0]) + raw(target[0]) + struct.pack(">HH", target[1], source[1])
        key += struct.pack("=BB", PROTOCOLS[proto], flags)
        value = struct.pack("=QQQQIH", 1, 60, 1, 60, 100, 1 << 5) + struct.pack(">H", 7)
        value += struct.pack("=HBBIII", 0, 2, 0, identity, 0, 0)
        self.made.put(self.connections, key, value)
