"""
Running the tools a lab is built with.

Lives here: ip(8), bridge(8) and iptables-restore on namespaces given by name, and whether they
are installed.  Each call is one process, however many lines it is given.
Not here: what they are told (topologies).

Commands are run in a session of their own: a Ctrl-C at the terminal is nettrace's to handle,
which takes down what was built, and must not kill the tool that takes it down.
"""

import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from shutil import which

from nettrace.collect.netns import in_netns
from nettrace.model.errors import UserError

__all__ = ["IPTABLES_RESTORE", "NETNS_DIRECTORY", "bridge_batch", "ip_batch", "need_tools", "netns_path"]
__all__ += ["iptables_backend", "restore_native", "restore_rules", "restore_sets", "run"]

NETNS_DIRECTORY = "/run/netns"

#: Containers bring the iptables they were built with; the lab's write with the nft back end, where the
#: kernel has it.
IPTABLES_RESTORE = "iptables-nft-restore"

_PACKAGES = {
    "ip": "iproute2",
    "ipvsadm": "ipvsadm",
    "bridge": "iproute2",
    "bird": "bird2",
    IPTABLES_RESTORE: "iptables",
    "dnsmasq": "dnsmasq-base",
    "nft": "nftables",
    "nginx": "nginx",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}


def netns_path(netns: str) -> str:
    """The file of a namespace by its name."""
    return f"{NETNS_DIRECTORY}/{netns}"


def need_tools(names: Iterable[str]) -> None:
    """UserError unless every tool is installed."""
    missing = [name for name in names if which(name) is None]
    if missing:
        packages = sorted({_PACKAGES.get(name, name) for name in missing})
        raise UserError(
            f"not installed: {', '.join(missing)}", hint=f"on Debian: apt-get install {' '.join(packages)}"
        )


def run(argv: Sequence[str], text: str = "", *, lock: int | None = None, what: str = "") -> str:
    """
    Run a tool with *text* on its standard input and return its output.

    *lock* is a descriptor the tool inherits (see store.locked).  UserError with the tool's
    own words if it fails; *what* says what it was doing.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
    except OSError as error:
        raise UserError(f"{argv[0]}: {(error.strerror or str(error)).lower()}", where=what) from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        raise UserError(f"{argv[0]}: {'; '.join(words)}", where=what or " ".join(argv))
    return done.stdout


def ip_batch(
    netns: str | None, lines: Sequence[str], *, lock: int | None = None, force: bool = False
) -> None:
    """
    Run lines of ip(8) in a namespace, or with None those that make and remove namespaces.

    With *force* a line that fails does not keep the others from being run.
    """
    if netns is None and not all(line.startswith("netns ") for line in lines):
        raise ValueError("nothing but namespaces is made outside the lab's namespaces")
    _batch("ip", netns, lines, lock=lock, force=force)


def bridge_batch(netns: str, lines: Sequence[str], *, lock: int | None = None) -> None:
    """Run lines of bridge(8) in a namespace."""
    _batch("bridge", netns, lines, lock=lock, force=False)


def _batch(tool: str, netns: str | None, lines: Sequence[str], *, lock: int | None, force: bool) -> None:
    if not lines:
        return
    argv = [tool, *(["-force"] if force else []), *([] if netns is None else ["-n", netns]), "-batch", "-"]
    try:
        run(argv, "".join(f"{line}\n" for line in lines), lock=lock, what=netns or "")
    except UserError as error:
        if not force:
            raise UserError(error.what, where=_blamed(error.what, netns, lines), hint=error.hint) from error


def _blamed(words: str, netns: str | None, lines: Sequence[str]) -> str:
    """``Command failed -:3`` as the line that failed."""
    _, found, number = words.rpartition("Command failed -:")
    line = lines[int(number) - 1] if found and number.isdigit() and int(number) <= len(lines) else ""
    return ", ".join(part for part in (netns, line) if part)


@cache
def iptables_backend() -> str:
    """
    Return the back end that the lab's rules are written with: ``nft``, or ``legacy`` where it must be.

    Tried in a namespace of its own, which is gone at once.  Whatever is wrong with the first is told when
    it is used.
    """
    try:
        run(["unshare", "--net", IPTABLES_RESTORE], "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")
    except UserError as error:
        refused = any(words in error.what for words in ("not supported", "initialize nft"))
        if refused and which("iptables-legacy-restore"):
            return "legacy"
    return "nft"


def restore_rules(netns: str, text: str, *, lock: int | None = None) -> None:
    """Add rules in iptables-save's format to those of a namespace."""
    in_netns(
        netns_path(netns),
        run,
        [f"iptables-{iptables_backend()}-restore", "--noflush"],
        text,
        lock=lock,
        what=f"{netns}, iptables rules",
    )


def restore_native(netns: str, text: str, *, lock: int | None = None) -> None:
    """Run commands of nft in a namespace, in one transaction; without text nothing, and without the tool."""
    if text:
        need_tools(("nft",))
        argv = ["nft", "-f", "-"]
        in_netns(netns_path(netns), run, argv, text, lock=lock, what=f"{netns}, nftables rules")


def restore_sets(netns: str, text: str, *, lock: int | None = None) -> None:
    """Make ipsets of a namespace from ``ipset restore`` text; none, without the tool, from no text."""
    if text:
        need_tools(("ipset",))
        in_netns(netns_path(netns), run, ["ipset", "restore"], text, lock=lock, what=f"{netns}, ipsets")
