"""
Which rule drops the next packet like this one?

Lives here: tracing the rules of one namespace for one header, until a rule drops it.
Not here: a probe's packets (rule_trace, arming), making the kernel tell (listener).
"""

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from nettrace.model.observation import Hit
from nettrace.model.packet import Packet
from nettrace.observe.arming import CHECKPOINTS, TABLE
from nettrace.observe.listener import Listener, Seen
from nettrace.observe.nft_batch import Batch, compare, load_l4proto, load_payload, set_nftrace

__all__ = ["RuleWatch"]

_FIRST = -350
_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
_NETWORK, _TRANSPORT = 1, 2
_FAMILIES = {4: 2, 6: 10}  # NFPROTO_...


class RuleWatch:
    """
    Watches from entering until leaving; the kernel forgets it all when the process dies.

    *netns* is name -> path of one namespace.  The packets are those with the protocol,
    addresses and destination port of *packet*: as it was when it was dropped, so after
    destination NAT its rules are seen from the next hook on.
    """

    def __init__(self, netns: Mapping[str, str], packet: Packet, *, journal: Path) -> None:
        self._packet = packet
        self._table = f"{TABLE}-{secrets.token_hex(4)}"
        self._listener = Listener(netns, self._arm, version=packet.family, journal=journal)
        self.notes: tuple[str, ...] = ()

    def _arm(self) -> socket.socket:
        packet = self._packet
        batch = Batch(_FAMILIES[packet.family], self._table)
        kind = socket.AF_INET if packet.family == 4 else socket.AF_INET6
        length, at = (4, 12) if packet.family == 4 else (16, 8)
        number = _NUMBERS.get(packet.proto)
        parts = [
            load_l4proto(),
            compare(bytes((number if number is not None else int(packet.proto),))),
            load_payload(_NETWORK, at, length),
            compare(socket.inet_pton(kind, packet.src)),
            load_payload(_NETWORK, at + length, length),
            compare(socket.inet_pton(kind, packet.dst)),
        ]
        if packet.dport is not None:
            parts += [load_payload(_TRANSPORT, 2, 2), compare(packet.dport.lo.to_bytes(2, "big"))]
        for hook, name in enumerate(CHECKPOINTS):
            batch.base_chain(name, hook, _FIRST)
            batch.rule(name, *parts, set_nftrace())
        return batch.send()

    def __enter__(self) -> Self:
        self._listener.__enter__()
        self.notes = self._listener.notes
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.__exit__(kind, error, trace)

    @property
    def armed(self) -> bool:
        """Is anything watched?"""
        return bool(self._listener.watched)

    def dropped_by(self) -> Hit | None:
        """Return the rule, or the policy, that dropped such a packet meanwhile."""
        hook, device = "", None
        for seen in self._listener.settle():
            event = seen.event
            if event.table == self._table:
                hook = event.chain if event.chain in CHECKPOINTS else hook
                device = self._listener.device(seen.netns, event.iif) or device
            elif event.verdict in ("drop", "policy drop"):
                return self._hit(seen, hook, device)
        return None

    def _hit(self, seen: Seen, hook: str, device: str | None) -> Hit:
        event = seen.event
        key = (event.family, event.table, event.chain)
        rule = 0 if event.handle is None else None
        if event.handle is not None:
            handles = self._listener.handles(seen.netns, [key]).get(key, ())
            rule = handles.index(event.handle) + 1 if event.handle in handles else None
        return Hit(
            netns=seen.netns,
            hook=hook,
            family=event.family,
            table=event.table,
            chain=event.chain,
            rule=rule,
            handle=event.handle,
            verdict=event.verdict,
            iif=device,
            mark=event.mark,
        )
