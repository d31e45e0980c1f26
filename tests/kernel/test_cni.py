"""Pods by Debian's real CNI plugins: what they leave on a node, and that it can be read."""

import json

import pytest

from nettrace.lab.cni import PluginFailed
from tests.kernel.bed import Bed
from tests.kernel.cni_bed import bridge_conf, cni_bed, ptp_conf


def test_a_pod_of_the_bridge_plugin(netns: Bed) -> None:
    """It has the address of its lease, the node a bridge, and the runtime's cache names it."""
    with cni_bed(netns) as bed:
        conf = bridge_conf("10.91.1.0/24")
        bed.node("node-a", "10.91.1.0/24", c10_bridge=conf)
        pod = bed.pod("default/web", "node-a", conf, ports=[(8080, 80)])
        assert pod.address == "10.91.1.2"
        assert "inet 10.91.1.2/24" in pod.space.ip("addr show eth0")
        lease = bed.files("node-a") / "var/lib/cni/networks/cbr0/10.91.1.2"
        assert lease.read_bytes() == f"{pod.attachment.container}\r\neth0".encode()
        (cached,) = (bed.files("node-a") / "var/lib/cni/results").iterdir()
        held = json.loads(cached.read_text())
        assert (held["containerId"], held["netns"]) == (pod.attachment.container, pod.space.path)
        rules = bed.nodes["node-a"].run("iptables-nft-save", "-t", "nat")
        assert "--to-destination 10.91.1.2:80" in rules
        bed.delete("default/web")
        assert not lease.exists()
        assert not cached.exists()
        assert "10.91.1.2:80" not in bed.nodes["node-a"].run("iptables-nft-save", "-t", "nat")


def test_a_plugin_that_refuses(netns: Bed) -> None:
    """Its words are the error's, and what the plugins before it did is taken back."""
    with cni_bed(netns) as bed:
        conf = ptp_conf("10.91.2.0/30")
        bed.node("node-a", "10.91.2.0/30", c10_ptp=conf)
        bed.pod("default/first", "node-a", conf)
        with pytest.raises(PluginFailed, match="no IP addresses available in range set"):
            bed.pod("default/second", "node-a", conf)
        leases = (bed.files("node-a") / "var/lib/cni/networks/ptp0").glob("10.*")
        assert [path.name for path in leases] == ["10.91.2.2"]
