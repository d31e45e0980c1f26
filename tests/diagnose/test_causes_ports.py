"""svc-wrong-targetport: whose port is right, and what is said where nobody's is."""

from pathlib import Path

import pytest
from msgspec.structs import replace

import nettrace
from nettrace.diagnose import Goal
from nettrace.diagnose.search import context_of
from nettrace.model.change import (
    RuleReplace,
)
from nettrace.model.finding import Safety
from nettrace.model.kube import EndpointSlice, PodContainer
from nettrace.model.packet import PortRange
from nettrace.model.section import Known, SectionKey
from nettrace.model.sockets import Socket
from tests.diagnose.asking import candidates, context, diagnosed, first, walked
from tests.diagnose.faults import FAULTS
from tests.diagnose.worlds import NO_OBJECTS, World, cluster, with_objects

CLIENT, OTHER, SERVICE = "pod/client-near", "pod/hostnames-1", "svc/hostnames"
NAT = {"netns": "node-a", "backend": "nft", "table": "nat"}
DOCS = Path(nettrace.__file__).parent.parent / "docs" / "causes"


def sep_chains(world: World) -> list[str]:
    """The endpoint chains of the Service, in the order of its balancing chain."""
    section = world.snapshot.section(SectionKey("node-a", "xt/nft/nat"))
    found = [name for name in section.value.chains if name.startswith("KUBE-SVC-")]
    chains = [world.rules_of("node-a", name) for name in found]
    rules = next(rules for rules in chains if len(rules) == 4)
    return [rule.target.chain for rule in rules if "SEP" in rule.target.chain]


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
