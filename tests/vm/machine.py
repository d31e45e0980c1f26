"""
The tests of this folder run on a kernel of their own (scripts/vm); here is what the outside sees of it.

Lives here: one boot for all of a run's tests, whichever of pytest-xdist's workers asks first, and
their reports, read while the guest writes them.
Not here: booting (scripts/vm).
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

__all__ = ["IN_GUEST", "NO_KERNEL", "Machine", "write_report"]

ROOT = Path(__file__).parents[2]

#: Are we inside?  scripts/vm says so.
IN_GUEST = os.environ.get("NETTRACE_VM") == "1"

#: Where the guest writes its reports; only there if it was pytest of the outside that started it.
_REPORTS = "NETTRACE_VM_REPORTS"

#: How the reason of a skipped test begins.
NO_KERNEL = "no kernel with IPVS"

#: Seconds for all tests together.
_LONGEST = 1800


class Machine:
    """The guest of a run, booted when its first result is asked for."""

    def __init__(self, config: pytest.Config, folder: Path, nodeids: Sequence[str]) -> None:
        self.config = config
        self.folder = folder
        self.nodeids = nodeids
        self.process: subprocess.Popen[bytes] | None = None
        self.found: dict[str, list[dict[str, Any]]] = {}
        self.read = 0

    @cached_property
    def booted(self) -> bool:
        """Start the guest, unless another worker has."""
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            return True
        (self.folder / "tests").write_text("\n".join(self.nodeids), encoding="utf-8")
        # whoever kills us kills the guest
        guard = ["setpriv", "--pdeathsig", "TERM", "timeout", "-k", "5", str(_LONGEST)]
        run = ["scripts/vm", "-w", str(self.folder), "python", "-m", "pytest", "-q", "--color=no"]
        mine = ["-p", "no:cacheprovider", "-p", "no:xdist", f"@{self.folder}/tests"]
        with (self.folder / "output").open("wb") as output, (self.folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                [*guard, *run, *mine],
                cwd=ROOT,
                env={**os.environ, _REPORTS: str(self.folder / "reports")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        Thread(target=self._wait, args=(self.process,), daemon=True).start()
        return True

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        """Tell the other workers of the guest's end."""
        code = process.wait()
        (self.folder / "code.new").write_text(str(code), encoding="ascii")
        (self.folder / "code.new").rename(self.folder / "code")

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """Yield the reports of a test as they come; skipped where no guest starts, failed where it died."""
        assert self.booted
        given = 0
        while True:
            code = self._code()
            self._take()
            for data in self.found.get(item.nodeid, ())[given:]:
                given += 1
                report = self.config.hook.pytest_report_from_serializable(config=self.config, data=data)
                yield report
                if report.when == "teardown":
                    return
            if code is not None:
                yield self._without(item, code)
                return
            time.sleep(0.05)

    def _code(self) -> int | None:
        path = self.folder / "code"
        return int(path.read_text(encoding="ascii")) if path.exists() else None

    def _take(self) -> None:
        """Read what the guest has written since; its last line may be half there."""
        path = self.folder / "reports"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self.read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self.read += len(whole) + len(newline)
        for line in whole.splitlines():
            data = json.loads(line)
            self.found.setdefault(data["nodeid"], []).append(data)

    def _without(self, item: pytest.Item, code: int) -> pytest.TestReport:
        """Report a test that the guest told nothing of."""
        errors = (self.folder / "errors").read_text(encoding="utf-8", errors="replace").strip()
        started = (self.folder / "started").exists()
        path, line, _ = item.location
        reason: Any = (str(ROOT / path), line or 0, f"{NO_KERNEL}: {errors.rpartition('vm: ')[2]}")
        if started or code != 125:
            said = (self.folder / "output").read_text(encoding="utf-8", errors="replace")[-4000:]
            reason = f"the guest ended with {code} and no result of this test\n{errors}\n{said}"
        return pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed" if isinstance(reason, str) else "skipped",
            longrepr=reason,
            when="call" if isinstance(reason, str) else "setup",
        )

    def close(self, *, at_once: bool) -> None:
        """Wait for the guest's end (other workers may wait for its results), or end it."""
        if self.process is None:
            return
        if at_once and self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


def write_report(config: pytest.Config, report: pytest.TestReport) -> None:
    """In the guest: hand a report to the outside."""
    path = os.environ.get(_REPORTS)
    if path is None:
        return
    (Path(path).parent / "started").touch()
    data = config.hook.pytest_report_to_serializable(config=config, report=report)
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(data)}\n")
        file.flush()
        os.fsync(file.fileno())
