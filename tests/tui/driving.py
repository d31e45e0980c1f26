"""Driving the application without a terminal: typing, waiting until it rests, what is on the screen."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot

from nettrace.model.snapshot import Snapshot
from nettrace.parse.snapshot_file import decode_snapshot
from nettrace.render.svg import offline
from nettrace.tui.app import NettraceApp
from nettrace.tui.session import Where

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT / "fixtures/lab-snapshot/kube-postrouting-missing.json.gz"
QUESTION = ("internet", "node/node-b:30080")

Play = Callable[[Pilot[str]], Awaitable[None]]

_KEYS = {
    " ": "space", "-": "minus", ">": "greater_than_sign", "/": "slash", ":": "colon", ".": "full_stop",
}  # fmt: skip


def play(
    act: Play,
    *,
    where: Where | None = None,
    size: tuple[int, int] = (80, 24),
    question: tuple[str, str] | None = None,
    ascii_only: bool = False,
    app: NettraceApp | None = None,
) -> NettraceApp:
    """Run the application, on the recorded lab if nothing else is said, and return it afterwards."""
    if app is None:
        app = NettraceApp(where or Where(from_files=[SNAPSHOT]), question=question, ascii_only=ascii_only)

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await rest(pilot)
            await act(pilot)

    asyncio.run(run())
    app.session.close()
    return app


async def rest(pilot: Pilot[str]) -> None:
    """Wait until nothing is worked on and everything is drawn."""
    app = pilot.app
    assert isinstance(app, NettraceApp)
    quiet = 0
    for _ in range(1200):
        await pilot.pause(0.02)
        quiet = 0 if app.busy else quiet + 1
        if quiet > 4:
            return
    raise AssertionError(f"still busy: {app.busy}")


async def type_text(pilot: Pilot[str], text: str) -> None:
    """Type *text*, letter by letter."""
    await pilot.press(*(_KEYS.get(letter, letter) for letter in text))


def app_of(pilot: Pilot[str]) -> NettraceApp:
    """Return the application."""
    assert isinstance(pilot.app, NettraceApp)
    return pilot.app


def words(app: NettraceApp, name: str) -> str:
    """Return all lines of a pane."""
    source = app.lines(name).source
    return "\n".join(source.text(index) for index in range(len(source)))


def selected(app: NettraceApp, name: str) -> str:
    """Return the line that is selected in a pane."""
    pane = app.lines(name)
    return pane.source.text(pane.cursor)


def picture(app: NettraceApp) -> str:
    """Return the screen as SVG, with names of classes that do not depend on the contents."""
    return re.sub(r"terminal-\d+", "nettrace", offline(app.export_screenshot(title="nettrace")))


def screen(app: NettraceApp) -> str:
    """Return the screen as text."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines[:height])[
        : (width + 1) * height
    ]


def snapshot() -> Snapshot:
    """The recorded lab."""
    return decode_snapshot(SNAPSHOT.read_bytes(), "the recorded lab")
