"""
Programs that carry packets between a TUN device and a UDP socket.

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
