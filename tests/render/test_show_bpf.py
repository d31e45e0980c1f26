"""BPF in ``nettrace show``: programs, maps, and Service tables beside Services."""

from nettrace.model.bpf import BpfMap, BpfProgram, BpfState, MapRef
from nettrace.model.kube import Endpoint, EndpointPort, EndpointSlice, Kube, Service, ServicePort
from nettrace.model.links import Link
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.service_table import MapWords, ServiceEntry, ServiceTable, TableBackend
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.render.contract_state import ShownFrontend
from nettrace.render.page import Look
from nettrace.render.shown import show_document
from nettrace.render.shown_bpf import programs_document
from nettrace.render.text import render

PROGRAM = BpfProgram(hook="tc ingress", id=42, name="from_pod", tag="ab12", maps=(MapRef(7, "conns"),))
PIN = "/sys/fs/bpf/c"
STATE = BpfState(
    programs=(PROGRAM,),
    maps=(
        BpfMap(
            id=7, name="conns", type="hash", key_size=4, value_size=8, max_entries=16, pinned="/sys/fs/bpf/c"
        ),
        BpfMap(id=8, name="", type="array", key_size=4, value_size=4, max_entries=1),
    ),
)
LINKS = (Link(index=1, name="lo", kind="loopback"), Link(index=2, name="v0", kind="veth", bpf=(PROGRAM,)))


def snapshot(**kube: object) -> Snapshot:
    """A node that runs a program."""
    space = Netns(name="n", node="n", role="node", links=Known(LINKS), socket_programs=Known(()))
    node = NodeState(name="n", netns="n", bpf=Known(STATE))
    return Snapshot(namespaces={"n": space}, nodes={"n": node}, kube=Kube(**kube))  # type: ignore[arg-type]


def test_programs_and_maps() -> None:
    """Where each hangs, what it uses; a map's entries in words where a plugin has some."""
    rows = tuple(f"{number} is here" for number in range(10))
    words = MapWords(id=7, name="conns", system="mine", what="connections", rows=rows)
    document = programs_document(snapshot(), {"n": (words,)})
    text = render(document)
    assert text.splitlines()[1].split() == [
        "n",
        "v0",
        "tc",
        "ingress",
        "from_pod",
        "42",
        "ab12",
        "conns",
        "(7)",
    ]
    assert "  conns (id 7)  hash, keys of 4 bytes, values of 8, 16 at most" in text
    assert "    pinned   /sys/fs/bpf/c\n    used by  from_pod (id 42)\n" in text
    assert "    mine   connections, 10 entries\n      0 is here\n" in text
    assert "      and 2 more\n  a map (id 8)" in text
    assert "9 is here" in render(document, Look(wide=True))
    assert not document.missing


def test_a_layout_that_is_not_known() -> None:
    """It is said under the map."""
    words = MapWords(id=7, name="conns", system="mine", what="connections", unknown="no such layout")
    assert "    ? no such layout\n" in render(programs_document(snapshot(), {"n": (words,)}))


def test_what_was_not_read() -> None:
    """It is listed, for namespaces and nodes."""
    denied = Missing(MissingKind.DENIED, "needs root")
    bare = Snapshot(
        namespaces={"n": Netns(name="n", node="n", links=denied, socket_programs=denied)},
        nodes={"n": NodeState(name="n", netns="n", bpf=denied)},
    )
    document = programs_document(bare, {})
    assert [(one.netns, one.section) for one in document.missing] == [
        ("n", "links"),
        ("n", "socket_programs"),
        ("node:n", "bpf"),
    ]


def table(*backends: tuple[str, str]) -> ServiceTable:
    """One frontend with these backends."""
    entry = ServiceEntry(
        address="10.96.0.10",
        port=80,
        proto="tcp",
        kind="ClusterIP",
        backends=tuple(TableBackend(address=a, port=8080, state=state) for a, state in backends),
        source="services (map 7)",
    )
    return ServiceTable(
        node="n", system="mine", entries=(entry,), unknown=("services (map 9): no such layout",)
    )


def kube() -> dict[str, object]:
    """A Service with two ready endpoints and one that is not."""
    port = ServicePort(name="http", port=80, protocol="TCP", target_port="8080")
    service = Service(namespace="default", name="web", cluster_ips=("10.96.0.10",), ports=(port,))
    endpoints = (
        Endpoint(addresses=("10.1.0.1",), ready=True),
        Endpoint(addresses=("10.1.0.2",), ready=True),
        Endpoint(addresses=("10.1.0.3",), ready=False),
    )
    piece = EndpointSlice(
        namespace="default",
        name="web-1",
        service="web",
        ports=(EndpointPort(name="http", port=8080),),
        endpoints=endpoints,
    )
    return {"services": Known((service,)), "endpoint_slices": Known((piece,))}


def test_a_service_table_beside_the_services() -> None:
    """Whose frontend it is, and where its backends are not the ready endpoints."""
    found = table(("10.1.0.1", "active"), ("10.1.0.3", "active"), ("10.1.0.9", "terminating"))
    document = show_document("services", snapshot(**kube()), tables=(found,))
    text = render(document)
    row = next(line for line in text.splitlines() if line.startswith("n "))
    assert "mine: services (map 7)" in row
    assert "10.96.0.10:80/tcp" in row
    assert "default/web" in row
    assert "10.1.0.1:8080, 10.1.0.3:8080, 10.1.0.9:8080 (terminating)" in row
    assert row.endswith("lacks 10.1.0.2:8080; no endpoint: 10.1.0.3:8080")
    assert "? node:n/bpf/mine: not known: services (map 9): no such layout" in text


def test_a_service_table_alone() -> None:
    """Without objects it is shown all the same, and whose it is stays open."""
    document = show_document("services", snapshot(), tables=(table(("10.1.0.1", "active")),))
    text = render(document)
    assert "SERVICE  " in text.splitlines()[0]
    assert text.splitlines()[1].split()[-3:] == ["<none>", "10.1.0.1:8080", "<none>"]


def test_an_equal_table_has_no_notes() -> None:
    """Nothing lacks, nothing is too much."""
    found = table(("10.1.0.1", "active"), ("10.1.0.2", "active"))
    items = show_document("services", snapshot(**kube()), tables=(found,)).items
    (item,) = [one for one in items if isinstance(one, ShownFrontend)]
    assert (item.lacks, item.beyond) == ((), ())
