"""The application on a recorded lab: no privilege, every view, untrusted names."""

import ast
import gzip
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from nettrace.app.snapshot import save
from nettrace.model.errors import UserError
from nettrace.model.kube import Service, ServicePort
from nettrace.model.nft import NftBase, NftChain, NftRule, NftRuleset, NftTable
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Comment
from nettrace.model.xt_target import Jump
from nettrace.parse.snapshot_file import decode_snapshot
from nettrace.tui.actions import ACTIONS, HELP, VIEWS, footer
from nettrace.tui.app import NettraceApp
from nettrace.tui.complete import complete, words_of
from nettrace.tui.session import Where
from nettrace.tui.state_lines import KINDS, RuleList
from tests.tui.driving import (
    QUESTION,
    ROOT,
    SNAPSHOT,
    app_of,
    play,
    rest,
    screen,
    selected,
    type_text,
    words,
)


def snapshot() -> Snapshot:
    """The recorded lab."""
    return decode_snapshot(SNAPSHOT.read_bytes(), "the recorded lab")


# --- the table of actions ------------------------------------------------------------------


def test_every_action_has_a_key_of_its_own_and_is_done() -> None:
    """No key means two things, and each action of the table has its method or view."""
    keys = [key for action in ACTIONS for key in action.keys]
    assert len(keys) == len(set(keys))
    for action in ACTIONS:
        view = action.id.removeprefix("view_")
        assert (
            view in VIEWS
            if action.id.startswith("view_")
            else callable(getattr(NettraceApp, f"do_{action.id}"))
        )


def test_every_method_is_in_the_table() -> None:
    """Nothing can be done that keys, palette, help and documentation do not tell of."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "nettrace/tui").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    methods = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    assert {m.removeprefix("do_") for m in methods if m.startswith("do_")} <= {a.id for a in ACTIONS}


@pytest.mark.parametrize("view", [*VIEWS, HELP])
def test_the_footer_fits(view: str) -> None:
    """The keys of a view stand in 80 columns."""
    assert sum(len(key) + len(label) + 3 for key, label in footer(view)) < 78


def test_the_documentation_has_the_table() -> None:
    """docs/tui.md tells of each key what the application does at it."""
    from nettrace.tui.actions import markdown

    assert markdown() in (ROOT / "docs/tui.md").read_text()


# --- completion ------------------------------------------------------------------------------


def test_targets_are_completed() -> None:
    """Pods, Services with ports, nodes and addresses are completed on either side of the arrow."""
    known = words_of(snapshot())
    assert {
        "internet",
        "node/node-a",
        "svc/default/hostnames:80",
        "10.96.1.0:80",
        "node/node-b:30080",
    } <= set(known)
    assert complete("inter", known) == "internet"
    assert complete("internet -> svc/default/ho", known) == "internet -> svc/default/hostnames:80"
    assert complete("client-a", known) == "pod/default/client-a"
    assert complete("internet -> zzz", known) is None
    assert complete("", known) is None


# --- walking through it ----------------------------------------------------------------------


def test_the_failing_step_is_selected_at_once() -> None:
    """A question typed into the bar is answered with the step selected at which the fault is."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("a")
        await type_text(pilot, "inter")
        await pilot.press("tab")
        await type_text(pilot, "node/node-b:3")
        await pilot.press("tab", "enter")
        await rest(pilot)
        assert app.session.question is not None
        assert app.session.question.target == "node/node-b:30080"
        assert "POSTROUTING" in selected(app, "walk")
        assert "kube-postrouting-missing" in words(app, "evidence")
        await pilot.press("n")
        assert "UNEXPECTED" in selected(app, "walk") or "no socket" in selected(app, "walk")
        assert "timeout 33%" in screen(app)
        await pilot.press("N")
        assert "POSTROUTING" in selected(app, "walk")
        await pilot.press("b")
        assert "branch 2 of 3" in words(app, "walk")
        await pilot.press("x")
        await rest(pilot)
        assert app.session.question.source == "node/node-b:30080" or "error" in screen(app)

    play(act)


def test_ends_are_taken_from_the_tree() -> None:
    """f and t on two lines of the tree ask from the one to the other."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        assert "client-a" in words(app, "where")
        await pilot.press("slash")
        await type_text(pilot, "client-a")
        await pilot.press("enter", "f")
        assert "pod/default/client-a" in screen(app)
        await pilot.press("slash")
        await type_text(pilot, "hostnames:80")
        await pilot.press("enter", "t")
        await rest(pilot)
        assert app.session.question is not None
        assert (app.session.question.source, app.session.question.target) == (
            "pod/default/client-a",
            "svc/default/hostnames:80",
        )
        assert "connected" in screen(app)

    play(act)


def test_a_file_is_neither_probed_nor_repaired() -> None:
    """Probe and apply on a snapshot say what to do instead; the plan is shown all the same."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("p")
        await rest(pilot)
        assert "cannot be probed" in screen(app)
        await pilot.press("r")
        await rest(pilot)
        assert "iptables-nft-restore" in words(app, "repair")
        assert "undo: exact" in words(app, "repair")
        await pilot.press("A")
        await rest(pilot)
        assert "a snapshot file cannot be repaired" in screen(app)

    play(act, question=QUESTION)


def test_a_pods_address_is_gone_through() -> None:
    """D on a pod goes through what its address depends on; the command that is copied says the same."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("slash")
        await type_text(pilot, "client-a")
        await pilot.press("enter", "D")
        await rest(pilot)
        assert app.view == "debug"
        assert "3 its address" in screen(app)
        assert app.checks[0].id == "pod"
        assert "passed" in words(app, "lane-dns")
        await pilot.press("y")
        assert "nettrace debug pod/default/client-a --from" in screen(app)

    play(act)


def test_an_end_without_a_port_lets_it_be_typed() -> None:
    """t on a pod with no port, or on whoever is outside, opens the question with the cursor behind it."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("slash")
        await type_text(pilot, "client-a")
        await pilot.press("enter", "f", "G", "t")
        await type_text(pilot, "80")
        await pilot.press("enter")
        await rest(pilot)
        assert app.session.question is not None
        assert app.session.question.target == "internet:80"

    play(act)


def test_a_view_has_the_keys_where_it_was_left() -> None:
    """Back from help and from the state, the pane that had the keys has them again."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        for key in ("question_mark", "2"):
            assert app.pane.id == "where"
            await pilot.press(key)
            await rest(pilot)
            assert app.pane.id != "where"
            await pilot.press("escape")
            await rest(pilot)
        assert app.pane.id == "where"

    play(act)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_every_view_opens_and_is_left(size: tuple[int, int]) -> None:
    """Each view of a file, each kind of state, help and both themes can be seen and left, at both sizes."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        for kind in KINDS:
            app.obey(f"show {kind}")
            await rest(pilot)
            assert kind in ("policies", "programs") or len(app.lines("rows").source) > 0, kind
        for key in ("3", "5", "7", "question_mark", "T", "1", "backslash", "backslash", "v", "w", "space"):
            await pilot.press(key)
            await rest(pilot)
        await pilot.resize_terminal(*size[::-1])
        await pilot.resize_terminal(*size)
        while app.views:
            await pilot.press("escape")
        assert app.view == "walk"
        await pilot.press("y")
        assert "nettrace trace internet node/node-b:30080 --from" in screen(app)
        await pilot.press("q")

    app = play(act, size=size, question=QUESTION)
    assert app.return_value is not None
    assert "nettrace trace internet node/node-b:30080" in app.return_value


def test_rules_lead_to_their_chains() -> None:
    """Enter on a rule goes to the chain that it jumps to."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("colon")
        await type_text(pilot, "show rules")
        await pilot.press("enter")
        await rest(pilot)
        await pilot.press("slash")
        await type_text(pilot, "-j KUBE-SERVICES")
        await pilot.press("enter", "enter")
        assert "nat KUBE-SERVICES" in selected(app, "rows")

    play(act)


# --- untrusted names ---------------------------------------------------------------------------

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


def test_long_lists_are_numbered_not_made() -> None:
    """A rule list knows its length and any line of it without the others."""
    found = RuleList(snapshot())
    chain = next(
        i for i in range(len(found)) if "KUBE-SERVICES" in found.text(i) and found.text(i).startswith("nat")
    )
    assert found.target(chain) is None
    assert found.step(chain, -1) < chain < found.step(chain, 1)
    assert [found.text(i) for i in (chain, len(found) - 1)]


def test_native_chains_and_what_is_not_known_are_listed() -> None:
    """The rule list has native chains too, and tells of what was not read."""
    base = NftBase(type="filter", hook="input", priority=0, policy="accept")
    rule = NftRule(handle=1, expressions=(), comment="mine")
    table = NftTable(
        family="inet",
        name="fw",
        chains={
            "in": NftChain(handle=1, base=base, rules=Known((rule,))),
            "dark": NftChain(handle=2, base=None, rules=Missing(MissingKind.DENIED, "no privilege")),
        },
        sets={},
    )
    netns = Netns(name="n", node="n", nft=Known(NftRuleset(tables={"inet fw": table})))
    found = RuleList(Snapshot(namespaces={"n": netns}))
    told = [found.text(index) for index in range(len(found))]
    assert told[0] == "fw in n nft inet"
    assert 'comment "mine"' in told[1]
    assert any("dark" in text and "no privilege" in text for text in told)
    assert any("xt/nft" in text and "not known" in text for text in told)
