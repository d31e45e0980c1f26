"""
A DNS query and what came of it.

Lives here: types.  nettrace.observe.dns asks.
"""

from msgspec import Struct

__all__ = ["DnsAnswer", "Lookup"]


class Lookup(Struct, frozen=True, kw_only=True):
    """
    One query: ``name`` as it stands, of ``type`` (A, AAAA, CNAME, PTR, SRV), to ``server`` from ``netns``.

    ``proto`` is ``udp`` or ``tcp``.
    """

    netns: str
    server: str
    name: str
    type: str = "A"
    proto: str = "udp"
    port: int = 53

    def __str__(self) -> str:
        transport = " over TCP" if self.proto == "tcp" else ""
        return f"{self.name} {self.type} @{self.server}{transport}"


class DnsAnswer(Struct, frozen=True, kw_only=True):
    """
    What came back.

    ``rcode`` is the name of RFC 1035's response code (NOERROR, NXDOMAIN, SERVFAIL, REFUSED ...),
    "" where nothing did; then ``errno`` is the name of the socket's error, or "timeout".
    ``records`` are the data of the records of the type that was asked for, ``aliases`` the
    targets of CNAME records on the way to them.  ``delay`` in seconds.
    """

    rcode: str = ""
    records: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    errno: str = ""
    delay: float = 0.0

    @property
    def found(self) -> bool:
        """Is there such a name with such a record?"""
        return self.rcode == "NOERROR" and bool(self.records or self.aliases)

    def __str__(self) -> str:
        if not self.rcode:
            return self.errno
        if self.rcode == "NOERROR":
            return ", ".join((*self.aliases, *self.records)) or "no such record"
        return self.rcode
