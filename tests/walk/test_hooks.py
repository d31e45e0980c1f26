"""The order within a hook, two back ends, native nftables chains."""

from typing import Any

import pytest

from nettrace.model.section import Missing, MissingKind, SectionKey
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.model.xt import NftBaseChain
from tests.walk.worlds import flow, one_path, router, walked

TO_SERVER = flow("client", "10.2.0.2", 80)


def native(**fields: Any) -> NftBaseChain:
    """A native base chain with rules, at forward, priority 0."""
    return NftBaseChain(
        **{
            "family": "inet",
            "table": "fw",
            "chain": "c",
            "type": "filter",
            "hook": "forward",
            "priority": 0,
            "empty": False,
            **fields,
        }
    )


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
    "chain",
    [
        native(),
        native(family="ip"),
        native(hook="prerouting", priority=-350),
        native(hook="prerouting", type="nat", priority=-100),
        native(hook="postrouting", type="nat", priority=100),
        native(family="netdev", hook="ingress", device="c"),
    ],
)
def test_a_native_chain_with_rules_is_unknown(chain: NftBaseChain) -> None:
    """A native chain on the path is named, not guessed."""
    world = router()
    world["r"].nft = [chain]
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "fw c" in path.reason


@pytest.mark.parametrize(
    "chain",
    [
        native(empty=True),
        native(hook="input"),
        native(hook="output"),
        native(family="ip6"),
        native(family="bridge"),
        native(family="netdev", hook="ingress", device="other"),
    ],
)
def test_a_native_chain_beside_the_path_does_not_matter(chain: NftBaseChain) -> None:
    """Empty chains and those of other hooks, families and devices are no reason for doubt."""
    world = router()
    world["r"].nft = [chain]
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


def test_an_empty_native_chain_drops_by_its_policy() -> None:
    """A chain without rules and with policy drop is a certain drop."""
    world = router()
    world["r"].nft = [native(empty=True, policy="drop")]
    path = one_path(world, TO_SERVER)
    assert path.verdict is Verdict.DROPPED_BY_RULE
    assert path.failing_step is not None
    assert path.failing_step.why is not None
    assert path.failing_step.why.ref == "r/nft/inet/fw/c"


def test_an_earlier_drop_is_certain() -> None:
    """What raw drops never reaches a native chain that hooks later."""
    world = router()
    world["r"].filter("-A PREROUTING -p tcp -j DROP", table="raw")
    world["r"].nft = [native(hook="prerouting", priority=-150)]
    assert one_path(world, TO_SERVER).verdict is Verdict.DROPPED_BY_RULE


def test_native_nat_sees_only_what_nobody_bound_before() -> None:
    """A native nat chain behind iptables' own is not reached once a rule bound the connection."""
    world = router()
    world["r"].nat("-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80")
    world["r"].nft = [native(hook="prerouting", type="nat", priority=-90)]
    assert one_path(world, flow("client", "10.1.0.1", 8080)).outcome is Outcome.CONNECTED
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("section", ["xt/nft", "xt/legacy", "nft", "sysctls", "routes", "links"])
def test_what_cannot_be_read_is_unknown(section: str) -> None:
    """A section that the reader was denied makes the verdict UNKNOWN with its reason."""
    denied = Missing(MissingKind.DENIED, "not root")
    snapshot = router().snapshot().with_section(SectionKey("r", section), denied)
    path = one_path(snapshot, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "not root" in path.reason
