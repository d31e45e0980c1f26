"""
The guided Service flow on the screen.

Lives here: its actions.  Not here: its lines (nettrace.tui.guide_lines).
"""

from nettrace.model.errors import UserError
from nettrace.model.guide import CheckState
from nettrace.render.contract import GuideCheckView, GuideDocument
from nettrace.render.page import Style
from nettrace.tui.guide_lines import LANES, check_list, lane_list
from nettrace.tui.moving import Moving
from nettrace.tui.places import End

__all__ = ["Guiding"]


class Guiding(Moving):
    """The application with the guided flow."""

    checks: tuple[GuideCheckView, ...] = ()
    check_number = 0

    def do_debug(self) -> None:
        """Go through the Service that is selected, or that was gone through before."""
        entry = self.lines("where").entry
        end = entry.key if entry is not None else None
        service = self.session.service
        if isinstance(end, End) and end.target.startswith("svc/") and (self.view == "walk" or not service):
            service = end.target.partition(":")[0]
        if service:
            self.run_debug(service)
        else:
            hint = "select one of the Services on the left, or type :debug svc/NAMESPACE/NAME"
            self.complain(UserError("which Service?", hint=hint))

    def run_debug(self, service: str) -> None:
        """Go through *service*, each check on the screen as soon as it is made."""
        if self.busy:
            return
        self.checks, self.check_number = (), 0
        self.go("debug")
        self.show_checks()

        def seen(check: GuideCheckView) -> None:
            self.call_from_thread(self._checked, check)

        def ended(document: GuideDocument) -> None:
            self.checks = document.checks
            self.show_checks()
            if document.leaf:
                self.tell(f"{document.service}: {document.leaf}   r plans its repair", Style.BAD)
            else:
                good = document.state is CheckState.PASSED
                told = "every check passed" if good else f"the checks end {document.state.value}"
                self.tell(f"{document.service}: {told}", Style.GOOD if good else Style.UNSURE)

        self.work(f"checking {service}", lambda: self.session.debug(service, seen), ended)

    def _checked(self, check: GuideCheckView) -> None:
        self.checks = (*self.checks, check)
        self.check_number = len(self.checks) - 1
        self.show_checks()

    def show_checks(self) -> None:
        """Show the lanes, and the check that is selected."""
        for lane in LANES:
            found = lane_list(self.checks, lane, self.look_of(f"lane-{lane}"))
            at = next((i for i, one in enumerate(found.entries) if one.key == self.check_number), 0)
            self.lines(f"lane-{lane}").show(found, at=at)
        self.show_check()

    def show_check(self) -> None:
        """Show the selected check in full."""
        if self.checks:
            look = self.look_of("check")
            check = self.checks[min(self.check_number, len(self.checks) - 1)]
            self.lines("check").show(check_list(check, self.session.label, look))

    @property
    def check_flow(self) -> tuple[str, str] | None:
        """The flow that the selected check is about."""
        return self.checks[min(self.check_number, len(self.checks) - 1)].flow if self.checks else None

    @property
    def check_cause(self) -> tuple[str, tuple[str, str] | None] | None:
        """The cause of the check that failed, and the flow that it is about."""
        failed = [check for check in self.checks if check.state is CheckState.PROBLEM and check.findings]
        return (failed[-1].findings[0].cause, failed[-1].flow) if failed else None
