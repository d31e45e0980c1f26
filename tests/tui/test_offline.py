"""The application on a recorded lab: no privilege, every view."""

import pytest
from textual.pilot import Pilot

from nettrace.model.nft import NftBase, NftChain, NftRule, NftRuleset, NftTable
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.tui.state_lines import KINDS, RuleList
from tests.tui.driving import (
    QUESTION,
    app_of,
    play,
    rest,
    screen,
    selected,
    snapshot,
    type_text,
    words,
)


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
