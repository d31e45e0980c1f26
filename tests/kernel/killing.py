"""
A probe that is killed, again and again, in every phase of it.

Lives here: a driver process that says which phase it is in, whoever kills it there, and what is left
on the node afterwards.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from nettrace.app.recovery import recover
from nettrace.journal.borrowed import FOLDER
from nettrace.observe.arming import TABLE
from tests.kernel.bed import Space, eventually

__all__ = ["PHASES", "Campaign"]

#: In their order; each is said when it begins, "armed" and "over" when what is before has ended.
PHASES = (
    "began",
    "watching drops",
    "capturing",
    "binding",
    "writing the journal",
    "setting the sysctl",
    "arming",
    "armed",
    "sending",
    "draining",
    "disarming",
    "restoring the sysctl",
    "writing the capture",
    "over",
)

#: Forks a child for each line it reads; the child makes one probe, saying its phases on stdout.
DRIVER = """
import os, sys
from pathlib import Path
import nettrace.journal.borrowed as borrowed, nettrace.observe.capture as capture
import nettrace.observe.dissect, nettrace.observe.legacy_log as legacy_log, nettrace.observe.listener
import nettrace.observe.pcapng as pcapng, nettrace.observe.probe_drops as probe_drops
import nettrace.observe.rule_trace as rule_trace

journal, file, source, target, *pairs = sys.argv[1:]

def say(phase):
    os.write(1, phase.encode() + b"\\n")

def wrap(owner, name, before, after=""):
    plain = getattr(owner, name)
    def wrapped(*args, **options):
        phase = before(*args) if callable(before) else before
        say(phase)
        result = plain(*args, **options)
        if after:
            say(after)
        return result
    setattr(owner, name, wrapped)

wrap(probe_drops.ProbeDrops, "__enter__", "watching drops")
wrap(capture, "_open", "capturing")
wrap(legacy_log, "_configure", "binding")
wrap(borrowed, "_keep", "writing the journal")
wrap(borrowed, "_write",
     lambda name, value: "setting the sysctl" if value == "nfnetlink_log" else "restoring the sysctl")
wrap(rule_trace, "arm", "arming", "armed")
wrap(rule_trace, "connect", "sending")
wrap(nettrace.observe.listener.Listener, "settle", "draining")
wrap(nettrace.observe.listener.Listener, "_close", "disarming")

def probe():
    say("began")
    namespaces = dict(pair.split("=") for pair in pairs)
    observed = rule_trace.watched_connect(namespaces, namespaces[source], None, target, 80, "tcp",
                                          timeout=0.9, journal=Path(journal))
    say("writing the capture")
    pcapng.write_pcapng(Path(file), [(0, frame) for frame in observed.attempts[0].frames])
    say("over")
    # Whoever is to kill it here must find it.
    import time
    time.sleep(0.05)

for line in sys.stdin:
    child = os.fork()
    if not child:
        say(f"child {os.getpid()}")
        try:
            probe()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


class Campaign:
    """Kills probes from *source* to port 80 of *target*, through *spaces*, and looks what is left."""

    def __init__(self, spaces: dict[str, Space], source: str, target: str, folder: Path, seed: int) -> None:
        self.spaces = spaces
        self.state = folder / "state"
        self.random = random.Random(seed)
        self.hit: Counter[str] = Counter()
        arguments = [f"{name}={space.path}" for name, space in spaces.items()]
        self._argv = [str(self.state / "journal"), str(folder / "x.pcapng"), source, target, *arguments]
        self._driver = self._started()

    def _started(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, *self._argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the driver."""
        self._driver.kill()
        self._driver.wait()
        for pipe in (self._driver.stdin, self._driver.stdout):
            if pipe is not None:
                pipe.close()

    def kill(self, aim: str | None) -> str:
        """
        Kill one probe at a random instant of a phase, or of its life; returns the phase it was in.

        It may have gone on to the next phase by then.
        """
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write("go\n")
        self._driver.stdin.flush()
        pid = 0
        phase = ""
        while phase != (aim or PHASES[0]) or not pid:
            line = self._driver.stdout.readline().strip()
            assert line not in ("", "gone"), f"the probe ended before it was {aim}"
            if line.startswith("child "):
                pid = int(line.split()[1])
            else:
                phase = line
        longest = 0.4 if aim is None else self.random.choice((0.0, 0.001, 0.004))
        time.sleep(self.random.uniform(0.0, longest))
        os.kill(pid, signal.SIGKILL)
        while (line := self._driver.stdout.readline().strip()) != "gone":
            phase = phase if line.startswith("child ") else line
        self.hit[phase] += 1
        return phase

    def left(self) -> list[str]:
        """Return what is there of a probe that is gone, once the next nettrace has started."""
        found = []
        for name, space in self.spaces.items():
            if TABLE in space.run("nft", "list", "tables"):
                found.append(f"a table in {name}")
            if len(space.run("cat", "/proc/net/packet").splitlines()) > 1:
                found.append(f"a packet socket in {name}")
            sockets = space.run("cat", "/proc/net/netlink").splitlines()[1:]
            if any(line.split()[1] == "12" and line.split()[2] != "0" for line in sockets):
                found.append(f"a netfilter socket in {name}")
            logger = space.run("cat", "/proc/sys/net/netfilter/nf_log/2").strip()
            if logger == "nfnetlink_log":
                found.append(f"the logger of {name}")
        folder = self.state / "journal" / FOLDER
        found += [f"file {path}" for path in folder.glob("*") if path.name != ".lock"]
        found += [f"instance {path}" for path in Path("/sys/kernel/tracing/instances").glob("nettrace*")]
        inodes = {space.inode for space in self.spaces.values()}
        ours = os.getpid(), self._driver.pid
        for entry in os.scandir("/proc"):
            try:
                inside = entry.name.isdigit() and Path(entry.path, "ns/net").stat().st_ino in inodes
            except OSError:
                continue
            if inside and int(entry.name) not in ours:
                found.append(f"process {entry.name}")
        return found

    def clean(self) -> None:
        """Start the next nettrace, and wait until nothing is left; AssertionError with what is."""
        recover()
        try:
            eventually(lambda: not self.left(), seconds=3.0)
        except AssertionError:
            raise AssertionError(f"left behind: {self.left()}") from None
