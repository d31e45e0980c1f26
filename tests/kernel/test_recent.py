"""-m recent against the kernel: what the lists hold, how old it is, and what rules make of it."""

import os
import time
from collections import Counter

import pytest

from nettrace.collect.netns import in_netns
from nettrace.collect.recent import read_recent
from nettrace.model.change import RecentAdd, RecentDelete
from nettrace.model.recent import RecentEntry
from nettrace.model.step import Stage
from nettrace.model.undo import undo_of
from nettrace.model.walk import Outcome
from nettrace.parse.iptables import parse_save
from tests.kernel.bed import Bed
from tests.kernel.changing import Node
from tests.kernel.test_walk_matches import counted, dump
from tests.kernel.walkbed import TOPOLOGIES, Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

CLIENT, SERVER = "10.1.0.2", "10.2.0.2"
#: List -> what is put into it, and how its rule asks.
LISTS = {
    "plain": ((CLIENT,), "--rcheck"),
    "other": (("10.1.0.9",), "--rcheck"),
    "empty": ((), "--rcheck"),
    "turned": ((CLIENT,), "! --rcheck"),
    "turnedempty": ((), "! --rcheck"),
    "young": ((CLIENT,), "--rcheck --seconds 60 --reap"),
    "old": ((CLIENT,), "--rcheck --seconds 1"),
    "oldturned": ((CLIENT,), "! --update --seconds 1"),
    "often": ((CLIENT,) * 3, "--rcheck --hitcount 3"),
    "seldom": ((CLIENT,) * 3, "--update --seconds 60 --hitcount 4"),
    "ttl": ((CLIENT,), "--rcheck --rttl"),
    "gone": ((CLIENT,), "--remove"),
    "nothing": ((), "--remove"),
    "server": ((SERVER,), "--rcheck --rdest"),
    "net": (("10.1.0.0",), "--rcheck --mask 255.255.255.0"),
    "set": ((), "--set"),
}


def put(space: object, name: str, *addresses: str) -> None:
    """Put addresses into a list, in one namespace."""
    for address in addresses:
        space.run("tee", f"/proc/net/xt_recent/{name}", stdin=f"+{address}\n")  # type: ignore[attr-defined]


@pytest.fixture
def net(net: Net) -> Net:
    """A client, a router, a server."""
    TOPOLOGIES["router"](net)
    return net


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_each_way_of_asking(net: Net, backend: str) -> None:
    """One exchange goes by a rule for each list, and the counters are what the walk says."""
    space = net["r"]
    rules = [f"-m recent --name {name} {words}" for name, (_, words) in LISTS.items()]
    rules += ["-m recent --name set --rcheck", "-m recent --name gone --rcheck"]
    space.run(f"iptables-{backend}-restore", stdin=dump("mangle", "FORWARD", rules))
    for name, (addresses, _) in LISTS.items():
        put(space, name, *addresses)
    time.sleep(2.5)
    flow = net.flow("client", SERVER, 7, "udp")
    walk = net.walked(flow)
    assert walk.outcome is Outcome.CONNECTED
    observed = net.tried(flow, timeout=3)
    assert [one.outcome for one in observed.attempts] == [Outcome.CONNECTED]
    real = counted(parse_save(space.run(f"iptables-{backend}-save", "-c")), "mangle", "FORWARD")
    steps = [s for leg in walk.paths[0].legs for s in leg.steps if s.stage is Stage.HOOK and s.netns == "r"]
    assert not [s for s in steps if "if it matches" in s.note]
    said = Counter(s.rule for s in steps if s.table == "mangle" and s.chain == "FORWARD" and s.rule)
    assert {rules[n - 1]: said[n] for n in real} == {rules[n - 1]: found for n, found in real.items()}
    assert 5 < sum(bool(found) for found in real.values()) < len(rules) - 3


def test_what_is_read(net: Net) -> None:
    """Addresses, how often and how long ago, within the second; a namespace without such rules has none."""
    space = net["r"]
    assert in_netns(space.path, read_recent) == ()
    for family, name in (("", "one"), ("6", "two")):
        space.run(f"ip{family}tables", "-A", "FORWARD", "-m", "recent", "--name", name, "--rcheck")
    put(space, "one", CLIENT)
    time.sleep(1.5)
    put(space, "one", CLIENT, SERVER)
    put(space, "two", "fd00::5")
    lists = {one.name: {e.address: e for e in one.entries} for one in in_netns(space.path, read_recent)}
    assert set(lists["one"]) == {CLIENT, SERVER}
    assert set(lists["two"]) == {"fd00::5"}
    older, newer = sorted(lists["one"][CLIENT].ages, reverse=True)
    assert 1.4 < older - newer < 2.5
    assert all(entry.last_seen < 1 for entry in (*lists["one"].values(), *lists["two"].values()))


def test_a_list_forgets_and_is_told_again(netns: Bed) -> None:
    """The commands take effect, and the undo puts the address back."""
    node = Node(netns)
    node.space.run("iptables", "-A", "FORWARD", "-m", "recent", "--name", "L", "--rcheck")
    put(node.space, "L", CLIENT, SERVER)
    change = RecentDelete(netns=node.name, name="L", address=CLIENT)
    undo = undo_of(node.read(), change)
    node.apply(change)
    assert addresses(node) == {SERVER}
    assert undo.changes == (RecentAdd(netns=node.name, name="L", address=CLIENT),)  # type: ignore[union-attr]
    node.apply(undo.changes[0])  # type: ignore[union-attr]
    assert addresses(node) == {CLIENT, SERVER}


def addresses(node: Node) -> set[str]:
    """What the one list holds."""
    entries: tuple[RecentEntry, ...] = node.section("recent")[0].entries
    return {entry.address for entry in entries}
