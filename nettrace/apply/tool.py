"""
Running one tool inside a network namespace.

Lives here: the child process, its environment and its end, and a refusal as an error.
Not here: which tool a change needs (nettrace.render.command).
"""

import os
import subprocess

from nettrace.collect.failure import CollectError
from nettrace.collect.netns import in_netns
from nettrace.model.errors import UserError
from nettrace.render.command import Argv

__all__ = ["Refused", "run"]

#: Seconds.  Longer than the tools wait for their own lock; a netlink request takes milliseconds.
TIMEOUT = 30.0


class Refused(UserError):
    """The change was refused as a whole: the kernel is as it was before it."""


def run(path: str, argv: Argv, shown: str, *, keep: tuple[int, ...] = ()) -> str:
    """
    Run a tool inside the namespace at *path* and return what it printed.

    *shown* is what a person would have typed.  The tool inherits the descriptors *keep*.
    Refused, with the tool's own words, if it failed or could not be run; UserError if it did
    not end, so that nobody knows what it has done.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    environment["PATH"] = f"{environment.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"

    def inside() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv.args,
            input=argv.stdin,
            stdin=subprocess.DEVNULL if argv.stdin is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=TIMEOUT,
            env=environment,
            pass_fds=keep,
            check=False,
        )

    try:
        done = in_netns(path, inside)
    except CollectError as error:
        raise Refused(error.what, where=path, hint=error.hint) from error
    except FileNotFoundError as error:
        raise Refused(
            f"there is no `{argv.args[0]}` on this machine", where=shown, hint=_package(argv.args[0])
        ) from error
    except OSError as error:
        raise Refused(
            f"cannot run `{argv.args[0]}`: {(error.strerror or '').lower()}", where=shown
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"`{argv.args[0]}` did not end within {TIMEOUT:.0f} s", where=shown) from error
    if done.returncode:
        raise Refused(f"`{shown}` was refused: {_words(done)}", where=path)
    return done.stdout


def _words(done: subprocess.CompletedProcess[str]) -> str:
    """Return what the tool said, on one line."""
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return "; ".join(said[:4]) if said else f"exit code {done.returncode}"


def _package(tool: str) -> str:
    """Return how to get a tool on Debian."""
    packages = {"ip": "iproute2", "bridge": "iproute2", "sysctl": "procps", "conntrack": "conntrack"}
    return f"apt install {packages.get(tool, 'iptables')}"
