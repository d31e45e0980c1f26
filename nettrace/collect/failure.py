"""
What goes wrong while reading, turned into ``Missing``.

Lives here: ``CollectError`` and the one function that maps exceptions to sections.
Not here: what is read.
"""

import struct
from collections.abc import Callable
from subprocess import SubprocessError
from typing import TypeVar

from nettrace.model.errors import UserError
from nettrace.model.section import Known, Missing, MissingKind, Section

__all__ = ["CollectError", "as_section", "missing"]

T = TypeVar("T")


class CollectError(UserError):
    """
    A section that could not be read, with the kind of ``Missing`` it becomes.

    It is a ``UserError``, so that a front end that meets one outside a section can print it.
    """

    def __init__(self, kind: MissingKind, reason: str, *, hint: str = "") -> None:
        super().__init__(reason, hint=hint)
        self.kind = kind
        self.reason = reason


def missing(error: Exception) -> Missing:
    """Say as a section what *error* means: DENIED for lacking privilege, else FAILED with its words."""
    if isinstance(error, CollectError):
        return Missing(error.kind, error.reason)
    if isinstance(error, UserError):
        return Missing(MissingKind.FAILED, error.what)
    if isinstance(error, PermissionError):
        return Missing(MissingKind.DENIED, f"{_words(error)}: reading this needs root")
    return Missing(MissingKind.FAILED, _words(error))


def as_section(read: Callable[[], T]) -> Section[T]:
    """
    Read one section; what the kernel, a tool or a parser refuses becomes ``Missing``.

    Only the errors that the outside world causes are caught; a bug of nettrace stays one.
    """
    try:
        return Known(read())
    except (UserError, OSError, ValueError, struct.error, SubprocessError) as error:
        return missing(error)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror.lower()}{where}"
    return str(error) or type(error).__name__
