"""
What a worker keeps open while it reads one namespace.

Lives here: the netlink sockets of a namespace, opened when first needed, and the
translation of pyroute2's errors.
Not here: what is read through them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nettrace.collect.wire import NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG, NetlinkSocket

__all__ = ["Session", "netlink_errors"]


@contextmanager
def netlink_errors() -> Iterator[None]:
    """Turn a NetlinkError of pyroute2 into the OSError of its errno."""
    # pyroute2 takes a fifth of a second to import and is not needed for questions to a file.
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, str(error.args[1] if len(error.args) > 1 else error)) from error


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

    @property
    def route(self) -> Any:
        """The namespace's pyroute2.IPRoute."""
        if self._route is None:
            from pyroute2 import IPRoute  # noqa: PLC0415  (see netlink_errors)

            self._route = IPRoute()
        return self._route

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
