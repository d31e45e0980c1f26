"""The causes' own words, and the cases in which each says less, or something else."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import nettrace
from nettrace.app.plugins import load_plugins
from nettrace.diagnose import Goal
from nettrace.diagnose.cause import Explanation
from nettrace.diagnose.causes import CAUSES
from nettrace.diagnose.page import index_page, page
from nettrace.diagnose.search import context_of
from nettrace.model.change import (
    LinkSet,
    PolicySet,
    RuleInsert,
    SysctlSet,
)
from nettrace.model.finding import Safety
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.model.xt_match import Conntrack
from nettrace.model.xt_target import Accept
from nettrace.parse.iptables import parse_rule, rule_text
from tests.diagnose.asking import candidates, context, diagnosed, first, walked
from tests.diagnose.faults import FAULTS
from tests.diagnose.worlds import NO_OBJECTS, World, cluster, docker_host

CLIENT, OTHER, SERVICE = "pod/client-near", "pod/hostnames-1", "svc/hostnames"
NAT = {"netns": "node-a", "backend": "nft", "table": "nat"}
DOCS = Path(nettrace.__file__).parent.parent / "docs" / "causes"

#: Proper names that titles may begin with.
NAMES = ("Calico", "Cilium", "Docker", "Felix", "Weave")


# --- words -----------------------------------------------------------------------------


@pytest.mark.parametrize("cause", load_plugins().causes(), ids=lambda cause: cause.id)
def test_every_cause_explains_itself(cause: Any) -> None:
    """Each cause has a kebab-case id, all of its words, and a page that says the same."""
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", cause.id)
    words = cause.explanation
    assert all(getattr(words, name) for name in Explanation.__struct_fields__)
    first = cause.title.split()[0].removesuffix("'s")
    assert not first[0].isupper() or first.isupper() or first in NAMES
    assert msgspec.json.decode(msgspec.json.encode(words), type=Explanation) == words
    assert (DOCS / f"{cause.id}.md").read_text() == page(cause)


def test_the_pages_are_those_of_the_causes() -> None:
    """docs/causes lists every cause once and no other; scripts/cause_pages.py writes it."""
    assert (DOCS / "README.md").read_text() == index_page(load_plugins().causes())
    assert {path.stem for path in DOCS.glob("*.md")} == {cause.id for cause in load_plugins().causes()} | {
        "README"
    }


def test_the_core_names_no_network_system_as_owner() -> None:
    """Docker's and flannel's own causes come from their plugins."""
    assert not any(cause.id.startswith(("docker", "flannel")) for cause in CAUSES)


# --- forwarding ------------------------------------------------------------------------


def test_end_points_are_not_made_routers() -> None:
    """A packet that strays to an outside host is no reason to let that host forward."""
    world = cluster()
    internet = world.snapshot.namespaces["internet"]
    routes = internet.routes
    assert isinstance(routes, Known)
    given = context(world, CLIENT, OTHER)
    path = given.walk.paths[0]
    step = replace(path.legs[0].steps[-1], netns="internet", device="eth0")
    leg = replace(path.legs[0], steps=(step,), verdict=Verdict.NOT_FORWARDED)
    stray = replace(path, legs=(leg,), verdict=Verdict.NOT_FORWARDED, outcome=Outcome.TIMEOUT, failed=0)
    walk = replace(given.walk, paths=(stray, stray))
    assert candidates("ip-forward-off", context(world, CLIENT, OTHER, walk)) == []


def forward(netns: str) -> SysctlSet:
    """Forwarding switched off."""
    return SysctlSet(netns=netns, name="net.ipv4.ip_forward", value="0")


def policy(netns: str) -> PolicySet:
    """The policy of FORWARD set to DROP."""
    return PolicySet(netns=netns, backend="nft", table="filter", chain="FORWARD", policy="DROP")


def test_containers_may_call_out_and_be_answered() -> None:
    """Behind a bridge that is not the pods', the accepts let calls out and answers in, no more."""
    finding = first(diagnosed(docker_host().edited(policy("docker-host")), "container/web", "internet:80"))
    outward, inward = (c.rule for c in finding.repairs[0].changes if isinstance(c, RuleInsert))
    assert outward.src is not None
    assert outward.target == Accept()
    assert any(isinstance(m, Conntrack) and m.states == ("RELATED", "ESTABLISHED") for m in inward.matches)


def test_a_published_port_is_accepted_and_no_more() -> None:
    """Docker says that the port is published: what is for it is accepted, and its answers."""
    world = docker_host().edited(policy("docker-host"))
    finding = first(diagnosed(world, "internet", "node/docker-host:8088"))
    inward, outward = (rule_text(c.rule) for c in finding.repairs[0].changes if isinstance(c, RuleInsert))
    assert inward.startswith("-d 192.168.0.2/32 -p tcp -m tcp --dport 80 ")
    assert outward.startswith("-s 192.168.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED ")


def test_who_may_call_containers_is_for_their_owner_to_say() -> None:
    """A policy that keeps the outside from a container nobody publishes is explained; nothing is offered."""
    world = docker_host().edited(policy("docker-host"))
    given = replace(context(world, "internet", "node/docker-host:8088"), owed=())
    (made,) = candidates("forward-policy-drop", given)
    assert made.safety is Safety.ADVICE
    assert made.changes == (replace(policy("docker-host"), policy="ACCEPT"),)
    assert made.lasting


def test_a_routers_policy_is_its_owners() -> None:
    """Where neither end hangs on a bridge of the node and no pod CIDR is known, it is advice."""
    world = cluster()
    router = world.snapshot.namespaces["wire"]
    chains = {"FORWARD": Known(XtChain(policy="DROP"))}
    filtered = XtRuleset({"filter": Known(XtTable({**chains}))})
    snapshot = world.snapshot.with_netns(replace(router, xt_nft=Known(filtered)))
    given = context(World(snapshot, world.names), CLIENT, OTHER)
    path = given.walk.paths[0]
    hop = replace(
        path.legs[0].steps[-1],
        netns="wire",
        hook="forward",
        backend="nft",
        table="filter",
        chain="FORWARD",
        rule=0,
        before=replace(path.legs[0].steps[0].before, src="192.0.2.1", dst="192.0.2.2"),  # type: ignore[type-var]
    )
    leg = replace(path.legs[0], steps=(hop,), verdict=Verdict.DROPPED_BY_RULE)
    dropped = replace(path, legs=(leg,), verdict=Verdict.DROPPED_BY_RULE, outcome=Outcome.TIMEOUT, failed=0)
    walk = replace(given.walk, paths=(dropped, dropped))
    (made,) = candidates("forward-policy-drop", context(World(snapshot, world.names), CLIENT, OTHER, walk))
    assert made.safety is Safety.ADVICE
    assert made.changes == (replace(policy("wire"), policy="ACCEPT"),)


def test_a_pod_cidr_needs_no_bridge() -> None:
    """Where pods hang on no bridge, the Node's pod CIDR says whose traffic it is."""
    world = cluster().edited(policy("node-a"))
    node = world.snapshot.namespaces["node-a"]
    addresses = node.addresses
    assert isinstance(addresses, Known)
    bare = replace(node, addresses=Known(tuple(a for a in addresses.value if a.device != "cni0")))
    walk = walked(world, CLIENT, OTHER)
    given = context(World(world.snapshot.with_netns(bare), world.names), CLIENT, OTHER, walk)
    (made,) = candidates("forward-policy-drop", given)
    assert made.evidence[-1].text == "10.244.1.0/24 is the pod CIDR of node-a"
    assert [c.rule.src or c.rule.dst for c in made.changes] == [made.changes[0].rule.src] * 2


def test_pods_are_known_by_kube_proxy_at_work() -> None:
    """Without objects a bridge's network is the pods' where kube-proxy's chains are; else it is not."""
    world = cluster().edited(policy("node-b"))
    bare = replace(world.snapshot, kube=NO_OBJECTS)
    walk = walked(world, CLIENT, OTHER)
    given = context_of(bare, walk, Goal(because="test"), ())
    (made,) = candidates("forward-policy-drop", given)
    assert made.safety is Safety.GUARDED
    pods_only = replace(world.snapshot, kube=replace(NO_OBJECTS, pods=world.snapshot.kube.pods))
    (again,) = candidates("forward-policy-drop", context_of(pods_only, walk, Goal(because="test"), ()))
    assert again.changes == made.changes


def test_a_rule_that_drops_is_not_the_policy() -> None:
    """A DROP rule of FORWARD is somebody's word: it is named, and never taken away."""
    drop = RuleInsert(
        netns="node-a",
        backend="nft",
        table="filter",
        chain="FORWARD",
        position=1,
        rule=parse_rule("-s 10.244.1.10/32 -j DROP"),
    )
    found = diagnosed(cluster().edited(drop), CLIENT, OTHER)
    (finding,) = found.findings
    assert finding.cause == "firewall-rule-drop"
    assert all(repair.changes == () for repair in finding.repairs)
    assert "forward filter FORWARD" in found.notes[0]


# --- bridge ----------------------------------------------------------------------------


def test_a_policy_that_was_not_read_is_not_blamed() -> None:
    """Where the chain is not known any more, nothing is said of its policy."""
    world = cluster().edited(policy("node-a"))
    given = context(world, CLIENT, OTHER)
    blind = world.snapshot.with_section(SectionKey("node-a", "xt/nft/filter/FORWARD"), NOT_READ)
    assert candidates("forward-policy-drop", replace(given, snapshot=blind)) == []


def test_a_request_that_dies_on_the_bridge_has_no_answer_to_quote() -> None:
    """Without an answer the finding has the switch and the rewriting, no more."""
    world = cluster().edited(*FAULTS["bridge-nf-off"].breaks(cluster()))
    given = context(world, CLIENT, SERVICE)
    path = given.walk.paths[0]
    dead = replace(path, legs=path.legs[:1], failed=0)
    (made,) = candidates("bridge-nf-off", replace(given, walk=replace(given.walk, paths=(dead,))))
    assert len(made.evidence) == 2
    (whole,) = candidates("bridge-nf-off", replace(given, walk=replace(given.walk, paths=(dead, path))))
    assert len(whole.evidence) == 3


def test_br_netfilter_that_is_not_loaded_is_advice() -> None:
    """Without the switch there is nothing to set: the finding says to load the module."""
    world = cluster()
    node = world.snapshot.namespaces["node-a"]
    assert isinstance(node.sysctls, Known)
    values = {k: v for k, v in node.sysctls.value.items() if not k.startswith("net.bridge")}
    found = diagnosed(
        World(world.snapshot.with_netns(replace(node, sysctls=Known(values))), world.names), CLIENT, SERVICE
    )
    finding = first(found)
    assert finding.cause == "bridge-nf-off"
    assert finding.repairs[0].changes == ()
    assert "br_netfilter is not loaded" in finding.evidence[0].text
    assert "load br_netfilter at boot" in finding.repairs[0].lasting


def test_other_ways_to_be_dropped_by_a_bridge() -> None:
    """A port that is down, isolated or has hairpin on is no hairpin-off."""
    world = cluster().edited(*FAULTS["hairpin-off"].breaks(cluster()))
    given = context(world, "pod/hostnames-0", SERVICE)
    assert len(candidates("hairpin-off", given)) == 1
    on = LinkSet(netns="node-a", device="veth01", attribute="hairpin", value="on")
    mended = replace(given, snapshot=world.edited(on).snapshot)
    assert candidates("hairpin-off", mended) == []
    bare = world.snapshot.with_netns(replace(world.snapshot.namespaces["node-a"], links=NOT_READ))
    assert candidates("hairpin-off", replace(given, snapshot=bare)) == []
    (path, *_) = given.walk.paths
    other = next(step for step in path.legs[0].steps if step.netns == "hostnames-0")
    leg = replace(path.legs[0], steps=(other, path.legs[0].steps[-1]))
    away = replace(path, legs=(replace(leg, steps=(other, replace(leg.steps[-1], device="cni0"))),))
    assert candidates("hairpin-off", replace(given, walk=replace(given.walk, paths=(away,)))) == []


def test_the_cni_configuration_is_quoted() -> None:
    """What the CNI configuration says of hairpins is evidence, whichever it says; other files are not."""
    world = cluster().edited(*FAULTS["hairpin-off"].breaks(cluster()))
    state = world.snapshot.nodes["node-a"]
    files = {"/etc/cni/net.d/a.conf": '{"hairpinMode": false}', "/etc/other": '"hairpinMode"'}
    nodes = {**world.snapshot.nodes, "node-a": replace(state, files=Known(files))}
    found = diagnosed(World(replace(world.snapshot, nodes=nodes), world.names), "pod/hostnames-0", SERVICE)
    assert first(found).evidence[-1].text == "/etc/cni/net.d/a.conf: hairpinMode is not true"


# --- routing ---------------------------------------------------------------------------


def test_rp_filter_of_the_device_counts_too() -> None:
    """The device's own strict setting is found; one that is loose already is no cause."""
    world = cluster()
    switch, route = FAULTS["rp-filter-strict"].breaks(world)
    own = SysctlSet(netns="node-b", name="net.ipv4.conf.eth0.rp_filter", value="1")
    found = diagnosed(world.edited(own, route), CLIENT, OTHER)
    assert found.findings[0].cause == "rp-filter-strict"
    given = context(world.edited(switch, route), CLIENT, OTHER)
    loose = world.edited(switch, route, replace(own, value="2"))
    assert candidates("rp-filter-strict", replace(given, snapshot=loose.snapshot)) == []
    (path,) = given.walk.paths
    other = replace(path, verdict=Verdict.MARTIAN)
    twice = replace(given, walk=replace(given.walk, paths=(other, path, path)))
    assert len(candidates("rp-filter-strict", twice)) == 1


def test_routes_that_nobody_asked_for_are_left_alone() -> None:
    """A peer's missing route is no candidate for a flow that does not go there."""
    world = cluster().edited(*FAULTS["pod-route-missing"].breaks(cluster()))
    assert candidates("pod-route-missing", context(world, CLIENT, "internet:80")) == []
