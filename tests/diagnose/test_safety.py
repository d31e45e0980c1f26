"""A repair that hurts somebody else, or opens what is denied on purpose, is refused with the reason."""

import pytest
from msgspec.structs import replace

from nettrace.diagnose import Diagnosis, Limits
from nettrace.diagnose.cause import Cause
from nettrace.diagnose.safety import SafetySet, worse
from nettrace.diagnose.safety_flows import safety_flows
from nettrace.model.change import Change, LinkSet, RuleInsert
from nettrace.model.flow import Flow
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.walk import Needs, Walk
from nettrace.parse.iptables import parse_rule
from tests.diagnose.asking import diagnosed, owed_of, walked
from tests.diagnose.faults import FAULTS
from tests.diagnose.test_search import ON, always, candidate, forward
from tests.diagnose.worlds import NO_OBJECTS, Names, World, cluster, docker_host

CLIENT, OTHER = "pod/client-near", "pod/hostnames-1"


def rule(text: str, chain: str = "FORWARD", table: str = "filter", netns: str = "node-a") -> RuleInsert:
    """A rule put first in a chain."""
    return RuleInsert(netns=netns, backend="nft", table=table, chain=chain, position=1, rule=parse_rule(text))


def only(world: World, *changes: Change) -> Diagnosis:
    """The diagnosis where the only candidate is these changes."""
    causes: list[Cause] = [always(candidate("made-up", *changes))]
    return diagnosed(world, CLIENT, OTHER, causes=causes)


def test_a_repair_that_breaks_another_flow_is_refused() -> None:
    """The flow would connect, but pods of the node could no longer call their neighbour."""
    found = only(cluster().edited(forward("node-a")), ON, rule("-d 10.244.1.11/32 -j DROP"))
    assert found.findings == ()
    assert found.notes[1] == (
        "refused: made-up on node-a would mend it, but pod/default/client-near -> pod/default/hostnames-0: "
        "connected in 0% instead of 100%"
    )
    assert found.notes[-1] == "no repair was found within 1 walks"


def test_a_repair_that_opens_what_a_rule_denies_is_refused() -> None:
    """An accept before the rule that denies a pod on purpose is no repair."""
    denied = rule("-s 10.244.2.12/32 -d 10.244.1.0/24 -j DROP")
    world = cluster().edited(forward("node-a"), denied)
    closed = world.edited(ON)
    assert diagnosed(closed, "pod/hostnames-2", "pod/hostnames-0").met is False
    assert only(world, ON).findings
    policy = FAULTS["forward-policy-drop"]
    world = cluster()
    world = world.edited(*policy.breaks(world), rule("-s 10.244.1.10/32 -d 10.244.1.11/32 -j DROP"))
    found = only(world, rule("-s 10.244.1.0/24 -j ACCEPT"), rule("-d 10.244.1.0/24 -j ACCEPT"))
    assert found.findings == ()
    assert "it would get through, and rule 1 of FORWARD on node-a denies it" in found.notes[1]
    good = diagnosed(world, CLIENT, OTHER)
    assert [finding.cause for finding in good.findings] == ["forward-policy-drop"]


def test_a_repair_that_hides_pods_from_each_other_is_refused() -> None:
    """Masquerading what pods say to pods would mend the path and break a promise."""
    masks = rule("-s 10.244.0.0/16 -j MASQUERADE", "POSTROUTING", "nat")
    causes = [always(candidate("made-up", ON, masks))]
    world = cluster().edited(forward("node-a"))
    found = diagnosed(world, "node/node-b", "pod/hostnames-0", causes=causes)
    assert found.findings == ()
    assert "its source is rewritten on the way to" in found.notes[1]


def walk_twice(before: World, after: World, source: str, target: str) -> str:
    """What got worse for one flow between two worlds."""
    return worse(before.snapshot, walked(before, source, target), walked(after, source, target))


def test_losing_an_endpoint_is_worse() -> None:
    """The same share of connections to fewer endpoints is a loss."""
    world = cluster()
    walks: list[Walk] = [walked(world, CLIENT, "svc/hostnames")]
    first, *rest = walks[0].paths
    fewer = replace(walks[0], paths=tuple(replace(path, endpoint=first.endpoint) for path in (first, *rest)))
    assert worse(world.snapshot, walks[0], fewer).startswith("no longer reaches 10.244.")
    assert worse(world.snapshot, fewer, walks[0]) == ""


def test_being_mended_is_not_worse() -> None:
    """What failed by a defect, by a policy or by an accident of state may work afterwards."""
    world = cluster()
    for name in ("ip-forward-off", "forward-policy-drop", "kube-postrouting-missing, flushed"):
        fault = FAULTS[name]
        hurt = world.edited(*fault.breaks(world))
        assert walk_twice(hurt, world, fault.source(world), fault.target(world)) == ""
    state = world.edited(rule("-m conntrack --ctstate INVALID,NEW -j DROP"))
    assert walk_twice(state, world, CLIENT, OTHER) == ""
    back = world.edited(rule("-m rpfilter -j DROP", "PREROUTING", "raw"))
    assert walk_twice(back, world, CLIENT, OTHER) == ""
    denied = world.edited(rule("-s 10.244.1.10/32 -j REJECT"))
    assert walk_twice(denied, world, CLIENT, OTHER) == (
        "it would get through, and rule 1 of FORWARD on node-a denies it"
    )


def test_sources_count_between_pods_only() -> None:
    """A node's, a NodePort's and a masqueraded source may change; a pod's own to itself too."""
    world = cluster()
    masks = world.edited(rule("-j MASQUERADE", "POSTROUTING", "nat"))
    for source, target in (("node/node-a", "pod/hostnames-1"), ("internet", "node/node-a:30080")):
        assert walk_twice(world, masks, source, target) == ""
    assert "rewritten" in walk_twice(world, masks, CLIENT, OTHER)


# --- which flows -----------------------------------------------------------------------


def flows_of(world: World, source: str, target: str, limit: int = 40) -> tuple[Flow, ...]:
    """The safety set of a flow."""
    found = safety_flows(world.snapshot, walked(world, source, target), owed_of(world.snapshot), limit)
    assert not isinstance(found, Needs)
    return found


def words(flows: tuple[Flow, ...]) -> set[str]:
    """Each flow as source and destination."""
    return {f"{flow.source} {flow.packet.ends().split(' -> ')[1]}" for flow in flows}


def test_every_class_is_there() -> None:
    """Pods here and there, Services, the outside, nodes, NodePorts: a few of each, not the flow itself."""
    found = words(flows_of(cluster(), CLIENT, "svc/hostnames"))
    assert {
        "pod/default/client-near 10.244.1.11:9376",
        "pod/default/client-near 10.244.2.11:9376",
        "pod/default/client-near 10.96.0.10:53",
        "pod/default/client-near 172.18.0.100",
        "node/node-a 10.96.10.1:80",
        "netns/internet 172.18.0.12:30080",
    } <= found
    assert "pod/default/client-near 10.96.10.1:80" not in found


def test_a_small_set_still_has_every_class() -> None:
    """With a limit the classes take turns."""
    found = flows_of(cluster(), CLIENT, "svc/hostnames", limit=6)
    assert len(found) == 6
    assert {flow.source.kind for flow in found} >= {"pod", "node", "netns"}


def test_flows_of_other_nodes_are_left_alone() -> None:
    """Without objects that tie nodes together, only the nodes that the walk passes count."""
    world = cluster()
    bare = World(replace(world.snapshot, kube=NO_OBJECTS), world.names)
    found = flows_of(bare, "netns/client-near", "ip/10.244.1.11:9376")
    assert found
    assert {bare.snapshot.namespaces[flow.origin.netns].node for flow in found} <= {"node-a", "internet"}


def test_docker_hosts_have_published_ports() -> None:
    """The outside calls what is published, at addresses that are its neighbours'."""
    found = words(flows_of(docker_host(), "container/web", "internet:80"))
    assert "netns/internet 172.18.0.11:8088" in found
    assert "netns/web 172.18.0.100" in found
    assert "netns/internet 192.168.0.1:8088" not in found


def test_established_connections_are_called_again() -> None:
    """What conntrack holds as assured, of senders that are here, is asked once more."""
    world = cluster()

    def entry(src: str, *status: str) -> ConntrackEntry:
        way = Tuple(src=src, dst="10.244.2.11", sport=40000, dport=9376)
        return ConntrackEntry(proto="tcp", original=way, reply=way, status=frozenset(status))

    entries = [entry("203.0.113.1", "assured"), entry("10.244.1.12")]
    entries += [entry(f"10.244.1.{n}", "assured") for n in (10, 11, 12)]
    entries += [
        replace(entries[-1], original=replace(entries[-1].original, dport=9000 + n)) for n in range(9)
    ]
    node = replace(world.snapshot.namespaces["node-a"], conntrack=Known(tuple(entries)))
    busy = World(world.snapshot.with_netns(node), world.names)
    more = words(flows_of(busy, CLIENT, "svc/hostnames")) - words(flows_of(world, CLIENT, "svc/hostnames"))
    assert {word.split()[0] for word in more} <= {
        "netns/client-near",
        "netns/hostnames-0",
        "netns/kube-dns-0",
    }
    assert 1 <= len(more) <= 4


def test_addresses_that_no_object_tells_are_read() -> None:
    """Containers' and outside hosts' addresses are needed before flows are chosen; too many are not."""
    world = docker_host()
    app = replace(world.snapshot.namespaces["app"], addresses=NOT_READ)
    lazy = world.snapshot.with_netns(app)
    asked = safety_flows(lazy, walked(world, "container/web", "internet:80"), (), 40)
    assert asked == Needs((SectionKey("app", "addresses"),))
    crowd = {f"c{n}": replace(app, name=f"c{n}") for n in range(70)}
    crowded = replace(lazy, namespaces={**lazy.namespaces, **crowd})
    found = safety_flows(crowded, walked(world, "container/web", "internet:80"), (), 40)
    assert isinstance(found, tuple)


def test_the_set_asks_for_what_its_choice_needs() -> None:
    """Refusing waits for the addresses, then for the sections of all its walks at once."""
    world = docker_host()
    walk = walked(world, "container/web", "internet:80")
    app = replace(world.snapshot.namespaces["app"], addresses=NOT_READ)
    lazy = SafetySet(world.snapshot.with_netns(app), walk, (), 40)
    assert lazy.refusal(world.snapshot) == Needs((SectionKey("app", "addresses"),))
    routes = replace(world.snapshot.namespaces["app"], routes=NOT_READ)
    unread = SafetySet(world.snapshot.with_netns(routes), walk, (), 40)
    answer = unread.refusal(world.snapshot)
    assert isinstance(answer, Needs)
    assert SectionKey("app", "routes") in answer.keys
    known = SafetySet(world.snapshot, walk, (), 40)
    assert known.refusal(world.snapshot) == ""
    assert isinstance(known.refusal(world.snapshot.with_netns(routes)), Needs)


def test_strangers_of_the_cluster_stand_alone() -> None:
    """A machine that is no Node of the cluster is checked by itself."""
    world = cluster()
    nodes = world.snapshot.kube.nodes
    assert isinstance(nodes, Known)
    kube = replace(world.snapshot.kube, nodes=Known(nodes.value[1:]))
    strange = World(replace(world.snapshot, kube=kube), world.names)
    found = flows_of(strange, "pod/client-near", "pod/hostnames-0")
    assert {flow.origin.netns for flow in found if flow.source.kind == "node"} == {"node-a"}


def test_unready_and_unknown_pods_are_not_asked() -> None:
    """A pod that is not ready, has no address or no namespace here is owed nothing."""
    world = cluster()
    pods = world.snapshot.kube.pods
    assert isinstance(pods, Known)
    changed = tuple(
        replace(pod, ready=False)
        if pod.name == "hostnames-1"
        else replace(pod, ips=())
        if pod.name == "hostnames-2"
        else pod
        for pod in pods.value
    )
    kube = replace(world.snapshot.kube, pods=Known(changed))
    found = words(flows_of(World(replace(world.snapshot, kube=kube), world.names), CLIENT, "svc/hostnames"))
    assert not any(word.startswith(("pod/default/hostnames-1", "pod/default/hostnames-2")) for word in found)


@pytest.mark.parametrize("limit", [0, 40])
def test_the_finding_says_how_many_were_checked(limit: int) -> None:
    """The notes of a finding tell the size of the safety set, and nothing where it is empty."""
    world = cluster(Names()).edited(forward("node-a"))
    found = diagnosed(world, CLIENT, OTHER, limits=Limits(safety_flows=limit))
    assert ("owed flows gets worse" in " ".join(found.findings[0].notes)) is bool(limit)


def test_a_repair_after_a_refusal() -> None:
    """Where one set is refused another is taken, and the refusal is said."""
    hairpin = LinkSet(netns="node-a", device="veth00", attribute="hairpin", value="on")
    hurts = candidate("a-hurts", ON, rule("-d 10.244.1.11/32 -j DROP"))
    helps = candidate("b-helps", hairpin, ON)
    found = diagnosed(
        cluster().edited(forward("node-a")), CLIENT, OTHER, causes=[always(hurts), always(helps)]
    )
    assert [finding.cause for finding in found.findings] == ["b-helps"]
    assert any(note.startswith("refused: a-hurts") for note in found.notes)


def test_what_cannot_be_told_any_more_is_worse() -> None:
    """A repair after which a flow that worked is unknown is refused."""
    world = cluster()
    unknown = world.edited(rule("-m nosuchmatch --it -j ACCEPT"))
    assert walk_twice(world, unknown, CLIENT, OTHER) == "connected in 0% instead of 100%"


def test_the_ends_of_a_local_service_are_among_those_that_are_asked() -> None:
    """With externalTrafficPolicy Local too: the called node's, for the node itself those of all nodes."""
    world = cluster()
    assert isinstance(world.snapshot.kube.services, Known)
    first, *others = world.snapshot.kube.services.value
    local = replace(first, external_traffic_policy="Local")
    kube = replace(world.snapshot.kube, services=Known((local, *others)))
    world = World(replace(world.snapshot, kube=kube), world.names)
    for source in ("internet", "node/node-b"):
        called = {flow.packet.dst for flow in flows_of(world, source, "node/node-b:30080")}
        assert {"10.244.2.11", "10.244.2.12"} <= called, source
