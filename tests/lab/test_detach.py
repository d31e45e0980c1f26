"""Programs of a lab go into the background when they are ready, without the packages around them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from nettrace.lab.detach import command

_PROGRAM = """
import sys, time
from nettrace.lab.detach import background
pid_file, word = sys.argv[1:]
if word == "fail":
    sys.exit("cannot")
assert "nettrace" not in sys.modules
background(pid_file)
time.sleep(30)
"""


def program(at: Path) -> ModuleType:
    """A module of that file."""
    at.write_text(_PROGRAM)
    made = ModuleType("program")
    made.__file__ = str(at)
    return made


def test_ready_and_gone_on(tmp_path: Path) -> None:
    """The caller returns as soon as the child has written its number; the child goes on alone."""
    pid_file = tmp_path / "pid"
    run = command(program(tmp_path / "program.py"), str(pid_file), "go")
    assert run[0] == sys.executable
    subprocess.run(run, check=True, timeout=20)
    pid = int(pid_file.read_text())
    try:
        assert os.getsid(pid) == pid
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    finally:
        os.kill(pid, signal.SIGKILL)


def test_what_does_not_get_ready_says_so(tmp_path: Path) -> None:
    """A program that gives up before it is ready ends with its own words and a code."""
    run = command(program(tmp_path / "program.py"), str(tmp_path / "pid"), "fail")
    done = subprocess.run(run, check=False, timeout=20, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "cannot\n")
    assert not (tmp_path / "pid").exists()
