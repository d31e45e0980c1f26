"""The application on a real lab, from the first screen to the last: find, repair, prove, undo."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from textual.pilot import Pilot

from nettrace.app.endpoints import EndpointRow
from nettrace.lab import break_, heal
from nettrace.model.guide import CheckState
from nettrace.model.lab import LabRecord
from nettrace.model.object_source import ObjectSource
from nettrace.model.walk import Outcome
from nettrace.tui.app import NettraceApp
from nettrace.tui.session import Where
from tests.kernel.api_server import api_server
from tests.kernel.labs import a_lab, address_of, ask
from tests.tui.driving import app_of, play, rest, screen, selected, type_text, words

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabRecord]:
    """One lab for all tests here."""
    with a_lab("flannel-vxlan") as record:
        yield record


@pytest.fixture(autouse=True)
def _own_state(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETTRACE_STATE", f"{tmp_path}/state")


def test_a_fault_is_found_and_repaired_and_undone(lab: LabRecord) -> None:
    """From outside to node-b's port: the failing step, its finding, the repair, the proof, undo, out."""
    break_(lab, "kube-postrouting-missing", node="node-b")

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("G")
        assert "internet" in selected(app, "where")
        await pilot.press("f", "a")
        await type_text(pilot, "internet -> node/node-b:30080")
        await pilot.press("enter")
        await rest(pilot)
        assert "POSTROUTING" in selected(app, "walk")
        assert "error[kube-postrouting-missing]" in words(app, "evidence")
        await pilot.press("r")
        await rest(pilot)
        assert "undo: exact" in words(app, "repair")
        await pilot.press("A")
        await rest(pilot)
        assert "connected" in words(app, "repair")
        assert "repaired and proven" in screen(app)
        assert "undone in" in screen(app)
        await pilot.press("c")
        await rest(pilot)
        assert "confirmed" in words(app, "repair")
        await pilot.press("1")
        await rest(pilot)
        assert app.session.document is not None
        assert app.session.document.outcome == "connected"
        await pilot.press("u")
        await rest(pilot)
        assert "undone" in words(app, "repair")
        await pilot.press("1")
        await rest(pilot)
        assert app.session.document.outcome != "connected"
        await pilot.press(*["escape"] * 12, "q")

    try:
        app = play(act, where=Where(lab=lab.name))
    finally:
        heal(lab)
    assert f"nettrace trace internet node/node-b:30080 --lab {lab.name}" in (app.return_value or "")


def test_a_pod_and_a_service_are_picked_and_probed(lab: LabRecord) -> None:
    """A pod and a Service picked from the tree are walked, probed, and the kernel agrees."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        for name, key in (("client-a", "f"), ("hostnames:80", "t")):
            await pilot.press("slash")
            await type_text(pilot, name)
            await pilot.press("enter", key)
        await rest(pilot)
        assert "connected" in screen(app)
        await pilot.press("p")
        await rest(pilot)
        assert app.view == "probe"
        assert "agrees with the walk" in words(app, "seen")
        assert "PACKET" in words(app, "seen")

    play(act, where=Where(lab=lab.name))


def test_the_lab_is_broken_and_healed_by_keys(lab: LabRecord) -> None:
    """A cause chosen from the list breaks the lab, the walk shows it, and E heals."""

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("6", "slash")
        await type_text(pilot, "ip-forward-off")
        await pilot.press("enter", "enter")
        await rest(pilot)
        assert "ip_forward" in words(app, "done")
        assert "! ip-forward-off" in words(app, "labs")
        await pilot.press("E")
        await rest(pilot)
        assert "healed of ip-forward-off" in words(app, "done")
        await pilot.press("Q")
        await rest(pilot)
        assert "something is broken now" in words(app, "done")
        await pilot.press("E")
        await rest(pilot)

    try:
        play(act, where=Where(lab=lab.name))
    finally:
        heal(lab)


def test_the_guide_leads_to_the_cause_and_its_repair(lab: LabRecord) -> None:
    """D on a Service goes down the lanes to the check that fails, and r plans its repair."""
    break_(lab, "kube-postrouting-missing", node="all")

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("slash")
        await type_text(pilot, "hostnames:80")
        await pilot.press("enter", "D")
        for _ in range(600):
            await pilot.pause(0.05)
            if app.waits:
                break
        await pilot.press("escape")
        await rest(pilot)
        lanes = "\n".join(words(app, f"lane-{lane}") for lane in ("dns", "endpoints", "rules"))
        assert "passed" in lanes
        assert "PROBLEM" in lanes
        assert "kube-postrouting-missing" in words(app, "check")
        await pilot.press("r")
        await rest(pilot)
        assert app.view == "repair"
        assert "undo: exact" in words(app, "repair")
        await pilot.press("y")
        assert "nettrace repair plan kube-postrouting-missing" in screen(app)

    try:
        play(act, where=Where(lab=lab.name))
    finally:
        heal(lab)


def test_drops_are_watched_live(lab: LabRecord) -> None:
    """What a node of the lab drops appears in the view while it happens, can be frozen, and ends with it."""
    break_(lab, "ip-forward-off", node="node-b")

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("4")
        for _ in range(100):
            await pilot.pause(0.1)
            with suppress(OSError):
                await asyncio.to_thread(ask, lab, "client-b", address_of(lab, "internet"), 80)
            if "node-b" in words(app, "drops"):
                break
        assert "node-b" in words(app, "drops")
        await pilot.press("z", "z", "escape")
        assert app.view == "walk"

    try:
        play(act, where=Where(lab=lab.name))
    finally:
        heal(lab)


def test_the_endpoints_of_a_service_stand_side_by_side(lab: LabRecord) -> None:
    """API, kernel and reachable agree on a healthy lab; an endpoint without its rule shows as such."""

    def rows(app: NettraceApp) -> list[EndpointRow]:
        source = app.lines("rows").source
        found = [source.entry(index).key for index in range(len(source))]
        return [row for row in found if isinstance(row, EndpointRow)]

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        app.obey("show services")
        await rest(pilot)
        await pilot.press("slash")
        await type_text(pilot, "default/hostnames")
        await pilot.press("enter", "enter")
        await rest(pilot)
        assert len(rows(app)) == 3
        assert all(row.said == "ready" and row.share == pytest.approx(1 / 3) for row in rows(app))
        assert all(row.reached is None for row in rows(app))
        await pilot.press("p")
        await rest(pilot)
        assert all(row.reached is Outcome.CONNECTED and row.agrees for row in rows(app))
        assert "sends 1/3" in screen(app)
        break_(lab, "stale-endpoint-rule", node="all")
        await pilot.press("R")
        await rest(pilot)
        assert not all(row.agrees for row in rows(app))
        await pilot.press("escape")
        assert "default/hostnames" in selected(app, "rows")

    try:
        play(act, where=Where(lab=lab.name), size=(120, 40))
    finally:
        heal(lab)


def test_connections_are_live_filtered_and_deleted_with_consent(lab: LabRecord) -> None:
    """A connection appears by itself, the filter leaves it, and only a typed yes deletes it."""
    service = address_of(lab, "internet")

    def called() -> None:
        with suppress(OSError):
            ask(lab, "client-a", service, 80)

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        app.obey("show conntrack")
        await rest(pilot)
        await pilot.press("ampersand")
        await type_text(pilot, service)
        await pilot.press("enter")
        await rest(pilot)
        before = len(app.lines("rows").source)
        await asyncio.to_thread(called)
        for _ in range(200):
            await pilot.pause(0.1)
            if len(app.lines("rows").source) > before:
                break
        assert len(app.lines("rows").source) > before
        await pilot.press("z", "G")
        assert service in selected(app, "rows")
        gone = app.lines("rows").entry
        assert gone is not None
        await pilot.press("d")
        await rest(pilot)
        assert "conntrack -D" in words(app, "repair")
        assert "no undo" in words(app, "repair")
        await pilot.press("A")
        await type_text(pilot, "y")
        await pilot.press("enter")
        await rest(pilot)
        assert "not applied" in screen(app)
        await pilot.press("A")
        await type_text(pilot, "yes")
        await pilot.press("enter")
        await rest(pilot)
        assert app.view == "state"
        source = app.lines("rows").source
        kept = {source.text(index) for index in range(len(source))}
        netns, entry = gone.key
        assert not any(netns in text and f":{entry.original.sport} ->" in text for text in kept)
        await pilot.press("H")
        assert "connection-deleted-by-hand" in words(app, "repair")

    play(act, where=Where(lab=lab.name), size=(120, 40))


def test_the_guide_repairs_on_its_way(lab: LabRecord) -> None:
    """The flow stops at a cause and offers its repair; A applies it, the flow goes on, c keeps it."""
    break_(lab, "kube-postrouting-missing", node="all")

    async def until(pilot: Pilot[str], app: NettraceApp) -> None:
        for _ in range(600):
            await pilot.pause(0.05)
            if app.waits or not app.busy:
                return

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        await pilot.press("slash")
        await type_text(pilot, "hostnames:80")
        await pilot.press("enter", "D")
        repaired = 0
        while True:
            await until(pilot, app)
            if not app.waits:
                break
            assert "kube-postrouting-missing?" in screen(app)  # how it goes on depends on the lab's name
            assert "iptables" in words(app, "check")
            repaired += 1
            await pilot.press("A")
            await pilot.pause(0.1)
        await rest(pilot)
        assert repaired == 2
        assert len(app.session.waiting) == 2
        assert "undone in" in screen(app)
        states = [check.state for check in app.checks]
        assert CheckState.PROBLEM in states
        assert states[-1] is not CheckState.PROBLEM
        await pilot.press("u")
        await rest(pilot)
        assert "undone" in words(app, "repair")
        assert len(app.session.waiting) == 1
        await pilot.press("c")
        await rest(pilot)
        assert "confirmed" in words(app, "repair")

    try:
        play(act, where=Where(lab=lab.name))
    finally:
        heal(lab)


def test_an_offer_can_be_left(lab: LabRecord) -> None:
    """Esc leaves the offered repair alone: the flow ends at the cause, and nothing is changed."""
    break_(lab, "kube-postrouting-missing", node="all")

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        app.obey("debug svc/default/hostnames")
        for _ in range(600):
            await pilot.pause(0.05)
            if app.waits:
                break
        assert app.waits
        await pilot.press("escape")
        await rest(pilot)
        assert app.session.entry is None
        assert app.checks[-1].state is CheckState.PROBLEM

    try:
        play(act, where=Where(lab=lab.name))
    finally:
        heal(lab)


def test_what_is_missing_when_a_source_is_opened_is_said(
    lab: LabRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that does not answer: the first screen stands, and a notice says what it lacks."""
    monkeypatch.setenv("NO_PROXY", "*")
    with api_server([]) as gone:
        file = gone.kubeconfig(tmp_path / "config")

    async def act(pilot: Pilot[str]) -> None:
        app = app_of(pilot)
        [notice] = list(app._notifications)
        assert notice.severity == "warning"
        assert notice.message.startswith("no services from ")
        assert notice.message.endswith(" more")
        assert "node-a" in screen(app)
        assert app.session.take_remarks() == ()

    play(act, where=Where(lab=lab.name, objects=ObjectSource(kubeconfig=str(file))))
