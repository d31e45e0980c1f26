"""How nettrace ends when something is wrong: exit code, stderr, never a traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Process = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nonsense"], "no such command 'nonsense'"),
        (["trace"], "missing argument 'SRC'"),
        (["trace", "a", "b", "--sport", "99999"], "99999 is not in the range"),
        (["trace", "a", "b", "--mark", "zero"], "'zero' is no number"),
        (["trace", "a", "b", "--mark", "0x100000000"], "is no mark of 32 bits"),
        (["trace", "a", "b", "-o", "jpeg"], "'jpeg' is no format"),
        (["trace", "a", "b", "-o", "json="], "names no file"),
        (["trace", "a", "b", "-o", "json", "-o", "yaml"], "two formats on standard output"),
        (["trace", "a", "b", "--lab", "x", "--from", "y"], "two different sources"),
        (["repair", "apply", "x", "--confirm-within", "soon"], "'soon' is no duration"),
        (["repair", "apply", "x", "--confirm-within", "0"], "'0' is no duration"),
        (["show", "nonsense"], "'nonsense' is not one of"),
        (["watch", "--for", "soon"], "'soon' is no duration"),
        (["watch", "-o", "svg"], "table, wide or json"),
        (["watch", "-o", "json=x"], "on standard output"),
        (["watch", "--lab", "no-such-lab"], "no-such-lab"),
        (["snapshot"], "missing option '-o'"),
        (["schema", "Nonsense"], "there is no kind 'Nonsense'"),
        (["render", "/nonexistent.json"], "cannot read the result"),
        (["trace", "a", "b", "--from", "/nonexistent.json"], "cannot read the snapshot"),
        (["repair", "apply", "./nonexistent.json", "--lab", "no-such-lab"], "no-such-lab"),
        (["show", "links", "--lab", "no-such-lab"], "no-such-lab"),
        (["lab", "down", "no-such-lab"], "no-such-lab"),
        (["explain", "no-such-cause"], "no cause is called 'no-such-cause'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_ends_with_two_and_a_message(process: Process, args: list[str], words: str) -> None:
    """Usage, files, labs and names that are not there: exit 2, one error on stderr, nothing on stdout."""
    done = process(*args)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"apiVersion": "nettrace/v1"}',
        '{"apiVersion": "nettrace/v2", "kind": "Snapshot"}',
        "\x00\x01",
    ],
)
def test_a_broken_snapshot_is_refused(process: Process, tmp_path: Path, content: str) -> None:
    """Truncated, foreign and newer snapshot files end with 2 and the file's name."""
    file = tmp_path / "broken.json"
    file.write_text(content)
    done = process("trace", "a", "b", "--from", str(file))
    assert done.returncode == 2
    assert "broken.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_is_called_a_bug(process: Process, tmp_path: Path) -> None:
    """What nobody foresaw ends with 2 and a short message; the traceback is shown when it is asked for."""
    (tmp_path / "sitecustomize.py").write_text(
        "import nettrace.cli.codes as codes\n"
        "import nettrace.render.schema as schema\n"
        "def broken(kind): raise ZeroDivisionError('by nothing')\n"
        "schema.render = broken\n"
    )
    for debug in ("", "1"):
        done = process("schema", "Walk", env={"PYTHONPATH": str(tmp_path), "NETTRACE_DEBUG": debug})
        assert done.returncode == 2
        assert "this is a bug in nettrace: ZeroDivisionError: by nothing" in done.stderr
        assert ("Traceback" in done.stderr) is bool(debug)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """`nettrace schema Walk | head -1` says nothing on stderr."""
    command = f"{sys.executable} -m nettrace schema Walk | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""
    assert done.returncode == 0


def test_an_interrupt_ends_with_130(process: Process, tmp_path: Path) -> None:
    """Ctrl-C ends with 130 and one word."""
    (tmp_path / "sitecustomize.py").write_text(
        "import nettrace.render.schema as schema\n"
        "def interrupted(kind): raise KeyboardInterrupt\n"
        "schema.render = interrupted\n"
    )
    done = process("schema", "Walk", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 130
    assert done.stderr.strip() == "interrupted"


def test_errors_cannot_be_forged(process: Process) -> None:
    """A hostile name in an error stays on its line and in its colours."""
    done = process("explain", "x\nerror: forged\x1b[31m")
    assert "\x1b" not in done.stderr
    assert not [line for line in done.stderr.splitlines()[1:] if line.startswith("error")]
