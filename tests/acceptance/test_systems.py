"""The table of what `make systems` shows is true: its tests are there, three faults each of its area."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from nettrace.app.plugins import load_plugins
from tests.acceptance.systems import AREAS, KINDS, SYSTEMS, System

ROOT = Path(__file__).parents[2]

by_words = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.words.replace(" ", ""))


def files_of(system: System) -> set[str]:
    """The files that a row names."""
    return {test.partition("::")[0] for test in (*system.matrix, *system.faults.values())}


def run_by_make() -> set[str]:
    """The files that the Makefile's target runs."""
    (recipe,) = re.findall(r"^systems:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(re.findall(r"tests/\S+\.py", recipe))


@cache
def collected(*, whole: bool) -> frozenset[str]:
    """The ids of the tests of all files, as `make systems` has them, or as `make test` does."""
    files = sorted(run_by_make())
    env = {name: value for name, value in os.environ.items() if name != "NETTRACE_TEST_SWEEP"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=env | ({"NETTRACE_TEST_SWEEP": "1"} if whole else {}),
    )
    assert done.returncode == 0, done.stdout
    return frozenset(line for line in done.stdout.splitlines() if "::" in line)


@by_words
def test_each_kind_of_flow_has_its_test(system: System) -> None:
    """Every kind is tried in the topology, or cannot be had there, for a reason."""
    tests = collected(whole=True)
    for kind, words in KINDS.items():
        tried = any(f"{test}[{word}]" in tests for test in system.matrix for word in words)
        assert tried != (kind in system.without), kind


@by_words
def test_three_faults_of_its_area_have_theirs(system: System) -> None:
    """Every fault that a row names has its test and is a cause of nettrace's; three are of its area."""
    known = {cause.id for cause in load_plugins().causes()}
    assert set(system.faults) <= known
    assert set(system.faults.values()) <= collected(whole=True)
    area = {cause for name in system.areas for cause in AREAS[name]}
    assert set(system.faults) <= area
    assert len(system.faults) >= 3


@by_words
def test_make_test_has_a_sample(system: System) -> None:
    """Something of every topology is among the tests that always run."""
    assert {test.partition("::")[0] for test in collected(whole=False)} & files_of(system)


def test_make_systems_runs_the_table() -> None:
    """The Makefile's target runs the files of the table, and nothing else."""
    assert run_by_make() == set().union(*map(files_of, SYSTEMS)) | {"tests/acceptance/test_docker_layouts.py"}
