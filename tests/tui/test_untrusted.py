"""Names that somebody else chose are text, on every screen and line."""

import gzip
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from nettrace.app.snapshot import save
from nettrace.model.errors import UserError
from nettrace.model.kube import Service, ServicePort
from nettrace.model.section import Known
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment
from nettrace.model.xt_target import Jump
from nettrace.tui.session import Where
from nettrace.tui.state_lines import KINDS
from tests.tui.driving import (
    QUESTION,
    SNAPSHOT,
    app_of,
    play,
    rest,
    screen,
    selected,
    snapshot,
    type_text,
)

NASTY = "[bold red]x[/] \x1b[31m\x1b]0;t\x07 \u202eevil\u202c\nline2\u200b " + "A" * 500


def renamed(plain: object) -> object:
    """
    Put the nasty name in place of every name, label and comment in the JSON of a snapshot.

    Names of namespaces and nodes stay: nettrace gives those, and other parts refer to them.
    """
    if isinstance(plain, list):
        return [renamed(one) for one in plain]
    if not isinstance(plain, dict):
        return plain
    texts = ("name", "device", "text", "comment", "process", "prefsrc_name", "service", "namespace", "pod")
    found: dict[str, object] = {}
    for key, value in plain.items():
        if key in texts and isinstance(value, str) and value and plain.get("type") != "known":
            found[key] = f"{value} {NASTY}"
        elif key == "labels" and isinstance(value, dict):
            found[key] = {f"{one} {NASTY}": f"{word} {NASTY}" for one, word in value.items()}
        else:
            found[key] = renamed(value)
    return found


def all_nasty(tmp_path: Path) -> Path:
    """The recorded lab in which everything that somebody else may name is meant to do harm."""
    plain = json.loads(gzip.decompress(SNAPSHOT.read_bytes()))
    plain["kube"] = renamed(plain["kube"])
    for netns in plain["namespaces"].values():
        for field, section in netns.items():
            if isinstance(section, dict) and field != "resolver":
                netns[field] = renamed(section)
    path = tmp_path / "all-nasty.json"
    path.write_text(json.dumps(plain))
    return path


@pytest.mark.parametrize("what", KINDS)
def test_every_list_shows_untrusted_names_as_text(what: str, tmp_path: Path) -> None:
    """Every `nettrace show` writes them with nothing that a terminal obeys, as table and as wide."""
    from click.testing import CliRunner

    from nettrace.cli.main import root

    path = str(all_nasty(tmp_path))
    for form in ("table", "wide"):
        done = CliRunner().invoke(root, ["show", what, "--from", path, "--color", "never", "-o", form])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert all(letter.isprintable() for letter in done.output.replace("\n", ""))
        if what in ("links", "rules", "services"):
            assert "\\x1b[31m" in done.stdout


def test_every_pane_shows_untrusted_names_as_text(tmp_path: Path) -> None:
    """Every view, kind, pane and notice of a lab that is all nasty names stays a screen of text."""
    path = all_nasty(tmp_path)

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)

        def look() -> None:
            seen = screen(app)
            assert all(letter.isprintable() for letter in seen.replace("\n", ""))
            assert all(len(row) == 80 for row in seen.splitlines())

        for kind in KINDS:
            app.obey(f"show {kind}")
            await rest(pilot)
            look()
        await pilot.press("ampersand")
        await type_text(pilot, "evil")
        await pilot.press("enter")
        await rest(pilot)
        look()
        for word in (
            f"service default/{NASTY}",
            f"debug svc/default/{NASTY}",
            NASTY,
            "trace internet 10.96.1.0:80",
        ):
            app.obey(word)
            await rest(pilot)
            look()
        for key in ("1", "v", "w", "b", "n", "r", "p", "y", "3", "4", "5", "6", "7", "question_mark"):
            await pilot.press(key)
            await rest(pilot)
            look()
        app.tell(NASTY)
        app.complain(UserError(NASTY, where=NASTY, hint=NASTY))
        await rest(pilot)
        look()

    play(act, where=Where(from_files=[path]), question=QUESTION)


def nasty(tmp_path: Path) -> Path:
    """The recorded lab with a Service, a chain, a comment and a device whose names are meant to do harm."""
    known = snapshot()
    services = known.kube.services
    assert isinstance(services, Known)
    bad = Service(name=NASTY, namespace="default", cluster_ips=("10.96.7.7",), ports=(ServicePort(port=80),))
    known = replace(known, kube=replace(known.kube, services=Known((bad, *services.value))))
    netns = known.namespaces["node-b"]
    links, rules = netns.links, netns.xt_nft
    assert isinstance(links, Known)
    assert isinstance(rules, Known)
    changed = tuple(replace(link, name=NASTY) if link.kind == "veth" else link for link in links.value)
    nat = rules.value.tables["nat"]
    assert isinstance(nat, Known)
    chain = XtChain(rules=(XtRule(matches=(Comment(NASTY),), target=Jump(NASTY)),))
    tables = {
        **rules.value.tables,
        "nat": Known(replace(nat.value, chains={**nat.value.chains, NASTY: Known(chain)})),
    }
    netns = replace(netns, links=Known(changed), xt_nft=Known(replace(rules.value, tables=tables)))
    path = tmp_path / "nasty.json"
    save(known.with_netns(netns), path)
    return path


def test_untrusted_names_are_text_on_the_screen(tmp_path: Path) -> None:
    """Markup, escape sequences, direction marks, newlines and 500 letters are seen, and move nothing."""
    path = nasty(tmp_path)

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        for kind in ("services", "rules", "links"):
            app.obey(f"show {kind}")
            await rest(pilot)
            await pilot.press("slash")
            await type_text(pilot, "evil")
            await pilot.press("enter")
            assert "[bold red]x[/]" in selected(app, "rows"), kind
            seen = screen(app)
            assert "bold red]x[/] \\x1b[31m" in seen
            assert all(letter.isprintable() for letter in seen.replace("\n", ""))
            assert all(len(row) == 80 for row in seen.splitlines())
        await pilot.press("1", "v")
        await rest(pilot)
        seen = screen(app)
        assert all(letter.isprintable() for letter in seen.replace("\n", ""))
        assert all(len(row) == 80 for row in seen.splitlines())
        app.run_ask(NASTY, "internet")
        await rest(pilot)
        assert all(letter.isprintable() for letter in screen(app).replace("\n", ""))
        await pilot.press("y")
        assert all(letter.isprintable() for letter in screen(app).replace("\n", ""))

    play(act, where=Where(from_files=[path]))


@pytest.mark.parametrize("what", ["services", "rules", "links"])
def test_untrusted_names_are_text_on_the_command_line(what: str, tmp_path: Path) -> None:
    """`nettrace show` writes such names in one line, with nothing that a terminal obeys."""
    from click.testing import CliRunner

    from nettrace.cli.main import root

    done = CliRunner().invoke(root, ["show", what, "--from", str(nasty(tmp_path)), "--color", "never"])
    assert "[bold red]x[/] \\x1b[31m" in done.stdout
    assert all(letter.isprintable() for letter in done.stdout.replace("\n", ""))
