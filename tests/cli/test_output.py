"""Formats, files and colours."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from nettrace.cli.main import root
from nettrace.cli.sink import FORMATS
from nettrace.cli.terminal import wants_colour
from nettrace.render import json as json_format
from nettrace.render.contract_state import DoctorCheck, DoctorDocument
from nettrace.render.formats import CHECK_FORMATS

Process = Callable[..., "subprocess.CompletedProcess[str]"]
Run = Callable[..., Result]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved result."""
    checks = (DoctorCheck(name="größe", state="missing", text="[red]no[/red]", needed_for="x"),)
    file = tmp_path / "result.json"
    file.write_text(json_format.render(DoctorDocument(checks=checks)))
    return file


def test_several_formats_at_once(run: Run, saved: Path, tmp_path: Path) -> None:
    """One format goes to standard output, the others into their files, all of the same data."""
    files = {name: tmp_path / f"out.{name}" for name in ("json", "yaml", "svg", "wide")}
    result = run("render", str(saved), "-o", "table", *(f"-o{name}={file}" for name, file in files.items()))
    assert result.exit_code == 0, result.output
    assert "[red]no[/red]" in result.stdout
    assert json.loads(files["json"].read_text()) == yaml.safe_load(files["yaml"].read_text())
    assert files["svg"].read_text().startswith("<svg")
    assert "größe" in files["wide"].read_text()


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(CHECK_FORMATS)))
def test_every_format_goes_to_standard_output(run: Run, saved: Path, name: str) -> None:
    """Every format of any document can be asked for by name alone."""
    result = run("render", str(saved), "-o", name)
    assert result.exit_code == 0
    assert result.stdout.strip()


@pytest.mark.parametrize("name", CHECK_FORMATS)
def test_formats_of_checks_are_for_checks(run: Run, saved: Path, name: str) -> None:
    """What has no checks has no report of checks: an error that says so."""
    result = run("render", str(saved), "-o", name)
    assert result.exit_code == 2
    assert name in result.stderr


def test_a_result_may_come_through_a_pipe(run: Run, saved: Path) -> None:
    """`-` reads a saved result from standard input."""
    assert run("render", "-", input=saved.read_text()).stdout == run("render", str(saved)).stdout


def test_a_file_that_cannot_be_written_is_an_error(run: Run, saved: Path) -> None:
    """A result that was asked for and cannot be kept ends with 2."""
    result = run("render", str(saved), "-o", "json=/nonexistent/x")
    assert result.exit_code == 2
    assert "cannot write the result" in result.stderr


def test_colours_only_where_they_are_wanted(process: Process, saved: Path) -> None:
    """No colours into a pipe; always and never are obeyed; NO_COLOR does not override the option."""
    assert "\x1b" not in process("render", str(saved)).stdout
    assert "\x1b[" in process("render", str(saved), "--color", "always").stdout
    assert "\x1b[" in process("render", str(saved), "--color=always", env={"NO_COLOR": "1"}).stdout


class _Terminal:
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "env", "wanted"),
    [
        ("auto", {"NO_COLOR": "", "TERM": "xterm"}, True),
        ("auto", {"NO_COLOR": "1", "TERM": "xterm"}, False),
        ("auto", {"NO_COLOR": "", "TERM": "dumb"}, False),
        ("never", {"NO_COLOR": "", "TERM": "xterm"}, False),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, True),
    ],
)
def test_no_color_counts_when_it_is_not_empty(
    monkeypatch: pytest.MonkeyPatch, choice: str, env: dict[str, str], wanted: bool
) -> None:
    """The convention of no-color.org: present and not empty; the option wins."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(choice, _Terminal()) is wanted  # type: ignore[arg-type]


def test_a_locale_without_letters_gets_escapes(process: Process, saved: Path) -> None:
    """Where the locale is ASCII the symbols are ASCII, and a name is escaped instead of failing."""
    done = process("render", str(saved), env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "gr\\xf6\\xdfe" in done.stdout


def test_the_width_is_that_of_the_terminal(process: Process) -> None:
    """COLUMNS decides where lines are broken."""
    narrow = process("explain", "ip-forward-off", env={"COLUMNS": "60"})
    broad = process("explain", "ip-forward-off", env={"COLUMNS": "200"})
    assert narrow.returncode == broad.returncode == 0
    assert max(map(len, narrow.stdout.splitlines())) <= 60
    assert narrow.stdout.count("\n") > broad.stdout.count("\n")


def test_help_is_there_for_every_command(run: Run) -> None:
    """Every command has a help of its own, and its name stands in its group's list."""

    def visit(args: list[str], commands: list[str]) -> None:
        for name in commands:
            result = run(*args, name, "--help")
            assert result.exit_code == 0
            assert result.stdout.startswith(f"Usage: root {' '.join([*args, name])}")
            listed = result.stdout.partition("Commands:\n")[2].splitlines()
            visit(
                [*args, name],
                [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "],
            )

    listed = run("--help").stdout.partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    assert set(names) == set(root.list_commands(None))  # type: ignore[arg-type]
    visit([], names)


def test_versions(run: Run) -> None:
    """--version names the program and its version."""
    assert run("--version").stdout == "nettrace 0.1.0\n"


def test_schemas_are_listed_and_printed(run: Run) -> None:
    """Without a kind all kinds are listed; with one, in any case, its schema is printed."""
    kinds = run("schema").stdout.split()
    assert "Walk" in kinds
    for kind in kinds:
        assert json.loads(run("schema", kind.lower()).stdout)["title"] == kind


def test_causes_are_listed_and_explained(run: Run) -> None:
    """Without a cause all are listed; with one, its words are printed, also as JSON."""
    listed = [line.split()[0] for line in run("explain").stdout.splitlines()]
    assert "masquerade-missing" in listed
    explained = json.loads(run("explain", "masquerade-missing", "-o", "json").stdout)
    assert explained["kind"] == "Explanation"
    assert explained["id"] == "masquerade-missing"
    assert run("explain", "masquerade-missing").stdout.startswith("masquerade-missing: ")


def test_a_near_miss_is_named(run: Run) -> None:
    """A cause that is misspelt is answered with the one that was meant."""
    result = run("explain", "masquerade-mising")
    assert result.exit_code == 2
    assert "masquerade-missing" in result.stderr


def test_the_doctor_is_honest(run: Run) -> None:
    """The doctor's exit code follows from its checks, and every check that fails says what to do without."""
    result = run("doctor", "-o", "json")
    checks = json.loads(result.stdout)["checks"]
    states = {check["state"] for check in checks}
    assert result.exit_code == (1 if "missing" in states else 3 if "unknown" in states else 0)
    assert all(check["needed_for"] for check in checks)
