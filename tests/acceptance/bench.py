"""
A lab under test, driven through the command line and the shell only.

Lives here: running nettrace as a process, running shell commands in a lab's namespaces, and real
connections by a client that shares no code with nettrace.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Bench", "Ran", "bench"]

CLIENT = Path(__file__).with_name("client.py")
LABS = Path("/run/nettrace/labs")


class Ran:
    """What a nettrace process said."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class Bench:
    """One lab."""

    def __init__(self, name: str) -> None:
        self.name = name

    def nettrace(self, *args: str, expect: Sequence[int] = (0, 1, 3), timeout: float = 120) -> Ran:
        """Run nettrace; fails with its output if the exit code is not among *expect*."""
        done = subprocess.run(
            [sys.executable, "-m", "nettrace", *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        )
        assert done.returncode in expect, (
            f"nettrace {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done)

    def record(self) -> dict[str, Any]:
        """The lab's record."""
        loaded: dict[str, Any] = json.loads((LABS / self.name / "lab.json").read_text())
        return loaded

    def netns(self, who: str) -> str:
        """The name under /run/netns of a member of the lab."""
        for member in self.record()["namespaces"]:
            if who in (member["name"], member.get("pod")):
                return str(member["netns"])
        raise AssertionError(f"no {who} in lab {self.name}")

    def members(self, role: str) -> list[str]:
        """Names of the lab's members with a role."""
        return [m["name"] for m in self.record()["namespaces"] if m["role"] == role]

    def shell(self, who: str, command: str) -> str:
        """Run a shell command in a member's namespace; fails if the command does."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.netns(who), "sh", "-ec", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{who}: {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def connect(
        self,
        who: str,
        host: str,
        port: int,
        *,
        proto: str = "tcp",
        times: int = 1,
        seconds: float = 0.9,
        sport: int = 0,
    ) -> list[dict[str, Any]]:
        """
        Real connections from a member.

        *seconds* below 1 end a try before TCP sends its SYN again: where the first one is lost
        before its connection was confirmed, the kernel draws another endpoint for the second.
        """
        done = subprocess.run(
            [
                *("ip", "netns", "exec", self.netns(who), sys.executable, "-I", str(CLIENT)),
                *(host, str(port), proto, str(times), str(seconds), *([str(sport)] if sport else [])),
            ],
            capture_output=True,
            text=True,
            timeout=60 + 5 * times,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def trace(self, source: str, target: str, *options: str) -> Any:
        """``nettrace trace -o json`` on this lab."""
        return self.nettrace("trace", source, target, "--lab", self.name, "-o", "json", *options).json


@contextmanager
def bench(topology: str, *options: str) -> Iterator[Bench]:
    """A lab that is up, and down again afterwards whatever happened."""
    lab = Bench(f"t{secrets.token_hex(3)}")
    try:
        lab.nettrace("lab", "up", topology, "--name", lab.name, *options, expect=(0,))
        yield lab
    finally:
        lab.nettrace("lab", "down", lab.name, expect=(0, 2))
