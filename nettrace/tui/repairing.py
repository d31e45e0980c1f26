"""
The repair's view: plan, consent, apply, keep, undo, history.

Lives here: these actions of the table.
Not here: planning and applying (nettrace.app.repair), what the lines say (nettrace.render.plan_text).
"""

from collections.abc import Callable

from nettrace.app.forget import BY_HAND
from nettrace.model.change import NoUndo
from nettrace.model.plan import JournalEntry, RepairPlan
from nettrace.render.contract import RepairDocument
from nettrace.render.document import history_document, plan_document
from nettrace.render.page import Line, Span, Style, line
from nettrace.render.plan_text import history_page, plan_page
from nettrace.render.repair_text import repair_page
from nettrace.tui.asking import Asking
from nettrace.tui.entries import listed
from nettrace.tui.session import CONFIRM_WITHIN

__all__ = ["Repairing"]


class Repairing(Asking):
    """The application with repairs."""

    def plan_chosen(self) -> tuple[str, tuple[str, str] | None] | None:
        """Return the cause whose repair is wanted, and the flow it is about if not that of the walk."""
        document = self.session.document
        entry = self.lines("evidence").entry
        causes = [finding.cause for finding in document.findings] if document is not None else []
        if not causes:
            self.tell("there is no finding to repair", Style.WARN)
            return None
        return (entry.key if entry is not None and entry.key in causes else causes[0]), None

    def do_plan(self) -> None:
        """Plan the repair of the selected finding, else of the first."""
        chosen = self.plan_chosen()
        if chosen is not None:
            cause, flow = chosen
            self.work(f"planning {cause}", lambda: self.session.make_plan(cause, flow), self.show_plan)

    def show_plan(self, plan: RepairPlan) -> None:
        """Show a plan and what applies it."""
        pane = self.lines("repair")
        look = self.look_of("repair")
        page = plan_page(plan_document(plan), look)
        if plan.cause == BY_HAND:  # no command of nettrace's does the same
            page = page[: len(page) - 1]
        pane.show(listed([*page, *self.how_to_apply(plan)], look.width))
        pane.border_title = "plan"
        self.go("repair")

    def how_to_apply(self, plan: RepairPlan) -> tuple[Line, ...]:
        """Say which key applies a plan, and what becomes of it."""
        if final_of(plan):
            return (
                line(),
                line(
                    Span(self.key("apply"), Style.NAME),
                    " applies it, after you typed yes: ",
                    Span("no undo", Style.WARN),
                ),
            )
        undone = f" applies it; undone after {CONFIRM_WITHIN:.0f} seconds unless kept"
        return (line(), line(Span(self.key("apply"), Style.NAME), undone))

    def do_apply(self) -> None:
        """Apply the plan; what cannot be undone only after a yes in full."""
        plan = self.session.plan
        if plan is None:
            self.tell(f"there is no plan: {self.key('plan')} makes one", Style.WARN)
        else:
            self.with_consent(plan, lambda: self._apply(plan))

    def with_consent(self, plan: RepairPlan, do: Callable[[], None]) -> None:
        """Do it, if *plan* has what cannot be undone after a yes that is typed."""
        if not final_of(plan):
            do()
            return
        self.consented = do
        self.open_prompt("yes")

    def _apply(self, plan: RepairPlan) -> None:
        if plan.cause == BY_HAND:
            self.work("deleting the connection", lambda: self.session.forget(plan), self._forgotten)
            return

        def applied(document: RepairDocument) -> None:
            self.outdated = True
            pane = self.lines("repair")
            pane.border_title = "applied" if document.kept else "taken back"
            look = self.look_of("repair")
            pane.show(listed(repair_page(document, look), look.width))
            if document.kept:
                self.tell("repaired and proven", Style.GOOD)
            else:
                self.tell(f"taken back: {document.reason}", Style.BAD)

        # Whoever gets here for a plan without undo has typed yes.
        consent = bool(final_of(plan))
        self.work("applying", lambda: self.session.apply(plan, consent=consent), applied)

    def _forgotten(self, entry: JournalEntry) -> None:
        self.session.plan = None
        self.obey("back")
        self.tell(f"deleted: {entry.plan.changes[0].command}", Style.GOOD)
        self.call_later(self.obey, "reload")

    def do_keep(self) -> None:
        """Keep the repair."""

        def kept(entry: JournalEntry | None) -> None:
            self.tell("kept" if entry is not None else "no repair waits to be kept", Style.GOOD)
            if self.view == "repair":
                self.show_history()

        self.work("confirming", self.session.keep, kept, aside=True)

    def do_undo(self) -> None:
        """Take the last repair back."""

        def undone(entry: JournalEntry) -> None:
            good = entry.state in ("undone", "rolled-back")
            told = f"{entry.id or entry.plan.id} {entry.state}" + (f": {entry.note}" if entry.note else "")
            self.said = Span(told, Style.GOOD if good else Style.BAD)
            self.outdated = True
            self.show_history()

        self.work("undoing", self.session.undo, undone)

    def do_history(self) -> None:
        """Show all repairs."""
        self.show_history()

    def show_history(self) -> None:
        """Show the journal of this source."""
        said = self.said
        entries = self.session.repairs()
        pane = self.lines("repair")
        pane.border_title = "history"
        look = self.look_of("repair")
        pane.show(listed(history_page(history_document(entries), look)))
        self.go("repair")
        self.said = said


def final_of(plan: RepairPlan) -> tuple[str, ...]:
    """Return the commands of a plan that cannot be undone."""
    return tuple(one.command for one in plan.changes if isinstance(one.undo, NoUndo))
