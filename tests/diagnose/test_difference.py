"""Owed against found: only what was read, only what matters, the least change."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.difference import Difference, differences, route_text
from nettrace.diagnose.difference_xt import plain
from nettrace.model.change import (
    ChainSet,
    FdbAdd,
    LinkSet,
    NeighbourAdd,
    RouteAdd,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit import edit
from nettrace.model.links import FdbEntry, Link, Neighbour, PortAttrs
from nettrace.model.owed import (
    Owed,
    OwedChain,
    OwedFdb,
    OwedJump,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
    OwedSysctl,
    RuleNote,
)
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, Section
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule
from tests.diagnose.asking import owed_of
from tests.diagnose.worlds import cluster

BY: dict[str, Any] = {"netns": "n", "owner": "owner", "source": "the test"}
XT: dict[str, Any] = {**BY, "table": "nat"}


def nat(**chains: tuple[str, ...]) -> XtRuleset:
    """A rule set with these chains in table nat."""
    made: dict[str, Section[XtChain]] = {
        name: Known(XtChain(policy="ACCEPT")) for name in BUILTIN_CHAINS["nat"]
    }
    for name, texts in chains.items():
        policy = "ACCEPT" if name in made else None
        made[name] = Known(XtChain(policy=policy, rules=tuple(map(parse_rule, texts))))
    return XtRuleset({"nat": Known(XtTable(made))})


def world(**sections: Any) -> Snapshot:
    """A snapshot of one namespace in which only these sections were read."""
    known: dict[str, Any] = {
        name: value if isinstance(value, Missing) else Known(value) for name, value in sections.items()
    }
    return Snapshot(namespaces={"n": Netns(name="n", node="n", **known)})


def one(snapshot: Snapshot, *owed: Owed) -> Difference:
    """The single difference."""
    (found,) = differences(snapshot, owed)
    return found


def repaired(snapshot: Snapshot, owed: tuple[Owed, ...]) -> Snapshot:
    """The snapshot with all differences put right, which leaves none."""
    for difference in differences(snapshot, owed):
        for change in difference.restored.changes:
            snapshot = edit(snapshot, change)
    assert differences(snapshot, owed) == ()
    return snapshot


def rules(*texts: str) -> tuple[Any, ...]:
    """Rules from their texts."""
    return tuple(map(parse_rule, texts))


def test_what_a_cluster_is_owed_is_there() -> None:
    """A healthy cluster differs in nothing from what is owed, and a bare node in all of it that was read."""
    snapshot = cluster().snapshot
    assert differences(snapshot, owed_of(snapshot)) == ()
    node = snapshot.namespaces["node-a"]
    bare = snapshot.with_netns(replace(node, xt_nft=Known(XtRuleset({})), routes=NOT_READ))
    found = differences(bare, owed_of(snapshot), where={"node-a"})
    assert {type(d.owed) for d in found} == {OwedChain, OwedJump}


@pytest.mark.parametrize("section", ["routes", "neighbours", "fdb", "sysctls", "links", "xt_nft"])
def test_what_was_not_read_differs_from_nothing(section: str) -> None:
    """A section that nobody read, or that could not be read, gives no difference."""
    items: tuple[Owed, ...] = (
        OwedRoute(**BY, route=Route(dst="10.0.0.0/8")),
        OwedNeighbour(
            **BY, entry=Neighbour(device="d", address="10.0.0.1", mac="02:00:00:00:00:01", state="permanent")
        ),
        OwedFdb(**BY, entry=FdbEntry(device="d", mac="02:00:00:00:00:01", dst="10.0.0.2")),
        OwedSysctl(**BY, name="a", values=("1",)),
        OwedLink(**BY, device="d", attribute="up", value="on"),
        OwedChain(**XT, chain="C", rules=()),
        OwedRule(**XT, chain="POSTROUTING", rule=parse_rule("-j MASQUERADE")),
    )
    for missing in (NOT_READ, Missing(MissingKind.DENIED, "no")):
        assert differences(world(**{section: missing}), items) == ()
    chain_unread = world(xt_nft=XtRuleset({"nat": Known(XtTable({"C": NOT_READ, "POSTROUTING": NOT_READ}))}))
    assert differences(chain_unread, items) == ()


# --- rules -----------------------------------------------------------------------------


def test_rules_are_compared_by_what_they_do() -> None:
    """Comments, accounting, the order of matches and how a port is drawn make no difference."""
    for text, other in (
        ("-j MASQUERADE --random-fully", '-m comment --comment "x" -j MASQUERADE'),
        (
            "-m addrtype --dst-type LOCAL -m mark --mark 0x1 -j ACCEPT",
            "-m mark --mark 0x1 -m addrtype --dst-type LOCAL -j ACCEPT",
        ),
        ("-j SNAT --to-source 10.0.0.1 --random", "-j SNAT --to-source 10.0.0.1"),
    ):
        assert plain(parse_rule(text)) == plain(parse_rule(other))
    assert plain(parse_rule("-j ACCEPT")) != plain(parse_rule("-j DROP"))


@pytest.mark.parametrize(
    ("have", "want", "change"),
    [
        (("-j RETURN", "-j ACCEPT"), ("-j RETURN", "-j ACCEPT"), None),
        (("-j ACCEPT",), ("-j RETURN", "-j ACCEPT"), ("insert", 1)),
        (("-j RETURN",), ("-j RETURN", "-j ACCEPT"), ("insert", 2)),
        ((), ("-j RETURN",), ("insert", 1)),
        (("-j RETURN", "-j DROP"), ("-j RETURN", "-j ACCEPT"), ("replace", 2)),
        (("-j DROP", "-j DROP"), ("-j RETURN", "-j ACCEPT"), ("set", 0)),
        ((), ("-j RETURN", "-j ACCEPT"), ("set", 0)),
        (("-j RETURN", "-j ACCEPT", "-j DROP"), ("-j RETURN", "-j ACCEPT"), ("set", 0)),
        (("-j RETURN",), (), ("set", 0)),
    ],
)
def test_a_chain_is_restored_by_the_least_change(
    have: tuple[str, ...], want: tuple[str, ...], change: tuple[str, int] | None
) -> None:
    """One rule put in, one replaced, or the chain written anew."""
    snapshot = world(xt_nft=nat(C=have))
    owed = OwedChain(**XT, chain="C", rules=rules(*want))
    if change is None:
        assert differences(snapshot, [owed]) == ()
        return
    (made,) = one(snapshot, owed).restored.changes
    kind, position = change
    assert type(made) is {"insert": RuleInsert, "replace": RuleReplace, "set": ChainSet}[kind]
    assert getattr(made, "position", 0) == position
    repaired(snapshot, (owed,))


def test_a_chain_that_is_gone_comes_back_with_those_it_leads_to() -> None:
    """Chains are made leaves first, each once, and one that nobody owes cannot be made."""
    owed: tuple[Owed, ...] = (
        OwedJump(**XT, chain="PREROUTING", rule=parse_rule("-j TOP"), first=True),
        OwedChain(**XT, chain="TOP", rules=rules("-j LEFT", "-j RIGHT", "-j TOP")),
        OwedChain(**XT, chain="LEFT", rules=rules("-j LEAF")),
        OwedChain(**XT, chain="RIGHT", rules=rules("-j LEAF", "-j FOREIGN")),
        OwedChain(**XT, chain="LEAF", rules=()),
    )
    jump = differences(world(xt_nft=nat()), owed)[0]
    names = [change.chain for change in jump.restored.changes if isinstance(change, ChainSet)]
    assert names == ["LEAF", "LEFT", "RIGHT", "TOP"]
    assert jump.restored.found == "PREROUTING has no jump to TOP, and no rules at all"
    absent = one(world(xt_nft=nat()), owed[4])
    assert (absent.restored.found, absent.restored.owed) == (
        "table nat has no chain LEAF",
        "chain LEAF without rules",
    )


def dispatch(*texts: str, last: str = "-j LAST") -> OwedChain:
    """A dispatch chain with a note a rule, the last one its own."""
    made = rules(*texts, last)
    notes = tuple(
        RuleNote(source=f"s{n}", about=f"about {n}", subject=f"svc/a/{n}") for n in range(len(texts))
    )
    return OwedChain(
        **XT, chain="D", rules=made, ordered=False, last=made[-1:], notes=(*notes, RuleNote(source="frame"))
    )


def test_a_dispatch_chain_is_compared_as_a_set() -> None:
    """Each missing rule is a difference of its own, with its owner's words, put before the last rules."""
    owed = dispatch("-d 10.0.0.1/32 -j ACCEPT", "-d 10.0.0.2/32 -j ACCEPT", last="-j RETURN")
    there = world(xt_nft=nat(D=("-d 10.0.0.9/32 -j DROP", "-j RETURN", "-d 10.0.0.2/32 -j ACCEPT")))
    found = one(there, owed)
    (change,) = found.restored.changes
    assert isinstance(change, RuleInsert)
    assert (change.position, found.subject, found.about, found.source) == (2, "svc/a/0", "about 0", "s0")
    assert differences(there, [owed], subjects={"svc/a/1"}) == ()
    assert len(differences(there, [owed], subjects={"svc/a/0"})) == 1
    (last,) = differences(
        world(xt_nft=nat(D=("-d 10.0.0.1/32 -j ACCEPT", "-d 10.0.0.2/32 -j ACCEPT"))), [owed]
    )
    (change,) = last.restored.changes
    assert isinstance(change, RuleInsert)
    assert (change.position, last.subject, last.about, last.source) == (3, "", "", "frame")
    repaired(world(xt_nft=nat(D=())), (owed,))


def test_twice_owed_is_twice_needed() -> None:
    """A rule that is owed twice and stands there once is missing once."""
    owed = OwedChain(**XT, chain="D", rules=rules("-j RETURN", "-j RETURN"), ordered=False)
    assert len(differences(world(xt_nft=nat(D=("-j RETURN",))), [owed])) == 1


@pytest.mark.parametrize(
    ("there", "first", "position"),
    [
        (("-j ACCEPT",), False, 2),
        (("-j ACCEPT",), True, 1),
        (("-j A", "-j ACCEPT"), True, 2),
        (("-j ACCEPT", "-j C"), True, 2),
        ((), False, 1),
    ],
)
def test_a_missing_rule_goes_where_its_owner_would_have_it(
    there: tuple[str, ...], first: bool, position: int
) -> None:
    """After the owner's rule before it, else before the one after it, else first or last."""
    chains = {"A": ("-j RETURN",), "B": ("-j RETURN",), "C": ("-j RETURN",)}
    owed: list[Owed] = [OwedChain(**XT, chain=name, rules=rules(*texts)) for name, texts in chains.items()]
    owed += [
        OwedJump(**XT, chain="POSTROUTING", rule=parse_rule(f"-j {name}"), first=first) for name in "ABC"
    ]
    snapshot = world(xt_nft=nat(POSTROUTING=there, **chains))
    found = [d for d in differences(snapshot, owed) if getattr(d.owed, "rule", None) == parse_rule("-j B")]
    (change,) = found[0].restored.changes
    assert isinstance(change, RuleInsert)
    assert change.position == position


def test_a_rule_is_there_wherever_it_stands() -> None:
    """Owners look for their rule, not for its place: one behind others is no difference."""
    owed = OwedJump(**XT, chain="POSTROUTING", rule=parse_rule("-j ACCEPT"), first=True)
    assert differences(world(xt_nft=nat(POSTROUTING=("-j RETURN", "-j ACCEPT"))), [owed]) == ()


def test_a_rule_of_a_chain_that_is_gone_makes_it() -> None:
    """A rule of a user-defined chain that nobody owes as a whole comes with the empty chain."""
    owed = OwedRule(**XT, chain="DOCKER", rule=parse_rule("-j RETURN"))
    changes = one(world(xt_nft=nat()), owed).restored.changes
    assert [type(change) for change in changes] == [ChainSet, RuleInsert]
    repaired(world(xt_nft=nat()), (owed,))
    built_in = OwedRule(**XT, chain="POSTROUTING", rule=parse_rule("-j ACCEPT"))
    repaired(world(xt_nft=XtRuleset({})), (built_in,))


def test_the_back_end_is_the_one_with_the_owners_chains() -> None:
    """An owner writes where most of its chains are; else where the table is; iptables-nft first."""
    owed: tuple[Owed, ...] = (
        OwedChain(**XT, chain="MINE", rules=rules("-j RETURN")),
        OwedChain(**XT, chain="ALSO", rules=rules("-j RETURN")),
        OwedRule(**{**XT, "owner": "other"}, chain="POSTROUTING", rule=parse_rule("-j ACCEPT")),
        OwedRule(**{**XT, "table": "filter"}, chain="FORWARD", rule=parse_rule("-j ACCEPT")),
    )

    def backends(**sets: Any) -> set[str]:
        return {d.restored.backend for d in differences(world(**sets), owed[:2])}

    assert backends(xt_nft=nat(), xt_legacy=nat(MINE=("-j RETURN",))) == {"legacy"}
    assert backends(xt_nft=nat(MINE=("-j RETURN",)), xt_legacy=nat()) == {"nft"}
    assert backends(xt_nft=XtRuleset({}), xt_legacy=nat()) == {"legacy"}
    assert backends(xt_nft=nat(), xt_legacy=nat()) == {"nft"}
    assert backends(xt_nft=NOT_READ, xt_legacy=XtRuleset({})) == {"legacy"}


# --- everything else -------------------------------------------------------------------


def test_routes() -> None:
    """A route that is gone or leads elsewhere is put back, in the place of the one of its key."""
    hop = NextHop(device="flannel.1", via="10.244.2.0", onlink=True)
    owed = OwedRoute(**BY, route=Route(dst="10.244.2.0/24", nexthops=(hop,)))
    links = (Link(index=1, name="flannel.1", kind="vxlan"), Link(index=2, name="eth0", kind="veth"))
    gone = one(world(routes=(), links=links), owed)
    assert gone.restored.found == "no route to 10.244.2.0/24"
    assert gone.restored.owed == "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"
    other = Route(dst="10.244.2.0/24", nexthops=(NextHop(device="eth0", via="172.18.0.12"),))
    wrong = one(world(routes=(other,), links=links), owed)
    assert wrong.restored.changes == (RouteAdd(netns="n", route=owed.route, replaces=other),)
    assert not wrong.restored.absent
    aside = one(world(routes=(replace(other, metric=5),), links=links), owed)
    assert aside.restored.changes == (RouteAdd(netns="n", route=owed.route),)
    same = replace(owed.route, nexthops=(replace(hop, onlink=False),), protocol="static")
    assert differences(world(routes=(same,)), [owed]) == ()
    repaired(world(routes=(other,), links=links), (owed,))
    several = Route(dst="10.0.0.0/8", type="blackhole", nexthops=(NextHop(device="a"), NextHop(device="b")))
    assert route_text(several) == "blackhole 10.0.0.0/8 nexthop dev a nexthop dev b"


def test_neighbours() -> None:
    """A neighbour with another MAC, or that failed, is as good as none."""
    entry = Neighbour(device="d", address="10.0.0.1", mac="02:00:00:00:00:01", state="permanent")
    owed = OwedNeighbour(**BY, entry=entry)
    links = (Link(index=1, name="d", kind="vxlan"),)
    gone = one(world(neighbours=(), links=links), owed)
    assert gone.restored.found == "no neighbour 10.0.0.1 dev d"
    assert gone.restored.changes == (NeighbourAdd(netns="n", entry=entry),)
    for old in (replace(entry, mac="02:00:00:00:00:02"), replace(entry, mac=None, state="failed")):
        found = one(world(neighbours=(old,), links=links), owed)
        assert "lladdr" in found.restored.found
        repaired(world(neighbours=(old,), links=links), (owed,))
    assert differences(world(neighbours=(replace(entry, state="reachable"),)), [owed]) == ()


def test_forwarding_entries() -> None:
    """An entry that leads to another address is one that is wrong."""
    entry = FdbEntry(device="d", mac="02:00:00:00:00:01", dst="10.0.0.2", permanent=True)
    owed = OwedFdb(**BY, entry=entry)
    assert one(world(fdb=()), owed).restored.found == "no entry 02:00:00:00:00:01 dev d"
    wrong = one(world(fdb=(replace(entry, dst="10.0.0.3"),)), owed)
    assert wrong.restored.found == "02:00:00:00:00:01 dev d dst 10.0.0.3"
    assert wrong.restored.changes == (FdbAdd(netns="n", entry=entry),)
    assert differences(world(fdb=(replace(entry, permanent=False),)), [owed]) == ()


def test_sysctls() -> None:
    """Any of the values will do; a name that the kernel does not have cannot be set."""
    owed = OwedSysctl(**BY, name="net.a", values=("1", "2"))
    assert differences(world(sysctls={"net.a": "2"}), [owed]) == ()
    found = one(world(sysctls={"net.a": "0"}), owed)
    assert found.restored.changes == (SysctlSet(netns="n", name="net.a", value="1"),)
    assert (found.restored.found, found.restored.owed) == ("net.a = 0", "net.a = 1 or 2")
    absent = one(world(sysctls={}), owed)
    assert (absent.restored.changes, absent.restored.found) == ((), "this kernel has no net.a here")


def test_devices() -> None:
    """An attribute of a device or of its bridge port is set; what is not there cannot be."""
    port = Link(index=1, name="d", kind="veth", mtu=1400, port=PortAttrs(hairpin=False))
    for attribute, value, found in (
        ("hairpin", "on", "d hairpin off"),
        ("mtu", "1500", "d mtu 1400"),
        ("up", "off", "d up on"),
    ):
        owed = OwedLink(**BY, device="d", attribute=attribute, value=value)
        difference = one(world(links=(port,)), owed)
        assert difference.restored.found == found
        (change,) = difference.restored.changes
        assert change == LinkSet(netns="n", device="d", attribute=attribute, value=value)
    hairpin = OwedLink(**BY, device="d", attribute="hairpin", value="on")
    assert differences(world(links=(replace(port, port=PortAttrs(hairpin=True)),)), [hairpin]) == ()
    plain_device = one(world(links=(replace(port, port=None),)), hairpin)
    assert (plain_device.restored.found, plain_device.restored.changes) == ("d is no bridge port", ())
    assert one(world(links=()), hairpin).restored.found == "no device d"
