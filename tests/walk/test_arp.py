"""ARP through chains of nftables: at devices, in bridges, in the family arp."""

import pytest

from nettrace.model import nft_expr as e
from nettrace.model.nft import NftBase
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome, Path
from tests.walk.native import DROP, base, one_chain
from tests.walk.worlds import TO_SERVER, flow, one_path, pod_network, router

POD_TO_POD = flow("pod1", "10.244.1.3", 9376)


def arp(operation: int) -> tuple[e.Expression, ...]:
    """``arp operation OPERATION drop``."""
    return (
        e.MetaExpr(1, "protocol"),
        e.CmpExpr(1, "eq", "0806"),
        e.PayloadExpr(1, "network", 6, 2),
        e.CmpExpr(1, "eq", f"{operation:04x}"),
        DROP,
    )


def through_router(label: str, family: str, at: NftBase, operation: int) -> Path:
    """The walk to the server, with a rule for ARP somewhere."""
    world = router()
    world[label].nft = one_chain(arp(operation), at=at, family=family)
    return one_path(world, TO_SERVER)


@pytest.mark.parametrize(
    ("label", "family", "at", "operation", "words"),
    [
        ("r", "netdev", base("ingress", devices=("c",)), 1, "the request for 10.1.0.1 is lost"),
        ("r", "netdev", base("egress", devices=("c",)), 2, "the answer of r is lost"),
        ("r", "arp", base("input"), 1, "the request for 10.1.0.1 is lost"),
        ("r", "arp", base("input"), 2, "the answer of server is lost"),
        ("server", "arp", base("output"), 2, "the answer of server is lost"),
        ("client", "netdev", base("egress", devices=("eth0",)), 1, "the request for 10.1.0.1 is lost"),
    ],
)
def test_a_rule_drops_arp(label: str, family: str, at: NftBase, operation: int, words: str) -> None:
    """Who drops the request, or the answer, leaves the asker without a neighbour, and is named."""
    path = through_router(label, family, at, operation)
    assert path.verdict is Verdict.NEIGHBOUR_FAILED
    assert path.reason.split(": ")[1:] == [words, f"rule 1 of c in {family} fw drops it"]


@pytest.mark.parametrize(
    ("label", "family", "at", "operation"),
    [
        ("r", "netdev", base("ingress", devices=("c",)), 2),
        ("r", "inet", base("ingress", devices=("c",)), 1),
        ("r", "inet", base("prerouting"), 1),
        ("client", "arp", base("input"), 1),
    ],
)
def test_a_rule_that_arp_does_not_meet(label: str, family: str, at: NftBase, operation: int) -> None:
    """The other operation, and the family inet, which ARP passes by, change nothing."""
    assert through_router(label, family, at, operation).outcome is Outcome.CONNECTED


@pytest.mark.parametrize("hook", ["prerouting", "forward", "postrouting"])
def test_a_bridge_drops_arp(hook: str) -> None:
    """A chain of the bridge family that drops everything drops ARP between its ports first."""
    world = pod_network()
    world["node"].nft = one_chain((DROP,), at=base(hook), family="bridge")
    path = one_path(world, POD_TO_POD)
    assert (path.verdict, path.outcome) == (Verdict.NEIGHBOUR_FAILED, Outcome.UNREACHABLE)
    assert "the request for 10.244.1.3 is lost: rule 1 of c in bridge fw drops it" in path.reason


def test_a_bridge_drops_what_is_for_its_host() -> None:
    """A chain of the bridge's input drops the request for the bridge's own address."""
    world = pod_network()
    world["node"].nft = one_chain(arp(1), at=base("input"), family="bridge")
    assert one_path(world, flow("pod1", "10.244.1.1", 9376)).verdict is Verdict.NEIGHBOUR_FAILED


def test_a_bridge_drops_what_its_host_sends() -> None:
    """The answer of the bridge's host passes the bridge's output."""
    world = pod_network()
    world["node"].nft = one_chain(arp(2), at=base("output"), family="bridge")
    path = one_path(world, flow("pod1", "10.244.1.1", 9376))
    assert "the answer of node is lost" in path.reason


def test_what_a_rule_cannot_tell_of_arp_is_unknown() -> None:
    """A rule for ARP whose test the snapshot does not answer leaves open whether anybody answers."""
    world = router()
    rule = (*arp(1)[:2], e.LimitExpr(rate=1, unit=1, burst=5, invert=True), DROP)
    world["r"].nft = one_chain(rule, at=base("input"), family="arp")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "whether anybody answers ARP for 10.1.0.1 is open" in path.reason
