"""
A flow: the first packet of an exchange, where it enters, and what the user called it.

Lives here: the result of resolving a target text.
Not here: the walk of it.
"""

from msgspec import Struct

from nettrace.model.packet import Packet

__all__ = ["Flow", "ObjectRef", "Origin"]


class ObjectRef(Struct, frozen=True, kw_only=True):
    """What a target text named: ``kind`` is one of the kinds of the command line's grammar."""

    kind: str
    name: str
    namespace: str | None = None
    port_name: str | None = None

    def __str__(self) -> str:
        inside = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind}/{inside}"


class Origin(Struct, frozen=True, kw_only=True):
    """
    Where a packet starts.

    With *device* None it leaves a socket of *netns*; otherwise it arrives at *device* as a
    frame from outside the snapshot.
    """

    netns: str
    device: str | None = None


class Flow(Struct, frozen=True, kw_only=True):
    """
    What is asked.

    ``packet.src`` is "" when the kernel is to choose the source address.  ``size`` of the
    packet is the size of the first packet; ``segment`` the size of the largest packet each
    way once the exchange runs, None: as large as the path's ends would send.
    """

    origin: Origin
    packet: Packet
    source: ObjectRef
    target: ObjectRef
    segment: int | None = None
