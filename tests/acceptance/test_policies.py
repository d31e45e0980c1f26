"""Network policies from beginning to end, through the command line, in a lab that enforces them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from nettrace.lab.policies import add_policies, enforce
from nettrace.lab.store import find
from tests.acceptance.bench import Bench, bench
from tests.acceptance.matrix import SWEEP

_PODS: list[tuple[str, str, str, str, int]] = [
    ("shop", "web", "node-a", "web", 80),
    ("shop", "job", "node-b", "job", 80),
    ("db", "api", "node-b", "api", 8080),
    ("db", "side", "node-b", "side", 8080),
]


def _pod(space: str, name: str, node: str, app: str, port: int) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": port}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": ports}]},
    }


def _policy(space: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": space},
        "spec": spec,
    }


_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "api", "namespace": "db"},
    "spec": {
        "selector": {"app": "api"},
        "clusterIP": "10.96.9.9",
        "ports": [{"port": 80, "targetPort": "http", "nodePort": 30090}],
    },
}
_OWN = _policy("db", "own", {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})
_FLOW = ("pod/shop/web", "pod/db/api:8080")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Two nodes, four pods in two namespaces; the policies are each test's own."""
    with _cluster("flannel-vxlan", tmp_path_factory.mktemp("manifests")) as made:
        yield made


@contextmanager
def _cluster(topology: str, folder: Path) -> Iterator[Bench]:
    objects = [*(_pod(*one) for one in _PODS), _SERVICE]
    agent = _pod("shop", "agent", "node-a", "agent", 9100)
    objects.append({**agent, "spec": {**agent["spec"], "hostNetwork": True}})
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    with bench(topology, "--manifests", str(folder)) as made:
        yield made


def _only(lab: Bench, *policies: dict[str, Any]) -> None:
    record = find(lab.name)
    Path(record.manifests or "", "networkpolicies.yaml").unlink(missing_ok=True)
    if policies:
        add_policies(record, policies)
    else:
        enforce(record)


def _trace(lab: Bench, *words: str, expect: tuple[int, ...]) -> dict[str, Any]:
    found: dict[str, Any] = lab.nettrace("trace", *words, "--lab", lab.name, "-o", "json", expect=expect).json
    return found


def _causes(document: dict[str, Any]) -> list[str]:
    assert document["findings"], document["diagnosis"]
    return [finding["cause"] for finding in document["findings"]]


def _really(lab: Bench, who: str, address: str, port: int) -> bool:
    done = lab.shell(
        who, f"timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo yes || echo no"
    )
    return done.strip() == "yes"


def _address(lab: Bench, pod: str) -> str:
    return str(next(m["addresses"][0] for m in lab.record()["namespaces"] if m.get("pod") == pod))


def _rules(lab: Bench) -> list[str]:
    return [lab.shell(node, "iptables-nft -S; ipset save | sort") for node in ("node-a", "node-b")]


def test_a_denied_flow_is_let_through_both_ways(lab: Bench) -> None:
    """By the policy that the finding names, and by the temporary rule; of neither anything is left."""
    _only(lab, _OWN)
    before, api = _rules(lab), _address(lab, "db/api")
    refused = _trace(lab, *_FLOW, expect=(0,))  # a refusal is owed, and that is what it gets
    assert (refused["outcome"], refused["diagnosis"]["met"], refused["findings"]) == ("refused", True, [])
    [judged] = refused["policies"]
    assert judged["agrees"] is True
    assert judged["verdict"]["ingress"]["by"] == [{"kind": "NetworkPolicy", "name": "db/own", "rule": None}]
    assert not _really(lab, "web", api, 8080)

    wanted = _trace(lab, *_FLOW, "--goal", "connected", expect=(1,))
    assert _causes(wanted)[0] == "netpol-default-deny"
    applied = lab.nettrace("repair", "apply", "netpol-default-deny", "--lab", lab.name, "--yes", expect=(0,))
    assert "temporary" in applied.out
    assert _really(lab, "web", api, 8080)
    assert not _really(lab, "job", api, 8080)  # nobody else is let in
    lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
    assert not _really(lab, "web", api, 8080)
    assert _rules(lab) == before

    manifest = wanted["findings"][0]["repairs"][0]["lasting"].partition("\n")[2]
    add_policies(find(lab.name), list(yaml.safe_load_all(manifest)))
    assert _really(lab, "web", api, 8080)
    assert not _really(lab, "job", api, 8080)
    allowed = _trace(lab, *_FLOW, expect=(0,))
    assert allowed["policies"][0]["verdict"]["ingress"]["by"][0]["name"] == "db/allow-web-to-api"
    _only(lab, _OWN)
    assert _rules(lab) == before


def test_both_ends_deny(lab: Bench) -> None:
    """Where the sender's policies and the receiver's deny it, both chains get a rule, and both are needed."""
    _only(lab, _OWN, _policy("shop", "out", {"podSelector": {}, "policyTypes": ["Egress"]}))
    wanted = _trace(lab, *_FLOW, "--goal", "connected", expect=(1,))
    repair = wanted["findings"][0]["repairs"][0]
    assert {change["netns"] for change in repair["changes"]} == {"node-a", "node-b"}
    lab.nettrace("repair", "apply", "netpol-default-deny", "--lab", lab.name, "--yes", expect=(0,))
    assert _really(lab, "web", _address(lab, "db/api"), 8080)
    lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))


@pytest.mark.skipif(not SWEEP, reason="make systems")
@pytest.mark.parametrize("topology", ["calico-vxlan", "weave"])
def test_other_controllers_chains_get_rules(topology: str, tmp_path: Path) -> None:
    """Felix' and weave-npc's chains: the flow gets through, nobody else does, and nothing is left of it."""
    with _cluster(topology, tmp_path) as lab:
        _only(lab, _OWN, _policy("shop", "out", {"podSelector": {}, "policyTypes": ["Egress"]}))
        before, api = _rules(lab), _address(lab, "db/api")
        assert not _really(lab, "web", api, 8080)
        wanted = _trace(lab, *_FLOW, "--goal", "connected", expect=(1,))
        assert _causes(wanted)[0] == "netpol-default-deny"
        repair = wanted["findings"][0]["repairs"][0]
        assert {change["netns"] for change in repair["changes"]} == {"node-a", "node-b"}
        lab.nettrace("repair", "apply", "netpol-default-deny", "--lab", lab.name, "--yes", expect=(0,))
        assert _really(lab, "web", api, 8080)
        assert not _really(lab, "job", api, 8080)
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert not _really(lab, "web", api, 8080)
        assert _rules(lab) == before


def test_a_chain_that_is_not_what_policies_ask_for(lab: Bench) -> None:
    """Policies allow it and a set lacks the sender: that is the finding, and the stop-gap makes it work."""
    allow: dict[str, Any] = {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]}
    _only(lab, _policy("db", "any", allow))
    web, api = _address(lab, "shop/web"), _address(lab, "db/api")
    assert _really(lab, "web", api, 8080)
    holding = (
        "ipset list -n | while read set; do ipset del $set ADDRESS 2>/dev/null && echo $set || true; done"
    )
    [lost] = lab.shell("node-b", holding.replace("ADDRESS", web)).split()
    found = _trace(lab, *_FLOW, expect=(1,))
    assert _causes(found)[0] == "netpol-stale-chain"
    assert f"{lost} of KUBE-NWPLCY-" in found["findings"][0]["message"]
    assert found["policies"][0]["agrees"] is False
    lab.nettrace("repair", "apply", "netpol-stale-chain", "--lab", lab.name, "--yes", expect=(0,))
    assert _really(lab, "web", api, 8080)
    lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
    assert not _really(lab, "web", api, 8080)
    enforce(find(lab.name))
    assert _really(lab, "web", api, 8080)


def test_chains_of_policies_that_are_gone(lab: Bench) -> None:
    """The policy is deleted and its controller does not run any more: what it left is named."""
    _only(lab, _OWN)
    Path(find(lab.name).manifests or "", "networkpolicies.yaml").unlink()
    found = _trace(lab, *_FLOW, expect=(1,))
    assert _causes(found)[0] == "netpol-stale-chain"
    assert (
        "no policy isolates db/api, and the chain still runs through own" in found["findings"][0]["message"]
    )


def test_a_policy_that_nobody_enforces(lab: Bench) -> None:
    """Policies deny it and the jump to their chains is gone: it gets through, and that is the finding."""
    _only(lab, _OWN)
    lab.shell("node-b", "iptables-nft -D FORWARD 1")
    found = _trace(lab, *_FLOW, expect=(1,))
    assert (found["outcome"], _causes(found)) == ("connected", ["netpol-not-enforced"])
    assert found["policies"][0]["agrees"] is False
    assert _really(lab, "web", _address(lab, "db/api"), 8080)


_AGENT = {"matchLabels": {"app": "agent"}}

#: What people get wrong -> the policies, the flow, the words of the finding.
MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, str], str]] = {
    "netpol-service-port": (
        _policy("db", "p", {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}),
        ("pod/shop/web", "svc/db/api:80"),
        "allows port 80, the Service's: policies see the pod's, 8080",
    ),
    "netpol-namespace-label": (
        _policy(
            "db",
            "n",
            {
                "podSelector": {},
                "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"name": "shop"}}}]}],
            },
        ),
        _FLOW,
        "a namespace with name=shop, and there is none",
    ),
    "netpol-hostnetwork": (
        _policy(
            "db",
            "agents",
            {"podSelector": {}, "ingress": [{"from": [{"podSelector": _AGENT, "namespaceSelector": {}}]}]},
        ),
        ("pod/shop/agent", "pod/db/api:8080"),
        "names pod shop/agent, which is on its node's network and comes as 10.244.1.0",
    ),
    "dns-policy-egress-blocked": (
        _policy(
            "shop",
            "only-db",
            {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 8080}]}]},
        ),
        ("pod/shop/web", "svc/kube-system/kube-dns:53/udp"),
        "NetworkPolicy shop/only-db isolates pod shop/web",
    ),
}


@pytest.mark.parametrize("cause", MISTAKES)
def test_mistakes_have_their_names(lab: Bench, cause: str) -> None:
    """A policy that nearly allows the flow is told by what it gets wrong, with the policy that would."""
    policy, flow, words = MISTAKES[cause]
    _only(lab, policy)
    found = _trace(lab, *flow, "--goal", "connected", expect=(1,))
    assert _causes(found)[0] == cause
    assert words in found["findings"][0]["message"]
    if cause != "netpol-hostnetwork":  # as that node comes everybody whom it masquerades
        assert found["findings"][0]["repairs"][0]["changes"]
    assert "kind: NetworkPolicy" in found["findings"][0]["repairs"][0]["lasting"]


def test_a_client_that_comes_with_another_address(lab: Bench) -> None:
    """An address block lets the client in by the pod's node; by the other one it comes as that node."""
    client = str(next(m["addresses"][0] for m in lab.record()["namespaces"] if m["name"] == "internet"))
    block = {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": f"{client}/32"}}]}]}
    _only(lab, _policy("db", "outside", block))
    nodes = {m["name"]: str(m["addresses"][0]) for m in lab.record()["namespaces"] if m["role"] == "node"}
    assert _really(lab, "internet", nodes["node-b"], 30090)
    assert not _really(lab, "internet", nodes["node-a"], 30090)
    assert _trace(lab, "internet", f"ip/{nodes['node-b']}:30090", expect=(0,))["outcome"] == "connected"
    found = _trace(lab, "internet", f"ip/{nodes['node-a']}:30090", expect=(1,))
    assert _causes(found) == ["netpol-ipblock-snat"]
    assert found["findings"][0]["repairs"][0]["changes"] == []


def test_what_no_policy_can_deny(lab: Bench) -> None:
    """A pod may always call its own node and itself; the controller refuses both, and that is said."""
    _only(lab, _policy("shop", "out", {"podSelector": {}, "policyTypes": ["Egress"]}))
    node = str(next(m["addresses"][0] for m in lab.record()["namespaces"] if m["name"] == "node-a"))
    found = _trace(lab, "pod/shop/web", f"{node}/icmp", expect=(1,))
    assert _causes(found) == ["netpol-stale-chain"]
    assert "no policy can deny that" in found["findings"][0]["message"]
    _only(lab, _policy("db", "none", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))
    found = _trace(lab, "pod/db/api", "svc/db/api:80", expect=(1,))  # and itself, through its own Service
    assert _causes(found) == ["netpol-stale-chain"]
    assert "no policy can deny that" in found["findings"][0]["message"]


def test_policies_are_shown_and_kept(lab: Bench, tmp_path: Path) -> None:
    """`show policies` lists each with its pods and what it allows; a snapshot tells the same story later."""
    _only(lab, _OWN)
    file = str(tmp_path / "s.json")
    lab.nettrace("snapshot", "-o", file, "--lab", lab.name, expect=(0,))
    later = lab.nettrace("trace", *_FLOW, "--from", file, "-o", "json", expect=(0,)).json
    now = _trace(lab, *_FLOW, expect=(0,))
    assert later["policies"] == now["policies"]
    assert later["diagnosis"] == now["diagnosis"]
    shown = json.loads(lab.nettrace("show", "policies", "--lab", lab.name, "-o", "json", expect=(0,)).out)
    [policy] = shown["items"]
    assert (policy["name"], policy["pods"]) == ("own", ["db/api", "db/side"])
    assert policy["ingress"] == ["from all pods of its namespace"]
    assert policy["egress"] is None
