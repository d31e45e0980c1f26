"""The lab with Cilium's programs: what connects, where the walk ends, and what the maps say."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from nettrace.app.context import Context, open_context
from nettrace.app.remember import Question
from nettrace.app.show import service_tables
from nettrace.app.systems import systems
from nettrace.app.trace import diagnosis_of, walk_of
from nettrace.collect.bpf import program_info
from nettrace.model.lab import LabRecord
from nettrace.model.section import Known, SectionKey
from nettrace.model.step import Verdict
from nettrace.render.contract_state import ShownFrontend
from nettrace.render.shown import show_document
from tests.kernel.bpf import bpf, on_cgroup, own_cgroup, returning
from tests.kernel.labs import a_lab, address_of, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def record() -> Iterator[LabRecord]:
    """One lab for all tests here, which leave it as it is."""
    with a_lab("cilium") as made:
        yield made


@pytest.fixture
def context(record: LabRecord) -> Iterator[Context]:
    """What is read of it."""
    with open_context(lab=record.name) as opened:
        yield opened


def reason(context: Context, source: str, target: str) -> str:
    """Why the walk does not know."""
    walked = walk_of(context, Question(source=source, target=target))
    assert walked.verdict is Verdict.UNKNOWN
    return walked.paths[0].legs[-1].reason


def test_it_carries_packets(record: LabRecord) -> None:
    """Its programs let everything pass: pods of other nodes, Services, the way out and the way in."""
    pod = address_of(record, "hostnames-1")
    assert ask(record, "client-a", pod, 9376)[0] == "hostnames-1"
    assert ask(record, "client-a", "10.96.1.0", 80)[0].startswith("hostnames-")
    assert ask(record, "node-b", "10.96.1.0", 80)[0].startswith("hostnames-")
    assert ask(record, "internet", address_of(record, "node-a"), 30080)[0].startswith("hostnames-")
    answered, seen = ask(record, "client-b", address_of(record, "internet"), 80)
    assert (answered, seen) == ("internet", address_of(record, "node-b"))


def test_the_walk_ends_at_the_program(context: Context) -> None:
    """UNKNOWN with name and id: at a pod's device, and at the node's own."""
    said = reason(context, "pod/default/client-a", "svc/default/hostnames:80")
    found = re.search(r"tc ingress cil_from_container-lxc[0-9a-f]{12} \(id (\d+)\) on lxc\w+ of node-a", said)
    assert found is not None, said
    info = program_info(int(found[1]))
    assert info is not None
    assert info.name == "cil_from_contai"
    said = reason(context, "node/node-a", f"ip/{'10.244.2.2'}:9376")
    assert re.search(r"tc egress cil_to_netdev-eth0 \(id \d+\)", said), said


def test_the_service_table_is_that_of_the_cluster(context: Context) -> None:
    """Frontends, backends and whose they are; nothing lacks and nothing is beyond."""
    tables = service_tables(context)
    assert [(one.node, one.unknown) for one in tables] == [("node-a", ()), ("node-b", ())]
    context.read_unread([SectionKey("", f"kube/{name}") for name in ("services", "endpoint_slices")])
    document = show_document("services", context.snapshot, tables=tables)
    items = [one for one in document.items if isinstance(one, ShownFrontend) and one.node == "node-a"]
    found = {(one.entry.address, one.entry.port, one.entry.proto): one for one in items}
    assert {key: one.service for key, one in found.items()} == {
        ("10.96.1.0", 80, "tcp"): "default/hostnames",
        ("0.0.0.0", 30080, "tcp"): "default/hostnames",
        ("172.18.0.11", 30080, "tcp"): "default/hostnames",
        ("10.96.0.10", 53, "udp"): "kube-system/kube-dns",
        ("10.96.0.10", 53, "tcp"): "kube-system/kube-dns",
    }
    assert {(one.lacks, one.beyond) for one in items} == {((), ())}
    assert len(found["10.96.1.0", 80, "tcp"].entry.backends) == 3


def test_it_is_recognised(context: Context) -> None:
    """Devices, programs and the CNI configuration; what it owes is there; addresses have identities."""
    found = {(one.name, one.node): one for one in systems(context).found}
    cilium = found["cilium", "node-a"]
    assert cilium.mode == "native routing"
    texts = [one.text for one in cilium.evidence]
    assert "cilium_host (veth)" in texts
    assert "/etc/cni/net.d/05-cilium.conflist" in texts
    assert any(text.startswith("tc egress cil_to_netdev-eth0") for text in texts)
    # a route to the other node's pods and to each of the three pods here; five devices of its own
    assert {(one.kind, one.owed, one.differing) for one in cilium.owed} == {
        ("routes", 4, 0),
        ("sysctls", 5, 0),
    }
    service_tables(context)
    assert context.plugins.name(context.snapshot, "node-a", "172.18.0.12") == "identity 6 (remote-node)"
    section = context.snapshot.nodes["node-a"].bpf
    assert isinstance(section, Known)
    assert {one.name for one in section.value.maps} >= {
        "cilium_lb4_serv",
        "cilium_ipcache",
        "cilium_ct4_glob",
    }


def test_what_is_said_about_it(context: Context) -> None:
    """The finding is the program's owner and its own tool; nobody is offered a change."""
    walked = walk_of(context, Question(source="pod/default/client-a", target="svc/default/hostnames:80"))
    found = diagnosis_of(context, walked)
    assert found.met is None
    first = found.findings[0]
    assert first.cause == "bpf-datapath-opaque"
    assert re.match(r"tc (in|e)gress cil_\w+-lxc[0-9a-f]{12} \(id \d+\) on node-a decides", first.message)
    (repair,) = first.repairs
    assert (repair.owner, repair.changes) == ("cilium-agent", ())
    assert "cilium-dbg monitor" in repair.lasting


def test_a_route_that_is_gone() -> None:
    """What the agent owes the node and is not there is said, although no walk gets so far."""
    # with one peer the route itself is what says that there have to be some: a second peer's stays
    with a_lab("cilium", nodes=3) as other:
        there = next(entry.netns for entry in other.namespaces if entry.name == "node-a")
        subprocess.run(["ip", "-n", there, "route", "del", "10.244.2.0/24"], check=True)
        with open_context(lab=other.name) as opened:
            (cilium,) = [one for one in systems(opened, of="node-a").found if one.name == "cilium"]
    routes = next(count for count in cilium.owed if count.kind == "routes")
    assert routes.differing == 1
    assert "10.244.2.0/24" in cilium.differs[0]


def test_what_kube_proxy_left(record: LabRecord) -> None:
    """A program answers for Services in connect(), kube-proxy does not run, and its chains are there."""
    netns = next(entry.netns for entry in record.namespaces if entry.name == "node-a")
    with bpf() as made, own_cgroup() as cgroup:
        descriptor = made.program("connect4", returning(1), "cil_sock4_connect")
        process = subprocess.Popen(["ip", "netns", "exec", netns, "sleep", "60"])
        try:
            (cgroup / "cgroup.procs").write_text(str(process.pid))
            with on_cgroup(cgroup, "connect4", descriptor), open_context(lab=record.name) as opened:
                found = {(one.name, one.node): one for one in systems(opened).found}
        finally:
            process.kill()
            process.wait()
    (left,) = found["cilium", "node-a"].leftovers
    assert re.match(r"\d+ chains of kube-proxy, which does not run: KUBE-", left.text)
    assert re.fullmatch(r"connect4 cil_sock4_conne \(id \d+\) answers for Services", left.note)
    assert found["cilium", "node-a"].mode == "native routing, Services by connect4"
    assert found["cilium", "node-b"].leftovers == ()
