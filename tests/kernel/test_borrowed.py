"""Sysctls that are borrowed come back, whatever becomes of the borrower."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nettrace.collect.netns import in_netns
from nettrace.journal.borrowed import FOLDER, borrow, put_back
from tests.kernel.bed import Bed, Space

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NAME = "net/ipv4/ip_default_ttl"
KILLED = """
import sys, time
from pathlib import Path
from nettrace.collect.netns import in_netns, netns_inode
from nettrace.journal.borrowed import borrow

folder, path, value = sys.argv[1:]
in_netns(path, borrow, Path(folder), path, netns_inode(path), {"net/ipv4/ip_default_ttl": value})
print("borrowed", flush=True)
time.sleep(60)
"""


def ttl(space: Space) -> str:
    """What the sysctl is."""
    return space.run("cat", f"/proc/sys/{NAME}").strip()


def killed(folder: Path, space: Space, value: str) -> None:
    """Borrow in a process that is killed."""
    argv = [sys.executable, "-c", KILLED, str(folder), space.path, value]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert ttl(space) == value
        assert put_back(folder) == ()  # its owner lives
        process.send_signal(signal.SIGKILL)


def left(folder: Path) -> list[str]:
    """The loans that are written down."""
    return [path.name for path in (folder / FOLDER).iterdir() if path.name != ".lock"]


def test_what_is_borrowed_is_given_back(netns: Bed, tmp_path: Path) -> None:
    """The old value is back, and nothing is written down any more."""
    space = netns.new()
    loan = in_netns(space.path, borrow, tmp_path, space.path, space.inode, {NAME: "7"})
    assert ttl(space) == "7"
    assert len(left(tmp_path)) == 1
    in_netns(space.path, loan.give_back)
    assert ttl(space) == "64"
    assert left(tmp_path) == []


def test_what_a_killed_process_borrowed_is_put_back(netns: Bed, tmp_path: Path) -> None:
    """At the next start, which says so; and by the next who borrows."""
    space = netns.new()
    killed(tmp_path, space, "9")
    [said] = put_back(tmp_path)
    assert "net.ipv4.ip_default_ttl" in said
    assert ttl(space) == "64"
    assert put_back(tmp_path) == ()
    killed(tmp_path, space, "9")
    loan = in_netns(space.path, borrow, tmp_path, space.path, space.inode, {NAME: "8"})
    assert loan.before == {NAME: "64"}
    in_netns(space.path, loan.give_back)
    assert left(tmp_path) == []


def test_what_somebody_changed_since_is_left(netns: Bed, tmp_path: Path) -> None:
    """A value that is neither the old one nor the borrowed one is somebody else's."""
    space = netns.new()
    killed(tmp_path, space, "9")
    space.sysctl("net.ipv4.ip_default_ttl", 33)
    put_back(tmp_path)
    assert ttl(space) == "33"


def test_a_namespace_that_is_gone_needs_nothing(netns: Bed, tmp_path: Path) -> None:
    """Its sysctls went with it; so they did with another start of the machine, or a damaged file."""
    space = netns.new()
    killed(tmp_path, space, "9")
    netns.delete(space)
    assert put_back(tmp_path) == ()
    assert left(tmp_path) == []
    (tmp_path / FOLDER / "1-x.json").write_text("{")
    (tmp_path / FOLDER / "1-y.json.new").write_text("")
    [said] = put_back(tmp_path)
    assert "damaged" in said
    assert left(tmp_path) == []
    assert put_back(tmp_path / "nowhere") == ()


def test_what_cannot_be_set_changes_nothing(netns: Bed, tmp_path: Path) -> None:
    """Where one of several values is refused the others are as before."""
    space = netns.new()
    wanted = {NAME: "9", "net/ipv4/ip_forward": "not a number"}
    with pytest.raises(OSError, match="Invalid argument"):
        in_netns(space.path, borrow, tmp_path, space.path, space.inode, wanted)
    assert ttl(space) == "64"
    assert left(tmp_path) == []
