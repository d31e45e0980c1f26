"""Weave's network policies: what they say, what the walk says, and what real connections do are one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.bench import Bench, bench
from tests.acceptance.matrix import SWEEP

only_sweep = pytest.mark.skipif(not SWEEP, reason="make sweep")


def _policy(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {}, **spec},
    }


def _pod(space: str, name: str, node: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
    }


_SHOP: dict[str, Any] = {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}
_WEB: dict[str, Any] = {"matchLabels": {"app": "web"}}
#: Name -> the policies, and which of (web -> api, job -> api, web -> outside) they let through.
POLICIES: dict[str, tuple[list[dict[str, Any]], tuple[bool, bool, bool]]] = {
    "nobody": ([_policy("p", "db", policyTypes=["Ingress"])], (False, False, True)),
    "a namespace": (
        [_policy("p", "db", ingress=[{"from": [{"namespaceSelector": _SHOP}]}])],
        (True, True, True),
    ),
    "pods of a namespace": (
        [_policy("p", "db", ingress=[{"from": [{"namespaceSelector": _SHOP, "podSelector": _WEB}]}])],
        (True, False, True),
    ),
    "another port": (
        [_policy("p", "db", ingress=[{"ports": [{"port": 9090}]}])],
        (False, False, True),
    ),
    "a block without": (
        [
            _policy(
                "p",
                "db",
                ingress=[{"from": [{"ipBlock": {"cidr": "10.32.0.0/12", "except": ["10.32.2.0/24"]}}]}],
            )
        ],
        (True, False, True),
    ),
    "out to the cluster only": (
        [
            _policy(
                "p", "shop", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": "10.32.0.0/12"}}]}]
            )
        ],
        (True, True, False),
    ),
    "in and out": (
        [
            _policy(
                "p", "shop", podSelector=_WEB, policyTypes=["Egress"], egress=[{"ports": [{"port": 8080}]}]
            ),
            _policy("q", "db", ingress=[{"from": [{"namespaceSelector": {}}]}]),
        ],
        (True, True, False),
    ),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Pods of two namespaces on two nodes; the policies are each test's own."""
    folder = tmp_path_factory.mktemp("manifests")
    pods = [_pod("shop", "web", "node-a"), _pod("shop", "job", "node-b"), _pod("db", "api", "node-b")]
    (folder / "all.yaml").write_text(yaml.safe_dump_all(pods))
    with bench("weave", "--manifests", str(folder)) as made:
        yield made


def _really(lab: Bench, who: str, address: str, port: int) -> bool:
    return [t["outcome"] for t in lab.connect(who, address, port)] == ["connected"]


@only_sweep
@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_enforced_as_they_say(shop: Bench, name: str, tmp_path: Path) -> None:
    """What policies intend, what the walk says and what real connections do are one."""
    policies, wanted = POLICIES[name]
    file = tmp_path / "policies.yaml"
    file.write_text(yaml.safe_dump_all(policies))
    shop.nettrace("lab", "apply", "-f", str(file), "--lab", shop.name, expect=(0,))
    members = {m["name"]: m["addresses"][0] for m in shop.record()["namespaces"]}
    flows = (
        ("web", "pod/db/api:8080", members["api"], 8080),
        ("job", "pod/db/api:8080", members["api"], 8080),
        ("web", "internet:80", members["internet"], 80),
    )
    try:
        for (who, target, address, port), lets in zip(flows, wanted, strict=True):
            said = shop.nettrace(
                "trace", f"pod/shop/{who}", target, "--lab", shop.name, "-o", "json", expect=(0,)
            ).json
            [judged] = said["policies"]
            assert (judged["verdict"]["decision"] == "allowed") == lets
            assert judged["agrees"] is True
            assert (said["outcome"] == "connected") == lets
            assert _really(shop, who, address, port) == lets
    finally:
        shop.nettrace("lab", "apply", "-f", str(file), "--delete", "--lab", shop.name, expect=(0,))


@only_sweep
def test_a_named_port_is_what_it_does_not_take(shop: Bench, tmp_path: Path) -> None:
    """weave-npc leaves out a policy with a named port: the pod stays open, and that is the finding."""
    file = tmp_path / "policies.yaml"
    closed = _policy("named", "db", ingress=[{"from": [{"podSelector": {}}], "ports": [{"port": "http"}]}])
    file.write_text(yaml.safe_dump(closed))
    shop.nettrace("lab", "apply", "-f", str(file), "--lab", shop.name, expect=(0,))
    api = next(m["addresses"][0] for m in shop.record()["namespaces"] if m["name"] == "api")
    try:
        said = shop.nettrace(
            "trace", "pod/shop/web", "pod/db/api:8080", "--lab", shop.name, "-o", "json", expect=(1,)
        ).json
        assert said["policies"][0]["agrees"] is False
        assert [finding["cause"] for finding in said["findings"]] == ["netpol-not-enforced"]
        assert _really(shop, "web", api, 8080)
    finally:
        shop.nettrace("lab", "apply", "-f", str(file), "--delete", "--lab", shop.name, expect=(0,))
