"""
Where an expression of nf_tables is evaluated, and values that several of them load.

Lives here: the scene (packet, hook, namespace, byte order), devices as names and indexes.
Not here: the expressions (nft_load, nft_meta, nft_ct), going from rule to rule (nft_chain).
"""

from typing import NamedTuple

from nettrace.walk.context import Run
from nettrace.walk.namespace import Namespace
from nettrace.walk.nft_value import Value
from nettrace.walk.point import HookPoint
from nettrace.walk.skb import Skb

__all__ = ["Loaded", "Scene", "index_value", "name_value"]

_IFNAMSIZ = 16


class Scene(NamedTuple):
    """Where an expression is evaluated; ``pf`` is the protocol family of the hook (2, 5, 7, 10)."""

    run: Run
    skb: Skb
    point: HookPoint
    pf: int
    byteorder: str
    where: str  # FAMILY TABLE CHAIN RULE, for words and draws

    @property
    def sized(self) -> bool:
        """Is the packet's length known?  Not of an answer of UDP."""
        return self.run.leg == "request" or self.skb.packet.proto != "udp"

    @property
    def ns(self) -> Namespace:
        """The namespace."""
        return self.point.ns

    def host(self, value: int, length: int = 4) -> Value:
        """A number in the host's order."""
        return Value(value.to_bytes(length, self.byteorder))  # type: ignore[arg-type]


#: What an expression loads; None ends the rule (NFT_BREAK).
Loaded = Value | None


def name_value(text: str) -> Value:
    """A device's name as a register holds it."""
    return Value(text.encode()[: _IFNAMSIZ - 1].ljust(_IFNAMSIZ, b"\0"))


def index_value(scene: Scene, device: str | None) -> Value:
    """A device's index in the namespace of the scene; 0 for none."""
    return scene.host(scene.ns.link(device).index if device is not None else 0)
