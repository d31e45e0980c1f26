"""The order within a hook, two back ends, native nftables chains."""

import pytest
from msgspec.structs import replace

from nettrace.model import nft_expr as e
from nettrace.model.nft import NftBase
from nettrace.model.routes import PolicyRule, Route
from nettrace.model.section import Missing, MissingKind, SectionKey
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.walk.native import (
    ACCEPT,
    DROP,
    DROP_IP,
    base,
    chain,
    dnat,
    mark_is,
    mark_set,
    one_chain,
    ruleset,
    table,
    tcp_dport,
)
from tests.walk.worlds import TO_SERVER, flow, one_path, router, walked


def test_mangle_comes_before_nat_and_nat_before_filter() -> None:
    """A mark of mangle is seen by nat, the translated destination by filter."""
    world = router()
    world["r"].filter("-A PREROUTING -p tcp -j MARK --set-mark 1", table="mangle")
    world["r"].nat("-A PREROUTING -m mark --mark 1 -j DNAT --to-destination 10.2.0.2:80")
    world["r"].filter(
        "-P FORWARD DROP", "-A FORWARD -d 10.2.0.2 -j ACCEPT", "-A FORWARD -s 10.2.0.2 -j ACCEPT"
    )
    assert one_path(world, flow("client", "10.1.0.1", 8080)).outcome is Outcome.CONNECTED


def test_raw_comes_before_conntrack() -> None:
    """What raw leaves untracked is not translated."""
    world = router()
    world["r"].filter("-A PREROUTING -j CT --notrack", table="raw")
    world["r"].nat("-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80")
    path = one_path(world, flow("client", "10.1.0.1", 8080))
    assert path.verdict is Verdict.NOT_LISTENING


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_either_back_end_drops(backend: str) -> None:
    """A DROP of either back end is one, whatever the other says."""
    world = router()
    world["r"].filter("-A FORWARD -j ACCEPT", backend="legacy" if backend == "nft" else "nft")
    world["r"].filter("-A FORWARD -p tcp -j DROP", backend=backend)
    path = one_path(world, TO_SERVER)
    assert path.verdict is Verdict.DROPPED_BY_RULE
    assert path.failing_step is not None
    assert path.failing_step.backend == backend


def test_the_order_of_back_ends_matters_not_where_both_say_the_same() -> None:
    """Two back ends that both drop are a certain drop."""
    world = router()
    world["r"].filter("-A FORWARD -p tcp -j DROP", backend="legacy")
    world["r"].filter("-P FORWARD DROP")
    assert one_path(world, TO_SERVER).verdict is Verdict.DROPPED_BY_RULE


def test_the_order_of_back_ends_is_unknown_where_it_matters() -> None:
    """DROP against REJECT, and two translations: what runs first is in no dump."""
    world = router()
    world["r"].filter("-A FORWARD -p tcp -j DROP", backend="legacy")
    world["r"].filter("-A FORWARD -p tcp -j REJECT")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "first" in path.reason

    world = router()
    world["r"].nat("-A PREROUTING -p tcp -j DNAT --to-destination 10.2.0.2:80", backend="legacy")
    world["r"].nat("-A PREROUTING -p tcp -j DNAT --to-destination 10.2.0.2:81")
    assert one_path(world, flow("client", "10.1.0.1", 80)).outcome is Outcome.UNKNOWN


def test_two_back_ends_with_the_same_translation() -> None:
    """Where both would bind alike, it does not matter who does."""
    world = router()
    for backend in ("nft", "legacy"):
        world["r"].nat(
            "-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80", backend=backend
        )
    assert one_path(world, flow("client", "10.1.0.1", 8080)).outcome is Outcome.CONNECTED


def test_a_mark_of_one_back_end_that_the_other_tests() -> None:
    """One back end's mark decides the other's rule: the order matters."""
    world = router()
    world["r"].filter("-A FORWARD -j MARK --set-mark 3", table="mangle", backend="legacy")
    world["r"].filter("-A FORWARD -m mark --mark 3 -j DROP", table="mangle")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_draws_in_two_back_ends_are_made_once() -> None:
    """A draw in one of two back ends gives two branches, and the order still does not matter."""
    world = router()
    world["r"].filter("-A FORWARD -p udp -j DROP", backend="legacy")
    world["r"].filter(
        "-A FORWARD -p tcp -m tcp --tcp-flags SYN,ACK SYN "
        "-m statistic --mode random --probability 0.5 -j DROP"
    )
    answer = walked(world, TO_SERVER)
    assert [path.outcome for path in answer.paths] == [Outcome.TIMEOUT, Outcome.CONNECTED]


@pytest.mark.parametrize(
    ("family", "at"),
    [
        ("inet", base()),
        ("ip", base()),
        ("inet", base("prerouting", -350)),
        ("inet", base("prerouting", -100, type="nat")),
        ("inet", base("postrouting", 100, type="nat")),
        ("netdev", base("ingress", devices=("c",))),
        ("inet", base("ingress", devices=("x", "c"))),
        ("netdev", base("egress", devices=("s",))),
    ],
)
def test_a_native_chain_drops(family: str, at: NftBase) -> None:
    """A rule of a native chain on the path drops, and the step names it."""
    world = router()
    world["r"].nft = one_chain((), DROP_IP, at=at, family=family)
    path = one_path(world, TO_SERVER)
    assert path.verdict is Verdict.DROPPED_BY_RULE
    step = path.failing_step
    assert step is not None
    assert (step.backend, step.table, step.chain, step.rule) == ("nftables", f"{family} fw", "c", 2)
    assert step.why is not None
    assert step.why.ref == f"r/nft/{family}/fw/c/2"


@pytest.mark.parametrize(
    ("family", "at"),
    [
        ("inet", base("input")),
        ("inet", base("output")),
        ("ip6", base()),
        ("bridge", base()),
        ("netdev", base("ingress", devices=("other",))),
        ("netdev", base("egress", devices=("other",))),
    ],
)
def test_a_native_chain_beside_the_path_does_not_matter(family: str, at: NftBase) -> None:
    """Chains of other hooks, families and devices drop nothing."""
    world = router()
    world["r"].nft = one_chain((DROP,), at=at, family=family)
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


def test_a_dormant_table_drops_nothing() -> None:
    """The chains of a dormant table are hooked in nowhere."""
    world = router()
    world["r"].nft = ruleset(replace(table({"c": chain((DROP,), base=base())}), dormant=True))
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


def test_an_empty_native_chain_drops_by_its_policy() -> None:
    """A chain without rules and with policy drop is a certain drop."""
    world = router()
    world["r"].nft = one_chain(at=base(policy="drop"))
    path = one_path(world, TO_SERVER)
    assert path.verdict is Verdict.DROPPED_BY_RULE
    assert path.failing_step is not None
    assert path.failing_step.why is not None
    assert path.failing_step.why.ref == "r/nft/inet/fw/c/0"


def test_an_earlier_drop_is_certain() -> None:
    """What raw drops never reaches a native chain that hooks later."""
    world = router()
    world["r"].filter("-A PREROUTING -p tcp -j DROP", table="raw")
    world["r"].nft = one_chain((e.UnknownExpr("x"),), at=base("prerouting", -150))
    assert one_path(world, TO_SERVER).verdict is Verdict.DROPPED_BY_RULE


def test_an_unknown_expression_is_unknown() -> None:
    """An expression that nettrace does not know is named with its table, chain and rule."""
    world = router()
    world["r"].nft = one_chain((e.UnknownExpr("x"),))
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "rule 1 of c in inet fw has an expression x" in path.reason


def test_native_nat_sees_only_what_nobody_bound_before() -> None:
    """A native nat chain behind iptables' own is not reached once a rule bound the connection."""
    world = router()
    world["r"].nat("-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80")
    world["r"].nft = one_chain((DROP,), at=base("prerouting", -90, type="nat"))
    assert one_path(world, flow("client", "10.1.0.1", 8080)).outcome is Outcome.CONNECTED
    assert one_path(world, TO_SERVER).verdict is Verdict.DROPPED_BY_RULE


def test_native_nat_binds() -> None:
    """A dnat rule of a native chain binds the connection, and the answers are translated back."""
    world = router()
    world["r"].nft = one_chain(
        (*tcp_dport(8080), *dnat("10.2.0.2", 80)), at=base("prerouting", -100, type="nat")
    )
    assert one_path(world, flow("client", "10.1.0.1", 8080)).outcome is Outcome.CONNECTED


def test_accept_ends_one_base_chain_only() -> None:
    """What one base chain accepts the next one may drop; within a table the one made last is first."""
    world = router()
    world["r"].nft = ruleset(
        table({"first": chain((ACCEPT,), base=base(priority=-1)), "second": chain((DROP,), base=base())})
    )
    assert one_path(world, TO_SERVER).verdict is Verdict.DROPPED_BY_RULE
    chains = {
        "made-first": chain(mark_set(1), base=base()),
        "made-last": chain((*mark_is(1), DROP), base=base()),
    }
    world["r"].nft = ruleset(table(chains))
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED
    world["r"].nft = ruleset(table(dict(reversed(chains.items()))))
    assert one_path(world, TO_SERVER).verdict is Verdict.DROPPED_BY_RULE


def test_the_order_of_tables_is_unknown_where_it_matters() -> None:
    """Two tables at one priority: UNKNOWN only if a mark of one decides the other."""
    world = router()
    one = table({"c": chain(mark_set(1), base=base())}, name="one")
    other = table({"c": chain((*mark_is(1), DROP), base=base())}, name="other")
    world["r"].nft = ruleset(one, other)
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "c of table inet one and c of table inet other have the same priority" in path.reason
    other = table({"c": chain((*mark_is(2), DROP), base=base())}, name="other")
    world["r"].nft = ruleset(one, other)
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


def test_a_route_chain_routes_again() -> None:
    """A mark that a chain of type route sets in OUTPUT routes again; one of a filter chain does not."""
    world = router()
    world["client"].rules.insert(1, PolicyRule(priority=100, table=7, fwmark=1))
    world["client"].routes.append(Route(dst="10.2.0.0/16", table=7, type="blackhole"))
    for kind, verdict in (("filter", Verdict.DELIVERED), ("route", Verdict.BLACKHOLED)):
        world["client"].nft = one_chain(mark_set(1), at=base("output", -150, type=kind))
        assert one_path(world, TO_SERVER).verdict is verdict


@pytest.mark.parametrize("section", ["xt/nft", "xt/legacy", "nft", "sysctls", "routes", "links"])
def test_what_cannot_be_read_is_unknown(section: str) -> None:
    """A section that the reader was denied makes the verdict UNKNOWN with its reason."""
    denied = Missing(MissingKind.DENIED, "not root")
    snapshot = router().snapshot().with_section(SectionKey("r", section), denied)
    path = one_path(snapshot, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "not root" in path.reason
