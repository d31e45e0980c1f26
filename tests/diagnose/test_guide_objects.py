"""The guided checks of the objects: the Service, its definition, its endpoints."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.guide.objects import find_service, nearest, pod_at, pod_netns
from nettrace.model.guide import CheckState
from nettrace.model.kube import (
    ContainerPort,
    Endpoint,
    EndpointSlice,
    Pod,
    PodContainer,
    Service,
    ServicePort,
)
from nettrace.model.section import NOT_READ, Known
from tests.diagnose.guided import DENIED, case, check, texts, with_kube, with_service
from tests.diagnose.worlds import NO_OBJECTS, World, cluster

PASSED, PROBLEM, UNKNOWN, SKIPPED = (
    CheckState.PASSED,
    CheckState.PROBLEM,
    CheckState.UNKNOWN,
    CheckState.SKIPPED,
)
HEADLESS: dict[str, Any] = {"headless": True, "cluster_ips": (), "type": "ClusterIP"}
LABELS = {"app": "hostnames"}


def labelled(world: World | None = None, *, selector: dict[str, str] | None = None, **pod: Any) -> World:
    """The cluster whose Service selects its pods by label; *pod* are fields of each of these pods."""
    world = world or cluster()
    assert isinstance(world.snapshot.kube.pods, Known)
    pods = tuple(
        replace(p, labels=LABELS, **pod) if p.name.startswith("hostnames") else p
        for p in world.snapshot.kube.pods.value
    )
    return with_service(with_kube(world, pods=Known(pods)), selector=selector or LABELS)


def with_slices(world: World, *slices: EndpointSlice) -> World:
    """The world with these slices of the Service, and nobody else's."""
    return with_kube(world, endpoint_slices=Known(slices))


def own_slice(world: World) -> EndpointSlice:
    """The slice of the Service."""
    slices = world.snapshot.kube.endpoint_slices
    assert isinstance(slices, Known)
    return next(s for s in slices.value if s.service == "hostnames")


# --- does it exist ---------------------------------------


def test_a_service_that_is_there() -> None:
    """What it is like is shown."""
    found = check("service")
    assert found.state is PASSED
    assert "default/hostnames NodePort 10.96.10.1 80/TCP -> 9376" in texts(found)


@pytest.mark.parametrize("section", [DENIED, NOT_READ])
def test_services_that_were_not_read_are_not_missing(section: Any) -> None:
    """Whether a Service exists is unknown where nobody looked; so is all that follows from it."""
    world = with_kube(cluster(), services=section)
    for one in ("service", "definition", "dns", "endpoints", "pods", "path", "rules", "hairpin", "outside"):
        found = check(one, world)
        assert found.state is UNKNOWN, one
        assert not found.findings


def test_a_service_of_another_namespace_is_pointed_to() -> None:
    """The name exists elsewhere: the client has to say the namespace."""
    found = check("service", given=case(namespace="shop"))
    assert (found.state, found.cause) == (PROBLEM, "svc-wrong-namespace")
    assert found.findings[0].repairs[0].lasting == "call it hostnames.default, or deploy it in shop"
    assert not found.findings[0].repairs[0].changes


def test_a_service_that_is_nowhere() -> None:
    """A name that comes near is proposed, and what the namespace has is shown."""
    found = check("service", given=case(name="hostname"))
    assert (found.state, found.cause) == (PROBLEM, "svc-missing")
    assert "is default/hostnames meant?" in found.conclusion
    assert "default has hostnames, empty" in texts(found)
    assert "meant" not in check("service", given=case(name="xyz", namespace="q")).conclusion


# --- its definition ---------------------------------------


def test_a_definition_that_fits() -> None:
    """Ports and protocols that are meant are listed."""
    for given in (case(), case(port=80), case(port=80, proto="tcp"), case(proto="tcp")):
        found = check("definition", given=given)
        assert (found.state, found.conclusion) == (PASSED, "port and protocol are listed: 80/TCP")


@pytest.mark.parametrize(
    ("fields", "asked", "cause", "words"),
    [
        ({}, {"port": 8080}, "svc-port-not-listed", "no port 8080/any protocol; it has 80/TCP"),
        ({}, {"port": 80, "proto": "udp"}, "svc-protocol-mismatch", "no port 80/udp"),
        ({}, {"proto": "udp"}, "svc-protocol-mismatch", "no port any port/udp"),
        ({}, {"port": "http"}, "svc-port-not-listed", "no port http/"),
        ({"ports": ()}, {}, "svc-port-not-listed", "it has none"),
        (
            {"type": "ExternalName", "cluster_ips": (), "external_name": "db.test"},
            {},
            "svc-externalname",
            "alias for db.test",
        ),
        (
            {"labels": {"service.kubernetes.io/service-proxy-name": "mine", "app": "x"}},
            {},
            "svc-foreign-proxy",
            "service.kubernetes.io/service-proxy-name='mine'",
        ),
        (HEADLESS, {"port": 80}, "svc-headless-port", "its pods listen on 9376"),
    ],
)
def test_a_definition_that_does_not_fit(
    fields: dict[str, Any], asked: dict[str, Any], cause: str, words: str
) -> None:
    """Each misfit of definition and question has its own cause, and only advice."""
    found = check("definition", with_service(**fields), case(**asked))
    assert (found.state, found.cause) == (PROBLEM, cause)
    assert words in found.conclusion
    assert not any(repair.changes for finding in found.findings for repair in finding.repairs)


@pytest.mark.parametrize(
    "ports",
    [
        (ServicePort(port=80, target_port=80),),
        (ServicePort(port=80, target_port="web"),),
        (),
    ],
)
def test_a_headless_service_needs_no_translation(ports: tuple[ServicePort, ...]) -> None:
    """Headless with the same port, a named one or none at all is as it should be."""
    found = check("definition", with_service(**HEADLESS, ports=ports), case(port=80 if ports else None))
    assert found.state is PASSED
    assert "headless" in found.conclusion


# --- its endpoints ---------------------------------------


def test_endpoints_as_they_should_be() -> None:
    """Selector, pods and slices agree."""
    found = check("endpoints", labelled())
    assert found.state is PASSED
    assert found.conclusion == "3 ready: 10.244.1.11, 10.244.2.11, 10.244.2.12"


def test_a_service_without_selector_has_what_is_written() -> None:
    """Where there is no selector the slices are somebody's own, and pods need not be known."""
    for world in (cluster(), with_kube(cluster(), pods=DENIED)):
        found = check("endpoints", world)
        assert found.state is PASSED
        assert found.conclusion.startswith("it has no selector: its EndpointSlices are written by hand; 3")


def test_slices_that_were_not_read() -> None:
    """Without the slices nothing is said of endpoints."""
    found = check("endpoints", with_kube(labelled(), endpoint_slices=DENIED))
    assert (found.state, found.conclusion) == (UNKNOWN, "the EndpointSlices were not read: needs root")


def test_pods_that_were_not_read() -> None:
    """Ready endpoints are not called right where the pods that the selector means are not known."""
    found = check("endpoints", with_kube(labelled(), pods=DENIED))
    assert found.state is UNKNOWN
    assert "3 ready" in found.conclusion
    assert "the pods were not read: needs root" in found.conclusion


def test_an_alias_has_nobody_behind_it() -> None:
    """An ExternalName Service has no endpoints to check."""
    world = with_service(type="ExternalName", cluster_ips=(), external_name="db.test")
    assert check("endpoints", world).state is SKIPPED


def test_a_selector_that_matches_nobody() -> None:
    """The pod that comes nearest is shown with what it lacks."""
    found = check("endpoints", labelled(selector={"app": "hostname", "tier": "web"}))
    assert (found.state, found.cause) == (PROBLEM, "svc-selector-mismatch")
    assert "lacks app=hostname (it has hostnames), tier=web" in texts(found)
    assert "nearest" not in texts(check("endpoints", labelled(selector={"k": "v"})))


def test_pods_that_are_gone_do_not_count() -> None:
    """Finished pods are selected by nobody."""
    found = check("endpoints", labelled(phase="Succeeded"))
    assert found.cause == "svc-selector-mismatch"


def test_pods_of_which_none_is_ready() -> None:
    """Unready pods are named; a Service that publishes them all the same has endpoints."""
    world = labelled(ready=False)
    found = check("endpoints", world)
    assert (found.state, found.cause) == (PROBLEM, "svc-no-ready-endpoints")
    assert "none of the 3 pods" in found.conclusion
    assert check("endpoints", with_service(world, publish_not_ready_addresses=True)).state is PASSED


def test_a_port_name_that_no_container_declares() -> None:
    """A named targetPort has to be declared with its protocol by a container of the pods."""
    named = (ServicePort(port=80, target_port="web"),)
    world = with_service(labelled(), ports=named)
    found = check("endpoints", world)
    assert (found.state, found.cause) == (PROBLEM, "svc-named-port-mismatch")
    assert "the pods declare unnamed 9376/TCP" in texts(found)
    declared = PodContainer(name="main", ports=(ContainerPort(container_port=9376, name="web"),))
    assert check("endpoints", with_service(labelled(containers=(declared,)), ports=named)).state is PASSED


def test_slices_that_lack_a_ready_pod() -> None:
    """A ready pod that no slice has: nobody writes them."""
    world = labelled()
    kept = own_slice(world)
    found = check("endpoints", with_slices(world, replace(kept, endpoints=kept.endpoints[:2])))
    assert (found.state, found.cause) == (PROBLEM, "svc-endpoints-stale")
    assert "lack 10.244.2.12 of ready pods" in found.conclusion
    none = check("endpoints", with_slices(world))
    assert none.cause == "svc-endpoints-stale"
    assert "there is none" in texts(none)


def test_slices_that_have_somebody_elses_address() -> None:
    """An address that no selected pod has is stale."""
    world = labelled()
    kept = own_slice(world)
    more = (*kept.endpoints, Endpoint(addresses=("10.244.9.9",)))
    found = check("endpoints", with_slices(world, replace(kept, endpoints=more)))
    assert found.cause == "svc-endpoints-stale"
    assert "have 10.244.9.9, which no selected pod has" in found.conclusion


def test_a_family_that_no_pod_has() -> None:
    """A dual-stack Service of pods with one family only has an address that leads nowhere."""
    found = check("endpoints", with_service(labelled(), cluster_ips=("10.96.10.1", "fd00::10")))
    assert (found.state, found.cause) == (PROBLEM, "svc-ipfamily-mismatch")
    assert "has an IPv6 address, and none of its ready pods has one" in found.conclusion


def test_a_port_without_a_ready_endpoint() -> None:
    """Each port that is meant needs a ready endpoint, or one that still serves while it ends."""
    world = cluster()
    kept = own_slice(world)

    def with_ends(**fields: Any) -> World:
        ends = tuple(replace(end, **fields) for end in kept.endpoints)
        return with_slices(world, replace(kept, endpoints=ends))

    found = check("endpoints", with_ends(ready=False))
    assert (found.cause, found.conclusion) == (
        "svc-no-ready-endpoints",
        "port 80 of default/hostnames has no ready endpoint",
    )
    assert check("endpoints", with_ends(ready=False, terminating=True, serving=True)).state is PASSED
    assert "has no EndpointSlice" in check("endpoints", with_slices(world)).conclusion
    left = check("endpoints", with_slices(world, replace(kept, foreign="service.kubernetes.io/headless")))
    assert (left.cause, "is labelled service.kubernetes.io/headless" in left.conclusion) == (
        "svc-foreign-proxy",
        True,
    )


@pytest.mark.parametrize("ports", [(), (ServicePort(port=9376),)])
def test_a_headless_service_without_endpoints_is_no_healthy_one(ports: tuple[ServicePort, ...]) -> None:
    """Headless or not, with ports or without: with nobody behind it a Service does not pass."""
    world = with_service(**HEADLESS, ports=ports)
    assert check("endpoints", world).state is PASSED
    found = check("endpoints", with_slices(world))
    assert (found.state, found.cause) == (PROBLEM, "svc-endpoints-stale")
    kept = own_slice(world)
    unready = tuple(replace(end, ready=False) for end in kept.endpoints)
    found = check("endpoints", with_slices(world, replace(kept, endpoints=unready)))
    assert (found.state, found.cause) == (PROBLEM, "svc-no-ready-endpoints")


def test_an_address_that_two_pods_have() -> None:
    """Two pods with one address answer for each other; the host's own network is no such case."""
    pods = cluster().snapshot.kube.pods
    assert isinstance(pods, Known)
    other = Pod(name="twin", namespace="default", node_name="node-b", ips=("10.244.1.11",))
    world = with_kube(cluster(), pods=Known((*pods.value, other)))
    found = check("endpoints", world)
    assert (found.state, found.cause) == (PROBLEM, "duplicate-ip")
    assert found.findings[0].subject == "pod/default/twin"
    for fields in ({"host_network": True}, {"phase": "Failed"}):
        calm = with_kube(cluster(), pods=Known((*pods.value, replace(other, **fields))))
        assert check("endpoints", calm).state is PASSED


# --- looking for objects ---------------------------------------


def test_the_nearest_pod_is_of_the_services_namespace() -> None:
    """Only pods that share a label's key come near, the one that lacks least the nearest."""
    service = Service(name="s", namespace="a", selector={"app": "x", "tier": "y"})

    def pod(name: str, namespace: str = "a", **labels: str) -> Pod:
        return Pod(name=name, namespace=namespace, labels=labels)

    pods = [
        pod("far", other="x"),
        pod("else", "b", app="x", tier="y"),
        pod("half", app="z"),
        pod("best", app="x"),
    ]
    near = nearest(service, pods)
    assert near is not None
    assert (near[0].name, near[1]) == ("best", ("tier=y",))
    assert nearest(service, pods[:2]) is None


def test_where_a_pod_lives() -> None:
    """By its own word, by its node's namespace, by who has its address; else it is not known."""
    world = cluster()
    snapshot = world.snapshot
    pod = pod_at(snapshot, "10.244.1.11")
    assert pod is not None
    assert pod_netns(snapshot, pod) == "hostnames-0"
    assert pod_netns(snapshot, replace(pod, netns="gone")) == "hostnames-0"
    assert pod_netns(snapshot, replace(pod, netns=None, ips=("10.9.9.9",))) is None
    assert pod_netns(snapshot, replace(pod, netns=None, host_network=True)) == "node-a"
    assert pod_at(snapshot, "10.9.9.9") is None
    empty = replace(snapshot, kube=NO_OBJECTS)
    assert pod_at(empty, "10.244.1.11") is None
    assert find_service(empty, "default", "hostnames") is None
