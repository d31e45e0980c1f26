"""
The screens, as pictures: docs/screens has them, and the documentation shows them.

NETTRACE_SCREENS=1 writes them anew; then they are to be looked at.
"""

import os

import pytest
from textual.pilot import Pilot

from tests.tui.driving import QUESTION, ROOT, app_of, picture, play, rest

SCREENS = ROOT / "docs/screens"

#: Picture -> size, keys after the walk is there, without colour.
CASES: dict[str, tuple[tuple[int, int], tuple[str, ...], bool]] = {
    "walk-80x24": ((80, 24), (), False),
    "walk-80x24-plain": ((80, 24), (), True),
    "walk-120x40": ((120, 40), ("v",), False),
    "walk-120x40-plain": ((120, 40), ("v",), True),
    "plan-80x24": ((80, 24), ("r",), False),
    "rules-120x40": ((120, 40), ("2", "j", "j", "j", "enter"), False),
}


@pytest.mark.parametrize("name", CASES)
def test_the_screen_is_the_picture(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view of the recorded lab is drawn as it was when somebody last looked at it."""
    size, keys, plain = CASES[name]
    monkeypatch.delenv("NO_COLOR", raising=False)
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    drawn = []

    async def act(pilot: Pilot[str]) -> None:
        for key in keys:
            await pilot.press(key)
            await rest(pilot)
        drawn.append(picture(app_of(pilot)))

    play(act, size=size, question=QUESTION, ascii_only=plain)
    path = SCREENS / f"{name}.svg"
    if os.environ.get("NETTRACE_SCREENS"):
        path.write_text(drawn[0])
    assert drawn[0] == path.read_text()
    assert "http" not in drawn[0].replace("http://www.w3.org", "").replace("https://www.textualize.io", "")
