"""session-affinity-stuck: a client that is remembered for an endpoint which is none any more."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.change import ChainSet, RecentDelete, RuleInsert
from nettrace.model.finding import Safety
from nettrace.model.packet import Packet
from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.section import Known
from nettrace.model.step import Stage, Step, Why
from nettrace.model.walk import Outcome
from nettrace.parse.iptables import parse_rule
from tests.diagnose.asking import candidates, context, diagnosed, walked
from tests.diagnose.guided import with_section
from tests.diagnose.worlds import World, cluster

CLIENT, SERVICE = "pod/client-near", "svc/hostnames"
CHAIN, GONE = "KUBE-SEP-GONEGONEGONEGONE", "10.244.1.253"
NAT: dict[str, Any] = {"netns": "node-a", "backend": "nft", "table": "nat"}
HELD = f"-m recent --rcheck --seconds 10800 --reap --name {CHAIN} --mask 255.255.255.255 --rsource"


def client_address(world: World) -> str:
    """The address of the client."""
    held = world.snapshot.namespaces["client-near"].addresses
    assert isinstance(held, Known)
    return next(one.address for one in held.value if one.device == "eth0")


def stuck(*ages: float, chain: str = CHAIN, words: str = HELD, address: str = "") -> World:
    """The cluster with a rule of affinity for an endpoint that is gone; when the client was seen for it."""
    world = cluster()
    service = next(
        rule.target.chain
        for rule in world.rules_of("node-a", "KUBE-SERVICES")
        if rule.dst is not None and "hostnames" in str(rule.matches)
    )
    world = world.edited(
        ChainSet(
            **NAT,
            chain=chain,
            rules=(parse_rule(f"-p tcp -m tcp -j DNAT --to-destination {GONE}:9376"),),
        ),
        RuleInsert(**NAT, chain=service, position=1, rule=parse_rule(f"{words} -j {chain}")),
    )
    entries = (RecentEntry(address=address or client_address(world), ages=ages),) if ages else ()
    return with_section(world, "node-a", "recent", Known((RecentList(name=CHAIN, entries=entries),)))


def test_one_client_is_stuck() -> None:
    """The entry leads to nobody: the list is to forget this address, and nothing else is touched."""
    world = stuck(12.0)
    assert walked(world, CLIENT, SERVICE).outcome is not Outcome.CONNECTED
    found = diagnosed(world, CLIENT, SERVICE).findings[0]
    assert found.cause == "session-affinity-stuck"
    address = client_address(world)
    assert f"node-a sends {address} to {GONE}:9376" in found.message
    assert "12 s ago, kept for 10800 s" in found.message
    (repair,) = found.repairs
    assert repair.changes == (RecentDelete(netns="node-a", name=CHAIN, address=address),)
    assert repair.safety is Safety.GUARDED
    assert [piece.note for piece in found.evidence] == [
        "what the node remembers",
        "and this rule heeds",
        "which it is none of",
    ]


@pytest.mark.parametrize(
    ("ages", "address"),
    [((), ""), ((20000.0,), ""), ((12.0,), "10.244.9.9")],
    ids=["nobody", "long ago", "somebody else"],
)
def test_others_are_served(ages: tuple[float, ...], address: str) -> None:
    """Without an entry, with one that is too old, and with that of another client all is well."""
    world = stuck(*ages, address=address)
    assert walked(world, CLIENT, SERVICE).outcome is Outcome.CONNECTED


def test_lists_of_a_firewall_are_no_affinity() -> None:
    """A list that bans a client is somebody's will, whatever it leads to."""
    world = stuck(12.0, chain="BANNED")
    given = context(world, CLIENT, SERVICE, walked(world, CLIENT, SERVICE))
    assert candidates("session-affinity-stuck", given) == []


def test_a_rule_that_excepts_the_remembered_is_no_affinity() -> None:
    """What leads everybody else there is no matter of the entry."""
    world = stuck(12.0, words=HELD.replace("--rcheck", "! --rcheck"), address="10.9.9.9")
    given = context(world, CLIENT, SERVICE, walked(world, CLIENT, SERVICE))
    assert candidates("session-affinity-stuck", given) == []


def test_sets_of_nftables_are_told_of() -> None:
    """In mode nftables the set and the command that empties it are named; nothing is changed."""
    packet = Packet(src="10.244.1.2", dst="10.96.1.0", proto="tcp")
    text = "ip saddr @affinity-ABC-default/hostnames/tcp/__10.244.1.253/9376 goto endpoint-ABC"
    step = Step(
        node="node-a",
        netns="node-a",
        stage=Stage.HOOK,
        verdict="goto endpoint-ABC-default/hostnames/tcp/__10.244.1.253/9376",
        backend="nftables",
        table="ip kube-proxy",
        chain="service-ABC",
        rule=1,
        before=packet,
        why=Why("node-a/nft/ip/kube-proxy/service-ABC/1", text),
    )
    world = stuck(12.0)
    given = context(world, CLIENT, SERVICE, walked(world, CLIENT, SERVICE))
    path = given.walk.paths[0]
    first = replace(path.legs[0], steps=(step, *path.legs[0].steps))
    walk = replace(given.walk, paths=(replace(path, legs=(first, *path.legs[1:])),))
    found, *_ = candidates("session-affinity-stuck", replace(given, walk=walk))
    assert "node-a sends 10.244.1.2 to 10.244.1.253:9376" in found.message
    assert found.changes == ()
    assert found.lasting.startswith("nft delete element ip kube-proxy affinity-ABC-default/hostnames")
