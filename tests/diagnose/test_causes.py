"""The causes' own words, and the cases in which each says less, or something else."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import nettrace
from nettrace.diagnose import Diagnosis, Goal
from nettrace.diagnose.cause import Context, Explanation
from nettrace.diagnose.causes import CAUSES
from nettrace.diagnose.causes.stale_endpoint_rule import without_branch
from nettrace.diagnose.page import index_page, page
from nettrace.diagnose.search import context_of
from nettrace.model.change import (
    ChainDelete,
    ChainSet,
    LinkSet,
    PolicySet,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.finding import Finding, Safety
from nettrace.model.kube import EndpointSlice, Pod, PodContainer
from nettrace.model.packet import PortRange
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import Socket
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome, Walk
from nettrace.model.xt import Accept, Conntrack, Jump, Statistic, XtChain, XtRule, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule
from tests.diagnose.faults import FAULTS
from tests.diagnose.worlds import (
    ALL_CAUSES,
    NO_OBJECTS,
    World,
    cluster,
    diagnosed,
    docker_host,
    owed_of,
    walked,
    with_objects,
)

CLIENT, OTHER, SERVICE = "pod/client-near", "pod/hostnames-1", "svc/hostnames"
NAT = {"netns": "node-a", "backend": "nft", "table": "nat"}
DOCS = Path(nettrace.__file__).parent.parent / "docs" / "causes"


def first(found: Diagnosis) -> Finding:
    """The only finding."""
    (finding,) = found.findings
    return finding


def context(world: World, source: str, target: str, walk: Walk | None = None) -> Context:
    """What causes look at."""
    walk = walk or walked(world, source, target)
    return context_of(world.snapshot, walk, Goal(because="test"), owed_of(world.snapshot))


def candidates(id: str, given: Context) -> list[Any]:
    """The candidates of one cause."""
    cause = next(cause for cause in ALL_CAUSES if cause.id == id)
    return list(cause.candidates(given))


# --- words -----------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ALL_CAUSES, ids=lambda cause: cause.id)
def test_every_cause_explains_itself(cause: Any) -> None:
    """Each cause has a kebab-case id, all of its words, and a page that says the same."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", cause.id)
    words = cause.explanation
    assert all(getattr(words, name) for name in Explanation.__struct_fields__)
    assert not cause.title[0].isupper() or cause.title.split()[0].isupper()
    assert msgspec.json.decode(msgspec.json.encode(words), type=Explanation) == words
    assert (DOCS / f"{cause.id}.md").read_text() == page(cause)


def test_the_pages_are_those_of_the_causes() -> None:
    """docs/causes lists every cause once and no other; scripts/cause_pages.py writes it."""
    assert (DOCS / "README.md").read_text() == index_page(ALL_CAUSES)
    assert {path.stem for path in DOCS.glob("*.md")} == {cause.id for cause in ALL_CAUSES} | {"README"}


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


def test_who_may_call_containers_is_for_their_owner_to_say() -> None:
    """A policy that keeps the outside from a container is explained, and nothing is offered."""
    world = docker_host().edited(policy("docker-host"))
    finding = first(diagnosed(world, "internet", "node/docker-host:8088"))
    (repair,) = finding.repairs
    assert (finding.cause, repair.changes, repair.safety) == ("forward-policy-drop", (), Safety.ADVICE)
    assert repair.lasting
    assert repair.effect.startswith("without what is said here: connected")


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
    """A DROP rule of FORWARD is somebody's word: this cause says nothing of it."""
    drop = RuleInsert(
        netns="node-a",
        backend="nft",
        table="filter",
        chain="FORWARD",
        position=1,
        rule=parse_rule("-s 10.244.1.10/32 -j DROP"),
    )
    found = diagnosed(cluster().edited(drop), CLIENT, OTHER)
    assert found.findings == ()
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
    world = world.edited(*FAULTS["kube-postrouting-missing, flushed"].breaks(world), forward("node-b"))
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


# --- svc-wrong-targetport --------------------------------------------------------------


def wrong_manifest(world: World, port: int = 9999) -> World:
    """The Service's own manifest leads to a port on which nobody listens."""
    services, slices = world.snapshot.kube.services, world.snapshot.kube.endpoint_slices
    assert isinstance(services, Known)
    assert isinstance(slices, Known)
    service, *others = services.value
    slice_: EndpointSlice
    slice_, *rest = slices.value
    return with_objects(
        world,
        services=(replace(service, ports=(replace(service.ports[0], target_port=port),)), *others),
        endpoint_slices=(replace(slice_, ports=(replace(slice_.ports[0], port=port),)), *rest),
    )


def test_a_wrong_manifest_gets_its_patch() -> None:
    """Where the Service itself is wrong, the pods' own port is the stop-gap and a patch the lasting fix."""
    finding = first(diagnosed(wrong_manifest(cluster()), CLIENT, SERVICE))
    assert finding.cause == "svc-wrong-targetport"
    assert finding.subject == "svc/default/hostnames"
    (repair,) = finding.repairs
    assert len([c for c in repair.changes if isinstance(c, RuleReplace)]) == 3
    assert repair.lasting == (
        "kubectl -n default patch service hostnames --type=json -p "
        '\'[{"op":"replace","path":"/spec/ports/0/targetPort","value":9376}]\''
    )
    assert repair.overwritten == "kube-proxy writes its own port again at its next full sync"


def with_sockets(world: World, *sockets: Socket) -> World:
    """The Service's pods with other sockets."""
    snapshot = world.snapshot
    for name in ("hostnames-0", "hostnames-1", "hostnames-2"):
        snapshot = snapshot.with_netns(replace(snapshot.namespaces[name], sockets=Known(sockets)))
    return World(snapshot, world.names)


def listening(port: int, address: str = "0.0.0.0") -> Socket:
    """A TCP listener."""
    return Socket(proto="tcp", address=address, port=port, state="listen")


def test_of_several_ports_the_declared_one_is_meant() -> None:
    """Two listeners: the containerPort decides; without one nothing is guessed."""
    world = with_sockets(wrong_manifest(cluster()), listening(9376), listening(7))
    finding = first(diagnosed(world, CLIENT, SERVICE))
    assert "declared, and somebody listens there" in {piece.note for piece in finding.evidence}
    pods = world.snapshot.kube.pods
    assert isinstance(pods, Known)
    undeclared = tuple(replace(pod, containers=(PodContainer(name="main"),)) for pod in pods.value)
    kube = replace(world.snapshot.kube, pods=Known(undeclared))
    finding = first(diagnosed(World(replace(world.snapshot, kube=kube), world.names), CLIENT, SERVICE))
    assert finding.repairs[0].changes == ()
    assert "listens on 0.0.0.0:7, 0.0.0.0:9376" in finding.evidence[-1].text


@pytest.mark.parametrize(
    ("sockets", "says"),
    [((), "nobody listens in hostnames-"), ((listening(9376, "127.0.0.1"),), "listens on 127.0.0.1:9376")],
)
def test_nobody_to_send_to_is_advice(sockets: tuple[Socket, ...], says: str) -> None:
    """Pods that listen nowhere, or to themselves only, cannot be helped on the node."""
    world = with_sockets(wrong_manifest(cluster()), *sockets)
    found = diagnosed(world, CLIENT, SERVICE)
    finding = found.findings[0]
    assert finding.cause == "svc-wrong-targetport"
    assert (finding.repairs[0].changes, finding.repairs[0].safety) == ((), Safety.ADVICE)
    assert says in finding.evidence[-1].text
    assert finding.repairs[0].lasting.startswith("make targetPort the port")


def test_without_objects_the_words_are_about_the_rules() -> None:
    """Where no Service is known by name the finding speaks of the chain."""
    world = cluster()
    broken = world.edited(*FAULTS["svc-wrong-targetport, one endpoint"].breaks(world))
    walk = walked(broken, CLIENT, SERVICE)
    bare = replace(broken.snapshot, kube=NO_OBJECTS)
    (made,) = candidates("svc-wrong-targetport", context_of(bare, walk, Goal(because="test"), ()))
    assert made.message.startswith("a Service leads to port 9999")
    assert made.subject.startswith("chain/KUBE-SEP-")
    assert made.lasting == "set the Service's targetPort to 9376"
    empty = with_sockets(World(bare, world.names))
    (advice,) = candidates("svc-wrong-targetport", context_of(empty.snapshot, walk, Goal(because="test"), ()))
    assert advice.message.startswith("a Service leads to port 9999 of hostnames-")


def test_a_stale_endpoint_and_a_wrong_port_are_two_things() -> None:
    """One endpoint that is gone and another with the wrong port: two findings, one repair."""
    world = cluster()
    first_, second, _ = sep_chains(world)
    changes = []
    for chain, change in ((first_, {"lo": "10.244.1.77"}), (second, {"ports": PortRange(9999, 9999)})):
        rule = world.rules_of("node-a", chain)[1]
        to = replace(rule.target.to, **change)
        wrong = replace(rule, target=replace(rule.target, to=to))
        changes.append(RuleReplace(**NAT, chain=chain, position=2, old=rule, rule=wrong))
    found = diagnosed(world.edited(*changes), CLIENT, SERVICE)
    assert {finding.cause for finding in found.findings} == {"stale-endpoint-rule", "svc-wrong-targetport"}


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


def test_a_dnat_without_a_port_is_not_about_ports() -> None:
    """A DNAT to an address alone keeps the client's port: nothing is said of targetPort."""
    world = cluster()
    (chain,) = sep_chains(world)[:1]
    rules = world.rules_of("node-a", chain)
    to = replace(rules[1].target.to, ports=None)
    plain = replace(rules[1], target=replace(rules[1].target, to=to))
    changed = RuleReplace(**NAT, chain=chain, position=2, old=rules[1], rule=plain)
    broken = world.edited(changed)
    assert candidates("svc-wrong-targetport", context(broken, CLIENT, SERVICE)) == []
    found = diagnosed(broken, CLIENT, SERVICE)
    assert found.findings[0].cause == "owed-state-missing"


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
