"""Which endpoints a node uses."""

from collections.abc import Sequence
from itertools import product

import pytest
from msgspec.structs import replace

from nettrace.kube.endpoints import Backend, Choice, backends, choose, index_slices
from nettrace.kube.services import ProxiedPort, proxied_ports
from nettrace.model.kube import FOREIGN_LABELS, Endpoint, EndpointPort, EndpointSlice, Service, ServicePort

SERVICE = Service(
    name="web", cluster_ips=("10.96.0.20", "fd00::20"), ports=(ServicePort(port=80, name="http"),)
)
NODE_PORT = replace(SERVICE, type="NodePort", ports=(ServicePort(port=80, name="http", node_port=30080),))
SLICE = EndpointSlice(name="web-1", service="web", ports=(EndpointPort(name="http", port=8080),))


def port_of(service: Service, family: int = 4) -> ProxiedPort:
    """The one port of *service*."""
    return proxied_ports([service], family)[0]


CLUSTER = port_of(SERVICE)
LOCAL_ONLY = port_of(replace(SERVICE, internal_traffic_policy="Local"))
EXTERNAL_LOCAL = port_of(replace(NODE_PORT, external_traffic_policy="Local"))

#: One letter an endpoint: ready, serving, terminating.
CONDITIONS = {
    "r": (True, True, False),
    "n": (False, False, False),
    "u": (False, True, False),
    "d": (False, True, True),
    "t": (False, False, True),
}


def backend(name: str) -> Backend:
    """``r1``: a ready one; a capital letter is one on this node."""
    letter, number = name[0], int(name[1:])
    ready, serving, terminating = CONDITIONS[letter.lower()]
    return Backend(
        address=f"10.244.0.{number}",
        port=80,
        ready=ready,
        serving=serving,
        terminating=terminating,
        local=letter.isupper(),
    )


def names(chosen: Sequence[Backend], everyone: dict[str, Backend]) -> str:
    """The names of the chosen ones."""
    return " ".join(name for b in chosen for name, known in everyone.items() if known == b)


def chosen(text: str, port: ProxiedPort) -> tuple[str, str, str, bool]:
    """Cluster, local and reachable endpoints by name, and whether there is any in the cluster."""
    everyone = {name: backend(name) for name in text.split()}
    choice = choose(tuple(everyone.values()), port, node="here")
    return (
        names(choice.cluster, everyone),
        names(choice.local, everyone),
        names(choice.reachable, everyone),
        choice.exists,
    )


@pytest.mark.parametrize(
    ("everyone", "expected"),
    [
        ("", ("", "", "", False)),
        ("r1 r2", ("r1 r2", "", "r1 r2", True)),
        ("r1 n2 d3", ("r1", "", "r1", True)),
        ("n1 n2", ("", "", "", False)),
        ("u1", ("", "", "", False)),
        ("d1 d2 n3 t4", ("d1 d2", "", "d1 d2", True)),
        ("t1", ("", "", "", False)),
        ("R1 r2", ("R1 r2", "", "R1 r2", True)),
    ],
)
def test_policy_cluster(everyone: str, expected: tuple[str, str, str, bool]) -> None:
    """All ready endpoints; where there is none, those that serve while they terminate."""
    assert chosen(everyone, CLUSTER) == expected


@pytest.mark.parametrize(
    ("everyone", "expected"),
    [
        ("", ("", "", "", False)),
        ("R1 r2", ("", "R1", "R1", True)),
        ("r1 r2", ("", "", "", True)),
        ("D1 r2", ("", "D1", "D1", True)),
        ("D1 R2", ("", "R2", "R2", True)),
        ("d1 N2", ("", "", "", True)),
        ("n1 N2 T3", ("", "", "", False)),
    ],
)
def test_policy_local_alone(everyone: str, expected: tuple[str, str, str, bool]) -> None:
    """Internal policy Local without outside traffic uses nothing but this node's endpoints."""
    assert chosen(everyone, LOCAL_ONLY) == expected


@pytest.mark.parametrize(
    ("everyone", "expected"),
    [
        ("R1 r2", ("R1 r2", "R1", "R1 r2", True)),
        ("r1", ("r1", "", "r1", True)),
        ("D1 r2", ("r2", "D1", "D1 r2", True)),
        ("D1 d2", ("D1 d2", "D1", "D1 d2", True)),
        ("n1", ("", "", "", False)),
    ],
)
def test_both_policies(everyone: str, expected: tuple[str, str, str, bool]) -> None:
    """External policy Local keeps the endpoints of all nodes for pods and the node itself."""
    assert chosen(everyone, EXTERNAL_LOCAL) == expected


def test_no_choice_uses_an_endpoint_that_does_not_serve() -> None:
    """Of all sets of up to three endpoints, none yields one that is neither ready nor draining."""
    for letters in product("rRnNuUdDtT", repeat=3):
        everyone = tuple(backend(f"{letter}{i}") for i, letter in enumerate(letters))
        for port in (CLUSTER, LOCAL_ONLY, EXTERNAL_LOCAL):
            choice = choose(everyone, port, node="here")
            assert all(b.ready or b.drains for b in choice.reachable)
            assert all(b.local for b in choice.local)
            assert choice.exists or not choice.reachable
            assert {*choice.cluster, *choice.local} == {*choice.reachable}


def hinted(*hints: str) -> tuple[Backend, ...]:
    """Ready endpoints; ``a/n1``: hinted for zone a and node n1, either may be left out."""
    found = []
    for number, text in enumerate(hints):
        zone, _, node = text.partition("/")
        zones, nodes = ((part,) if part else () for part in (zone, node))
        found.append(Backend(address=f"10.0.0.{number}", port=80, hints_zones=zones, hints_nodes=nodes))
    return tuple(found)


@pytest.mark.parametrize(
    ("hints", "zone", "options", "expected"),
    [
        (("a", "b", "a"), "a", {}, (0, 2)),
        (("a", "b"), "c", {}, (0, 1)),  # no endpoint for this zone: hints are ignored
        (("a", ""), "a", {}, (0, 1)),  # one without a hint: hints are ignored
        (("a", "b"), "", {}, (0, 1)),  # the node has no zone
        (("a/n1", "a/n2", "b/n2"), "a", {}, (0,)),
        (("a/n2", "a/n3", "b/n2"), "a", {}, (0, 1)),  # none for this node: its zone
        (("a/n1", "a", "b"), "a", {}, (0, 1)),
        (("a/n1", "a/n2", "b/n2"), "a", {"node_hints": False}, (0, 1)),
        (("a", "b"), "a", {"zone_hints": False}, (0, 1)),
    ],
)
def test_hints(
    hints: tuple[str, ...], zone: str, options: dict[str, bool], expected: tuple[int, ...]
) -> None:
    """Hints count if every ready endpoint has one and one of them fits; nodes before zones."""
    everyone = hinted(*hints)
    choice = choose(everyone, CLUSTER, node="n1", zone=zone, **options)
    assert choice.cluster == tuple(everyone[i] for i in expected)


def test_hints_of_endpoints_that_are_not_ready_do_not_count() -> None:
    """A terminating endpoint without a hint does not switch hints off."""
    everyone = (*hinted("a", "b"), replace(backend("d9"), hints_zones=()))
    assert choose(everyone, CLUSTER, node="n1", zone="a").cluster == everyone[:1]


def test_local_endpoints_ignore_hints() -> None:
    """Policy Local keeps its own endpoints even if they are meant for another zone."""
    local = replace(hinted("b")[0], local=True)
    other = replace(hinted("a")[0], address="10.0.0.9")
    choice = choose((local, other), EXTERNAL_LOCAL, node="n1", zone="a")
    assert choice == Choice(cluster=(other,), local=(local,), reachable=(local, other), exists=True)


def endpoint(address: str, **fields: object) -> Endpoint:
    """An endpoint with one address."""
    return replace(Endpoint(addresses=(address,)), **fields)


def found(slices: Sequence[EndpointSlice], port: ProxiedPort = CLUSTER) -> list[str]:
    """The texts of all endpoints of *port* in *slices*, seen from node ``n1``."""
    return [b.text for b in backends(index_slices(slices), port, "n1")]


def test_endpoints_are_sorted_as_text() -> None:
    """10.244.1.120 comes before 10.244.1.21, and the slices' order means nothing."""
    one = replace(SLICE, endpoints=(endpoint("10.244.1.21"), endpoint("10.244.1.120")))
    two = replace(SLICE, name="web-2", endpoints=(endpoint("10.244.1.3"),))
    assert found([two, one]) == ["10.244.1.120:8080", "10.244.1.21:8080", "10.244.1.3:8080"]


@pytest.mark.parametrize(
    "other",
    [
        replace(SLICE, service="api"),
        replace(SLICE, namespace="elsewhere"),
        replace(SLICE, address_type="IPv6"),
        replace(SLICE, address_type="FQDN"),
        replace(SLICE, ports=(EndpointPort(name="https", port=8443),)),
        replace(SLICE, ports=(EndpointPort(name="http", protocol="UDP", port=8080),)),
        replace(SLICE, ports=(EndpointPort(name="http", port=None),)),
        replace(SLICE, ports=()),
    ],
)
def test_slices_that_are_not_of_this_port(other: EndpointSlice) -> None:
    """Service, family, port name and protocol have to agree, and the port to be given."""
    assert found([replace(other, endpoints=(endpoint("10.244.1.5"),))]) == []


def test_what_a_slice_says_of_an_endpoint_is_kept() -> None:
    """Conditions, hints, the pod and the slice come along; local is by node name."""
    here = endpoint("10.244.1.5", node_name="n1", ready=False, serving=True, terminating=True)
    there = endpoint("10.244.2.5", node_name="n2", target="default/web-0", hints_zones=("a",))
    slices = [replace(SLICE, endpoints=(here, there))]
    first, second = backends(index_slices(slices), CLUSTER, "n1")
    assert (first.local, first.ready, first.drains) == (True, False, True)
    assert (second.local, second.ready, second.pod, second.hints_zones) == (
        False,
        True,
        "default/web-0",
        ("a",),
    )
    assert first.source == second.source == "default/web-1"


def test_an_endpoint_without_a_node_is_nowhere_local() -> None:
    """An address that somebody wrote into a slice by hand belongs to no node."""
    slices = [replace(SLICE, endpoints=(endpoint("192.0.2.80"),))]
    assert [b.local for b in backends(index_slices(slices), CLUSTER, "n1")] == [False]


def test_an_endpoint_in_two_slices_is_one() -> None:
    """While it moves from one slice to another it is counted once, and local if either says so."""
    away = replace(SLICE, endpoints=(endpoint("10.244.1.5"),))
    here = replace(SLICE, name="web-2", endpoints=(endpoint("10.244.1.5", node_name="n1"),))
    for order in ([away, here], [here, away]):
        assert [b.local for b in backends(index_slices(order), CLUSTER, "n1")] == [True]


def test_only_the_first_address_of_an_endpoint_counts() -> None:
    """The API allows several that mean the same; kube-proxy takes the first."""
    several = Endpoint(addresses=("10.244.1.5", "10.244.1.6"))
    assert found([replace(SLICE, endpoints=(several,))]) == ["10.244.1.5:8080"]
    assert found([replace(SLICE, endpoints=(Endpoint(addresses=()),))]) == []


def test_ipv6_endpoints() -> None:
    """They come from IPv6 slices, in brackets and in their one spelling."""
    six = replace(SLICE, address_type="IPv6", endpoints=(endpoint("FD00:0:0::5"),))
    assert found([six], port_of(SERVICE, 6)) == ["[fd00::5]:8080"]


def test_a_slice_that_is_somebody_else_s_is_passed_over() -> None:
    """kube-proxy does not watch what is labelled so; a headless Service's slices all are."""
    mine = replace(SLICE, endpoints=(endpoint("10.244.1.5"),))
    other = replace(SLICE, name="web-2", endpoints=(endpoint("10.244.1.6"),), foreign=FOREIGN_LABELS[0])
    assert found([mine, other]) == ["10.244.1.5:8080"]
    headless = replace(CLUSTER, service=replace(CLUSTER.service, headless=True))
    assert found([mine, other], headless) == ["10.244.1.5:8080", "10.244.1.6:8080"]
