"""Causes about rules of others: named, proven on the model, and never offered."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from nettrace.diagnose import Diagnosis
from nettrace.diagnose.causes.foreign_rules import culprits, passed
from nettrace.model.change import PolicySet, RuleDelete, RuleInsert
from nettrace.model.finding import Safety
from nettrace.model.section import Known
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule
from tests.diagnose.asking import candidates, context, diagnosed
from tests.diagnose.faults import FAULTS
from tests.diagnose.guided import with_section
from tests.diagnose.worlds import World, cluster, docker_host
from tests.walk.native import DROP_IP, base, chain, ruleset, table

CLIENT, OWN, OTHER, SERVICE = "pod/client-near", "pod/hostnames-0", "pod/hostnames-1", "svc/hostnames"


def ruled(rule: str, chain: str, table: str = "filter", netns: str = "node-a") -> Callable[[], World]:
    """The cluster with a foreign rule first in a chain of a node; a table that is not there is made."""

    def made() -> World:
        world = cluster()
        own = world.snapshot.namespaces[netns].xt_nft
        assert isinstance(own, Known)
        if table not in own.value.tables:
            chains = {name: Known(XtChain(policy="ACCEPT")) for name in BUILTIN_CHAINS[table]}
            more = XtRuleset({**own.value.tables, table: Known(XtTable(dict(chains)))})
            world = with_section(world, netns, "xt/nft", Known(more))
        insert = RuleInsert(
            netns=netns, backend="nft", table=table, chain=chain, position=1, rule=parse_rule(rule)
        )
        return world.edited(insert)

    return made


def policy(chain: str, netns: str = "node-a") -> Callable[[], World]:
    """The cluster with a policy DROP."""
    change = PolicySet(netns=netns, backend="nft", table="filter", chain=chain, policy="DROP")
    return lambda: cluster().edited(change)


class Foreign(NamedTuple):
    """A world with a foreign rule, and the flow that meets it."""

    cause: str
    world: Callable[[], World]
    source: str = CLIENT
    target: str = OTHER


FOREIGN = (
    Foreign("firewall-rule-drop", ruled("-p tcp -j DROP", "FORWARD")),
    Foreign("firewall-rule-drop", ruled("-p tcp -j REJECT", "FORWARD")),
    Foreign("firewall-rule-drop", ruled("-p tcp -j DROP", "OUTPUT"), "node/node-a", OWN),
    Foreign(
        "forward-reject-host-prohibited", ruled("-j REJECT --reject-with icmp-host-prohibited", "FORWARD")
    ),
    Foreign("input-drop-kills-node-clients", policy("INPUT"), "node/node-a", OWN),
    Foreign("input-drop-kills-node-clients", ruled("-p tcp -j DROP", "INPUT"), "node/node-a", OWN),
    Foreign("overlay-udp-blocked", ruled("-p udp -m udp --dport 8472 -j DROP", "INPUT", netns="node-b")),
    Foreign("overlay-udp-blocked", ruled("-p udp -m udp --dport 8472 -j DROP", "OUTPUT")),
    Foreign(
        "notrack-on-service", ruled("-d 10.96.10.1/32 -j CT --notrack", "PREROUTING", "raw"), CLIENT, SERVICE
    ),
    Foreign("masq-pod-to-pod", ruled("-s 10.244.0.0/16 -o flannel.1 -j MASQUERADE", "POSTROUTING", "nat")),
)
NAMES = sorted({one.cause for one in FOREIGN})


@pytest.mark.parametrize("one", FOREIGN, ids=lambda one: one.cause)
def test_each_is_found_and_only_said(one: Foreign) -> None:
    """The rule is the first finding, its words are shown, and nobody is offered to take it away."""
    found = diagnosed(one.world(), one.source, one.target)
    assert [finding.cause for finding in found.findings][:1] == [one.cause], found
    first = found.findings[0]
    assert first.evidence
    assert all(repair.safety is Safety.ADVICE and not repair.changes for repair in first.repairs)


@pytest.mark.parametrize("one", FOREIGN, ids=lambda one: one.cause)
def test_no_other_name_is_given_to_it(one: Foreign) -> None:
    """A rule has one cause: the more telling one, not the general one beside it."""
    found = diagnosed(one.world(), one.source, one.target)
    assert {finding.cause for finding in found.findings} & {*NAMES, "nft-foreign-drop"} == {one.cause}
    given = context(one.world(), one.source, one.target)
    others = [name for name in (*NAMES, "nft-foreign-drop") if name != one.cause and candidates(name, given)]
    assert others == []


@pytest.mark.parametrize("one", FOREIGN, ids=lambda one: one.cause)
def test_what_proves_it_is_a_rule_of_the_snapshot(one: Foreign) -> None:
    """The change on the model takes away a rule that stands where it says."""
    world = one.world()
    for candidate in candidates(one.cause, context(world, one.source, one.target)):
        assert candidate.safety is Safety.ADVICE
        for change in candidate.changes:
            assert isinstance(change, RuleDelete | PolicySet)
            chain = world.snapshot.chain(change.netns, change.backend, change.table, change.chain)
            assert chain is not None
            if isinstance(change, RuleDelete):
                assert chain.rules[change.position - 1] == change.rule
            else:
                assert (chain.policy, change.policy) == ("DROP", "ACCEPT")


@pytest.mark.parametrize("cause", [*NAMES, "nft-foreign-drop"])
@pytest.mark.parametrize("flow", [(CLIENT, OTHER), (CLIENT, SERVICE), ("node/node-a", OWN)])
def test_each_is_silent_in_a_healthy_world(cause: str, flow: tuple[str, str]) -> None:
    """Nothing is said where nothing is wrong."""
    assert candidates(cause, context(cluster(), *flow)) == []


@pytest.mark.parametrize("fault", ["ip-forward-off", "forward-policy-drop", "service-jump-missing"])
def test_none_is_found_where_something_else_is_wrong(fault: str) -> None:
    """A policy of FORWARD has its own cause; what no rule dropped is no rule's fault."""
    broken = FAULTS[fault]
    world = cluster()
    found = diagnosed(world.edited(*broken.breaks(world)), broken.source(world), broken.target(world))
    assert found.findings
    assert not {finding.cause for finding in found.findings} & {*NAMES, "nft-foreign-drop"}


# --- native nftables ----------------------------------------------------------------------


def native(hook: str, *, policy: str = "accept", name: str = "f", priority: int = 10) -> World:
    """The cluster with somebody's own table of nftables on node-a, which drops by rule or by policy."""
    rules = () if policy == "drop" else (DROP_IP,)
    made = chain(*rules, base=base(hook, priority, policy=policy))
    return with_section(cluster(), "node-a", "nft", Known(ruleset(table({name: made}))))


@pytest.mark.parametrize(
    ("world", "source", "target"),
    [
        (native("forward"), CLIENT, OTHER),
        (native("forward", policy="drop"), CLIENT, OTHER),
        (native("forward", name="FORWARD"), CLIENT, OTHER),
        (native("output", name="OUTPUT"), "node/node-a", OWN),
        (native("input", name="INPUT", policy="drop"), "node/node-a", OWN),
    ],
)
def test_a_table_of_somebody_elses(world: World, source: str, target: str) -> None:
    """A native chain is named with its table, whatever it is called, and no other cause with it."""
    found = diagnosed(world, source, target)
    assert [finding.cause for finding in found.findings] == ["nft-foreign-drop"], found
    assert found.findings[0].message.startswith("table inet fw on node-a drops it: ")
    assert not any(repair.changes for finding in found.findings for repair in finding.repairs)
    given = context(world, source, target)
    assert [one.changes for one in candidates("nft-foreign-drop", given)] == [()]
    assert [name for name in NAMES if candidates(name, given)] == []


# --- whose rule it is -----------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["KUBE-FORWARD", "DOCKER-USER"])
def test_rules_in_chains_with_a_known_owner_are_that_owners(chain: str) -> None:
    """What stands in a chain of kube-proxy's or another known owner's is not called foreign."""
    world = cluster()
    own = world.snapshot.namespaces["node-a"].xt_nft
    assert isinstance(own, Known)
    table = own.value.tables["filter"]
    assert isinstance(table, Known)
    drop = Known(XtChain(rules=(parse_rule("-p tcp -j DROP"),)))
    chains = {**table.value.chains, chain: drop}
    made = with_section(
        world, "node-a", "xt/nft", Known(XtRuleset({**own.value.tables, "filter": Known(XtTable(chains))}))
    ).edited(
        RuleInsert(
            netns="node-a",
            backend="nft",
            table="filter",
            chain="FORWARD",
            position=1,
            rule=parse_rule(f"-j {chain}"),
        )
    )
    given = context(made, CLIENT, OTHER)
    assert given.failures
    assert list(culprits(given)) == []


def test_a_rule_that_many_branches_meet_is_one() -> None:
    """Three endpoints dropped by one rule are one candidate."""
    given = context(ruled("-p tcp -j DROP", "FORWARD")(), CLIENT, SERVICE)
    assert len(given.failures) > 1
    assert len(candidates("firewall-rule-drop", given)) == 1
    assert len({found.chain for found in passed(given, "nat")}) >= 1


def test_a_masquerade_is_only_blamed_where_the_source_is_to_be_kept() -> None:
    """Masquerading what goes outside is no fault."""
    world = ruled("-s 10.244.0.0/16 -o eth0 -j MASQUERADE", "POSTROUTING", "nat")()
    assert candidates("masq-pod-to-pod", context(world, CLIENT, "internet:80")) == []


def test_a_host_without_a_cluster_has_firewalls_as_well() -> None:
    """A rule that drops what Docker publishes is named without any object."""
    drop = parse_rule("-i eth0 -p tcp -j DROP")
    world = docker_host().edited(
        RuleInsert(netns="docker-host", backend="nft", table="filter", chain="FORWARD", position=1, rule=drop)
    )
    found = diagnosed(world, "internet", "node/docker-host:8088")
    assert isinstance(found, Diagnosis)
    assert [finding.cause for finding in found.findings] == ["firewall-rule-drop"]


def test_the_rule_is_shown_as_it_is_written() -> None:
    """The words of the rule, where it stands, and which packet met it."""
    found = diagnosed(ruled("-p tcp -j DROP", "FORWARD")(), CLIENT, OTHER)
    assert found.met is False
    assert found.walks > 0
    assert found.findings[0].message == "node-a drops it: -A FORWARD -p tcp -j DROP"
    assert found.findings[0].evidence[0].note.startswith("met by 10.244.1.10:")
