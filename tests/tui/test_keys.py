"""Keys of the user's own: the configuration's section, its errors, and that the application heeds them."""

from pathlib import Path

import pytest
from textual.events import Key
from textual.pilot import Pilot

from nettrace.model.errors import UserError
from nettrace.tui.actions import ACTIONS, footer, help_lines
from nettrace.tui.app import NettraceApp
from nettrace.tui.keys import actions_of_user, config_file, with_keys
from nettrace.tui.session import Where
from tests.tui.driving import SNAPSHOT, app_of, play, rest, screen, selected, type_text, words


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration file; it is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = config_file()
    path.parent.mkdir()
    return path


def test_without_a_file_the_keys_are_those_of_the_table(config: Path) -> None:
    """No file and a file without [keys] change nothing."""
    assert actions_of_user() == ACTIONS
    config.write_text("other = 1\n")
    assert actions_of_user() == ACTIONS


@pytest.mark.parametrize(
    ("written", "name", "shown"),
    [
        ("f2", "f2", "f2"),
        ("F2", "f2", "f2"),
        ("X", "X", "X"),
        (",", "comma", "comma"),
        (";", "semicolon", "semicolon"),
        ("esc", "escape", "esc"),
        ("Ctrl+n", "ctrl+n", "ctrl+n"),
        ("/", "slash", "/"),
        (" ", "space", "space"),
        ("pgdn", "pagedown", "pagedown"),
    ],
)
def test_keys_may_be_called_as_people_call_them(written: str, name: str, shown: str) -> None:
    """Letters, signs, names and modifiers become textual's names; another owner loses the key."""
    table = with_keys({"plan": written}, "config.toml")
    plan = next(action for action in table if action.id == "plan")
    assert (plan.keys, plan.shown) == ((name,), shown)
    assert [action.id for action in table if name in action.keys] == ["plan"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[keys]\nnothing = 'a'", "no action 'nothing'"),
        ("[keys]\nplan = 'f2'\nask = 'f2'", "'f2' is given to 'plan' and to 'ask'"),
        ("[keys]\nplan = 'hyper'", "'hyper', for 'plan', is no key"),
        ("[keys]\nplan = 3", "a text or a list of texts"),
        ("[keys]\nplan = []", "a text or a list of texts"),
        ("keys = 3", "a table of actions"),
        ("[keys", "no TOML"),
    ],
)
def test_a_wrong_file_is_said_with_its_place(config: Path, text: str, what: str) -> None:
    """Each mistake names the file and what is wrong; nothing is left out in silence."""
    config.write_text(text)
    with pytest.raises(UserError) as caught:
        actions_of_user()
    assert what in caught.value.what
    assert caught.value.where == str(config)


def test_the_application_heeds_them(config: Path) -> None:
    """The key that was given does it, the old one does not; footer and help tell of the new one."""
    config.write_text("[keys]\nask = 'f2'\ndown = ['n', 'down']\n")
    table = actions_of_user()
    assert ("f2", "ask") in footer("walk", table)
    assert any("n down" in line[0].text for line in help_lines("walk", table) if line)

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("a")
        assert not app.query_one("#ask").display
        before = selected(app, "where")
        await pilot.press("n")
        assert selected(app, "where") != before
        assert "f2 ask" in screen(app)
        await pilot.press("f2")
        assert app.query_one("#ask").display

    play(act, app=NettraceApp(Where(from_files=[SNAPSHOT]), actions=table))


def test_what_is_shown_tells_of_the_users_keys(config: Path) -> None:
    """The probe's pane and a Service's endpoints name the keys that were given, not those of the table."""
    config.write_text("[keys]\nprobe = 'f3'\nback = 'f4'\n")

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        app.action_do("view_probe")
        await rest(pilot)
        assert "f3 sends the real one" in words(app, "seen")
        app.obey("show services")
        await rest(pilot)
        await pilot.press("slash")
        await type_text(pilot, "default/hostnames")
        await pilot.press("enter", "enter")
        await rest(pilot)
        assert "f4 goes back" in words(app, "rows")

    play(act, app=NettraceApp(Where(from_files=[SNAPSHOT]), actions=actions_of_user()))


def test_what_is_typed_at_once_loses_no_key() -> None:
    """Keys that come in one piece, as over a slow line, all go where the first one led."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        for name in (
            "slash",
            *"client",
            "minus",
            "b",
            "enter",
            "f",
            "slash",
            *"hostnames",
            "colon",
            "enter",
            "t",
        ):
            app.post_message(Key(name, {"minus": "-", "slash": "/", "colon": ":"}.get(name, name)))
        await rest(pilot)
        assert app.session.question is not None
        assert app.session.question.source == "pod/default/client-b"
        assert app.session.question.target == "svc/default/hostnames:80"

    play(act)
