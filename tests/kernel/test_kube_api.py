"""
Kubernetes objects from an API server, also from one that refuses, dawdles, or breaks off.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from nettrace.app.context import open_context
from nettrace.app.debug import case_of, debug
from nettrace.app.remember import recall
from nettrace.app.repair import plan
from nettrace.collect.kube import read_manifests
from nettrace.collect.kube_api import RESOURCES, ApiSource, read_api
from nettrace.collect.plugins import api_kinds
from nettrace.model.errors import UserError
from nettrace.model.guide import CheckState
from nettrace.model.kube import Kube
from nettrace.model.lab import LabRecord
from nettrace.model.object_source import ObjectSource
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.tui.session import Where
from tests.kernel.api_server import Api, api_server, objects_of
from tests.kernel.labs import a_lab

SECTIONS = (
    "services",
    "endpoint_slices",
    "pods",
    "nodes",
    "namespaces",
    "network_policies",
    "admin_policies",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[LabRecord]:
    """A lab whose objects a server serves."""
    with a_lab("flannel-vxlan") as record:
        yield record


@pytest.fixture
def api(lab: LabRecord, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """That server, well-behaved until told otherwise."""
    monkeypatch.setenv("NO_PROXY", "*")
    with api_server(objects_of(Path(lab.manifests or ""))) as served:
        served.objects.setdefault("networkpolicies", [])
        served.objects.setdefault("namespaces", [])
        served.objects.setdefault("ingresses", [])
        yield served


def _read(api: Api, tmp_path: Path, patience: float = 10.0) -> Kube:
    return read_api(ApiSource(api.kubeconfig(tmp_path / "config")), patience=patience)


def test_the_same_as_from_manifests(api: Api, lab: LabRecord, tmp_path: Path) -> None:
    """Lists in pages give the same objects as the files that they came from."""
    read = _read(api, tmp_path)
    written = read_manifests(Path(lab.manifests or ""), "")
    assert read.origin == "api lab"
    for name in ("services", "endpoint_slices", "pods", "nodes"):
        assert getattr(read, name) == getattr(written, name), name
    assert read.proxy == written.proxy
    assert any(asked.endswith("?3") for asked in api.asked), "a second page was asked for"


def test_none_of_a_kind_is_known(api: Api, tmp_path: Path) -> None:
    """An empty list, and a kind that the server does not know, are none: that is known."""
    read = _read(api, tmp_path)
    assert read.network_policies == Known(())
    assert read.admin_policies == Known(())


def test_kinds_of_plugins(api: Api, tmp_path: Path) -> None:
    """Objects of a plugin's kinds are one section; of a kind that the server does not know there is none."""
    pool = {"metadata": {"name": "pool"}, "spec": {"cidr": "10.244.0.0/16", "natOutgoing": True}}
    api.objects["ippools"] = [pool]
    source = ApiSource(api.kubeconfig(tmp_path / "config"))
    read = read_api(source, patience=10.0, kinds=api_kinds())
    assert isinstance(read.custom, Known)
    assert [(one.kind, one.name, one.spec) for one in read.custom.value] == [("IPPool", "pool", pool["spec"])]
    api.bad["ippools"] = "forbidden"
    refused = read_api(source, patience=10.0, kinds=api_kinds()).custom
    assert isinstance(refused, Missing)
    assert refused.kind is MissingKind.DENIED


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("forbidden", MissingKind.DENIED, "forbidden"),
        ("cut", MissingKind.FAILED, "pods"),
        ("slow", MissingKind.FAILED, "within"),
        ("html", MissingKind.FAILED, "pods"),
        ("nonsense", MissingKind.FAILED, "pods"),
    ],
)
def test_one_kind_fails_alone(api: Api, tmp_path: Path, how: str, kind: MissingKind, words: str) -> None:
    """What is refused, late or cut off is Missing, whole, with its reason; the others are known."""
    api.bad["pods"] = how
    began = time.monotonic()
    read = _read(api, tmp_path, patience=2.0)
    assert time.monotonic() - began < 4
    assert isinstance(read.pods, Missing)
    assert read.pods.kind is kind
    assert words in read.pods.reason
    assert isinstance(read.services, Known)
    assert isinstance(read.nodes, Known)


def test_an_expired_continuation_is_begun_again(api: Api, tmp_path: Path) -> None:
    """A list whose continuation has expired is read anew, and then whole."""
    whole = _read(api, tmp_path).pods
    api.bad["pods"] = "gone"
    assert _read(api, tmp_path).pods == whole
    assert api.gone == {"pods"}


def test_nobody_answers(tmp_path: Path, lab: LabRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server every section is Missing, and the context says so."""
    monkeypatch.setenv("NO_PROXY", "*")
    with api_server([]) as gone:
        file = gone.kubeconfig(tmp_path / "config")
    read = read_api(ApiSource(file), patience=5.0)
    assert {type(getattr(read, name)) for name in SECTIONS} == {Missing}
    with open_context(lab=lab.name, objects=ObjectSource(kubeconfig=str(file))) as context:
        assert any("services" in remark for remark in context.remarks)


@pytest.mark.parametrize("plural", ["services", "endpointslices", "pods"])
@pytest.mark.parametrize("how", ["forbidden", "cut"])
def test_what_is_missing_is_never_healthy(
    api: Api, lab: LabRecord, tmp_path: Path, plural: str, how: str
) -> None:
    """With one kind missing the guided flow ends as unknown, not as passed."""
    api.bad[plural] = how
    api.page = 1
    source = ObjectSource(kubeconfig=str(api.kubeconfig(tmp_path / "config")))
    with open_context(lab=lab.name, objects=source) as context:
        report = debug(context, case_of(context, "svc/default/hostnames", from_node="node-a"))
    if plural == "pods":
        # Endpoints and rules can be held against each other without the pods, and only that is said.
        told = next(one for one in report.checks if one.id == "endpoints").conclusion
        assert "pods were not read" in told
    else:
        assert report.state is CheckState.UNKNOWN, [(c.id, c.state.value) for c in report.checks]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "not a kubeconfig"),
        ("[1, 2", "not a kubeconfig"),
        (None, "not found"),
        ("clusters: []\ncontexts: []\nusers: []\n", "context"),
    ],
)
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str | None, words: str) -> None:
    """A file that is not there or no kubeconfig is an error that names it."""
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError) as error:
        read_api(ApiSource(file))
    assert words in str(error.value)
    assert str(file) in str(error.value)


def test_the_role_that_is_documented_is_enough() -> None:
    """The ClusterRole in docs/kubernetes.md allows exactly what is read."""
    page = Path(__file__).parents[2].joinpath("docs/kubernetes.md").read_text()
    block = next(part for part in page.split("```yaml\n")[1:] if "kind: ClusterRole\n" in part)
    role = next(iter(yaml.safe_load_all(block.split("```")[0])))
    allowed = {
        (group, plural, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for plural in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }
    wanted = {(r.group, r.plural, "get" if r.name else "list", r.name) for r in RESOURCES}
    wanted |= {(kind.group, kind.plural, "list", "") for kind in api_kinds()}
    assert allowed == wanted


def test_the_server_of_a_question_is_remembered(
    api: Api, lab: LabRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair is planned with the objects that the flow was traced with, also those of a server."""
    file = api.kubeconfig(tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    asked = ("trace", "pod/default/client-a", "svc/default/hostnames", "--lab", lab.name)
    done = subprocess.run(
        [sys.executable, "-m", "nettrace", *asked, "--kubeconfig", file.name],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    question = recall(f"lab {lab.name}")
    assert question.objects == ObjectSource(kubeconfig=str(file))
    with open_context(lab=lab.name) as context:
        context.take_objects(question.objects)
        assert context.snapshot.kube.origin == "api lab"
        with pytest.raises(UserError, match="masquerade-missing"):
            plan(context, "masquerade-missing")


def test_the_application_asks_the_server_too(api: Api, lab: LabRecord, tmp_path: Path) -> None:
    """What is named behind `nettrace` counts in the application, and in the commands that it prints."""
    source = ObjectSource(kubeconfig=str(api.kubeconfig(tmp_path / "config")), context="lab")
    where = Where(lab.name, objects=source)
    with where.open() as context:
        assert context.snapshot.kube.origin == "api lab"
        options = where.options(context.label)
    assert options == f" --lab {lab.name} --kubeconfig {source.kubeconfig} --context lab"
