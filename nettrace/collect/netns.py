"""
Running functions inside network namespaces.

Lives here: worker threads that have moved into a namespace by setns(2) and stay there, and a
pool of them.  The main thread is never moved, so /proc/self stays what it was.
Not here: finding namespaces (discover), reading anything.

A socket belongs to the namespace it was opened in, a child process to that of the thread that
started it, and /proc/sys shows that of whoever opens the file.  /proc/net does not: it is
/proc/self/net, that of the main thread; in a worker read /proc/thread-self/net (proc(5)).
"""

import ctypes
import errno
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from nettrace.collect.failure import CollectError
from nettrace.model.section import MissingKind

__all__ = ["OWN_NETNS", "Pool", "Worker", "in_netns", "netns_inode", "still_there"]

P = ParamSpec("P")
T = TypeVar("T")

#: The namespace of this process.
OWN_NETNS = "/proc/self/ns/net"

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def netns_inode(path: str = OWN_NETNS) -> int:
    """Return the inode that identifies the namespace at *path*; OSError if there is none."""
    return Path(path).stat().st_ino


def still_there(path: str, inode: int) -> bool:
    """Does *path* still lead to the namespace with this inode?"""
    try:
        return netns_inode(path) == inode
    except OSError:
        return False


def _enter(path: str, inode: int) -> None:
    """Move the calling thread into the namespace at *path*; *inode* 0 accepts whichever it is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise CollectError(
            MissingKind.DENIED, f"{path} may not be opened: permission denied", hint="run it as root"
        ) from error
    except OSError as error:
        raise CollectError(
            MissingKind.FAILED, f"the network namespace {path} is gone: {_lower(error.errno)}"
        ) from error
    try:
        found = os.fstat(descriptor).st_ino
        if inode and found != inode:
            raise CollectError(
                MissingKind.FAILED, f"the network namespace {path} is gone: another stands there now"
            )
        if found == netns_inode("/proc/thread-self/ns/net"):
            return  # already here, and an unprivileged user may stay
        if _libc.setns(descriptor, _CLONE_NEWNET) == 0:
            return
        code = ctypes.get_errno()
    finally:
        os.close(descriptor)
    if code == errno.EPERM:
        raise CollectError(MissingKind.DENIED, f"entering {path} needs CAP_SYS_ADMIN", hint="run it as root")
    # What `ip netns del` leaves for a moment is an empty file: EINVAL.
    raise CollectError(MissingKind.FAILED, f"{path} is no network namespace: {_lower(code)}")


def _lower(code: int | None) -> str:
    return os.strerror(code or 0).lower()


class Worker:
    """
    A thread that lives in one network namespace and runs what it is given, one after another.

    While it lives the namespace lives too, also without a name.  If the namespace cannot be
    entered every call raises the CollectError that says why.
    """

    def __init__(self, path: str, inode: int = 0) -> None:
        self.path = path
        self._inode = inode
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = Lock()
        self._closed = False
        # A daemon: one that nobody closed must not keep the interpreter from ending.
        self._thread = Thread(target=self._main, name=f"netns {path}", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        failure: CollectError | None = None
        try:
            _enter(self.path, self._inode)
        except CollectError as error:
            failure = error
        except OSError as error:
            failure = CollectError(MissingKind.FAILED, f"{self.path}: {_lower(error.errno)}")
        while (job := self._jobs.get()) is not None:
            future, call = job
            if failure is not None:
                future.set_exception(CollectError(failure.kind, failure.reason, hint=failure.hint))
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  (handed to the caller, whatever it is)
                future.set_exception(error)
            else:
                future.set_result(result)

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Queue a call and return its future; RuntimeError once the worker is closed."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the worker of {self.path} is closed")
            self._jobs.put((future, lambda: function(*args, **kwargs)))
        return future

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* inside the namespace and return what it returns."""
        return self.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """End the thread after the calls that were queued; again is no error."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Pool:
    """One worker a namespace, made when first needed and kept; safe to use from several threads."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, int], Worker] = {}
        self._lock = Lock()

    def worker(self, path: str, inode: int = 0) -> Worker:
        """Return the worker of the namespace at *path*."""
        with self._lock:
            found = self._workers.get((path, inode))
            if found is None:
                found = self._workers[path, inode] = Worker(path, inode)
            return found

    def close(self) -> None:
        """End all threads."""
        with self._lock:
            workers = list(self._workers.values())
            self._workers.clear()
        for worker in workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def in_netns(path: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Call *function* once inside the namespace at *path*, in a thread of its own.

    Raises CollectError (a UserError) if the namespace cannot be entered, and whatever
    *function* raises.
    """
    with Worker(path) as worker:
        return worker.run(function, *args, **kwargs)
