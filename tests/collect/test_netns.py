"""Worker threads: results, errors, ends."""

import threading
from pathlib import Path

import pytest

from nettrace.collect.failure import CollectError
from nettrace.collect.netns import OWN_NETNS, Pool, Worker, in_netns, netns_inode, still_there
from nettrace.model.section import MissingKind


def test_a_call_in_the_own_namespace_needs_no_privilege() -> None:
    """The own namespace is entered without setns, in a thread of its own."""
    assert in_netns(OWN_NETNS, netns_inode, "/proc/thread-self/ns/net") == netns_inode()
    assert in_netns(OWN_NETNS, threading.current_thread) is not threading.current_thread()


def test_errors_reach_the_caller_and_the_worker_lives_on() -> None:
    """What a call raises is raised where it was made; the next one runs."""
    with Worker(OWN_NETNS) as worker:
        with pytest.raises(ZeroDivisionError):
            worker.run(lambda: 1 // 0)
        assert worker.run(lambda: 7) == 7


def test_a_namespace_that_is_not_there() -> None:
    """Every call says which path is gone, as an error of the user."""
    with Worker("/run/netns/no-such-name") as worker:
        for _ in range(2):
            with pytest.raises(CollectError, match="no-such-name is gone") as caught:
                worker.run(lambda: 7)
            assert caught.value.kind is MissingKind.FAILED


def test_a_file_that_is_no_namespace(tmp_path: Path) -> None:
    """What `ip netns del` leaves for a moment is told apart."""
    file = tmp_path / "x"
    file.touch()
    with pytest.raises(CollectError) as caught:
        in_netns(str(file), lambda: 7)
    assert caught.value.kind in (MissingKind.FAILED, MissingKind.DENIED)


def test_another_namespace_than_expected() -> None:
    """A path whose inode is another one than when it was found is refused."""
    with Worker(OWN_NETNS, inode=1) as worker, pytest.raises(CollectError, match="another stands there now"):
        worker.run(lambda: 7)
    assert not still_there(OWN_NETNS, 1)
    assert still_there(OWN_NETNS, netns_inode())
    assert not still_there("/run/netns/no-such-name", 1)


def test_threads_end() -> None:
    """A closed pool leaves no thread, and a closed worker takes no call."""
    before = threading.active_count()
    with Pool() as pool:
        worker = pool.worker(OWN_NETNS)
        assert pool.worker(OWN_NETNS) is worker
        assert worker.run(lambda: 7) == 7
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    worker.close()
    with pytest.raises(RuntimeError, match="closed"):
        worker.run(lambda: 7)


def test_calls_from_many_threads() -> None:
    """A worker runs what several threads give it, each getting its own answer."""
    answers: dict[int, int] = {}
    with Worker(OWN_NETNS) as worker:

        def ask(number: int) -> None:
            answers[number] = worker.run(lambda: number * number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: number * number for number in range(20)}
