"""
Going into the background: how a lab's own programs are run, and what they call when they are ready.

Run as ``python3 -I -S detach.py PROGRAM.py PID_FILE ...``.  PROGRAM then finds this module under its
own name without any of the packages around it, which would take longer to import than a program
takes to start.
Not here: what the programs do (server, health, balancer, tun_relay, bgp_routes, weave_mesh).
"""

import os
import sys
from types import ModuleType

__all__ = ["background", "command"]

_NAME = "nettrace.lab.detach"


def command(program: ModuleType, *arguments: str) -> tuple[str, ...]:
    """Return how *program*, a module of this package, is run."""
    return (sys.executable, "-I", "-S", __file__, str(program.__file__), *arguments)


def background(pid_file: str) -> None:
    """
    Leave the caller; returns in the child, which has written its number to *pid_file*.

    The caller ends when the child is ready, with 1 if it did not get so far.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    with open(pid_file, "w", encoding="ascii") as file:  # noqa: PTH123  (pathlib takes 10 ms to import)
        file.write(f"{os.getpid()}\n")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    os.chdir("/")
    os.write(writer, b"1")
    os.close(writer)


def _run(program: str) -> None:
    """Run a program as Python would, with its arguments alone."""
    sys.modules[_NAME] = sys.modules["__main__"]
    del sys.argv[0]
    with open(program, "rb") as file:  # noqa: PTH123
        code = compile(file.read(), program, "exec")
    exec(code, {"__name__": "__main__", "__file__": program})  # noqa: S102  (a module of this package)


if __name__ == "__main__":
    _run(sys.argv[1])
