"""Causes in kube-proxy's rules: the cases in which each says less, or something else."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import nettrace
from nettrace.diagnose import Goal
from nettrace.diagnose.causes.stale_endpoint_rule import without_branch
from nettrace.diagnose.search import context_of
from nettrace.model.change import (
    ChainDelete,
    ChainSet,
    RuleInsert,
    SysctlSet,
)
from nettrace.model.finding import Safety
from nettrace.model.kube import Pod
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Walk
from nettrace.model.xt import XtChain, XtRule, XtTable
from nettrace.model.xt_match import Statistic
from nettrace.model.xt_target import Jump
from nettrace.parse.iptables import parse_rule
from tests.diagnose.asking import candidates, context, diagnosed, first, walked
from tests.diagnose.faults import FAULTS
from tests.diagnose.guided import with_service
from tests.diagnose.worlds import NO_OBJECTS, World, cluster

CLIENT, OTHER, SERVICE = "pod/client-near", "pod/hostnames-1", "svc/hostnames"
NAT = {"netns": "node-a", "backend": "nft", "table": "nat"}
DOCS = Path(nettrace.__file__).parent.parent / "docs" / "causes"


# --- kube-proxy ------------------------------------------------------------------------


def test_rules_alone_need_a_mark_and_a_place() -> None:
    """Without objects: no mark, a chain that was not read, or nothing missing, and nothing is proposed."""
    world = cluster()
    fault = FAULTS["kube-postrouting-missing, both"]
    broken = world.edited(*fault.breaks(world))
    walk = walked(broken, "internet", "node/node-a:30080")
    bare = replace(broken.snapshot, kube=NO_OBJECTS)

    def proposed(snapshot: Snapshot) -> list[Any]:
        return candidates("kube-postrouting-missing", context_of(snapshot, walk, Goal(because="test"), ()))

    (made,) = proposed(bare)
    assert [type(change) for change in made.changes] == [ChainSet, RuleInsert]
    unread = bare.with_section(SectionKey("node-a", "xt/nft/nat/KUBE-POSTROUTING"), NOT_READ)
    (only_jump,) = proposed(unread)
    assert [type(change) for change in only_jump.changes] == [RuleInsert]
    assert proposed(replace(world.snapshot, kube=NO_OBJECTS)) == []
    for chain in ("KUBE-MARK-MASQ", "POSTROUTING"):
        blind = bare.with_section(SectionKey("node-a", f"xt/nft/nat/{chain}"), NOT_READ)
        assert proposed(blind) == []
    key = SectionKey("node-a", "xt/nft/nat/KUBE-MARK-MASQ")
    unmarked = Known(XtChain(rules=(parse_rule("-j MARK --set-xmark 0x0/0xffffffff"),)))
    assert proposed(bare.with_section(key, unmarked)) == []
    gone = bare.with_section(SectionKey("node-a", "xt/nft/nat/KUBE-POSTROUTING"), Known(None))
    (rebuilt,) = proposed(gone)
    assert "table nat has no chain KUBE-POSTROUTING" in {piece.text for piece in rebuilt.evidence}


def test_a_flow_that_is_not_marked_has_no_mark_to_quote() -> None:
    """What is missing is proposed to every flow that passes; only a marked one proves the mark."""
    world = cluster()
    world = world.edited(
        *FAULTS["kube-postrouting-missing, flushed"].breaks(world),
        SysctlSet(netns="node-b", name="net.ipv4.ip_forward", value="0"),
    )
    (made,) = candidates("kube-postrouting-missing", context(world, CLIENT, OTHER))
    assert "marked here" not in {piece.note for piece in made.evidence}


def test_the_first_jump_is_in_its_usual_form_where_no_other_is() -> None:
    """With no jump at the other hook to copy, the rule is what kube-proxy always writes."""
    world = cluster()
    for name in ("service-jump-missing", "service-output-jump-missing"):
        world = world.edited(*FAULTS[name].breaks(world))
    walk = walked(world, CLIENT, SERVICE)
    given = context_of(replace(world.snapshot, kube=NO_OBJECTS), walk, Goal(because="test"), ())
    (made,) = candidates("service-jump-missing", given)
    assert made.changes[0].rule == parse_rule(
        '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    )
    assert len(made.evidence) == 2


def test_every_way_into_a_service_is_put_back_where_none_was_asked_for() -> None:
    """Rules of the Service that this packet does not meet come only if its own is there."""
    world = cluster()
    both = [*FAULTS["service-rules-absent"].breaks(world)]
    node_port = next(
        (n, rule)
        for n, rule in enumerate(world.rules_of("node-a", "KUBE-NODEPORTS"), 1)
        if isinstance(rule.target, Jump)
    )
    both.append(ChainSet(**NAT, chain="KUBE-NODEPORTS", rules=()))
    broken = world.edited(*both)
    finding = first(diagnosed(broken, CLIENT, SERVICE))
    (change,) = finding.repairs[0].changes
    assert isinstance(change, RuleInsert)
    assert change.chain == "KUBE-SERVICES"
    assert node_port


def sep_chains(world: World) -> list[str]:
    """The endpoint chains of the Service, in the order of its balancing chain."""
    section = world.snapshot.section(SectionKey("node-a", "xt/nft/nat"))
    found = [name for name in section.value.chains if name.startswith("KUBE-SVC-")]
    chains = [world.rules_of("node-a", name) for name in found]
    rules = next(rules for rules in chains if len(rules) == 4)
    return [rule.target.chain for rule in rules if "SEP" in rule.target.chain]


def svc_chain(world: World) -> tuple[str, tuple[XtRule, ...]]:
    """(name, rules) of the balancing chain."""
    section = world.snapshot.section(SectionKey("node-a", "xt/nft/nat"))
    name = next(
        name
        for name in section.value.chains
        if name.startswith("KUBE-SVC-") and len(world.rules_of("node-a", name)) == 4
    )
    return name, tuple(world.rules_of("node-a", name))


def test_a_branch_too_many_is_taken_out() -> None:
    """A jump to an endpoint that is gone is stale, though its chain is nobody's now."""
    world = cluster()
    name, rules = svc_chain(world)
    stale = parse_rule("-p tcp -m tcp -j DNAT --to-destination 10.244.1.77:9376")
    extra = parse_rule("-m statistic --mode random --probability 0.25 -j KUBE-SEP-GONE")
    broken = world.edited(
        ChainSet(**NAT, chain="KUBE-SEP-GONE", rules=(stale,)),
        ChainSet(**NAT, chain=name, rules=(rules[0], extra, *rules[1:])),
    )
    found = diagnosed(broken, CLIENT, SERVICE)
    assert found.findings[0].cause == "stale-endpoint-rule"
    assert "leads elsewhere, which is none of its ready endpoints" in found.findings[0].message
    assert found.findings[0].repairs[0].changes == (ChainSet(**NAT, chain=name, rules=rules),)


def test_shares_after_a_branch_is_gone() -> None:
    """The other branches are equally likely, and the last one takes what is left."""
    texts = (
        "! -s 10.244.0.0/16 -d 10.96.0.1/32 -j KUBE-MARK-MASQ",
        "-m statistic --mode random --probability 0.33333333349 -j A",
        "-m statistic --mode random --probability 0.5 -j B",
        "-j C",
    )
    rules = tuple(map(parse_rule, texts))
    for position, left in ((2, ["B", "C"]), (3, ["A", "C"]), (4, ["A", "B"])):
        made = without_branch(rules, position)
        assert made is not None
        branches = [rule for rule in made if rule.target.chain in "ABC"]  # type: ignore[union-attr]
        assert [rule.target.chain for rule in branches] == left  # type: ignore[union-attr]
        shares = [[m.probability for m in rule.matches if isinstance(m, Statistic)] for rule in branches]
        assert shares == [[1 << 30], []]
        assert made[0] == rules[0]
    assert without_branch(rules[-1:], 1) is None
    two = without_branch((rules[0], rules[2], rules[3]), 3)
    assert two is not None
    assert two[1].matches == ()


def bare_stale(world: World) -> tuple[Snapshot, Walk]:
    """A stale endpoint where nobody's objects are known, and the walk that meets it."""
    broken = world.edited(*FAULTS["stale-endpoint-rule"].breaks(world))
    return replace(broken.snapshot, kube=NO_OBJECTS), walked(broken, CLIENT, SERVICE)


def test_only_an_address_that_nobody_has_is_stale() -> None:
    """Held by a namespace, listed as a pod's, or not asked for everywhere: no branch is taken out."""
    world = cluster()
    snapshot, walk = bare_stale(world)

    def proposed(given: Snapshot) -> list[Any]:
        return candidates("stale-endpoint-rule", context_of(given, walk, Goal(because="test"), ()))

    assert len(proposed(snapshot)) == 1
    lost = replace(snapshot.namespaces["internet"], addresses=NOT_READ)
    assert proposed(snapshot.with_netns(lost)) == []
    target = next(p for p in walk.paths if p.verdict is Verdict.NEIGHBOUR_FAILED)
    last = target.legs[0].steps[-1].before
    assert last is not None
    pods = (Pod(name="x", ips=(last.dst,)),)
    assert proposed(replace(snapshot, kube=replace(NO_OBJECTS, pods=Known(pods)))) == []
    others = (Pod(name="x", ips=("10.9.9.9",)),)
    (made,) = proposed(replace(snapshot, kube=replace(NO_OBJECTS, pods=Known(others))))
    assert "and no pod does" in made.evidence[-1].text


def test_a_stale_rule_without_a_branch_is_left_alone() -> None:
    """The last endpoint of a Service is not taken out, nor a DNAT that no balancing chain leads to."""
    world = cluster()
    snapshot, walk = bare_stale(world)
    name, rules = svc_chain(world)

    def proposed(given: Snapshot) -> list[Any]:
        return candidates("stale-endpoint-rule", context_of(given, walk, Goal(because="test"), ()))

    key = SectionKey("node-a", f"xt/nft/nat/{name}")
    assert proposed(snapshot.with_section(key, NOT_READ)) == []
    lone = Known(XtChain(rules=(rules[0], rules[0], rules[0], rules[3])))
    assert proposed(snapshot.with_section(key, lone)) == []


def test_an_endpoint_chain_that_is_gone_is_no_stale_one() -> None:
    """A chain that does not exist any more is absent, and comes back with the Service's rules."""
    world = cluster()
    name, rules = svc_chain(world)
    (gone, *_) = sep_chains(world)
    place = dict(NAT)
    broken = world.edited(
        ChainSet(**place, chain=name, rules=rules[:1]),
        ChainSet(**place, chain=gone, rules=()),
        ChainDelete(**place, chain=gone),
    )
    assert candidates("stale-endpoint-rule", context(broken, CLIENT, SERVICE)) == []


# --- flushed tables --------------------------------------------------------------------


def flushed(world: World, *, delete: bool = False) -> World:
    """``iptables -t nat -F`` on node-a, and with *delete* -X as well."""
    key = SectionKey("node-a", "xt/nft/nat")
    chains = {
        name: Known(XtChain(policy=chain.value.policy))
        for name, chain in world.snapshot.section(key).value.chains.items()
        if not (delete and chain.value.policy is None)
    }
    return World(world.snapshot.with_section(key, Known(XtTable({**chains}))), world.names)


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        (CLIENT, SERVICE),
        ("internet", "node/node-a:30080"),
        ("pod/hostnames-0", SERVICE),
        ("node/node-a", SERVICE),
    ],
)
def test_a_flushed_table_is_one_thing(source: str, target: str, delete: bool) -> None:
    """With all jumps gone it is no missing jump: the rules that the flow needs come back at once."""
    finding = first(diagnosed(flushed(cluster(), delete=delete), source, target))
    assert finding.cause == "rules-flushed"
    assert "kube-proxy's rules in table nat of node-a are gone: all 3 jumps" in finding.message
    assert finding.repairs[0].safety is Safety.KICK


def test_what_a_flush_took_from_others_is_named_by_them() -> None:
    """For a flow that needs only the masquerade, the flush is the masquerade's."""
    found = diagnosed(flushed(cluster()), CLIENT, "internet:80")
    assert [finding.cause for finding in found.findings] == ["masquerade-missing"]


def test_a_jump_to_a_chain_that_is_gone_is_not_the_jump_alone() -> None:
    """Where KUBE-SERVICES itself is gone with its jumps, what is put back is more than a jump."""
    world = cluster()
    for name in ("service-jump-missing", "service-output-jump-missing"):
        world = world.edited(*FAULTS[name].breaks(world))
    world = world.edited(ChainDelete(**NAT, chain="KUBE-SERVICES"))
    finding = first(diagnosed(world, CLIENT, SERVICE))
    assert finding.cause == "owed-state-missing"
    assert {type(c) for c in finding.repairs[0].changes} == {ChainSet, RuleInsert}


# --- the nameless ----------------------------------------------------------------------


def test_what_has_no_name_is_still_put_back() -> None:
    """An owed chain that was emptied, which no cause knows, is found and said to be nameless."""
    world = cluster().edited(ChainSet(**NAT, chain="KUBE-MARK-MASQ", rules=()))
    finding = first(diagnosed(world, "pod/hostnames-0", SERVICE))
    assert finding.cause == "owed-state-missing"
    assert "lacks what kube-proxy has to have put there: -A KUBE-MARK-MASQ -j MARK" in finding.message
    assert "(marking of traffic that will be masqueraded)" in finding.message


def test_what_cannot_be_set_is_no_candidate() -> None:
    """A sysctl that the kernel does not have is a difference without a change."""
    world = cluster().edited(*FAULTS["ip-forward-off"].breaks(cluster()))
    node = world.snapshot.namespaces["node-a"]
    assert isinstance(node.sysctls, Known)
    values = {k: v for k, v in node.sysctls.value.items() if "route_localnet" not in k}
    given = context(
        World(world.snapshot.with_netns(replace(node, sysctls=Known(values))), world.names), CLIENT, OTHER
    )
    assert any(not d.restored.changes for d in given.differences)
    assert candidates("owed-state-missing", given) == []


def test_callers_from_outside_that_pass_for_pods() -> None:
    """The node's own podCIDR in the rule proves it, and nobody is offered that: kube-proxy is configured."""
    world = with_service(external_traffic_policy="Local")
    entrance = next(
        rule for rule in world.rules_of("node-a", "KUBE-NODEPORTS") if "hostnames" in rule.comment
    )
    everywhere = world.rules_of("node-a", entrance.target.chain)[-1].target.chain
    local = next(
        rule for rule in world.rules_of("node-a", everywhere) if "10.244.1.11" in rule.comment
    ).target.chain
    chain = {**NAT, "chain": entrance.target.chain}
    passing, rest = parse_rule(f"-s 172.18.0.0/16 -j {everywhere}"), parse_rule(f"-j {local}")
    broken = world.edited(ChainSet(**chain, rules=(passing, rest)))
    found = first(diagnosed(broken, "internet", "node/node-a:30080", owed=()))
    assert (found.cause, found.repairs[0].safety) == ("clustercidr-wrong", Safety.ADVICE)
    assert found.evidence[0].ref == f"node-a/xt/nft/nat/{entrance.target.chain}/1"
    (made,) = candidates("clustercidr-wrong", context(broken, "pod/client-far", "node/node-a:30080")) or [
        None
    ]
    assert made is None, "a pod is a pod"
    narrow = parse_rule(f"-s 10.244.0.0/16 -j {everywhere}")
    healthy = world.edited(ChainSet(**chain, rules=(narrow, rest)))
    assert diagnosed(healthy, "internet", "node/node-a:30080").met
