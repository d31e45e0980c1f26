"""
The program that waits: ``python -m nettrace.apply.timer JOURNAL ID SECONDS``.

Everything that the way back needs is loaded before it says that it is ready, so that a
repair which takes the file system away does not take the rollback with it.
Started by nettrace.apply.confirm; not for people.
"""

import importlib
import sys

from nettrace.apply.confirm import detach, say_ready, wait_and_roll_back
from nettrace.apply.repair import roll_back
from nettrace.journal.book import Journal
from nettrace.model.plan import JournalEntry

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Wait, then take the repair back unless it was confirmed."""
    directory, identity, seconds = arguments
    importlib.import_module("pyroute2")
    detach()
    say_ready()
    wait_and_roll_back(Journal(directory), identity, float(seconds), _undo)
    return 0


def _undo(entry: JournalEntry, journal: Journal) -> None:
    roll_back(entry, journal, final="rolled-back", note="not confirmed in time")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
