"""
One case of the oracle: a network, what was done to its state, and a probe.

Lives here: the types, and a case as text that can be run again.
"""

import json
from typing import Any

import msgspec
from msgspec import Struct

__all__ = ["Case", "Probe", "State"]


class Probe(Struct, frozen=True, kw_only=True):
    """
    One exchange.

    From a socket of *source*, or with *device* as a frame that arrives there.  ``sport`` None: the
    kernel chooses.  ``talk``: a TCP client sends a full-size segment and waits for one.  ``stale``:
    (namespace, options of ``conntrack -I``) of entries that are there before, ``{sport}`` filled in.
    """

    source: str
    dst: str
    proto: str
    dport: int | None = None
    sport: int | None = None
    src: str = ""
    device: str | None = None
    ttl: int = 64
    tos: int = 0
    mark: int = 0
    size: int = 60
    df: bool = True
    flags: tuple[str, ...] = ("SYN",)
    icmp_id: int = 0
    cookie: str = "oracle00"
    talk: bool = False
    stale: tuple[tuple[str, str], ...] = ()

    @property
    def payload(self) -> bytes:
        """What UDP and echo carry: the packet has ``size`` bytes."""
        size = max(8, self.size - 8 - self.header)
        return self.cookie.encode().ljust(size, b"\0")[:size]

    @property
    def header(self) -> int:
        """Bytes of the IP header."""
        return 40 if ":" in self.dst else 20

    @property
    def total(self) -> int:
        """Bytes of a packet of UDP or an echo."""
        return self.header + 8 + len(self.payload)


class State(Struct, frozen=True, kw_only=True):
    """
    What is done to a network.

    ``rules``: (namespace, loader, text): ``iptables-restore``, ``iptables-legacy-restore``,
    ``nft``; ``sysctls``: (namespace, name, value); ``commands``: (namespace, do, undo).
    """

    topology: str
    rules: tuple[tuple[str, str, str], ...] = ()
    sysctls: tuple[tuple[str, str, str], ...] = ()
    commands: tuple[tuple[str, str, str], ...] = ()


class Case(Struct, frozen=True, kw_only=True):
    """A state and a probe."""

    state: State
    probe: Probe

    def text(self) -> str:
        """JSON, for ``python -m tests.oracle --replay FILE``."""
        found: Any = msgspec.to_builtins(self)
        return json.dumps(found, indent=1)

    @staticmethod
    def of(text: str) -> "Case":
        """Read what text() wrote."""
        return msgspec.json.decode(text, type=Case)
