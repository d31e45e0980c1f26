"""The policy that lets one flow through: it does, and changes nothing for anybody else."""

from itertools import product
from random import Random

import pytest
from msgspec.structs import replace

from nettrace.kube.policy import decide
from nettrace.kube.policy_addition import Addition, addition
from nettrace.model.kube import Kube, Pod
from nettrace.model.policy import NetworkPolicy
from nettrace.model.policy_verdict import Decision, PolicyFlow
from nettrace.model.section import NOT_READ, Known
from nettrace.parse.manifests import kube_from_documents, parse_documents
from tests.kube.policy_reading import Object
from tests.kube.policy_worlds import NODES, OUTSIDE, PORTS, admin, cluster, drawn, policy

BASE = cluster()
PODS = [o["status"]["podIP"] for o in BASE if o["kind"] == "Pod" and not o["spec"]["hostNetwork"]]
EVERYBODY = [*PODS, *NODES.values(), *OUTSIDE]
API, WEB, DB = "10.244.1.2", "10.244.2.3", "10.244.2.5"  # shop/api, shop/web, db/api


def _kube(*policies: Object) -> Kube:
    return kube_from_documents([*BASE, *policies], "the test")


def _with(kube: Kube, *added: NetworkPolicy) -> Kube:
    assert isinstance(kube.network_policies, Known)
    return replace(kube, network_policies=Known((*kube.network_policies.value, *added)))


def _read(made: Addition) -> NetworkPolicy:
    read = kube_from_documents(parse_documents(made.manifest, "the manifest"), "the test").network_policies
    assert isinstance(read, Known)
    return read.value[0]


def _names(kube: Kube, address: str) -> str:
    pods: tuple[Pod, ...] = kube.pods.value if isinstance(kube.pods, Known) else ()
    return next((p.key for p in pods if address in p.ips and not p.host_network), address)


@pytest.mark.parametrize("part", range(2))
def test_only_the_flow_gets_through(part: int) -> None:
    """The manifest reads back; with it the flow passes, and nothing but its subjects and peers."""
    made = 0
    for number in range(part, 60, 2):
        lots = Random(number)
        kube = _kube(*drawn(lots))
        for _ in range(6):
            src, dst = lots.sample(EVERYBODY, 2)
            flow = PolicyFlow(
                src=src, dst=dst, proto=lots.choice(["tcp", "udp", "sctp"]), port=lots.choice(PORTS)
            )
            said = decide(kube, flow)
            for one in (said.egress, said.ingress):
                found = addition(kube, flow, one.direction) if one.decision is Decision.DENIED else None
                if found is None:
                    continue
                made += 1
                assert _read(found) == found.policy
                after = decide(_with(kube, found.policy), flow)
                assert (
                    after.ingress if one.direction == "ingress" else after.egress
                ).decision is Decision.ALLOWED
                _nobody_else(kube, found, flow, one.direction, lots)
    assert made > 20


def _nobody_else(kube: Kube, found: Addition, flow: PolicyFlow, direction: str, lots: Random) -> None:
    grown = _with(kube, found.policy)
    pairs = lots.sample([p for p in product(EVERYBODY, EVERYBODY) if p[0] != p[1]], 40)
    for src, dst in pairs:
        for port in (flow.port, 443 if flow.port != 443 else 80):
            other = replace(flow, src=src, dst=dst, port=port)
            before, after = decide(kube, other).decision, decide(grown, other).decision
            own, peer = (dst, src) if direction == "ingress" else (src, dst)
            named = _names(kube, own) in found.subjects and any(_names(kube, peer) in p for p in found.peers)
            if before is after:
                continue
            assert (before, after, port, named) == (Decision.DENIED, Decision.ALLOWED, flow.port, True), other


def test_what_no_policy_can_allow() -> None:
    """What an administrator denies, an open port, other protocols, ends without pods or labels: no policy."""
    deny = policy("shop", {"podSelector": {}, "policyTypes": ["Ingress"]}, "deny")
    flow = PolicyFlow(src=API, dst=WEB, port=80)
    assert addition(_kube(deny), flow, "ingress") is not None
    rule = {"action": "Deny", "from": [{"namespaces": {}}]}
    assert (
        addition(
            _kube(deny, admin({"subject": {"namespaces": {}}, "ingress": [rule]}, 1, "no")), flow, "ingress"
        )
        is None
    )
    assert addition(_kube(deny), replace(flow, port=None), "ingress") is None
    assert addition(_kube(deny), replace(flow, proto="icmp"), "ingress") is None
    assert addition(_kube(deny), replace(flow, dst=OUTSIDE[0]), "ingress") is None
    assert addition(replace(_kube(deny), network_policies=NOT_READ), flow, "ingress") is None
    kube = _kube(deny)
    assert isinstance(kube.pods, Known)
    for address in (API, WEB):
        bare = Known(tuple(replace(p, labels={}) if address in p.ips else p for p in kube.pods.value))
        assert addition(replace(kube, pods=bare), flow, "ingress") is None


def test_names_do_not_meet() -> None:
    """A second policy of the same name is numbered; hashes that a rollout changes are no selector."""
    deny = policy("shop", {"podSelector": {}, "policyTypes": ["Ingress"]}, "deny")
    taken = policy("shop", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}, "allow-api-to-web")
    found = addition(_kube(deny, taken), PolicyFlow(src=API, dst=WEB, port=443), "ingress")
    assert found is not None
    assert found.policy.name == "allow-api-to-web-2"
    kube = _kube(deny)
    assert isinstance(kube.pods, Known)
    hashed = Known(
        tuple(
            replace(p, labels={"a-first": "x", "pod-template-hash": "1", **p.labels}) for p in kube.pods.value
        )
    )
    found = addition(replace(kube, pods=hashed), PolicyFlow(src=API, dst=WEB, port=443), "ingress")
    assert found is not None
    assert "pod-template-hash" not in found.manifest
    assert 'app: "web"' in found.manifest
