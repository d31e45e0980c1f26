"""
The last question asked of each source, so that `nettrace repair plan CAUSE` need not repeat it.

Lives here: one small file a source under the state directory.
"""

import os
import re
from pathlib import Path

import msgspec

from nettrace.model.errors import UserError
from nettrace.model.object_source import ObjectSource

__all__ = ["CONNECTED", "Question", "forget", "recall", "remember", "state_directory"]


#: The goal that a user may state: it should get through, whatever policies say.
CONNECTED = "connected"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was asked: the two target texts and the packet's options.

    ``at``: NETNS/DEVICE it arrives at.  ``goal``: CONNECTED, or "" for what is owed to the flow.
    ``objects``: where the Kubernetes objects came from, if that was named.
    """

    source: str
    target: str
    sport: int | None = None
    size: int | None = None
    mark: int = 0
    ttl: int = 64
    df: bool = True
    at: str | None = None
    goal: str = ""
    objects: ObjectSource | None = None


def state_directory() -> Path:
    """
    Return the directory of nettrace's own state.

    ``NETTRACE_STATE`` if set; /run/nettrace for root (it goes with the boot, as kernel state
    does); ``$XDG_STATE_HOME/nettrace`` otherwise.
    """
    given = os.environ.get("NETTRACE_STATE")
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return Path("/run/nettrace")
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "nettrace"


def _file(label: str) -> Path:
    return state_directory() / "last" / (re.sub(r"[^A-Za-z0-9._-]+", "-", label) + ".json")


def remember(label: str, question: Question) -> None:
    """Keep *question* as the last one of the source *label*; quietly does nothing on a read-only system."""
    path = _file(label)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_name(f"{path.name}.{os.getpid()}")
        scratch.write_bytes(msgspec.json.encode(question))
        scratch.replace(path)
    except OSError:
        return


def recall(label: str) -> Question:
    """Return the last question of the source *label*; UserError if there is none."""
    path = _file(label)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Question)
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(
            f"nothing was traced on {label} yet, so there is nothing to repair",
            hint="run `nettrace trace SRC DST` first, or name the flow with --flow SRC DST",
        ) from error


def forget(label: str) -> None:
    """Drop what is remembered of a source that is gone."""
    _file(label).unlink(missing_ok=True)
