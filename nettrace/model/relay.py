"""
Programs that carry packets between a device and a UDP socket: a TUN device's, or one that captures frames.

Lives here: what such a program does with a packet, as data that the walk looks up.
Not here: who knows it (plugins), the walk (nettrace.walk.relay).
"""

from msgspec import Struct

__all__ = ["Relay"]


class Relay(Struct, frozen=True, kw_only=True):
    """
    One way of such a program.

    What is sent into ``device`` for an address in ``prefix`` leaves as the payload of a UDP packet
    from ``local``:``port`` to ``far``:``far_port``; what arrives at ``local``:``port`` comes out of
    ``device``.  ``hops`` is by how much it lowers the TTL each time.  ``owner`` is the program,
    ``source`` the object that says so.

    A program that captures the frames at a device, and carries them where no state of the node tells,
    has ``unfollowed``, a sentence about it; of the rest only ``device``, ``owner`` and ``source`` count then.
    """

    device: str
    prefix: str
    local: str
    port: int
    far: str
    far_port: int
    owner: str
    source: str
    hops: int = 0
    unfollowed: str = ""
