"""The guided checks of externalTrafficPolicy Local: who is local, and what the balancer asks."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.change import Change, RuleDelete, RuleInsert
from nettrace.model.guide import Check, CheckState
from nettrace.model.section import Known
from nettrace.model.snapshot import Process
from nettrace.model.sockets import Socket
from nettrace.model.xt_target import Jump
from nettrace.parse.iptables import parse_rule
from tests.diagnose.guided import case, check
from tests.diagnose.worlds import World, cluster, with_objects

NODE_PORT, HEALTH_PORT = 30080, 32100
DROP = (
    '-p tcp -m comment --comment "default/hostnames has no local endpoints" '
    f"-m addrtype --dst-type LOCAL -m tcp --dport {NODE_PORT} -j DROP"
)


def outside(world: World) -> Check:
    """The check as a caller from outside makes it."""
    return check("outside", world, case(client="internet", netns="internet", client_pod=None, external=True))


def local(world: World | None = None, *, names: dict[str, str] | None = None, **changes: Any) -> World:
    """The Service with policy Local and further *changes*; *names*: what the slices call some nodes."""
    world = world or cluster()
    services, slices = world.snapshot.kube.services, world.snapshot.kube.endpoint_slices
    assert isinstance(services, Known)
    assert isinstance(slices, Known)
    changed = {"external_traffic_policy": "Local", **changes}
    return with_objects(
        world,
        services=tuple(replace(s, **changed) if s.name == "hostnames" else s for s in services.value),
        endpoint_slices=tuple(
            replace(
                piece,
                endpoints=tuple(
                    replace(end, node_name=(names or {}).get(end.node_name or "", end.node_name))
                    for end in piece.endpoints
                ),
            )
            for piece in slices.value
        ),
    )


def inserted(chain: str, text: str) -> Change:
    """A rule of the table filter on node-a, in front."""
    return RuleInsert(
        netns="node-a", backend="nft", table="filter", chain=chain, position=1, rule=parse_rule(text)
    )


def unled(world: World) -> list[Change]:
    """node-a's node port leads nowhere, as where kube-proxy knows of no local endpoint."""
    rules = world.rules_of("node-a", "KUBE-NODEPORTS")
    at, rule = next(
        (i, r) for i, r in enumerate(rules, 1) if isinstance(r.target, Jump) and f"{NODE_PORT}" in str(r)
    )
    return [
        RuleDelete(
            netns="node-a", backend="nft", table="nat", chain="KUBE-NODEPORTS", position=at, rule=rule
        ),
        inserted("KUBE-EXTERNAL-SERVICES", DROP),
    ]


# --- by which name ---------------------------------------


def test_slices_that_call_the_node_otherwise() -> None:
    """An endpoint that lives on the node while its slice names nobody known is no missing endpoint."""
    found = outside(local(names={"node-a": "node-a.example.com"}))
    assert (found.state, found.cause) == (CheckState.PROBLEM, "etp-local-hostname-mismatch")
    assert "is on node-a" in found.conclusion
    assert "the EndpointSlice says node-a.example.com" in found.conclusion
    said = [piece.text for piece in found.findings[0].evidence]
    assert "10.244.1.11 is in hostnames-0 on node-a" in said
    assert found.findings[0].repairs[0].changes == ()


def test_a_node_without_any_pod_is_no_matter_of_names() -> None:
    """Where no endpoint lives on the node the policy itself is what drops."""
    world = local()
    slices = world.snapshot.kube.endpoint_slices
    assert isinstance(slices, Known)
    fewer = tuple(replace(s, endpoints=s.endpoints[:1]) for s in slices.value)
    assert outside(with_objects(world, endpoint_slices=fewer)).cause == "etp-local-no-endpoint"


def test_a_proxy_that_calls_itself_otherwise() -> None:
    """The slices are right, and kube-proxy's own rule says that nothing is local."""
    world = local()
    world = world.edited(*unled(world))
    found = outside(world)
    assert (found.state, found.cause) == (CheckState.PROBLEM, "etp-local-hostname-mismatch")
    assert "kube-proxy goes by another name" in found.conclusion
    assert any("has no local endpoints" in piece.text for piece in found.findings[0].evidence)
    assert found.flow == ("internet", f"node/node-a:{NODE_PORT}/tcp")


@pytest.mark.parametrize(
    "words", [("--hostname-override=ip-10-0-0-1",), ("--v=2", "--hostname-override", "ip-10-0-0-1")]
)
def test_the_name_that_its_process_was_given(words: tuple[str, ...]) -> None:
    """Where kube-proxy's process is seen, its option is part of the evidence."""
    world = local()
    world = world.edited(*unled(world))
    process = Process(pid=7, name="kube-proxy", cmdline=("kube-proxy", *words))
    node = replace(world.snapshot.nodes["node-a"], processes=Known((process,)))
    nodes = {**world.snapshot.nodes, "node-a": node}
    found = outside(World(replace(world.snapshot, nodes=nodes), world.names))
    assert "kube-proxy calls itself ip-10-0-0-1" in found.conclusion


def test_a_rule_that_is_not_kube_proxys_says_nothing_of_names() -> None:
    """Somebody else's drop on a node with an endpoint is that drop."""
    world = local()
    drop = "-d 10.244.0.0/16 -p tcp -m tcp --dport 9376 -j DROP"
    found = outside(world.edited(inserted("FORWARD", drop)))
    assert found.state is CheckState.PROBLEM
    assert found.cause == "firewall-rule-drop"


# --- the balancer's question ---------------------------------------


def balanced(*, listening: bool = True) -> World:
    """A load balancer's Service whose health is asked for; *listening*: kube-proxy answers there."""
    world = local(type="LoadBalancer", health_check_node_port=HEALTH_PORT)
    for name, node in world.snapshot.nodes.items():
        netns = world.snapshot.namespaces[node.netns]
        held = netns.sockets.value if isinstance(netns.sockets, Known) else ()
        own = Socket(proto="tcp", address="0.0.0.0", port=HEALTH_PORT, state="listen")
        if listening or name != "node-a":
            netns = replace(netns, sockets=Known((*held, own)))
        world = World(world.snapshot.with_netns(netns), world.names)
    return world


def test_a_balancer_that_is_answered() -> None:
    """Each node with an endpoint is asked once, and nothing is wrong."""
    found = outside(balanced())
    assert found.state is CheckState.PASSED
    assert [one for one in found.checked if f":{HEALTH_PORT}/tcp" in one] == [
        f"internet to node/node-{n}:{HEALTH_PORT}/tcp: connected walked" for n in "ab"
    ]


def test_a_question_that_a_firewall_drops() -> None:
    """A drop in INPUT is met by the question alone; the rule is part of the evidence."""
    world = balanced().edited(inserted("INPUT", f"-p tcp -m tcp --dport {HEALTH_PORT} -j DROP"))
    found = outside(world)
    assert (found.state, found.cause) == (CheckState.PROBLEM, "healthcheck-nodeport-failing")
    assert f"the balancer asks node-a at healthCheckNodePort {HEALTH_PORT}" in found.conclusion
    assert any("-j DROP" in piece.text for piece in found.findings[0].evidence)
    assert found.flow == ("internet", f"node/node-a:{HEALTH_PORT}/tcp")


def test_a_question_that_nobody_hears() -> None:
    """A kube-proxy that does not serve the port is said to be what is missing."""
    found = outside(balanced(listening=False))
    assert (found.state, found.cause) == (CheckState.PROBLEM, "healthcheck-nodeport-failing")
    assert "nobody listens there: kube-proxy does not serve it" in found.conclusion


def test_nobody_asks_where_there_is_no_balancer() -> None:
    """A Service that is no load balancer's has no such question, whatever its field says."""
    found = outside(local(health_check_node_port=HEALTH_PORT))
    assert found.state is CheckState.PASSED
    assert not [one for one in found.checked if str(HEALTH_PORT) in one]
