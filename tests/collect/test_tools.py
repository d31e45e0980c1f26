"""Running tools: output, words of refusal, absence."""

import pytest

from nettrace.collect.modules import has_module
from nettrace.collect.tools import ToolFailed, find_tool, run_tool
from nettrace.model.section import MissingKind


def test_output_is_returned() -> None:
    """Standard output comes back as text, in the C locale."""
    assert run_tool("sh", "-c", 'echo "$LC_ALL"') == "C\n"


def test_a_refusal_in_the_tools_own_words() -> None:
    """The first line of standard error is the reason; lacking privilege is DENIED."""
    with pytest.raises(ToolFailed, match="no way") as caught:
        run_tool("sh", "-c", "echo >&2; echo no way >&2; echo more >&2; exit 3")
    assert caught.value.kind is MissingKind.FAILED
    with pytest.raises(ToolFailed) as caught:
        run_tool("sh", "-c", "echo 'x: Permission denied (you must be root)' >&2; exit 4")
    assert caught.value.kind is MissingKind.DENIED
    with pytest.raises(ToolFailed, match="exit code 5"):
        run_tool("sh", "-c", "exit 5")


def test_a_tool_that_is_not_there() -> None:
    """A missing tool is found missing, and running it is an error with its name."""
    assert find_tool("no-such-tool-1", "sh") is not None
    assert find_tool("no-such-tool-1", "no-such-tool-2") is None
    with pytest.raises(ToolFailed, match="no-such-tool-1"):
        run_tool("no-such-tool-1")


def test_modules_that_nobody_has() -> None:
    """A module of no kernel is not there."""
    assert not has_module("no_such_module_of_any_kernel")
