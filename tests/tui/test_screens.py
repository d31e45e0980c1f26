"""
The screens, as pictures: docs/screens has them, and the documentation shows them.

NETTRACE_SCREENS=1 writes them anew; then they are to be looked at.
"""

import gzip
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from nettrace.app.remember import Question
from nettrace.model.dropped import DropSeen, Predicted
from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Step, Verdict, Why
from nettrace.render.contract import WalkDocument
from tests.tui.driving import QUESTION, ROOT, app_of, picture, play, rest

SCREENS = ROOT / "docs/screens"

DROP = DropSeen(
    time=1_700_000_000.25,
    netns="node-b",
    node="node-b",
    device="cni0",
    iif="eth0",
    sent=False,
    reason="NETFILTER_DROP",
    function="nf_hook_slow",
    packet=Packet(
        src="192.168.99.10",
        dst="10.244.2.11",
        proto="tcp",
        sport=PortRange(4242, 4242),
        dport=PortRange(9376, 9376),
        tcp_flags=frozenset({"SYN"}),
    ),
    predicted=Predicted(
        verdict=Verdict.DROPPED_BY_RULE,
        fits=True,
        step=Step(
            node="node-b",
            netns="node-b",
            stage=Stage.HOOK,
            verdict="DROP",
            hook="forward",
            backend="nft",
            table="filter",
            chain="FORWARD",
            rule=2,
            why=Why("node-b/xt/nft/filter/FORWARD/2", "-A FORWARD -j DROP"),
            stops=True,
        ),
    ),
)


async def walk(pilot: Pilot[str]) -> None:
    """The failing step; on a wide screen with the wiring."""
    if app_of(pilot).size.width > 100:
        await pilot.press("v")


async def plan(pilot: Pilot[str]) -> None:
    """The repair of its finding."""
    await pilot.press("r")


async def rules(pilot: Pilot[str]) -> None:
    """The chains."""
    app_of(pilot).obey("show rules")


async def endpoints(pilot: Pilot[str]) -> None:
    """The endpoints of a Service: API, kernel, reached."""
    app_of(pilot).obey("service kube-system/kube-dns")


async def debug(pilot: Pilot[str]) -> None:
    """The guided flow."""
    app_of(pilot).obey("debug svc/default/hostnames")


async def watch(pilot: Pilot[str]) -> None:
    """A drop, and one that is alike."""
    app = app_of(pilot)
    app.go("watch")
    app.dropped("watching 10 namespaces of lab shop")
    app.dropped(DROP)
    app.dropped(msgspec.structs.replace(DROP, time=DROP.time + 3, count=7, repeated=True))


async def probe(pilot: Pilot[str]) -> None:
    """What a probe saw."""
    app = app_of(pilot)
    data = gzip.decompress((ROOT / "fixtures/probed-walk/walk.json.gz").read_bytes())
    app.session.document = msgspec.json.decode(data, type=WalkDocument)
    app.session.question = Question(source=QUESTION[0], target=QUESTION[1])
    app.go("probe")
    app.show_probe()


async def lab(pilot: Pilot[str]) -> None:
    """What can be built."""
    await pilot.press("6", "j")


async def settled(pilot: Pilot[str]) -> str:
    """Return the screen once it stays as it is: on a busy machine the last of it comes late."""
    before = ""
    while (now := picture(app_of(pilot))) != before:
        before = now
        await pilot.pause(0.15)
    return now


#: In this order, one after the other in one sitting.
VIEWS: tuple[Callable[[Pilot[str]], Awaitable[None]], ...] = (
    walk, plan, rules, endpoints, debug, watch, lab, probe,
)  # fmt: skip


@pytest.mark.parametrize("plain", [False, True], ids=["colour", "plain"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_the_screens_are_the_pictures(
    size: tuple[int, int], plain: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every view of the recorded lab is drawn as it was when somebody last looked at it."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr("nettrace.lab.store.LAB_ROOT", str(tmp_path / "labs"))
    # What can be built grows with every plugin; the picture need not.
    monkeypatch.setattr("nettrace.tui.labs.topologies", lambda: ("calico-bgp", "docker", "flannel-vxlan"))
    monkeypatch.setenv("NETTRACE_STATE", str(tmp_path / "state"))
    time.tzset()
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    drawn: dict[str, str] = {}

    async def act(pilot: Pilot[str]) -> None:
        for view in VIEWS:
            await view(pilot)
            await rest(pilot)
            drawn[view.__name__] = await settled(pilot)

    play(act, size=size, question=QUESTION, ascii_only=plain)
    monkeypatch.undo()
    time.tzset()
    differ = []
    for name, svg in drawn.items():
        path = SCREENS / f"{name}-{size[0]}x{size[1]}{'-plain' if plain else ''}.svg"
        if os.environ.get("NETTRACE_SCREENS"):
            path.write_text(svg)
        if not path.exists() or svg != path.read_text():
            differ.append(path.name)
        assert "http" not in svg.replace("http://www.w3.org", "").replace("https://www.textualize.io", "")
    assert not differ
    assert len(drawn) == len(VIEWS)
