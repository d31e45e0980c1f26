"""The CNI project's plugins as nettrace sees them: recognised, named, owed, and their hostPorts broken."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.bed import Bed
from tests.kernel.cni_bed import CniBed, Pod, bridge_conf, cni_bed, ptp_conf

SERVER = (
    "import socket; s = socket.create_server(('0.0.0.0', 80)); print('ready')\n"
    "while True: c, _ = s.accept(); c.close()"
)
FIREWALL = {"type": "firewall", "backend": "iptables"}


#: A few cases unless ``NETTRACE_TEST_SWEEP=1``, with which `make sweep` runs.
sweep = pytest.mark.skipif(
    not os.environ.get("NETTRACE_TEST_SWEEP"), reason="only with NETTRACE_TEST_SWEEP=1"
)


def nettrace(bed: CniBed, *words: str, stdin: str = "") -> tuple[int, Any]:
    """Run a command on the bed's lab; exit code and document."""
    done = subprocess.run(
        [sys.executable, "-m", "nettrace", *words, "--lab", bed.name, "-o", "json"],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def connects(bed: CniBed) -> bool:
    """Does a real connection from node-b to the hostPort come about?"""
    code = "import socket; socket.create_connection(('192.0.2.11', 8080), 2)"
    done = subprocess.run(
        ["ip", "netns", "exec", bed.nodes["node-b"].name, "python3", "-I", "-c", code],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def rules(bed: CniBed) -> str:
    """The rules of node-a's hostPorts."""
    return bed.nodes["node-a"].run("iptables-nft", "-t", "nat", "-S", "CNI-HOSTPORT-DNAT")


def serve(pod: Pod) -> None:
    """Have the pod listen on port 80."""
    pod.space.python(SERVER)


@pytest.fixture
def bed(netns: Bed) -> Iterator[CniBed]:
    """Two nodes; pods come with bridge, portmap and firewall."""
    with cni_bed(netns) as made:
        made.node("node-a", "10.91.1.0/24", c10_pods=bridge_conf("10.91.1.0/24", "cbr0", FIREWALL))
        made.node("node-b", "10.91.2.0/24", c10_pods=ptp_conf("10.91.2.0/24"))
        yield made


def system(document: Any, node: str) -> Any:
    """What runs on a node, of the CNI plugins."""
    everything = [item["system"] for item in document["items"]]
    (found,) = [one for one in everything if (one["name"], one["node"]) == ("cni", node)]
    return found


def test_recognised_named_and_all_there(bed: CniBed) -> None:
    """Detected by configuration, leases and chains; what they owe is there, and chains have names in words."""
    conf = bridge_conf("10.91.1.0/24", "cbr0", FIREWALL)
    web = bed.pod("default/web", "node-a", conf, ports=[(8080, 80)])
    serve(web)
    bed.write()
    _, document = nettrace(bed, "show", "systems")
    found = system(document, "node-a")
    assert (found["mode"], found["version"]) == ("bridge, portmap, firewall", "CNI 0.4.0")
    assert found["differs"] == []
    assert {row["kind"]: (row["owed"], row["differing"], row["unknown"]) for row in found["owed"]} == {
        "chains": (3, 0, 0),
        "rules": (9, 0, 0),
    }
    assert system(document, "node-b")["mode"] == "ptp, portmap"
    code, walk = nettrace(bed, "trace", "node/node-b", "node/node-a:8080")
    assert (code, walk["outcome"]) == (0, "connected")
    assert connects(bed)
    assert "hostPorts of pod default/web" in walk["names"].values()
    assert walk["names"]["node-a/xt/nat/CNI-HOSTPORT-DNAT"].startswith("hostPorts of pods")


@sweep
def test_flushed(bed: CniBed) -> None:
    """After `iptables -t nat -F` the hostPort is refused; the plugins never come back for it."""
    conf = bridge_conf("10.91.1.0/24", "cbr0", FIREWALL)
    web = bed.pod("default/web", "node-a", conf, ports=[(8080, 80)])
    serve(web)
    bed.write()
    bed.nodes["node-a"].run("iptables-nft", "-t", "nat", "-F")
    assert not connects(bed)
    code, walk = nettrace(bed, "trace", "node/node-b", "node/node-a:8080")
    assert code == 1
    assert walk["findings"][0]["cause"] == "hostport-rules-flushed", walk["findings"]
    assert nettrace(bed, "show", "systems")[0] == 1
    code, flow = nettrace(bed, "debug", "pod/default/web", "--no-probe")
    assert (code, flow["leaf"]) == (1, "hostport-rules-flushed")
    # recreated, as it says, it works again
    bed.delete("default/web")
    serve(bed.pod("default/web", "node-a", conf, ports=[(8080, 80)]))
    bed.write()
    assert connects(bed)
    assert nettrace(bed, "trace", "node/node-b", "node/node-a:8080")[0] == 0


def test_a_rule_of_a_pod_that_crashed(bed: CniBed) -> None:
    """The stale jump stands first: found, deleted, connected, undone."""
    conf = bridge_conf("10.91.1.0/24", "cbr0", FIREWALL)
    bed.pod("default/old", "node-a", conf, ports=[(8080, 80)])
    bed.delete("default/old", crash=True)
    serve(bed.pod("default/web", "node-a", conf, ports=[(8080, 80)]))
    bed.write()
    assert not connects(bed)
    code, walk = nettrace(bed, "trace", "node/node-b", "node/node-a:8080")
    assert code == 1
    assert walk["findings"][0]["cause"] == "hostport-rule-stale", walk["findings"]
    assert "10.91.1.2" in walk["findings"][0]["message"]
    flow = ("--flow", "node/node-b", "node/node-a:8080")
    before = rules(bed)
    code, done = nettrace(bed, "repair", "apply", "hostport-rule-stale", *flow, "--yes")
    assert code == 0, done
    assert connects(bed)
    assert nettrace(bed, "repair", "undo", done["entry"]["id"])[0] == 0
    assert rules(bed) == before


@sweep
def test_no_plugin_for_host_ports(netns: Bed) -> None:
    """A conflist without portmap: the port is refused, and the configuration is named."""
    with cni_bed(netns) as bed:
        conf = bridge_conf("10.91.1.0/24")
        conf["plugins"] = conf["plugins"][:1]
        bed.node("node-a", "10.91.1.0/24", c10_pods=conf)
        bed.node("node-b", "10.91.2.0/24", c10_pods=ptp_conf("10.91.2.0/24"))
        serve(bed.pod("default/web", "node-a", conf, ports=[(8080, 80)]))
        bed.write()
        assert not connects(bed)
        code, walk = nettrace(bed, "trace", "node/node-b", "node/node-a:8080")
        assert code == 1
        assert walk["findings"][0]["cause"] == "hostport-portmap-missing", walk["findings"]
