"""
The walk's view: asking, branches, findings, the wiring, the probe.

Lives here: these actions of the table.
Not here: what the lines say (nettrace.tui.walk_lines, places, probe_lines).
"""

import time
from pathlib import Path

from nettrace.model.errors import UserError
from nettrace.render.page import Style
from nettrace.tui.moving import Moving
from nettrace.tui.walk_lines import branches, findings

__all__ = ["Asking"]


class Asking(Moving):
    """The application with questions about packets."""

    def do_ask(self) -> None:
        """Let a question be typed."""
        self.open_ask()

    def do_source(self) -> None:
        """Take the selected end as the source."""
        self.take_end(source=True)

    def do_target(self) -> None:
        """Take the selected end as the destination."""
        self.take_end(source=False)

    def do_swap(self) -> None:
        """Ask the other way round."""
        asked = self.session.question
        if asked is None:
            self.chosen = (self.chosen[1], self.chosen[0])
            self.tell(f"{self.chosen[0] or '?'} -> {self.chosen[1] or '?'}")
        else:
            self.run_ask(asked.target, asked.source)

    def do_branch(self) -> None:
        """Show the next branch."""
        document = self.session.document
        if document is not None:
            self.branch_number = (self.branch_number + 1) % len(branches(document))
            self.show_walk()

    def do_why(self) -> None:
        """Show all findings."""
        if self.session.document is not None:
            pane = self.lines("evidence")
            pane.border_title = "why"
            pane.show(findings(self.session.document, self.look_of("evidence")))
            self.set_focus(pane)

    def do_wiring(self) -> None:
        """Change between the tree and the picture."""
        self._picture = not self._picture
        self.lines("where").set_class(self._picture, "picture")
        self.show_where()

    def do_probe(self) -> None:
        """Send the real packet."""
        asked = self.session.question
        if asked is None:
            self.tell(
                f"ask first: {self.key('ask')}, or {self.key('source')} and {self.key('target')} on two ends",
                Style.WARN,
            )
        elif not self.session.live:
            self.complain(UserError("a snapshot file cannot be probed", hint="run it on the node, or --lab"))
        else:
            self.run_ask(asked.source, asked.target, with_probe=True)

    def do_pcap(self) -> None:
        """Write the probe's frames."""
        path = Path.cwd() / time.strftime("nettrace-%H%M%S.pcapng")

        def written(count: int) -> None:
            self.tell(
                f"{count} frames: {path}"
                if count
                else f"no frames yet: {self.key('probe')} sends the real packet"
            )

        self.work("writing frames", lambda: self.session.save_frames(path), written)
