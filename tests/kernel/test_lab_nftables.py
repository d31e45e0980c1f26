"""A lab whose kube-proxy runs in mode nftables: what connects, what the walk says, and its next run."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from nettrace.app.context import Context, open_context
from nettrace.app.remember import Question
from nettrace.app.systems import systems
from nettrace.app.trace import walk_of
from nettrace.kube.nft_found import canonical_rule, listed_tables
from nettrace.lab import break_
from nettrace.lab.cluster.proxy import native_tables
from nettrace.lab.proxy import program_native
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.system import System
from nettrace.model.walk import Outcome
from nettrace.parse.manifests import kube_from_documents, parse_documents
from tests.acceptance.test_random_faults import disagreement
from tests.kernel.labs import a_lab, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_ALL = {"app": "hostnames"}
_FIRST = {"app": "hostnames", "first": "yes"}
#: Services beside the lab's own, all over the same pods but those that select none.
SERVICES: dict[str, dict[str, Any]] = {
    "local": {"type": "NodePort", "selector": _FIRST, "externalTrafficPolicy": "Local", "nodePort": 30081},
    "inside": {"selector": _FIRST, "internalTrafficPolicy": "Local"},
    "sticky": {"selector": _ALL, "sessionAffinity": "ClientIP"},
    "empty": {"type": "NodePort", "selector": {"app": "nobody"}, "nodePort": 30082},
    "outer": {"selector": _ALL, "externalIPs": ["198.51.100.9"]},
    "balanced": {
        "type": "LoadBalancer",
        "selector": _ALL,
        "nodePort": 30083,
        "loadBalancerSourceRanges": ["10.244.1.0/24"],
        "ip": "203.0.113.9",
    },
}
OWN = Path("nettrace/lab/manifests/cluster/workload.yaml")

SOURCES = ("pod/default/client-a", "pod/default/client-b", "node/node-a", "node/node-b", "internet")
TARGETS = (
    *(f"svc/default/{name}:80" for name in ("hostnames", "local", "inside", "sticky", "empty", "outer")),
    "svc/kube-system/kube-dns:53/udp",
    "svc/kube-system/kube-dns:53/tcp",
    *(f"node/node-{node}:{port}" for node in "ab" for port in (30080, 30081, 30082, 30083)),
    "198.51.100.9:80",
    "203.0.113.9:80",
    "10.96.1.0:81",
    "10.96.77.77:80",
    "127.0.0.1:30080",
)
#: Every source to every target: ``NETTRACE_TEST_SWEEP=1 pytest tests/kernel/test_lab_nftables.py`` (a minute).
SWEEP = bool(os.environ.get("NETTRACE_TEST_SWEEP"))


def sources(target: str) -> tuple[str, ...]:
    """All of them, or one by turns."""
    index = TARGETS.index(target)
    return SOURCES if SWEEP else (SOURCES[index % len(SOURCES)],)


def manifests(directory: Path) -> Path:
    """The lab's own workload with more Services; hostnames-0 alone is ``first``."""
    documents = list(yaml.safe_load_all(Path(__file__).parents[2].joinpath(OWN).read_text()))
    for document in documents:
        if document["metadata"]["name"] == "hostnames-0":
            document["metadata"]["labels"]["first"] = "yes"
    for name, spec in SERVICES.items():
        port = {"port": 80, "targetPort": 9376}
        fields = {key: value for key, value in spec.items() if key not in ("nodePort", "ip")}
        if "nodePort" in spec:
            port["nodePort"] = spec["nodePort"]
        document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}
        document["spec"] = {**fields, "ports": [port]}
        if "ip" in spec:
            document["status"] = {"loadBalancer": {"ingress": [{"ip": spec["ip"]}]}}
        documents.append(document)
    directory.joinpath("all.yaml").write_text(yaml.safe_dump_all(documents))
    return directory


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRecord]:
    """A flannel-vxlan lab in mode nftables."""
    made = manifests(tmp_path_factory.mktemp("manifests"))
    with a_lab("flannel-vxlan", proxy="nftables", manifests=made) as record:
        yield record


@pytest.fixture(scope="module")
def context(lab: LabRecord) -> Iterator[Context]:
    """Its state, read as questions need it."""
    with open_context(lab=lab.name) as opened:
        yield opened


def listing(record: LabRecord, node: str) -> str:
    """What nft lists on a node."""
    netns = next(entry.netns for entry in record.namespaces if entry.name == node)
    argv = ["ip", "netns", "exec", netns, "nft", "list", "ruleset"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def contents(record: LabRecord, node: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The rules of the IPv4 table's chains and the elements of its sets, by name."""
    table = next(
        t for t in listed_tables(listing(record, node)) if (t.family, t.name) == ("ip", "kube-proxy")
    )
    chains = {chain.name: list(map(canonical_rule, chain.rules)) for chain in table.chains}
    return chains, {one.name: sorted(one.elements) for one in table.sets if "dynamic" not in one.flags}


@pytest.mark.parametrize("target", TARGETS)
def test_the_walk_is_what_happens(context: Context, target: str) -> None:
    """From pods, nodes and outside: outcome and endpoints of real connections are those of the walk."""
    wrong = [said for source in sources(target) if (said := disagreement(context.again(), source, target))]
    assert wrong == []


def test_what_each_service_does(context: Context) -> None:
    """The cases are of all kinds: connected, refused, and dropped without an answer."""
    seen = {
        target: walk_of(context.again(), Question(source=source, target=target)).paths[0].outcome
        for source, target in (
            ("pod/default/client-a", "svc/default/hostnames:80"),
            ("pod/default/client-b", "svc/default/inside:80"),
            ("pod/default/client-b", "svc/default/empty:80"),
            ("pod/default/client-b", "203.0.113.9:80"),
            ("pod/default/client-a", "10.96.77.77:80"),
            ("node/node-a", "127.0.0.1:30080"),
        )
    }
    assert list(seen.values()) == [
        Outcome.CONNECTED,
        Outcome.TIMEOUT,
        Outcome.REFUSED,
        Outcome.TIMEOUT,
        Outcome.TIMEOUT,
        Outcome.REFUSED,
    ]


def test_a_fault_of_iptables_rules_is_refused(lab: LabRecord) -> None:
    """There is nothing of it in such a lab, and that is said."""
    with pytest.raises(UserError, match="is a fault of kube-proxy's iptables rules"):
        break_(lab, "kube-postrouting-missing")


def test_the_systems_of_its_nodes(lab: LabRecord) -> None:
    """kube-proxy is named with its mode; all it owes is there, and nothing of it where its table is gone."""
    with open_context(lab=lab.name) as context:
        context.read_all()

    def proxy(snapshot: Snapshot) -> System:
        told = systems(Context("file x", snapshot, context.plugins), of="node-a")
        return next(one for one in told.found if one.name == "kube-proxy")

    whole = proxy(context.snapshot)
    assert (whole.mode, whole.version, whole.differs) == ("nftables", "1.36", ())
    assert {count.kind for count in whole.owed} == {"chains", "sets and maps"}
    assert all(count.there == count.owed for count in whole.owed)
    node = next(one for one in context.snapshot.namespaces.values() if one.name == "node-a")
    assert isinstance(node.nft, Known)
    tables = {name: table for name, table in node.nft.value.tables.items() if name != "ip kube-proxy"}
    flushed = proxy(
        context.snapshot.with_netns(replace(node, nft=Known(replace(node.nft.value, tables=tables))))
    )
    assert {count.kind: count.differing for count in flushed.owed} == {c.kind: c.owed for c in whole.owed}


def test_the_next_run(lab: LabRecord) -> None:
    """Objects that change are programmed, what was for the old ones goes, and all comes back."""
    texts = {path.name: path.read_text() for path in Path(lab.manifests or "").glob("*.yaml")}
    kube = kube_from_documents([d for name, text in texts.items() for d in parse_documents(text, name)], "x")
    assert isinstance(kube.services, Known)
    netns = next(entry.netns for entry in lab.namespaces if entry.name == "node-a")
    before = contents(lab, "node-a")
    gone = replace(
        kube,
        services=Known(tuple(one for one in kube.services.value if one.name not in ("hostnames", "sticky"))),
    )
    program_native(netns, gone, "node-a")
    table = native_tables(gone, "node-a")[0]
    chains, sets = contents(lab, "node-a")
    assert set(chains) == {chain.name for chain in table.chains}
    assert set(sets) == {one.name for one in table.sets}
    with pytest.raises(OSError, match=r"refused|timed out|reset"):
        ask(lab, "client-a", "10.96.1.0", 80)
    program_native(netns, kube, "node-a")
    assert contents(lab, "node-a") == before
