"""
The guided flow of a Service or of a pod's address on the screen, and the repairs on its way.

Lives here: its actions.  Not here: its lines (nettrace.tui.guide_lines).
"""

import threading

from nettrace.model.errors import UserError
from nettrace.model.guide import Check, CheckState
from nettrace.model.plan import RepairPlan
from nettrace.render.contract import GuideCheckView, GuideDocument, PodDebugDocument
from nettrace.render.document import plan_document
from nettrace.render.page import Style, line
from nettrace.render.plan_text import plan_page
from nettrace.tui.entries import Listed, listed
from nettrace.tui.guide_lines import LANES, POD_LANES, check_list, lane_list
from nettrace.tui.places import End
from nettrace.tui.repairing import Repairing

__all__ = ["Guiding"]


class _Offer:
    """A plan that the flow waits for: shall it be applied?"""

    def __init__(self, plan: RepairPlan) -> None:
        self.plan = plan
        self.taken = False
        self.decided = threading.Event()

    def decide(self, *, taken: bool) -> None:
        self.taken = taken
        self.decided.set()


class Guiding(Repairing):
    """The application with the guided flow."""

    checks: tuple[GuideCheckView, ...] = ()
    check_number = 0
    offer: _Offer | None = None

    def do_debug(self) -> None:
        """Go through the Service or the pod that is selected, or that was gone through before."""
        entry = self.lines("where").entry
        end = entry.key if entry is not None else None
        before = self.session.debugged
        chosen = end.target.partition(":")[0] if isinstance(end, End) else ""
        if chosen.startswith(("svc/", "pod/")) and (self.view == "walk" or not before):
            self.run_debug(chosen)
        elif before:
            self.run_debug(before)
        else:
            hint = "select a Service or a pod on the left, or type :debug svc/NAMESPACE/NAME"
            self.complain(UserError("which Service, or which pod?", hint=hint))

    def run_debug(self, target: str) -> None:
        """Go through a Service, or a pod's address, each check on the screen as soon as it is made."""
        if self.busy:
            return
        self.checks, self.check_number = (), 0
        self.go("debug")
        for lane, title in (POD_LANES if target.startswith("pod/") else LANES).items():
            self.lines(f"lane-{lane}").border_title = title
        self.show_checks()

        def seen(check: GuideCheckView) -> None:
            self.call_from_thread(self._checked, check)

        def decide(check: Check, plan: RepairPlan) -> bool:
            offer = _Offer(plan)
            self.call_from_thread(self._offered, offer)
            offer.decided.wait()
            return offer.taken

        def ended(document: GuideDocument | PodDebugDocument) -> None:
            of_pod = isinstance(document, PodDebugDocument)
            name = document.pod if isinstance(document, PodDebugDocument) else document.service
            repairs = () if isinstance(document, PodDebugDocument) else document.repairs
            self.checks = document.checks
            self.outdated = self.outdated or bool(repairs)
            self.check_number = max(len(self.checks) - 1, 0)
            self.show_checks()
            if document.leaf:
                more = "" if of_pod else f"   {self.key('plan')} plans its repair"
                self.tell(f"{name}: {document.leaf}{more}", Style.BAD)
            else:
                good = document.state is CheckState.PASSED
                told = "every check passed" if good else f"the checks end {document.state.value}"
                mended = ", ".join(one.cause for one in repairs if one.kept)
                told += f"; repaired: {mended}" if mended else ""
                self.tell(f"{name}: {told}", Style.GOOD if good else Style.UNSURE)

        if target.startswith("pod/"):
            self.work(f"checking {target}", lambda: self.session.debug_pod(target, seen), ended)
        else:
            self.work(f"checking {target}", lambda: self.session.debug(target, seen, decide), ended)

    def _checked(self, check: GuideCheckView) -> None:
        self.checks = (*self.checks, check)
        self.check_number = len(self.checks) - 1
        self.show_checks()

    # --- the repair on the way -------------------------------------------------------------

    def _offered(self, offer: _Offer) -> None:
        self.offer = offer
        self.show_check()
        self.set_focus(self.lines("check"))
        self.draw()

    def answer_offer(self, *, taken: bool) -> bool:
        """Let the flow go on with the plan that it waits for, or end there; False if it waits for none."""
        offer = self.offer
        if offer is None:
            return False

        def go_on() -> None:
            self.offer = None
            self.show_check()
            offer.decide(taken=taken)

        if taken:
            self.with_consent(offer.plan, go_on)
        else:
            go_on()
        return True

    @property
    def waits(self) -> str:
        """What the application waits for the user to say, "" for nothing."""
        if self.offer is None:
            return ""
        applies, leaves = self.key("apply"), self.key("back")
        return f"repair {self.offer.plan.cause}?   {applies} applies it and goes on   {leaves} leaves it"

    def do_apply(self) -> None:
        """Apply the plan that the flow offers, else the one that was made."""
        if not self.answer_offer(taken=True):
            super().do_apply()

    def plan_chosen(self) -> tuple[str, tuple[str, str] | None] | None:
        """Return the cause that the checks ended at, with its flow; in other views that of the walk."""
        return self.check_cause if self.view == "debug" else super().plan_chosen()

    # --- the screen ------------------------------------------------------------------------

    def show_checks(self) -> None:
        """Show the lanes, and the check that is selected."""
        for lane in LANES:
            found = lane_list(self.checks, lane, self.look_of(f"lane-{lane}"))
            at = next((i for i, one in enumerate(found.entries) if one.key == self.check_number), 0)
            self.lines(f"lane-{lane}").show(found, at=at)
        self.show_check()

    def show_check(self) -> None:
        """Show the selected check in full; below it the plan that it offers."""
        if not self.checks:
            return
        look = self.look_of("check")
        check = self.checks[min(self.check_number, len(self.checks) - 1)]
        found = check_list(check, self.session.label, look)
        pane = self.lines("check")
        if self.offer is None:
            pane.show(found)
            return
        page = plan_page(plan_document(self.offer.plan), look)
        below = listed([line(), *page[:-1], *self.how_to_apply(self.offer.plan)], look.width)
        pane.show(Listed([*found.entries, *below.entries]), at=len(found) + len(below) - 1)

    @property
    def check_flow(self) -> tuple[str, str] | None:
        """The flow that the selected check is about."""
        return self.checks[min(self.check_number, len(self.checks) - 1)].flow if self.checks else None

    @property
    def check_cause(self) -> tuple[str, tuple[str, str] | None] | None:
        """The cause of the check that failed, and the flow that it is about."""
        failed = [check for check in self.checks if check.state is CheckState.PROBLEM and check.findings]
        return (failed[-1].findings[0].cause, failed[-1].flow) if failed else None
