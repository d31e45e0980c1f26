"""Plans into real namespaces and back, killed at every step."""

import os
import signal
from typing import Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from nettrace.apply.repair import apply_plan, roll_back
from nettrace.apply.tool import Refused
from nettrace.journal import Journal
from nettrace.model.change import (
    ChainSet,
    Exact,
    LinkSet,
    NeighbourDelete,
    PolicySet,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.errors import UserError
from nettrace.model.plan import PlannedChange
from nettrace.model.routes import NextHop, Route
from nettrace.model.snapshot import Snapshot
from nettrace.render.command import command
from tests.kernel.bed import Bed, eventually
from tests.kernel.changing import DNAT, DROP, JUMP, Node
from tests.kernel.repairs import STATIC, everything, handles, in_child, killer, one_write, plan_of


def test_a_refused_change_takes_those_before_it_back(node: Node, journal: Journal) -> None:
    """If one change is refused, nothing of the plan stays, and what was there already is not touched."""
    before = node.read()
    route = Route(dst="10.60.0.0/16", nexthops=(NextHop(device="br0", via="10.1.0.2"),))
    plan = plan_of(
        before,
        SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1"),
        RouteAdd(netns=node.name, route=route),
    )
    node.space.ip("route add 10.60.0.0/16 via 10.1.0.2")  # somebody was quicker
    now = node.read()
    with pytest.raises(Refused, match="File exists"):
        apply_plan(plan, handles(plan), journal)
    assert node.differs(now) == []
    entry = journal.find(plan.id)
    assert entry.state == "rolled-back"
    assert "File exists" in entry.note


def test_somebody_else_changed_the_chain(node: Node, journal: Journal) -> None:
    """If others changed the chain meanwhile, our rule is taken back and theirs stay."""
    before = node.read()
    place: dict[str, Any] = {"netns": node.name, "backend": "nft", "table": "filter", "chain": "FORWARD"}
    plan = plan_of(
        before,
        RuleInsert(**place, position=2, rule=DNAT_FILTER),
        RuleDelete(**place, position=5, rule=DROP),
        RuleReplace(**place, position=3, old=DROP, rule=JUMP),
    )
    entry = apply_plan(plan, handles(plan), journal)
    node.space.run("iptables-nft", "-I", "FORWARD", "1", "-s", "192.0.2.1", "-j", "ACCEPT")
    entry = roll_back(entry, journal)
    assert entry.state == "undone"
    assert "somebody else changed chain FORWARD" in entry.note
    rules = node.space.run("iptables-nft", "-S", "FORWARD").splitlines()[1:]
    assert rules == [
        "-A FORWARD -s 192.0.2.1/32 -j ACCEPT",
        "-A FORWARD -j USED",
        "-A FORWARD -s 10.9.0.0/16 -j DROP",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -s 10.9.0.0/16 -j DROP",
    ]


DNAT_FILTER = replace(DNAT, target=DROP.target)


def test_a_policy_in_two_namespaces(node: Node, journal: Journal) -> None:
    """A plan may change several namespaces; each is restored."""
    before = node.read()
    plan = plan_of(
        before,
        PolicySet(netns=node.name, backend="nft", table="filter", chain="FORWARD", policy="DROP"),
        SysctlSet(netns=node.pod.name, name="net.ipv4.conf.eth0.rp_filter", value="1"),
        RouteDelete(netns=node.name, route=STATIC),
    )
    entry = apply_plan(plan, handles(plan), journal)
    assert node.differs(before) != []
    roll_back(entry, journal)
    assert node.differs(before) == []
    with pytest.raises(UserError, match="undone already"):
        roll_back(entry, journal)


def test_what_is_gone_needs_no_way_back(netns: Bed, node: Node, journal: Journal) -> None:
    """State that went with its device or its namespace is said to be gone, and the rest is restored."""
    plan = plan_of(
        node.read(),
        SysctlSet(netns=node.name, name="net.ipv4.conf.v1.rp_filter", value="1"),
        LinkSet(netns=node.name, device="v1", attribute="mtu", value="1400"),
        SysctlSet(netns=node.pod.name, name="net.ipv4.ip_forward", value="1"),
        SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1"),
    )
    entry = apply_plan(plan, handles(plan), journal)
    netns.delete(node.pod)
    eventually(lambda: "v1" not in node.space.ip("link show"))
    entry = roll_back(entry, journal)
    assert entry.state == "undone"
    assert f"namespace {node.pod.name} is gone" in entry.note
    assert "device v1 is gone" in entry.note
    assert node.space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


def test_another_namespace_of_the_same_name_is_not_touched(netns: Bed, journal: Journal) -> None:
    """A namespace that took the name of one that was changed is left alone."""
    space = netns.new()
    changed = SysctlSet(netns=space.name, name="net.ipv4.ip_forward", value="1")
    planned = PlannedChange(
        node="n",
        netns=space.name,
        change=changed,
        command=command(changed),
        undo=Exact((replace(changed, value="0"),)),
    )
    plan = replace(plan_of(Snapshot()), changes=(planned,))
    entry = apply_plan(plan, handles(plan), journal)
    keep = os.open(space.path, os.O_RDONLY)  # the old one lives on, so that its inode is not used again
    try:
        netns.delete(space)
        again = netns.new()
        assert again.path == space.path
        again.sysctl("net.ipv4.ip_forward", 1)
        entry = roll_back(entry, journal)
    finally:
        os.close(keep)
    assert "gone" in entry.note
    assert again.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"


def test_what_has_no_undo_is_said(node: Node, journal: Journal) -> None:
    """A change without an undo stays, and the journal says so."""
    node.space.ip("neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev br0 nud stale")
    entry = next(n for n in node.section("neighbours") if n.address == "10.1.0.2")
    plan = plan_of(node.read(), NeighbourDelete(netns=node.name, entry=entry))
    done = roll_back(apply_plan(plan, handles(plan), journal), journal)
    assert "not taken back: ip neigh del 10.1.0.2" in done.note


def test_one_at_a_time(netns: Bed, journal: Journal) -> None:
    """While one nettrace repairs, another is refused with the process that does."""
    space = netns.new()
    plan = one_write(space.name)
    with journal.lock(), pytest.raises(UserError, match=f"process {os.getpid()}") as refused:
        Journal(journal.directory).lock(wait=0).__enter__()
    assert "wait" in refused.value.hint
    with journal.lock():
        assert journal.recover() == []
    apply_plan(plan, handles(plan), journal)


def test_nothing_new_before_the_old_is_settled(netns: Bed, journal: Journal) -> None:
    """A repair is refused while another one lies half done in the journal."""
    space = netns.new()
    plan = one_write(space.name)
    assert in_child(lambda: apply_plan(plan, handles(plan), journal, on_step=killer(1))) == signal.SIGKILL
    with pytest.raises(UserError, match="left in the middle") as refused:
        apply_plan(plan, handles(plan), journal)
    assert "repair undo 0badcafe" in refused.value.hint


def test_a_rollback_that_fails_can_be_tried_again(node: Node, journal: Journal) -> None:
    """What cannot be taken back is kept as failed, the rest is restored, and a second try finishes."""
    before = node.read()
    place: dict[str, Any] = {"netns": node.name, "backend": "nft", "table": "filter"}
    plan = plan_of(
        before,
        SysctlSet(netns=node.name, name="net.ipv4.ip_forward", value="1"),
        ChainSet(**place, chain="NEW", rules=(DROP,)),
    )
    entry = apply_plan(plan, handles(plan), journal)
    node.space.run("iptables-nft", "-A", "INPUT", "-j", "NEW")  # now it cannot be deleted
    with pytest.raises(UserError, match="could not be taken back whole") as refused:
        roll_back(entry, journal)
    assert "repair undo 0badcafe" in refused.value.hint
    failed = journal.find(plan.id)
    assert failed.state == "failed"
    assert node.section("sysctls")["net.ipv4.ip_forward"] == "0"
    node.space.run("iptables-nft", "-D", "INPUT", "-j", "NEW")
    assert roll_back(failed, journal).state == "rolled-back"
    assert node.differs(before) == []


def test_a_full_disk_does_not_keep_the_node_changed(
    node: Node, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the journal cannot be written any more, what was done is taken back all the same."""
    before = node.read()
    plan = plan_of(before, *everything(node))
    full = UserError("cannot write the journal: no space left on device")

    def fill(step: str) -> None:
        if step == "applied 6":
            monkeypatch.setattr("nettrace.journal.book.write_entry", Mock(side_effect=full))

    with pytest.raises(UserError, match="no space left"):
        apply_plan(plan, handles(plan), journal, on_step=fill)
    assert node.differs(before) == []
    monkeypatch.undo()
    (left,) = journal.recover()  # its file still says so; taking back again does no harm
    roll_back(left, journal)
    assert node.differs(before) == []
