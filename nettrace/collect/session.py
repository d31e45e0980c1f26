"""
What a worker keeps open while it reads one namespace.

Lives here: the netlink sockets of a namespace, opened when first needed, and pyroute2's dumps with
their errors told as the kernel's.
Not here: what is read through them.
"""

from typing import Any

from nettrace.collect.failure import CollectError
from nettrace.collect.wire import (
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NETLINK_SOCK_DIAG,
    NETLINK_XFRM,
    NetlinkSocket,
)
from nettrace.model.section import MissingKind

__all__ = ["Session"]

# include/uapi/linux/netlink.h.  pyroute2 0.9 hands on what it got without looking at it.
_DUMP_INTERRUPTED = 0x10
#: A dump that a change broke into is read again, this often at most.
_TRIES = 4


class Session:
    """
    The open sockets of one namespace.

    Made, used and closed inside the worker of that namespace: a netlink socket stays in the
    namespace of the thread that opened it.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._route: Any = None
        self._sockets: dict[int, NetlinkSocket] = {}

    def dump(self, request: str, *args: object, **filters: object) -> list[Any]:
        """
        Return all messages that a dump of pyroute2.IPRoute gives (``get_links``, ``fdb`` ...).

        OSError with the kernel's errno, CollectError if the state kept changing meanwhile.
        """
        # pyroute2 takes a fifth of a second to import and is not needed for questions to a file.
        from pyroute2 import IPRoute  # noqa: PLC0415
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

        if self._route is None:
            self._route = IPRoute()
        try:
            for _ in range(_TRIES):
                messages = list(getattr(self._route, request)(*args, **filters))
                if not any(message["header"]["flags"] & _DUMP_INTERRUPTED for message in messages):
                    return messages
        except NetlinkError as error:
            raise OSError(error.code, str(error.args[-1])) from error
        raise CollectError(MissingKind.FAILED, "unstable: it changed each time while it was read")

    @property
    def rtnetlink(self) -> NetlinkSocket:
        """A raw rtnetlink socket, for what pyroute2 does too slowly."""
        return self._raw(NETLINK_ROUTE)

    @property
    def netfilter(self) -> NetlinkSocket:
        """An nfnetlink socket.  Ask has_module() first: a request loads the family's module."""
        return self._raw(NETLINK_NETFILTER)

    @property
    def sock_diag(self) -> NetlinkSocket:
        """A sock_diag socket.  Ask has_module() first, as for netfilter."""
        return self._raw(NETLINK_SOCK_DIAG)

    @property
    def xfrm(self) -> NetlinkSocket:
        """A socket for IPsec's policies and states.  Opening one loads xfrm_user where it is a module."""
        return self._raw(NETLINK_XFRM)

    def _raw(self, protocol: int) -> NetlinkSocket:
        if protocol not in self._sockets:
            self._sockets[protocol] = NetlinkSocket(protocol)
        return self._sockets[protocol]

    def close(self) -> None:
        """Close what was opened."""
        if self._route is not None:
            self._route.close()
            self._route = None
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()
