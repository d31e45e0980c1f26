"""
A thread that empties sockets as soon as something comes, so that the kernel loses nothing.

Lives here: the thread, waiting until nothing comes any more, and why a socket could not be opened.
Not here: which sockets, and what comes by them (capture, listener).
"""

import errno
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from threading import Event, Thread

__all__ = ["Drain", "refusal"]

#: Seconds without anything after which a probe that has ended counts as seen, and at most.
_QUIET, _LONGEST = 0.03, 1.0


class Drain:
    """
    Empties sockets from start() until settle() or stop().

    Whoever reads calls heard() for what came.  A reader must return when its socket has no more
    (BlockingIOError), and is called once more, from the caller's thread, by settle().
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._readers: tuple[tuple[socket.socket, Callable[[], None]], ...] = ()
        self._stop = Event()
        self._thread: Thread | None = None
        self._last = 0.0

    def start(self, readers: Iterable[tuple[socket.socket, Callable[[], None]]]) -> None:
        """Call each socket's reader whenever it has something."""
        self._readers = tuple(readers)
        self._thread = Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def heard(self) -> float:
        """Something came: return when, by time.monotonic()."""
        self._last = time.monotonic()
        return self._last

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def settle(self) -> None:
        """Wait until nothing comes any more, stop, and read what a busy machine kept the thread from."""
        until = self.heard() + _LONGEST
        while self._readers and time.monotonic() < min(until, self._last + _QUIET):
            time.sleep(_QUIET / 3)
        self.stop()
        for _, read in self._readers:
            read()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock, read in self._readers:
                selector.register(sock, selectors.EVENT_READ, read)
            while not self._stop.is_set():
                for key, _ in selector.select(0.01):
                    key.data()


def refusal(error: OSError) -> str:
    """Say why the kernel refused a socket."""
    if error.errno in (errno.EPERM, errno.EACCES):
        return "that needs root"
    return (error.strerror or str(error)).lower()
