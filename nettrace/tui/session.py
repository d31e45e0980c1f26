"""
What the application works on: one source, the question, its answer, the repair in force.

Lives here: calls of nettrace.app, one at a time, with progress and cancelling.  Every method may
block and is called from a worker thread; none touches the screen.
"""

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nettrace.app import repair as repairs
from nettrace.app.context import Context, open_context
from nettrace.app.debug import case_of, debug
from nettrace.app.debug_pod import debug_pod, pod_case_of
from nettrace.app.endpoints import PortRows, compare_endpoints
from nettrace.app.forget import forget, plan_to_forget
from nettrace.app.remember import Question, remember
from nettrace.app.show import show
from nettrace.app.trace import trace
from nettrace.model.guide import Check
from nettrace.model.object_source import ObjectSource
from nettrace.model.plan import JournalEntry, RepairPlan
from nettrace.model.report import RepairReport, TraceReport
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import ConntrackEntry
from nettrace.model.walk import Outcome
from nettrace.observe.pcapng import write_pcapng
from nettrace.render.contract import (
    GuideCheckView,
    GuideDocument,
    PodDebugDocument,
    RepairDocument,
    WalkDocument,
)
from nettrace.render.document import guide_check, guide_document, pod_document, repair_document, walk_document

__all__ = ["Cancelled", "Session", "Where", "without_collector"]

#: Seconds in which a repair is undone unless it is kept.
CONFIRM_WITHIN = 60.0

_LANDSCAPE = ("links", "addresses")
_OBJECTS = ("services", "endpoint_slices", "pods", "nodes")


class Cancelled(BaseException):
    """The user does not want it any more.  No Exception: nobody on the way is to take it for a failure."""


#: So many new objects take the collector longer than a key may wait.
_MANY = 100_000


@contextmanager
def without_collector() -> Iterator[None]:
    """
    Make many objects without the collector walking through all of them time and again.

    If they were many it never does: a list stays as long as it is looked at and is freed without it.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            if gc.get_count()[0] > _MANY:
                gc.freeze()
            gc.enable()


class Where:
    """Where state comes from, and how the command line names it."""

    def __init__(
        self,
        lab: str | None = None,
        from_files: Sequence[Path] = (),
        objects: ObjectSource | None = None,
    ) -> None:
        self.lab, self.from_files, self.objects = lab, tuple(from_files), objects

    def open(self) -> Context:
        """Open it; UserError if it is not there."""
        return open_context(lab=self.lab, from_files=self.from_files, objects=self.objects)

    def options(self, label: str) -> str:
        """Return the options that name it, each with a blank before it."""
        words = [f" --lab {label.removeprefix('lab ')}"] if label.startswith("lab ") else []
        words.extend(f" --from {path}" for path in self.from_files)
        if self.objects is not None:
            words.append(self.objects.options())
        return "".join(words)


class Session:
    """One sitting."""

    def __init__(self, where: Where, progress: Callable[[str], None]) -> None:
        self.where = where
        self.label = ""
        self.landscape = Snapshot()
        self.question: Question | None = None
        self.report: TraceReport | None = None
        self.document: WalkDocument | None = None
        self.plan: RepairPlan | None = None
        self.waiting: list[JournalEntry] = []  # repairs that are undone unless they are kept
        self.debugged = ""  # the Service or pod that was gone through last
        self.history: list[tuple[str, str]] = []
        self._context: Context | None = None
        self._remarks: list[str] = []
        self._progress = progress
        self._lock = threading.Lock()
        self._cancel = threading.Event()

    # --- one thing at a time -------------------------------------------------------------

    def cancel(self) -> None:
        """End what runs at the next thing that it would read."""
        self._cancel.set()

    def begin(self) -> None:
        """Begin something that `cancel` is to end."""
        self._cancel.clear()

    def stop(self) -> bool:
        """Is what runs to end?"""
        return self._cancel.is_set()

    @contextmanager
    def _working(self) -> Iterator[Context]:
        with self._lock, without_collector():
            self._cancel.clear()
            if self._context is None:
                self._progress("opening")
                self._context = self.where.open()
                self._context.on_read = self._reading
                self.label = self._context.label
                self._remarks += self._context.remarks
            yield self._context

    def _reading(self, keys: Sequence[SectionKey]) -> None:
        if self._cancel.is_set():
            raise Cancelled
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            self._progress(f"reading {keys[0]}{more}")

    def close(self) -> None:
        """End the readers."""
        self._cancel.set()
        with self._lock:
            if self._context is not None:
                self._context.close()

    def take_remarks(self) -> tuple[str, ...]:
        """Return what was put right or found missing when the source was opened, once."""
        told, self._remarks = tuple(self._remarks), []
        return told

    @property
    def entry(self) -> JournalEntry | None:
        """The repair that is undone first unless it is kept."""
        return self.waiting[0] if self.waiting else None

    @property
    def live(self) -> bool:
        """Can this source be probed and changed?"""
        return self._context is not None and self._context.live

    # --- what can be asked ---------------------------------------------------------------

    def look(self) -> Snapshot:
        """Read who is there and how they are wired."""
        with self._working() as context:
            fresh = context.again()
            keys = [SectionKey(name, section) for name in fresh.snapshot.namespaces for section in _LANDSCAPE]
            keys.extend(SectionKey("", f"kube/{name}") for name in _OBJECTS)
            fresh.read_unread(keys)
            self.landscape = fresh.snapshot
        # A large snapshot stays: the collector need not walk through it while somebody presses keys.
        gc.collect()
        gc.freeze()
        return self.landscape

    def ask(self, source: str, target: str, *, with_probe: bool = False) -> WalkDocument:
        """Trace, on state that is read now."""
        question = Question(source=source, target=target, objects=self.where.objects)
        with self._working() as context:
            fresh = context.again()
            count = self._tries() if with_probe else 1
            report = trace(fresh, question, with_probe=with_probe, count=count, dissected=with_probe)
            self._reading(())
            self.report, self.question, self.plan = report, question, None
            self.document = walk_document(report, fresh.snapshot)
            ends = (source, target)
            self.history = [*(one for one in self.history if one != ends), ends]
            return self.document

    def _tries(self) -> int:
        """As many connections as it takes to see most branches."""
        paths = len(self.document.paths) if self.document is not None else 1
        return 1 if paths == 1 else min(4 * paths, 24)

    def debug(
        self,
        service: str,
        on_check: Callable[[GuideCheckView], None],
        decide: Callable[[Check, RepairPlan], bool],
    ) -> GuideDocument:
        """
        Go through what a Service depends on, on state that is read now.

        *on_check* sees each check, *decide* is asked whether a plan is to be applied; what was is
        undone after a while unless it is kept.
        """

        def repaired(report: RepairReport) -> None:
            if report.kept and report.entry is not None:
                self.waiting.append(report.entry)

        with self._working() as context:
            fresh = context.again()
            case = case_of(fresh, service)
            self.debugged = f"svc/{case.key}"

            def seen(check: Check) -> None:
                self._reading(())
                on_check(guide_check(check, fresh.snapshot))

            report = debug(
                fresh,
                case,
                decide=decide,
                on_check=seen,
                on_event=self._progress,
                on_repair=repaired,
                confirm_within=CONFIRM_WITHIN,
                consent=True,
                objects=self.where.objects,
            )
            return guide_document(report, fresh.snapshot)

    def debug_pod(self, pod: str, on_check: Callable[[GuideCheckView], None]) -> PodDebugDocument:
        """Go through what a pod's address depends on, as `debug` goes through a Service."""
        with self._working() as context:
            fresh = context.again()
            case = pod_case_of(fresh, pod)
            self.debugged = f"pod/{case.key}"

            def seen(check: Check) -> None:
                self._reading(())
                on_check(guide_check(check, fresh.snapshot))

            return pod_document(debug_pod(fresh, case, on_check=seen), fresh.snapshot)

    def make_plan(self, cause: str, flow: tuple[str, str] | None = None) -> RepairPlan:
        """Plan the repair of a finding of the last answer, or of one about the packets of *flow*."""
        with self._working() as context:
            if flow is not None:
                self.question = Question(source=flow[0], target=flow[1], objects=self.where.objects)
                remember(context.label, self.question)  # the command that is copied is about it too
            self.plan = repairs.plan(context.again(), cause, question=self.question)
            return self.plan

    def plan_to_forget(self, snapshot: Snapshot, netns: str, entry: ConntrackEntry) -> RepairPlan:
        """Plan the deletion of one connection."""
        with self._working():
            self.plan = plan_to_forget(snapshot, self.label, netns, entry)
            return self.plan

    def forget(self, plan: RepairPlan) -> JournalEntry:
        """Delete the connection of a plan."""
        with self._working() as context:
            return forget(context.again(), plan)

    def apply(self, plan: RepairPlan, *, consent: bool = False) -> RepairDocument:
        """Apply the plan, prove it, and leave it to be undone unless it is kept."""
        with self._working() as context:
            report = repairs.apply(
                context.again(),
                plan,
                confirm_within=CONFIRM_WITHIN,
                consent=consent,
                on_event=self._progress,
            )
            if report.kept and report.entry is not None:
                self.waiting.append(report.entry)
            return repair_document(report)

    def keep(self) -> JournalEntry | None:
        """Keep the repairs that wait for it, and return the last; None if none does."""
        kept = None
        while self.waiting:  # only the journal is written: whatever else is worked on need not end
            entry = self.waiting.pop(0)
            kept = repairs.confirm(entry.id or entry.plan.id)
        return kept

    def undo(self) -> JournalEntry:
        """Take the last repair of this source back."""
        with self._working():
            entry = repairs.undo(label=self.label)
            self.waiting = [one for one in self.waiting if one.id != entry.id]
            return entry

    def repairs(self) -> tuple[JournalEntry, ...]:
        """Return all repairs of this source, the newest first."""
        # Only the journal is read: whatever else is worked on need not end.
        return tuple(entry for entry in reversed(repairs.history()) if entry.plan.context == self.label)

    def state(self, what: str) -> Snapshot:
        """Read what `nettrace show WHAT` shows."""
        with self._working() as context:
            return show(context.again(), what)

    def endpoints(self, service: str, *, with_probe: bool) -> tuple[PortRows, ...]:
        """Put the endpoints of a Service side by side: the API's, the kernel's, those that are reached."""
        with self._working() as context:
            return compare_endpoints(context.again(), service, with_probe=with_probe)

    def save_frames(self, path: Path) -> int:
        """Write the frames of the last probe; returns how many."""
        observed = self.report.observed if self.report is not None else None
        if observed is None:
            return 0
        frames = [(n, frame) for n, attempt in enumerate(observed.attempts) for frame in attempt.frames]
        write_pcapng(path, frames)
        return len(frames)

    # --- what the command line would say -------------------------------------------------

    def command(self, view: str, what: str = "") -> str:
        """Return the command that gives this view on the command line."""
        options = self.where.options(self.label)
        asked = self.question
        if view == "state":
            return f"nettrace show {what or 'namespaces'}{options}"
        if view == "watch":
            return f"nettrace watch{options}"
        if view == "repair":
            plan = f"plan {self.plan.cause}{options}" if self.plan is not None else "history"
            return f"nettrace repair {plan}"
        if view == "debug" and self.debugged:
            return f"nettrace debug {_quoted(self.debugged)}{options}"
        if view == "lab":
            return "nettrace lab list"
        if asked is None:
            return f"nettrace{options}"
        probe = " --probe" if view == "probe" else ""
        return f"nettrace trace {_quoted(asked.source)} {_quoted(asked.target)}{probe}{options}"

    @property
    def failing(self) -> bool:
        """Did the last answer end otherwise than connected?"""
        return self.document is not None and self.document.outcome is not Outcome.CONNECTED


def _quoted(word: str) -> str:
    from shlex import quote  # noqa: PLC0415  (only to copy a command)

    return quote(word)
