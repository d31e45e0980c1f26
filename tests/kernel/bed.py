"""
Namespaces for tests: made with names of their own, gone afterwards whatever happens.

Nothing here touches the machine's own namespace.
"""

import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


class Space:
    """One network namespace."""

    def __init__(self, bed: "Bed", name: str) -> None:
        self.bed = bed
        self.name = name
        self.path = f"/run/netns/{name}"

    @property
    def inode(self) -> int:
        """What identifies it to the kernel."""
        return Path(self.path).stat().st_ino

    def ip(self, *words: str) -> str:
        """Run `ip` inside; each argument is split at blanks."""
        return self.run("ip", *(part for word in words for part in word.split()))

    def run(self, *argv: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a command inside and return what it printed."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{self.name}: {' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def sysctl(self, name: str, value: str | int) -> None:
        """Set a sysctl by its dotted name (a device's own dots written as /)."""
        self.run("sysctl", "-qw", f"{name}={value}")

    def spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a process inside that is ended with the test."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.bed.processes.append(process)
        # `ip netns exec` becomes the command only once it is inside.
        cmdline = Path(f"/proc/{process.pid}/cmdline")
        eventually(lambda: cmdline.read_bytes().split(b"\0")[0] not in (b"", b"ip"))
        return process

    def python(self, code: str, *argv: str) -> subprocess.Popen[bytes]:
        """Start Python code inside that prints a line once it is ready; it is ended with the test."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "python3", "-I", "-u", "-c", code, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self.bed.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), f"{self.name}: it ended before it was ready"
        return process

    def address(self, device: str, *addresses: str) -> None:
        """Give a device addresses and bring it up; IPv6 ones are usable at once."""
        for address in addresses:
            self.ip(f"addr add {address} dev {device}", "nodad" if ":" in address else "")
        self.ip(f"link set {device} up")

    def settle6(self, seconds: float = 1.0) -> None:
        """
        Wait until IPv6 addresses have their local routes, at most *seconds*.

        The kernel makes these a little later, also without duplicate detection
        (addrconf_dad_work, net/ipv6/addrconf.c); till then the namespace would send its own packets on.
        """
        end = time.monotonic() + seconds
        while self._without_route() and time.monotonic() < end:
            time.sleep(0.01)

    def _without_route(self) -> set[str]:
        """Return the addresses of devices that are up, and in use, that have no local route."""
        lines = [line.split() for line in self.ip("-o -6 addr show up").splitlines()]
        held = {words[3].partition("/")[0] for words in lines if not {"tentative", "dadfailed"} & set(words)}
        routes = [line.split() for line in self.ip("-6 route show table local").splitlines()]
        return held - {words[1] for words in routes if words[0] == "local"}


class Bed:
    """Namespaces and how they are wired; everything is removed by close()."""

    def __init__(self) -> None:
        self.tag = f"nt-t-{secrets.token_hex(4)}"
        self.spaces: list[Space] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def new(self, label: str = "x") -> Space:
        """Make a namespace called nt-t-RANDOM-LABEL with its loopback up."""
        space = Space(self, f"{self.tag}-{label}")
        self.spaces.append(space)
        subprocess.run(["ip", "netns", "add", space.name], check=True, capture_output=True)
        space.ip("link set lo up")
        return space

    def veth(self, a: Space, device_a: str, b: Space, device_b: str) -> None:
        """Join two namespaces by a pair of devices, both up."""
        a.ip(f"link add {device_a} type veth peer name {device_b} netns {b.name}")
        a.ip(f"link set {device_a} up")
        b.ip(f"link set {device_b} up")

    def stub(self, space: Space, device: str, *addresses: str) -> None:
        """Make a device with a carrier that leads nowhere: a pair whose far end is in the same place."""
        self.veth(space, device, space, f"{device}-end")
        space.address(device, *addresses)

    def bridge(self, space: Space, device: str, *ports: str, address: str = "") -> None:
        """Make a bridge of devices that are there, up, and give it an address."""
        space.ip(f"link add {device} type bridge")
        for port in ports:
            space.ip(f"link set {port} master {device}")
        space.ip(f"link set {device} up")
        if address:
            space.address(device, address)

    def delete(self, space: Space) -> None:
        """Remove a namespace before the test ends."""
        subprocess.run(["ip", "netns", "del", space.name], check=True, capture_output=True)
        self.spaces.remove(space)

    def close(self) -> None:
        """End all processes and remove all namespaces, going on past errors."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space.name], check=False, capture_output=True)


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until *condition* is true; AssertionError after *seconds*."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)
