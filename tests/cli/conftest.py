"""Running nettrace: in this process with its use cases replaced, and as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nettrace.cli.main import root


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a command line in this process."""

    def runner(*args: str, **options: str) -> Result:
        return CliRunner().invoke(root, list(args), **options)  # type: ignore[arg-type]

    return runner


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command line as a process, with a state directory of its own; *env* adds variables."""

    def runner(*args: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        return subprocess.run(
            [sys.executable, "-m", "nettrace", *args],
            capture_output=True,
            text=True,
            check=False,
            env={**given, "NETTRACE_STATE": str(tmp_path / "state"), **(env or {})},
        )

    return runner
