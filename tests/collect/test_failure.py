"""Errors become sections that say why."""

import errno
import os
import struct
import subprocess

import pytest

from nettrace.collect.failure import CollectError, as_section, missing
from nettrace.model.errors import UserError
from nettrace.model.section import Known, Missing, MissingKind


def raising(error: Exception) -> object:
    """Read nothing, but fail."""
    raise error


def test_a_value_is_known() -> None:
    """What was read is Known, also if it is nothing."""
    assert as_section(lambda: ()) == Known(())
    assert as_section(lambda: None) == Known(None)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (CollectError(MissingKind.UNSUPPORTED, "no such tool"), MissingKind.UNSUPPORTED, "no such tool"),
        (UserError("bad text", where="line 7"), MissingKind.FAILED, "bad text"),
        (PermissionError(errno.EPERM, "Operation not permitted"), MissingKind.DENIED, "root"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), MissingKind.DENIED, "permission denied"),
        (OSError(errno.ENODEV, "No such device"), MissingKind.FAILED, "no such device"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/proc/x"), MissingKind.FAILED, "/proc/x"),
        (ValueError("a netlink message is cut short"), MissingKind.FAILED, "cut short"),
        (struct.error("unpack requires 4 bytes"), MissingKind.FAILED, "4 bytes"),
        (subprocess.TimeoutExpired("nft", 3), MissingKind.FAILED, "nft"),
        (TimeoutError(), MissingKind.FAILED, "TimeoutError"),
    ],
)
def test_an_error_of_the_outside_world_is_missing(error: Exception, kind: MissingKind, words: str) -> None:
    """Kernel, tools and parsers may fail: the section says how."""
    section = as_section(lambda: raising(error))
    assert isinstance(section, Missing)
    assert section.kind is kind
    assert words in section.reason
    assert section == missing(error)


def test_a_bug_stays_a_bug() -> None:
    """An error that only nettrace itself can cause is not passed off as a state of the node."""
    with pytest.raises(KeyError):
        as_section(lambda: raising(KeyError("IFLA_IFNAME")))
