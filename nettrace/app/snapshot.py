"""
Snapshot: everything of a source, into one file.

Lives here: the use case behind `nettrace snapshot -o FILE`.
"""

import gzip
import os
from pathlib import Path

from nettrace.app.context import Context
from nettrace.model.errors import UserError
from nettrace.model.snapshot import Snapshot
from nettrace.parse.snapshot_file import encode_snapshot
from nettrace.parse.snapshot_join import narrowed

__all__ = ["save", "take"]


def take(context: Context, *, node: str | None = None) -> Snapshot:
    """
    Read every section there is, with the maps that plugins can read, and return the snapshot.

    With *node* what that node alone knows; UserError where there is no such node.
    """
    if node is not None:
        narrowed(context.snapshot, node)  # says at once that there is none
    context.read_all()
    context.read_unread(context.plugins.maps(context.snapshot))
    return context.snapshot if node is None else narrowed(context.snapshot, node)


def save(snapshot: Snapshot, path: Path) -> int:
    """
    Write *snapshot* to *path*, packed if the name ends in ``.gz``, and return its size in bytes.

    The file appears whole or not at all, readable by its owner only: it names every address
    and rule of the node.
    """
    data = encode_snapshot(snapshot)
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise UserError(
            f"cannot write the snapshot: {error.strerror}",
            where=str(path),
            hint="give a writable place to -o",
        ) from error
    return len(data)
