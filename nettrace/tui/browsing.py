"""
The state's view: one kind after the other, filtered, connections live, a Service's endpoints.

Lives here: these actions of the table.
Not here: what the lines say (nettrace.tui.state_lines, service_lines), reading (nettrace.tui.session).
"""

import time
from collections.abc import Sequence

from nettrace.app.endpoints import PortRows
from nettrace.model.errors import UserError
from nettrace.model.plan import RepairPlan
from nettrace.model.snapshot import Snapshot
from nettrace.render.page import Look, Style
from nettrace.tui.actions import ACTIONS, Action
from nettrace.tui.entries import Filtered, Source, filtered
from nettrace.tui.service_lines import endpoint_list
from nettrace.tui.session import Cancelled, Where, without_collector
from nettrace.tui.state_lines import ConntrackList, RuleList, ServiceRow, state_list, titles_of
from nettrace.tui.watching import Watching

__all__ = ["Browsing"]

#: Seconds from one reading of the connections to the next, and how many times as long as it takes.
_PAUSE, _TIMES = 2.0, 5.0


class Browsing(Watching):
    """The application with the state of the node."""

    def __init__(
        self,
        where: Where,
        *,
        ascii_only: bool = False,
        question: tuple[str, str] | None = None,
        actions: Sequence[Action] = ACTIONS,
    ) -> None:
        super().__init__(where, ascii_only=ascii_only, question=question, actions=actions)
        self._states: dict[str, tuple[Snapshot, Source]] = {}
        self._only: dict[str, str] = {}
        self._service = ""  # the one whose endpoints are shown
        self._still = False  # connections are not read anew by themselves
        self._refreshing = False
        self._next_reading = 0.0

    # --- one kind --------------------------------------------------------------------------

    def load_kind(self, kind: str) -> None:
        """Read what is shown of one kind."""
        look = self.look_of("rows")

        def read(found: tuple[Snapshot, Source]) -> None:
            self._states[kind] = found
            self.show_kind(kind)
            self.set_focus(self.lines("rows"))

        self.work(f"reading {kind}", lambda: self._read(kind, look), read)

    def _read(self, kind: str, look: Look) -> tuple[Snapshot, Source]:
        """Read one kind and number its lines; in a thread."""
        began = time.monotonic()
        snapshot = self.session.state(kind)
        with without_collector():
            whole = state_list(kind, snapshot, look)
        found = self._filtered(kind, whole)
        now = time.monotonic()
        self._next_reading = now + max(_PAUSE, _TIMES * (now - began))
        return snapshot, found

    def _filtered(self, kind: str, whole: Source) -> Source:
        text = self._only.get(kind, "")
        if not text:
            return whole
        return filtered(whole, text, keep=titles_of(kind), stop=self.session.stop)

    def show_kind(self, kind: str, *, at: int | None = 0) -> None:
        """Show what was read of one kind."""
        self.kind, self._service = kind, ""
        found = self._states[kind][1]
        self.lines("rows").show(found, at=at)
        self._name_rows()

    def _name_rows(self) -> None:
        pane = self.lines("rows")
        text = self._only.get(self.kind, "")
        pane.border_title = self._service or (f"{self.kind} & {text}" if text else self.kind)
        live = self.kind == "conntrack" and self.session.live
        told = "" if not live else ", still" if self._still else ", live"
        count = max(len(pane.source) - titles_of(self.kind), 0) if not self._service else len(pane.source)
        pane.border_subtitle = f"{count} lines{told}"

    @property
    def selected_rule(self) -> int | None:
        """The number in the whole list of the rule that is selected."""
        pane = self.lines("rows")
        source = pane.source
        return source.numbers[pane.cursor] if isinstance(source, Filtered) and len(source) else pane.cursor

    # --- filter ----------------------------------------------------------------------------

    def do_filter(self) -> None:
        """Let a text be typed; only lines with it stay."""
        if self.view != "state":
            self.tell("the filter is for the state: 2; / finds text everywhere", Style.WARN)
        else:
            self.open_prompt("&")

    def filter_by(self, text: str) -> None:
        """Show only the lines with *text*; all of them if there is none."""
        kind = self.kind
        if kind not in self._states or self._service:
            return
        self._only[kind] = text
        snapshot, source = self._states[kind]
        whole = source.whole if isinstance(source, Filtered) else source

        def show(found: Source) -> None:
            self._states[kind] = snapshot, found
            self.show_kind(kind)

        def run() -> Source:
            self.session.begin()
            found = self._filtered(kind, whole)
            if self.session.stop():
                self._only[kind] = ""
                raise Cancelled
            return found

        self.work(f"filtering {kind}", run, show)

    # --- rules -----------------------------------------------------------------------------

    def open_rule(self) -> None:
        """Go to the chain that the selected rule leads to; from a filtered list, to the rule in its chain."""
        pane = self.lines("rows")
        source = pane.source
        if isinstance(source, RuleList):
            target = source.target(pane.cursor)
            if target is not None:
                pane.select(target)
        elif isinstance(source, Filtered) and isinstance(source.whole, RuleList) and len(source):
            number = source.numbers[pane.cursor]
            self._only[self.kind] = ""
            self._states[self.kind] = self._states[self.kind][0], source.whole
            self.show_kind(self.kind, at=number)

    # --- Services --------------------------------------------------------------------------

    def open_row(self) -> None:
        """Open the selected line of the state."""
        entry = self.lines("rows").entry
        if self.kind == "services" and entry is not None and isinstance(entry.key, ServiceRow):
            self.load_service(entry.key.target)
        else:
            self.open_rule()

    def load_service(self, service: str, *, with_probe: bool = False) -> None:
        """Put the endpoints of a Service side by side."""

        def show(ports: tuple[PortRows, ...]) -> None:
            self._service = service
            pane = self.lines("rows")
            probe = self.key("probe") if self.session.live else ""
            pane.show(endpoint_list(ports, self.look_of("rows"), probe=probe, back=self.key("back")))
            self._name_rows()
            self.set_focus(pane)

        what = f"{'connecting to the endpoints of' if with_probe else 'walking to'} {service}"
        self.work(what, lambda: self.session.endpoints(service, with_probe=with_probe), show)

    def do_probe(self) -> None:
        """Connect to the endpoints of the Service that is shown; else send the real packet."""
        entry = self.lines("rows").entry
        service = self._service
        if not service and self.view == "state" and self.kind == "services" and entry is not None:
            service = entry.key.target if isinstance(entry.key, ServiceRow) else ""
        if self.view != "state" or not service:
            super().do_probe()
        elif not self.session.live:
            hint = "run it on the node, or --lab"
            self.complain(UserError("a snapshot file has nothing to connect to", hint=hint))
        else:
            self.load_service(service, with_probe=True)

    def leave_service(self) -> bool:
        """Go back to the list of Services; False if none is shown."""
        if self.view != "state" or not self._service:
            return False
        service = self._service
        self.show_kind("services")
        pane = self.lines("rows")
        rows = (i for i in range(len(pane.source)) if _target_of(pane.source, i) == service)
        pane.select(next(rows, 0))
        return True

    # --- connections -----------------------------------------------------------------------

    def do_delete(self) -> None:
        """Plan the deletion of the selected connection."""
        entry = self.lines("rows").entry
        chosen = entry.key if entry is not None and self.kind == "conntrack" else None
        if self.view != "state" or not isinstance(chosen, tuple):
            self.tell("select a connection: :show conntrack", Style.WARN)
        elif not self.session.live:
            hint = "run it on the node, or --lab"
            self.complain(UserError("a snapshot file has no connections to delete", hint=hint))
        else:
            snapshot = self._states["conntrack"][0]
            netns, connection = chosen

            def run() -> RepairPlan:
                return self.session.plan_to_forget(snapshot, netns, connection)

            self.work("planning", run, self.show_plan)

    def do_freeze(self) -> None:
        """Stop what is live, or go on."""
        if self.view == "state":
            self._still = not self._still
            self._name_rows()
        else:
            super().do_freeze()

    def tick(self) -> None:
        """Read the connections anew while they are looked at."""
        super().tick()
        shown = self.view == "state" and self.kind == "conntrack" and not self._service
        if (
            not shown
            or self._still
            or self.busy
            or self._refreshing
            or not self.session.live
            or time.monotonic() < self._next_reading
            or "conntrack" not in self._states
        ):
            return
        self._refreshing = True
        entry = self.lines("rows").entry
        chosen = entry.key if entry is not None else None
        look = self.look_of("rows")

        def run() -> tuple[tuple[Snapshot, Source], int | None] | None:
            try:
                found = self._read("conntrack", look)
                return found, _place_of(found[1], chosen)
            except UserError:
                return None  # the namespace may have gone: what is read next says so
            finally:
                self._refreshing = False

        def show(result: tuple[tuple[Snapshot, Source], int | None] | None) -> None:
            if result is None or self.view != "state" or self.kind != "conntrack":
                return
            found, place = result
            self._states["conntrack"] = found
            pane = self.lines("rows")
            if place is not None:
                pane.cursor = place
            self.show_kind("conntrack", at=None)

        self.work("reading conntrack", run, show, aside=True)


def _target_of(source: Source, index: int) -> str:
    key = source.entry(index).key
    return key.target if isinstance(key, ServiceRow) else ""


def _place_of(source: Source, chosen: object) -> int | None:
    """Return the line of the same connection, whatever its state is now; None if it is gone."""
    if not isinstance(chosen, tuple):
        return None
    whole = source.whole if isinstance(source, Filtered) else source
    number = whole.place(chosen) if isinstance(whole, ConntrackList) else None
    if number is None or not isinstance(source, Filtered):
        return number
    return source.numbers.index(number) if number in source.numbers else None
