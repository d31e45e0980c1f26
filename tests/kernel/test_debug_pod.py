"""`nettrace debug pod/NS/NAME` on pods by the real CNI plugins: each way of having no address, or another's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nettrace.lab.cni import PluginFailed
from tests.kernel.bed import Bed
from tests.kernel.cni_bed import CniBed, bridge_conf, cni_bed, ptp_conf

#: A few cases unless ``NETTRACE_TEST_SWEEP=1``, with which `make sweep` runs.
sweep = pytest.mark.skipif(
    not os.environ.get("NETTRACE_TEST_SWEEP"), reason="only with NETTRACE_TEST_SWEEP=1"
)


def debug(bed: CniBed, pod: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Run the command on the bed's lab; exit code and document."""
    done = subprocess.run(
        [sys.executable, "-m", "nettrace", "debug", f"pod/{pod}", "--lab", bed.name, "-o", "json", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def states(document: dict[str, Any]) -> dict[str, str]:
    """Check -> how it ended."""
    return {check["id"]: check["state"] for check in document["checks"]}


def finding(document: dict[str, Any]) -> dict[str, Any]:
    """The finding that the flow ended at."""
    found: dict[str, Any] = document["checks"][-1]["findings"][0]
    return found


def pending(bed: CniBed, key: str, node: str) -> dict[str, Any]:
    """The object of a pod that has no sandbox."""
    namespace, _, name = key.partition("/")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": "11111111-2222-3333-4444-555555555555"},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Pending"},
    }


@sweep
@pytest.mark.parametrize("make", [bridge_conf, ptp_conf], ids=["bridge", "ptp"])
def test_a_healthy_pod(netns: Bed, make: Any) -> None:
    """Every check passes or does not apply."""
    with cni_bed(netns) as bed:
        conf = make("10.91.1.0/24")
        bed.node("node-a", "10.91.1.0/24", c10_pods=conf)
        bed.node("node-b", "10.91.2.0/24", c10_pods=make("10.91.2.0/24"))
        bed.pod("default/web", "node-a", conf)
        bed.write()
        code, document = debug(bed, "default/web")
        assert (code, document["leaf"], document["node"]) == (0, None, "node-a")
        assert set(states(document).values()) <= {"passed", "skipped"}
        assert states(document)["lease"] == states(document)["sandbox"] == "passed"


def test_leaked_leases(netns: Bed) -> None:
    """The pool is full of leases whose sandboxes crashed: they are named, the living one is not."""
    with cni_bed(netns) as bed:
        conf = bridge_conf("10.91.1.0/29")  # five addresses and the gateway
        bed.node("node-a", "10.91.1.0/29", c10_pods=conf)
        bed.pod("default/alive", "node-a", conf)
        for number in range(4):
            bed.pod(f"default/gone-{number}", "node-a", conf)
            bed.delete(f"default/gone-{number}", crash=True)
        with pytest.raises(PluginFailed, match="no IP addresses available"):
            bed.pod("default/late", "node-a", conf)
        bed.extra.append(pending(bed, "default/late", "node-a"))
        bed.write()
        code, document = debug(bed, "default/late")
        assert (code, document["leaf"]) == (1, "ipam-leaked-ips")
        found = finding(document)
        assert "4 of 5" in found["message"]
        named = " ".join(piece["text"] for piece in found["evidence"])
        assert all(f"10.91.1.{last}" in named for last in (3, 4, 5, 6))
        assert "10.91.1.2" not in named
        (repair,) = found["repairs"]
        assert "/var/lib/cni/networks/cbr0/10.91.1.3" in repair["lasting"]
        # what it says is what helps: the files of nobody's leases removed, the pod is made
        for last in (3, 4, 5, 6):
            (bed.files("node-a") / f"var/lib/cni/networks/cbr0/10.91.1.{last}").unlink()
        bed.extra.clear()
        bed.pod("default/late", "node-a", conf)
        bed.write()
        assert debug(bed, "default/late")[0] == 0


@sweep
def test_all_addresses_are_in_use(netns: Bed) -> None:
    """A pool that living pods have used up is no leak."""
    with cni_bed(netns) as bed:
        conf = bridge_conf("10.91.1.0/30")
        bed.node("node-a", "10.91.1.0/30", c10_pods=conf)
        bed.pod("default/alive", "node-a", conf)
        bed.extra.append(pending(bed, "default/late", "node-a"))
        bed.write()
        code, document = debug(bed, "default/late")
        assert (code, document["leaf"]) == (1, "ipam-range-exhausted")


def test_two_pods_with_one_address(netns: Bed) -> None:
    """Somebody deletes the leases of a node: the next pod gets an address that is in use, and both are named."""
    with cni_bed(netns) as bed:
        conf = bridge_conf("10.91.1.0/24")
        bed.node("node-a", "10.91.1.0/24", c10_pods=conf)
        first = bed.pod("default/first", "node-a", conf)
        for path in (bed.files("node-a") / "var/lib/cni/networks/cbr0").iterdir():
            path.unlink()
        bed.write()
        code, document = debug(bed, "default/first")
        assert (code, document["leaf"]) == (1, "ipam-lease-missing")
        second = bed.pod("default/second", "node-a", conf)
        assert first.address == second.address
        bed.write()
        for pod in ("default/first", "default/second"):
            code, document = debug(bed, pod)
            assert (code, document["leaf"]) == (1, "duplicate-ip")
            found = finding(document)
            assert "default/first" in found["message"]
            assert "default/second" in found["message"]
            assert first.address in found["message"]
            # the one without a lease is the one to go
            assert "delete pod first" in found["repairs"][0]["lasting"]


@sweep
def test_another_networks_configuration_comes_first(netns: Bed) -> None:
    """A conflist that a package left, first by name, gives addresses that the node does not have."""
    with cni_bed(netns) as bed:
        stale, right = bridge_conf("10.88.0.0/16", "podman"), bridge_conf("10.91.1.0/24")
        bed.node("node-a", "10.91.1.0/24", c10_containerd_net=stale, c20_pods=right)
        bed.pod("default/web", "node-a", stale)
        bed.write()
        code, document = debug(bed, "default/web")
        assert (code, document["leaf"]) == (1, "cni-conf-leftover")
        assert "10-containerd-net.conflist" in finding(document)["message"]
        (bed.files("node-a") / "etc/cni/net.d/20-pods.conflist").unlink()
        code, document = debug(bed, "default/web")
        assert (code, document["leaf"]) == (1, "cni-subnet-mismatch")


@sweep
@pytest.mark.parametrize(
    ("text", "cause"), [("", "cni-conf-missing"), ('{"name": "cbr0", "plugins": [', "cni-conf-broken")]
)
def test_no_configuration_or_a_broken_one(netns: Bed, text: str, cause: str) -> None:
    """A node without a valid configuration makes no pods."""
    with cni_bed(netns) as bed:
        bed.node("node-a", "10.91.1.0/24", **({"c10_pods": text} if text else {}))
        bed.extra.append(pending(bed, "default/web", "node-a"))
        bed.write()
        code, document = debug(bed, "default/web")
        assert (code, document["leaf"]) == (1, cause)


@sweep
def test_the_bridge_of_an_earlier_network(netns: Bed) -> None:
    """The node has a new podCIDR, its bridge the old address: the plugin refuses, and the flow says why."""
    with cni_bed(netns) as bed:
        old, new = bridge_conf("10.91.1.0/24"), bridge_conf("10.91.9.0/24")
        bed.node("node-a", "10.91.9.0/24", c10_pods=new)
        bed.pod("default/old", "node-a", old)
        with pytest.raises(PluginFailed, match=r"already has an IP address different from 10\.91\.9\.1"):
            bed.pod("default/late", "node-a", new)
        bed.extra.append(pending(bed, "default/late", "node-a"))
        bed.write()
        code, document = debug(bed, "default/late")
        assert (code, document["leaf"]) == (1, "cni-bridge-old-address")
        assert "10.91.1.1/24" in finding(document)["message"]
        # `ip link delete cni0`, as it says, and the plugin makes it anew
        bed.nodes["node-a"].ip("link delete cni0")
        bed.extra.clear()
        bed.pod("default/late", "node-a", new)
        bed.write()
        assert debug(bed, "default/late")[0] == 0


@sweep
def test_a_status_that_is_stale_and_a_pod_without_its_address(netns: Bed) -> None:
    """What the API says, what the namespace has and what was leased are three things."""
    with cni_bed(netns) as bed:
        conf = bridge_conf("10.91.1.0/24")
        bed.node("node-a", "10.91.1.0/24", c10_pods=conf)
        web = bed.pod("default/web", "node-a", conf)
        bed.write(web=bed.pod_object(web, "10.91.1.77"))
        code, document = debug(bed, "default/web")
        assert (code, document["leaf"]) == (1, "pod-ip-stale")
        web.space.ip("addr flush dev eth0")
        code, document = debug(bed, "default/web")
        assert (code, document["leaf"]) == (1, "pod-address-missing")
        bed.extra.append(pending(bed, "default/nowhere", "node-a"))
        bed.write()
        code, document = debug(bed, "default/nowhere")
        assert (code, document["leaf"]) == (1, "pod-sandbox-missing")


@sweep
def test_a_pod_without_an_object(netns: Bed) -> None:
    """With no objects at all the runtime's cache says which sandbox is whose."""
    with cni_bed(netns) as bed:
        conf = bridge_conf("10.91.1.0/24")
        bed.node("node-a", "10.91.1.0/24", c10_pods=conf)
        bed.pod("shop/web", "node-a", conf)
        bed.write()
        record = bed.root / "lab.json"
        held = json.loads(record.read_text())
        held["manifests"] = None
        for entry in held["namespaces"]:
            entry["pod"] = None
        record.write_text(json.dumps(held))
        code, document = debug(bed, "shop/web")
        assert (code, document["leaf"]) == (0, None)
        assert states(document)["lease"] == states(document)["sandbox"] == "passed"
        text = subprocess.run(
            [sys.executable, "-m", "nettrace", "debug", "pod/shop/none", "--lab", bed.name],
            capture_output=True,
            text=True,
            check=False,
        )
        assert text.returncode == 2
        assert "there is no pod shop/none" in text.stderr
        assert "--kubeconfig" in text.stderr
        assert Path(bed.root).exists()
