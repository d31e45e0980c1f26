"""Network policies in a diagnosis: what is owed, what is refused, what is only said."""

import pytest
from msgspec.structs import replace

from nettrace.diagnose import Diagnosis, diagnose
from nettrace.diagnose.policies import enforced, source_of
from nettrace.kube.resolve import resolve
from nettrace.model.kube import Pod
from nettrace.model.policy import IpBlock, LabelSelector, Namespace, NetworkPolicy, PolicyPeer, PolicyRule
from nettrace.model.policy_verdict import Decision
from nettrace.model.section import NOT_READ, Known
from nettrace.model.walk import Needs, Outcome, Walk
from tests.diagnose.asking import ALL_CAUSES, diagnosed, owed_of, walked
from tests.diagnose.faults import FAULTS
from tests.diagnose.test_search import ON, forward
from tests.diagnose.worlds import World, cluster

NEAR, FAR, ZERO, ONE = "pod/client-near", "pod/client-far", "pod/hostnames-0", "pod/hostnames-1"


def world_with(*policies: NetworkPolicy, world: World | None = None) -> World:
    """A world whose objects have these policies; nothing there enforces them."""
    world = world or cluster()
    kube = replace(
        world.snapshot.kube,
        network_policies=Known(policies),
        admin_policies=Known(()),
        namespaces=Known((Namespace(name="default"), Namespace(name="kube-system"))),
    )
    return World(replace(world.snapshot, kube=kube), world.names)


def pod_of(world: World, name: str) -> Pod:
    """A pod by its name."""
    assert isinstance(world.snapshot.kube.pods, Known)
    return next(p for p in world.snapshot.kube.pods.value if p.name == name.removeprefix("pod/"))


def only_from(world: World, *callers: str, to: str = ZERO) -> NetworkPolicy:
    """A policy that lets only *callers* to the pods like *to*, by their addresses."""
    peers = tuple(PolicyPeer(ip_block=IpBlock(cidr=f"{pod_of(world, name).ips[0]}/32")) for name in callers)
    return NetworkPolicy(
        name="only",
        pod_selector=LabelSelector(match_labels=pod_of(world, to).labels),
        ingress=(PolicyRule(peers=peers),) if peers else (),
    )


def stated(world: World, source: str, target: str) -> Diagnosis:
    """The diagnosis of a flow of which the user says that it should connect."""
    walk = walked(world, source, target)
    found = diagnose(world.snapshot, walk, owed=owed_of(world.snapshot), causes=ALL_CAUSES, connected=True)
    assert not isinstance(found, Needs), found
    return found


def test_a_denied_flow_is_owed_a_refusal() -> None:
    """What policies deny and the node lets through is a finding; stated otherwise, all is well."""
    world = world_with(only_from(cluster()))
    found = diagnosed(world, NEAR, ZERO)
    assert found.met is False
    assert found.goal.startswith(
        "a refusal (ingress: NetworkPolicy default/only isolates pod default/hostnames-0"
    )
    assert [one.cause for one in found.findings] == ["netpol-not-enforced"]
    assert "there are no chains of policies" in found.findings[0].evidence[1].text
    assert stated(world, NEAR, ZERO).met is True


def test_a_denied_flow_that_fails_is_as_it_should_be() -> None:
    """A flow that policies deny and something else stops needs no repair, and gets none by accident."""
    fault = FAULTS["ip-forward-off"]
    world = cluster()
    but = IpBlock(cidr="0.0.0.0/0", excepted=(f"{pod_of(world, FAR).ips[0]}/32",))
    policy = NetworkPolicy(name="but-far", ingress=(PolicyRule(peers=(PolicyPeer(ip_block=but),)),))
    world = world_with(policy, world=world.edited(*fault.breaks(world)))
    found = diagnosed(world, FAR, ZERO)
    assert (found.met, found.findings) == (True, ())
    again = stated(world, FAR, ZERO)
    # what is mended for it would open other calls of that pod, which nobody asked for
    assert again.findings == ()
    assert any("NetworkPolicy default/but-far" in note for note in again.notes)


def test_a_repair_that_opens_what_policies_deny_is_refused() -> None:
    """Forwarding would let one pod call, and with it another that a policy denies: that is the reason."""
    world = cluster().edited(forward("node-a"))
    assert diagnosed(world, NEAR, ONE).findings
    world = world_with(only_from(world, NEAR, to=ONE), world=world)
    found = diagnosed(world, NEAR, ONE)
    assert found.findings == ()
    [refused] = [note for note in found.notes if note.startswith("refused: ")]
    assert "it would get through, and ingress: NetworkPolicy default/only isolates" in refused
    assert diagnosed(world.edited(ON), NEAR, ONE).met is True


def test_policies_that_are_not_known_change_nothing() -> None:
    """Without policies to go by the flow is owed what it always was, and the verdict is unknown."""
    world = world_with()
    kube = replace(world.snapshot.kube, network_policies=NOT_READ)
    world = World(replace(world.snapshot, kube=kube), world.names)
    assert diagnosed(world, NEAR, ZERO).met is True
    [one] = enforced(world.snapshot, walked(world, NEAR, ZERO))
    assert (one.verdict.decision, one.agrees) == (Decision.UNKNOWN, None)
    assert one.verdict.needs == ("NetworkPolicies",)
    assert enforced(cluster().without_objects().snapshot, walked(cluster(), NEAR, ZERO)) == ()


def test_a_service_is_judged_by_its_endpoints() -> None:
    """A call of a Service is denied only if all its endpoints are; each that the walk comes to is judged."""
    world = cluster()
    policy = only_from(world)  # all three endpoints carry the same labels
    closed = world_with(policy, world=world)
    target = f"{world.names.cluster_ip}:{world.names.port}"
    assert diagnosed(closed, NEAR, target).goal.startswith("a refusal (")
    judged = enforced(closed.snapshot, walked(closed, NEAR, target))
    assert len(judged) == 3
    assert {one.verdict.decision for one in judged} == {Decision.DENIED}
    assert all(one.agrees is False for one in judged)
    some = only_from(world, "pod/hostnames-0")
    assert diagnosed(world_with(some, world=world), ZERO, target).goal.startswith("connected to ")


def test_where_nobody_listens_the_stated_goal_is_to_connect() -> None:
    """A flow that is owed nothing can be stated to connect too; then there is something to look for."""
    world = world_with()
    assert diagnosed(world, NEAR, f"{ZERO}:81").met is None
    found = stated(world, NEAR, f"{ZERO}:81")
    assert found.met is False
    assert found.goal.startswith("connected (stated; by default: nobody")


@pytest.mark.parametrize(("source", "address"), [(NEAR, "10.244.1.10"), ("node/node-a", "172.18.0.11")])
def test_who_sends(source: str, address: str) -> None:
    """A flow without a source address starts from its pod's, or from its node's."""
    world = world_with()
    flow = resolve(world.snapshot, source, ONE)
    assert not isinstance(flow, Needs)
    assert source_of(world.snapshot, replace(flow, packet=replace(flow.packet, src=""))) == address


def test_a_flow_that_stops_early_is_judged_by_where_it_goes() -> None:
    """A call of a Service that dies before its DNAT is judged for every endpoint; the node has no word."""
    world = cluster()
    fault = FAULTS["service-jump-missing"]
    broken = world_with(only_from(world), world=world.edited(*fault.breaks(world)))
    walk: Walk = walked(broken, NEAR, f"{world.names.cluster_ip}:{world.names.port}")
    assert walk.outcome is not Outcome.CONNECTED
    judged = enforced(broken.snapshot, walk)
    assert len(judged) == 3
    assert {one.agrees for one in judged} == {None}
    assert "does not get as far" in judged[0].node
