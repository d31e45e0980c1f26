"""
What a killed process left half done is taken back at the next start.

Lives here: the check that every live command begins with.  It costs one directory listing
where there is nothing to do.
"""

import os
from pathlib import Path

from nettrace.app.remember import state_directory
from nettrace.model.errors import UserError

__all__ = ["recover"]


def recover() -> tuple[str, ...]:
    """
    Roll back repairs that were left in the middle; returns a sentence for each.

    Never raises: a node on which the rollback fails can still be looked at.
    """
    directory = state_directory() / "journal"
    said = _lent(directory)
    try:
        if not any(path.suffix == ".json" for path in directory.iterdir()):
            return said
    except OSError:
        return said  # there is none yet, or it is not ours to read
    from nettrace.apply.repair import roll_back  # noqa: PLC0415  (heavy, and rarely needed)
    from nettrace.journal import Journal  # noqa: PLC0415

    book = Journal(directory)
    try:
        for entry in book.recover():
            roll_back(entry, book)
            said = (*said, f"repair {entry.id} was left half done: it has been taken back")
    except UserError as error:
        said = (*said, f"a repair was left half done and could not be taken back: {error.what}")
    return said


def _lent(directory: Path) -> tuple[str, ...]:
    """Put back the sysctls that a killed probe had changed."""
    # unlike Path.is_dir() this says no, too, of a directory that may not be looked into
    if not os.path.isdir(directory / "borrowed"):  # noqa: PTH112
        return ()
    from nettrace.journal.borrowed import put_back  # noqa: PLC0415  (rarely needed)

    try:
        return put_back(directory)
    except (UserError, OSError) as error:
        return (f"a probe was killed that had changed sysctls, and they could not be put back: {error}",)
