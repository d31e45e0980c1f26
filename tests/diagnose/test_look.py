"""What a snapshot says at a glance."""

import pytest

from nettrace.diagnose.look import connected, unheard
from nettrace.model.section import NOT_READ, Known, Section
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.sockets import Socket


def world(sockets: Section[tuple[Socket, ...]]) -> Snapshot:
    """A node with these sockets."""
    return Snapshot(namespaces={"n": Netns(name="n", node="n", sockets=sockets)})


@pytest.mark.parametrize(("port", "far"), [(179, 40001), (40001, 179)])
def test_a_session_is_told_by_its_sockets(port: int, far: int) -> None:
    """Whoever called; not by a session with another peer or at another port."""
    one = Socket(
        proto="tcp", address="10.0.0.1", port=port, state="established", remote="10.0.0.2", remote_port=far
    )
    read = world(Known((one,)))
    assert connected(read, "n", "10.0.0.2", 179) is True
    assert connected(read, "n", "10.0.0.3", 179) is False
    assert connected(read, "n", "10.0.0.2", 6783) is False


def test_sockets_that_were_not_read_tell_nothing() -> None:
    """Neither of a session nor that nobody listens."""
    assert connected(world(NOT_READ), "n", "10.0.0.2", 179) is None
    assert not unheard(world(NOT_READ), "n", 179)
    assert unheard(world(Known(())), "n", 179)
