"""
Running the system's own tools, as root would type them.

Lives here: one child process, its output, and its refusal as an error with the tool's words.
Not here: which tool and what its output means.
"""

import os
import shutil
import subprocess

from nettrace.collect.failure import CollectError
from nettrace.model.section import MissingKind

__all__ = ["ToolFailed", "find_tool", "run_tool"]

#: Seconds.  The longest honest run known is iptables-save of 230,000 rules: 6.
_TIMEOUT = 60.0


class ToolFailed(CollectError):
    """A tool ended with an error; ``reason`` is what it said."""


def find_tool(*names: str) -> str | None:
    """Return the path of the first of *names* that PATH has."""
    return next((path for name in names if (path := shutil.which(name))), None)


def run_tool(*argv: str) -> str:
    """
    Run a tool in the namespace of the calling thread and return what it printed.

    ToolFailed with its own words if it fails, is missing or does not end.
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=_TIMEOUT,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except OSError as error:
        raise ToolFailed(MissingKind.FAILED, f"{argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(MissingKind.FAILED, f"{argv[0]} did not end within {_TIMEOUT:.0f} s") from error
    if done.returncode:
        words = next(
            (line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}"
        )
        denied = "ermission denied" in words or "not permitted" in words
        raise ToolFailed(MissingKind.DENIED if denied else MissingKind.FAILED, words.strip())
    return done.stdout
