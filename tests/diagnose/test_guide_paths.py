"""The guided checks that walk packets: do the pods serve, are they reached, is the Service translated?"""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.change import RuleDelete, RuleInsert, SysctlSet
from nettrace.model.guide import Check, CheckState
from nettrace.model.kube import Endpoint, EndpointPort, EndpointSlice, ServicePort
from nettrace.model.section import Known
from nettrace.model.sockets import Socket
from nettrace.model.walk import Outcome
from nettrace.parse.iptables import parse_rule
from tests.diagnose.faults import FAULTS
from tests.diagnose.guided import (
    DENIED,
    case,
    check,
    connects,
    texts,
    with_kube,
    with_section,
    with_service,
)
from tests.diagnose.worlds import World, cluster, seen_from, with_objects

PASSED, PROBLEM, UNKNOWN, SKIPPED = (
    CheckState.PASSED,
    CheckState.PROBLEM,
    CheckState.UNKNOWN,
    CheckState.SKIPPED,
)
HEADLESS: dict[str, Any] = {"headless": True, "cluster_ips": ()}
WALKED = ("pods", "path", "rules", "hairpin", "outside")


def listening(*sockets: tuple[str, int]) -> World:
    """The cluster in which hostnames-0 listens there only."""
    made = tuple(Socket(proto="tcp", address=a, port=port, state="listen") for a, port in sockets)
    return with_section(cluster(), "hostnames-0", "sockets", Known(made))


def many(count: int) -> World:
    """The cluster whose Service has so many endpoints, all of them other ports of one pod."""
    slices = tuple(
        EndpointSlice(
            name=f"hostnames-{n}",
            namespace="default",
            service="hostnames",
            ports=(EndpointPort(port=9376 + n),),
            endpoints=(Endpoint(addresses=("10.244.1.11",), node_name="node-a"),),
        )
        for n in range(count)
    )
    sockets = tuple(
        Socket(proto="tcp", address="0.0.0.0", port=9376 + n, state="listen") for n in range(count)
    )
    world = with_objects(cluster(), endpoint_slices=slices)
    return with_section(world, "hostnames-0", "sockets", Known(sockets))


def local(world: World, *, internal: bool = False, ends: int | None = None) -> World:
    """The Service with traffic policy Local, its rules following it; *ends*: so many endpoints only."""
    services, slices = world.snapshot.kube.services, world.snapshot.kube.endpoint_slices
    assert isinstance(services, Known)
    assert isinstance(slices, Known)
    policy = {"internal_traffic_policy" if internal else "external_traffic_policy": "Local"}
    changed = tuple(replace(s, **policy) if s.name == "hostnames" else s for s in services.value)
    fewer = tuple(
        replace(s, endpoints=s.endpoints[:ends]) if s.service == "hostnames" else s for s in slices.value
    )
    return with_objects(world, services=changed, endpoint_slices=fewer)


# --- all of them ---------------------------------------


@pytest.mark.parametrize("connections", [lambda made, count: None, connects(Outcome.CONNECTED)])
@pytest.mark.parametrize("one", WALKED)
def test_a_healthy_service_passes(one: str, connections: Any) -> None:
    """Each check passes on the model alone, and with real connections that come about."""
    found = check(one, connections=connections)
    assert found.state is PASSED, found
    assert found.checked
    assert not found.findings


@pytest.mark.parametrize("one", WALKED)
def test_where_the_kernel_does_not_agree_nothing_passes(one: str) -> None:
    """A healthy walk beside connections that time out is unknown, not healthy."""
    found = check(one, connections=connects(Outcome.TIMEOUT))
    assert found.state is UNKNOWN
    assert not found.findings


@pytest.mark.parametrize("one", ["pods", "path", "hairpin"])
def test_slices_that_were_not_read_are_no_empty_ones(one: str) -> None:
    """Without the slices it is not known who the endpoints are; without endpoints there is nothing to ask."""
    found = check(one, with_kube(cluster(), endpoint_slices=DENIED))
    assert (found.state, found.conclusion) == (UNKNOWN, "the EndpointSlices were not read: needs root")
    none = check(one, with_kube(cluster(), endpoint_slices=Known(())))
    assert (none.state, none.conclusion) == (SKIPPED, "there is no ready endpoint")


@pytest.mark.parametrize(("one", "section"), [("pods", "links"), ("path", "links"), ("rules", "xt_nft")])
def test_a_walk_that_was_not_read_does_not_pass(one: str, section: str) -> None:
    """A denied section in the packets' way is UNKNOWN and no cause."""
    world = cluster()
    netns = replace(world.snapshot.namespaces["node-a"], **{section: DENIED})
    found = check(one, World(world.snapshot.with_netns(netns), world.names))
    assert found.state is UNKNOWN, found
    assert not found.findings


@pytest.mark.parametrize(("one", "most"), [("pods", 12), ("path", 12), ("hairpin", 12)])
def test_what_of_many_endpoints_was_left_out_is_said(one: str, most: int) -> None:
    """A dozen endpoints are tried, and how many were not is said."""
    found = check(one, many(14))
    assert found.state is PASSED
    assert len(found.checked) == most
    assert found.conclusion.endswith("; 2 more endpoints were not tried")
    assert "not tried" not in check(one, many(12)).conclusion


# --- do the pods serve ---------------------------------------


def test_a_pod_that_listens_on_loopback_only() -> None:
    """Who listens for himself alone is found in the sockets."""
    found = check("pods", listening(("127.0.0.1", 9376)))
    assert (found.state, found.cause) == (PROBLEM, "svc-app-listens-localhost")
    assert "hostnames-0 listens on 127.0.0.1:9376 only" in found.conclusion


def test_a_pod_that_listens_elsewhere() -> None:
    """Somebody listens, on another port: the Service's targetPort is wrong."""
    found = check("pods", listening(("0.0.0.0", 8080)))
    assert (found.state, found.cause) == (PROBLEM, "svc-wrong-targetport")
    outside = check("pods", listening(("0.0.0.0", 8080)), case(external=True, client="internet"))
    assert outside.cause == "svc-wrong-targetport"


def test_a_pod_in_which_nobody_listens() -> None:
    """No listener at all is the pod's own fault, as is one on loopback at another port."""
    for sockets in ((), (("127.0.0.1", 8999),)):
        found = check("pods", listening(*sockets))
        assert (found.state, found.cause) == (PROBLEM, "pod-not-listening")
        assert "on tcp port 9376" in found.conclusion


def test_sockets_that_were_not_read_are_no_absent_ones() -> None:
    """Whether somebody listens is not known where the sockets are not."""
    found = check("pods", with_section(cluster(), "hostnames-0", "sockets", DENIED))
    assert found.state is UNKNOWN
    assert not found.findings


def test_endpoints_on_nodes_that_were_not_read() -> None:
    """On one node's own state the endpoints of others are not called serving."""
    world = seen_from(cluster(), "node-a")
    for one in ("pods", "hairpin"):
        found = check(one, world)
        assert found.state is UNKNOWN
        assert "hostnames-1 (10.244.2.11:9376)" in found.conclusion


def test_a_headless_services_pods_are_asked_as_well() -> None:
    """The pods of a headless Service serve or do not like those of any other; rules it has none."""
    for one, state in (("pods", PASSED), ("path", PASSED), ("rules", SKIPPED), ("hairpin", SKIPPED)):
        assert check(one, with_service(**HEADLESS)).state is state, one
    world = with_service(listening(("0.0.0.0", 8080)), **HEADLESS)
    found = check("pods", world)
    assert (found.state, found.cause) == (PROBLEM, "svc-wrong-targetport")


def test_a_pod_that_its_node_does_not_reach() -> None:
    """A walk that fails between node and pod ends there, with what is known of it."""
    drop = parse_rule("-d 10.244.1.11/32 -j DROP")
    world = cluster().edited(
        RuleInsert(netns="node-a", backend="nft", table="filter", chain="OUTPUT", position=1, rule=drop)
    )
    found = check("pods", world)
    assert (found.state, found.cause) == (PROBLEM, "firewall-rule-drop")
    assert found.flow == ("node/node-a", "10.244.1.11:9376/tcp")


# --- are they reached ---------------------------------------


def test_the_clients_own_node_comes_first() -> None:
    """Endpoints beside the client are tried before those of other nodes, and both are counted."""
    found = check("path", given=case("client-far"))
    assert found.conclusion == "2 on its own node, 1 on others"
    assert "10.244.1.11" in found.checked[-1]
    assert check("path", given=case(external=True)).state is SKIPPED


def test_a_client_that_is_the_only_endpoint() -> None:
    """There is nobody else to reach then, which is not the same as no endpoint."""
    world = local(cluster(), ends=1)
    found = check("path", world, case("hostnames-0"))
    assert (found.state, found.conclusion) == (SKIPPED, "the client is its only endpoint")


def test_the_network_between_the_nodes() -> None:
    """A fault of the network is found before the Service's rules are looked at."""
    fault = FAULTS["ip-forward-off"]
    world = cluster().edited(*fault.breaks(cluster()))
    found = check("path", world)
    assert (found.state, found.cause) == (PROBLEM, "ip-forward-off")
    assert found.findings[0].repairs[0].changes


# --- is it translated ---------------------------------------


def test_the_services_rules() -> None:
    """Each port that is meant is called three times for each endpoint."""
    counts: list[int] = []

    def connect(made: Any, count: int) -> None:
        counts.append(count)

    found = check("rules", connections=connect)
    assert found.conclusion == "port 80/tcp: connected walked"
    assert counts == [9]
    assert check("rules", given=case(external=True)).state is SKIPPED
    assert check("rules", given=case(port=81)).conclusion == "it has no such port"


def test_rules_that_are_missing() -> None:
    """A jump that is gone is found, with its repair."""
    world = cluster()
    fault = FAULTS["service-jump-missing"]
    found = check("rules", world.edited(*fault.breaks(world)))
    assert (found.state, found.cause) == (PROBLEM, "service-jump-missing")
    assert found.findings[0].repairs[0].changes


def test_internal_traffic_policy_local() -> None:
    """No endpoint on the client's node is the object's will; a client of no known node is not judged so."""
    world = local(cluster(), internal=True, ends=1)
    found = check("rules", world, case("client-far"))
    assert (found.state, found.cause) == (PROBLEM, "itp-local-no-endpoint")
    assert found.conclusion.endswith("no endpoint of it is on node-b")
    assert check("rules", world).state is PASSED
    lost = case(client="internet", netns="internet", client_pod=None)
    assert check("rules", world, lost).cause != "itp-local-no-endpoint"


# --- itself included ---------------------------------------


def test_a_pod_that_does_not_reach_itself() -> None:
    """The branch that leads back to the caller is found by its cause."""
    world = cluster()
    found = check("hairpin", world.edited(*FAULTS["hairpin-off"].breaks(world)))
    assert (found.state, found.cause) == (PROBLEM, "hairpin-off")
    assert found.flow is not None
    assert found.flow[0].startswith("netns/hostnames-")


def test_the_mark_for_itself_is_missing() -> None:
    """An endpoint's chain without the mark for its own packets is named."""
    world = cluster()
    chain = next(
        name
        for name in world.snapshot.namespaces["node-a"].xt_nft.value.tables["nat"].value.chains  # type: ignore[union-attr]
        if name.startswith("KUBE-SEP-")
        and any(r.src is not None and r.src.value == "10.244.1.11/32" for r in world.rules_of("node-a", name))
    )
    rule = world.rules_of("node-a", chain)[0]
    gone = RuleDelete(netns="node-a", backend="nft", table="nat", chain=chain, position=1, rule=rule)
    found = check("hairpin", world.edited(gone))
    assert (found.state, found.cause) == (PROBLEM, "hairpin-masq-missing")
    assert found.findings[0].repairs[0].changes


def test_endpoints_of_the_hosts_network_call_nobody() -> None:
    """An endpoint that is a node itself is no pod behind a bridge."""
    own = EndpointSlice(
        name="s",
        namespace="default",
        service="hostnames",
        ports=(EndpointPort(port=9376),),
        endpoints=(Endpoint(addresses=("172.18.0.11",), node_name="node-a"),),
    )
    found = check("hairpin", with_kube(cluster(), endpoint_slices=Known((own,))))
    assert (found.state, found.conclusion) == (SKIPPED, "its endpoints are no pods of their own network")


# --- from outside ---------------------------------------


def outside(world: World | None = None, **more: Any) -> Check:
    """The check as a caller from outside makes it."""
    given = case(client="internet", netns="internet", client_pod=None, external=True, **more)
    return check("outside", world, given)


def test_every_entrance_is_called() -> None:
    """The node port of every node, and the addresses outside that the Service has."""
    found = outside()
    assert (found.state, found.conclusion) == (PASSED, "2 entrances called")
    services = cluster().snapshot.kube.services
    assert isinstance(services, Known)
    changed = tuple(
        replace(s, external_ips=("172.18.0.11",)) if s.name == "hostnames" else s for s in services.value
    )
    found = outside(with_objects(cluster(), services=changed))
    assert "internet to 172.18.0.11:80/tcp: connected walked" in found.checked


def test_a_service_without_entrances() -> None:
    """A ClusterIP Service cannot be called from outside, and that is no fault."""
    world = with_service(type="ClusterIP", ports=(ServicePort(port=80, target_port=9376),))
    found = outside(world)
    assert (found.state, found.conclusion) == (
        SKIPPED,
        "it is a ClusterIP Service: nothing of it can be called from outside",
    )


def test_nobody_outside_to_call() -> None:
    """Without anybody outside the entrances are not called: unknown for who asks from there."""
    world = seen_from(cluster(), "node-a")
    assert check("outside", world).state is SKIPPED
    found = outside(world)
    assert (found.state, found.conclusion) == (UNKNOWN, "nobody outside is in what was read")


def test_external_traffic_policy_local() -> None:
    """A node without an endpoint drops what comes from outside: a note to others, the cause to who calls."""
    world = local(cluster(), ends=1)
    found = outside(world)
    assert (found.state, found.cause) == (PROBLEM, "etp-local-no-endpoint")
    assert found.conclusion.endswith("there is no endpoint of it on node-b")
    inside = check("outside", world)
    assert inside.state is PASSED
    assert inside.conclusion.startswith("1 entrances called; node-b drop it: no local endpoint")
    assert outside(local(cluster())).state is PASSED


def test_policy_local_without_slices_blames_no_node() -> None:
    """Which nodes have an endpoint is not known where the slices were not read."""
    world = with_kube(local(cluster()), endpoint_slices=DENIED)
    for found in (outside(world), check("outside", world)):
        assert (found.state, found.findings) == (UNKNOWN, ())
        assert "the EndpointSlices were not read: needs root" in texts(found)


def test_an_entrance_that_is_blocked() -> None:
    """The first entrance that fails ends it, with its cause."""
    world = cluster().edited(SysctlSet(netns="node-a", name="net.ipv4.ip_forward", value="0"))
    found = outside(world)
    assert (found.state, found.cause) == (PROBLEM, "ip-forward-off")
    assert found.flow == ("internet", "node/node-a:30080/tcp")
