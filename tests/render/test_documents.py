"""Documents as data: JSON that is read back, schemas that hold, YAML and SVG of the same."""

import json as std_json
from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml as pyyaml
from msgspec.structs import replace

from nettrace.diagnose.departure import Departure, DepartureReport, Share
from nettrace.kube.expected import (
    Expected,
    ExpectedIpset,
    ExpectedIpvs,
    ExpectedNftChain,
    ExpectedNftSet,
    ExpectedNftTable,
    RealServer,
    VirtualServer,
)
from nettrace.model.change import Exact, NoUndo
from nettrace.model.dropped import DropSeen, Predicted
from nettrace.model.errors import UserError
from nettrace.model.finding import Finding, Severity
from nettrace.model.guide import Axis, Check, CheckState, GuideReport, PodReport, RepairDone
from nettrace.model.ingress import IngressRoute
from nettrace.model.ingress_report import IngressPart, IngressReport
from nettrace.model.lab import LabNetns, LabRecord
from nettrace.model.plan import JournalEntry, PlannedChange, Precondition, RepairPlan
from nettrace.model.report import RepairReport, TraceReport
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.step import Verdict
from nettrace.model.xt import XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_target import Jump
from nettrace.parse.snapshot_file import encode_snapshot
from nettrace.render import json, schema, svg, text, yaml
from nettrace.render.check_document import check_document
from nettrace.render.contract import Document
from nettrace.render.contract_state import DoctorCheck, DoctorDocument
from nettrace.render.document import (
    drop_document,
    explanation_document,
    finding_document,
    guide_document,
    history_document,
    labs_document,
    plan_document,
    pod_document,
    repair_document,
    walk_document,
)
from nettrace.render.expect_document import diff_document, expected_document
from nettrace.render.ingress_document import ingress_document
from nettrace.render.page import Look
from nettrace.render.shown import show_document
from tests.render.check_reports import check_report


def plan_of(report: TraceReport) -> RepairPlan:
    """Make a plan of the report's first repair."""
    finding = report.findings[0]
    repair = finding.repairs[0]
    change = repair.changes[0]
    return RepairPlan(
        id="7f3a0c11",
        cause=finding.cause,
        context=report.context,
        flow=report.walk.flow,
        changes=(
            PlannedChange(
                node="node-b",
                netns="node-b",
                change=change,
                command="iptables -t nat -I POSTROUTING 1 -j KUBE-POSTROUTING",
                undo=Exact((change,)),
                inverse=("iptables -t nat -D POSTROUTING 1",),
            ),
            PlannedChange(node="node-b", netns="node-b", change=change, command="x", undo=NoUndo("it ages")),
        ),
        preconditions=(Precondition(key=SectionKey("node-b", "xt/nft/nat/POSTROUTING"), digest="ab"),),
        safety=repair.safety,
        owner=repair.owner,
        overwritten=repair.overwritten,
        lasting="restart kube-proxy",
        effect=repair.effect,
        checks=("nothing else changes for 41 owed flows",),
    )


def entry_of(report: TraceReport) -> JournalEntry:
    """Make the journal's entry of that plan, waiting for confirmation."""
    return JournalEntry(
        plan=plan_of(report), state="applied", done=2, started="14:02:11", deadline=1e9, note="[note]"
    )


EXPECTED = Expected(
    mode="iptables",
    family=4,
    node="n1",
    version="1.36",
    iptables=XtRuleset(
        {"nat": Known(XtTable({"KUBE-SERVICES": Known(XtChain(rules=(XtRule(target=Jump("KUBE-SVC-A")),)))}))}
    ),
    unordered=frozenset({("nat", "KUBE-SERVICES")}),
    nft=(
        ExpectedNftTable(
            family="ip",
            sets=(ExpectedNftSet(name="cluster-ips", type="ipv4_addr", elements=("10.96.0.1",)),),
            chains=(ExpectedNftChain(name="services", rules=("accept",)),),
        ),
    ),
    ipvs=ExpectedIpvs(
        servers=(
            VirtualServer(
                address="10.96.0.1", port=80, real_servers=(RealServer(address="10.0.0.1", port=8),)
            ),
        ),
        ipsets=(ExpectedIpset(name="KUBE-CLUSTER-IP", type="hash:ip,port"),),
        addresses=("10.96.0.1",),
    ),
    sysctls={"net.ipv4.conf.all.route_localnet": "1"},
)

DEPARTED = DepartureReport(
    label="lab shop",
    node="n1",
    netns="n1",
    mode="iptables",
    version="1.36",
    families=(4, 6),
    departures=(
        Departure(
            kind="wrong-probability",
            cause="owed-state-missing",
            family=4,
            table="nat",
            chain="KUBE-SVC-A",
            meaning="wrong probability",
            subject="svc/default/web",
            owed="-A KUBE-SVC-A -j KUBE-SEP-A",
            found="-A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j KUBE-SEP-A",
            position=1,
            shares=(Share(endpoint="10.0.0.1:80", owed=1.0, found=0.5),),
            unmatched=0.5,
        ),
        Departure(kind="sysctl", cause="route-localnet-off", family=6, table="", chain="", meaning="hangs"),
    ),
    missing={"xt/legacy": "not permitted"},
)

MADE: dict[str, Callable[[TraceReport], Document]] = {
    "Walk": walk_document,
    "CheckReport": lambda report: check_document(check_report(report.findings)),
    "Finding": lambda report: finding_document(report.findings[0]),
    "RepairPlan": lambda report: plan_document(plan_of(report)),
    "Repair": lambda report: repair_document(
        RepairReport(
            entry=entry_of(report), kept=True, walk=report.walk, goal_met=True, observed=report.observed
        )
    ),
    "History": lambda report: history_document([entry_of(report)]),
    "Explanation": lambda report: explanation_document(
        {
            "id": "ip-forward-off",
            "title": "forwarding is off",
            "severity": Severity.ERROR,
            **dict.fromkeys(("what", "shows", "dies", "proof", "repair", "owner", "source"), "words"),
        }
    ),
    "Labs": lambda report: labs_document(
        [
            LabRecord(
                name="shop",
                topology="docker",
                root="/r",
                state="up",
                namespaces=(LabNetns(name="host", netns="ntl-shop-host", role="node", node="host"),),
            )
        ]
    ),
    "Doctor": lambda report: DoctorDocument(
        checks=(
            DoctorCheck(name="ip", state="ok", text="/usr/sbin/ip", needed_for="the lab"),
            DoctorCheck(
                name="nft", state="missing", text="not in PATH", needed_for="tests", help="install it"
            ),
            DoctorCheck(name="vxlan", state="unknown", text="cannot look", needed_for="the lab"),
        )
    ),
    "Drop": lambda report: drop_document(
        DropSeen(
            time=1_700_000_000.0,
            netns="n",
            node="n",
            device="eth0",
            iif="eth0",
            sent=False,
            reason="NETFILTER_DROP",
            function="nft_do_chain",
            packet=report.walk.flow.packet,
            predicted=Predicted(
                verdict=Verdict.DROPPED_BY_RULE, fits=True, step=report.walk.paths[0].legs[0].steps[0]
            ),
        )
    ),
    "Expected": lambda report: expected_document(EXPECTED),
    "IngressTrace": lambda report: ingress_document(
        IngressReport(
            ingress="shop/site",
            controller="ingress/controller",
            route=IngressRoute(host="a.example", path="/", status=404, checks=((False, "no rule"),)),
            parts=(IngressPart(source="internet", target="svc/ingress/controller", report=report),),
            outcome="not_found",
        )
    ),
    "ServiceDebug": lambda report: guide_document(
        GuideReport(
            service="shop/api",
            client="pod/shop/client",
            context="lab shop",
            checks=(
                Check(
                    id="path",
                    axis=Axis.RULES,
                    title="Does the client reach it?",
                    state=CheckState.PROBLEM,
                    checked=("pod/shop/client to 10.244.1.2:80/tcp: timeout walked",),
                    seen=report.findings[0].evidence,
                    conclusion=report.findings[0].message,
                    findings=report.findings,
                    flow=("pod/shop/client", "10.244.1.2:80/tcp"),
                ),
            ),
            leaf=report.findings[0].cause,
            repairs=(RepairDone(cause="a-cause", entry="0123abcd", kept=False, reason="it did not help"),),
        )
    ),
    "PodDebug": lambda report: pod_document(
        PodReport(
            pod="shop/api-0",
            node="",
            context="lab shop",
            checks=(
                Check(
                    id="lease",
                    axis=Axis.ADDRESS,
                    title="Was an address given to it?",
                    state=CheckState.PROBLEM,
                    checked=("3 leases in /var/lib/cni/networks/cbr0 on node-a",),
                    seen=report.findings[0].evidence,
                    conclusion=report.findings[0].message,
                    findings=report.findings,
                ),
            ),
            leaf=report.findings[0].cause,
        )
    ),
    "ExpectDiff": lambda report: diff_document(DEPARTED),
    "Show": lambda report: show_document(
        "routes", Snapshot(namespaces={"n": Netns(name="n", node="n", routes=Known(()))}), "lab shop"
    ),
}


@pytest.fixture(params=sorted(MADE))
def document(request: pytest.FixtureRequest, report: TraceReport) -> Document:
    """Make one document of each kind."""
    return MADE[request.param](report)


def test_every_kind_is_made_here() -> None:
    """Each kind that has a schema has a document in these tests; the snapshot has its own."""
    assert set(MADE) | {"Snapshot"} == set(schema.KINDS)


def test_json_holds_to_its_schema(document: Document) -> None:
    """What is written validates against the published schema of its kind, and begins with what it is."""
    data = std_json.loads(json.render(document))
    assert list(data)[:2] == ["apiVersion", "kind"]
    assert data["apiVersion"] == "nettrace/v1"
    jsonschema.validate(data, schema.schema(data["kind"]), cls=jsonschema.Draft202012Validator)


def test_json_is_read_back(document: Document) -> None:
    """A saved document decodes to the same document."""
    assert json.decode(json.render(document), "x") == document


def test_schemas_are_schemas() -> None:
    """Every published schema is valid itself."""
    for kind in schema.KINDS:
        jsonschema.Draft202012Validator.check_schema(std_json.loads(schema.render(kind)))


def test_schemas_refuse_what_is_not_theirs(report: TraceReport) -> None:
    """A walk without paths, or with a verdict nobody knows, does not validate."""
    data = std_json.loads(json.render(walk_document(report)))
    published = schema.schema("Walk")
    for wrong in ({**data, "verdict": "FINE"}, {key: data[key] for key in data if key != "paths"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, published)


def test_snapshot_files_hold_to_their_schema() -> None:
    """What nettrace snapshot writes validates against the schema of its kind."""
    snapshot = Snapshot(
        taken="2026-01-01T00:00:00Z",
        nodes={"a": NodeState(name="a", netns="a")},
        namespaces={
            "a": Netns(name="a", node="a", links=Known(()), sysctls=Known({"net.ipv4.ip_forward": "1"}))
        },
    )
    data = std_json.loads(encode_snapshot(snapshot))
    jsonschema.validate(data, schema.schema("Snapshot"), cls=jsonschema.Draft202012Validator)


def test_yaml_says_the_same(document: Document) -> None:
    """The YAML of a document loads to the data of its JSON."""
    assert pyyaml.safe_load(yaml.render(document)) == std_json.loads(json.render(document))


def test_the_same_document_gives_the_same_bytes(document: Document) -> None:
    """Every format is deterministic, sets and pictures included."""
    again = msgspec.json.decode(msgspec.json.encode(document), type=type(document))
    for renderer in (json.render, yaml.render, svg.render, text.render):
        assert renderer(document) == renderer(again)


def test_every_document_has_a_page(document: Document) -> None:
    """Every kind has something to say to people, also in full and in ASCII."""
    for look in (Look(), Look(wide=True), Look(ascii=True)):
        assert text.render(document, look).strip()


def test_the_picture_is_of_the_text(report: TraceReport) -> None:
    """The SVG holds the words of the page, as well-formed XML."""
    from xml.etree import ElementTree as ET

    picture = svg.render(walk_document(report))
    root = ET.fromstring(picture)  # noqa: S314  (our own)
    words = "".join(root.itertext()).replace("\xa0", " ")
    assert "kube-postrouting-missing" in words
    assert "http" not in words


def test_a_walk_has_the_shape_that_is_promised(report: TraceReport) -> None:
    """Paths, legs, steps, packets and repairs stand where the contract says."""
    data = std_json.loads(json.render(walk_document(report)))
    path = data["paths"][0]
    step = next(one for one in path["request"]["steps"] if one["rule"] == 2)
    assert step["chain"] == "KUBE-EXT-YN5DABCDEFGHIJKL"
    assert step["before"]["mark"] == 0x4000
    assert step["after"] is None
    assert step["why"]["ref"] == "node-b/xt/nft/nat/KUBE-EXT-YN5DABCDEFGHIJKL/2"
    assert data["flow"]["packet"]["sport"] == "32768-60999"
    assert data["flow"]["packet"]["dport"] == 30080
    assert data["flow"]["packet"]["tcp_flags"] == ["SYN"]
    assert "icmp_type" not in data["flow"]["packet"]
    assert path["failed"] == "reply"
    assert path["reply"]["verdict"] == "UNEXPECTED"
    assert path["legs"] == []
    assert data["observed"]["outcomes"] == {"timeout": 1, "connected": 1}
    assert data["findings"][0]["repairs"][0]["commands"][0].startswith("iptables")
    assert data["diagnosis"]["met"] is False


def test_a_snapshot_lets_repairs_tell_their_way_back(report: TraceReport) -> None:
    """With the state at hand a repair shows its inverse; with state that does not fit it shows none."""
    from nettrace.model.xt import XtChain, XtRuleset, XtTable

    assert walk_document(report).findings[0].repairs[0].inverse is None
    nat = XtTable({"POSTROUTING": Known(XtChain(policy="ACCEPT")), "KUBE-POSTROUTING": Known(XtChain())})
    ruleset = Known(XtRuleset({"nat": Known(nat)}))
    fitting = Snapshot(namespaces={"node-b": Netns(name="node-b", node="node-b", xt_nft=ruleset)})
    repair = walk_document(report, fitting).findings[0].repairs[0]
    assert repair.undo == "exact"
    assert repair.inverse is not None
    assert "-D POSTROUTING" in repair.inverse[0]
    other = Snapshot(namespaces={"node-b": Netns(name="node-b", node="node-b", xt_nft=Known(XtRuleset({})))})
    assert walk_document(report, other).findings[0].repairs[0].inverse is None


def test_json_hides_nothing(report: TraceReport, finding: Finding) -> None:
    """Marks that a reader does not see are escaped in JSON, and the data stay as they were."""
    evil = "a\u202eb\x9bc\x7fd\u2066e"
    document = finding_document(replace(finding, message=evil))
    encoded = json.render(document)
    assert "\\u202e" in encoded
    assert not set("\u202e\x9b\x7f\u2066") & set(encoded)
    assert std_json.loads(encoded)["message"] == evil


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "not JSON"),
        ("[1", "not JSON"),
        ("[]", "not a result of nettrace"),
        ('{"kind": "Walk"}', "not a result of nettrace"),
        ('{"apiVersion": "nettrace/v9", "kind": "Walk"}', "written for nettrace/v9"),
        ('{"apiVersion": "nettrace/v1", "kind": "Nonsense"}', "Nonsense"),
        ('{"apiVersion": "nettrace/v1", "kind": "Show"}', "what"),
        ('{"apiVersion": "nettrace/v1", "kind": "Snapshot"}', "--from"),
    ],
)
def test_what_is_no_document_is_refused(data: Any, words: str) -> None:
    """Truncated, foreign and newer files are refused with what is wrong with them."""
    with pytest.raises(UserError) as caught:
        json.decode(data, "result.json")
    assert words in str(caught.value)
    assert caught.value.where == "result.json"
