"""What is owed, whole: the choice of the mode, and what goes with the rules."""

import pytest
from msgspec.structs import replace

from nettrace.kube.expect import expected
from nettrace.kube.expected import NodeFacts
from nettrace.kube.iptables import ruleset
from nettrace.model.errors import UserError
from nettrace.model.kube import KubeProxyConfig
from nettrace.model.section import NOT_READ, Known
from tests.kube.test_iptables import CONFIG, cluster


def test_iptables_mode_is_its_tables() -> None:
    """They are those of ruleset(), dispatch chains are marked, and NodePorts on localhost need a sysctl."""
    found = expected(cluster(), "n1", 4, NodeFacts())
    assert found.iptables == ruleset(cluster(), "n1")
    assert ("nat", "KUBE-SERVICES") in found.unordered
    assert ("nat", "KUBE-POSTROUTING") not in found.unordered
    assert found.sysctls == {"net.ipv4.conf.all.route_localnet": "1"}
    assert (found.mode, found.family, found.node, found.version) == ("iptables", 4, "n1", "1.30")
    quiet = cluster(replace(CONFIG, localhost_node_ports=False))
    assert expected(quiet, "n1", 4, NodeFacts()).sysctls == {}


def test_the_node_decides_about_invalid_packets() -> None:
    """A conntrack that is liberal with windows needs no rule for them."""
    facts = NodeFacts(sysctls={"net.netfilter.nf_conntrack_tcp_be_liberal": "1"})
    assert expected(cluster(), "n1", 4, facts).iptables == ruleset(cluster(), "n1", be_liberal=True)


def test_a_mode_that_is_not_known() -> None:
    """It is told, and so is a configuration that was not read."""
    with pytest.raises(UserError, match="mode userspace is not derived"):
        expected(cluster(KubeProxyConfig(mode="userspace")), "n1", 4, NodeFacts())
    with pytest.raises(UserError, match="configuration, which was not read"):
        expected(replace(cluster(), proxy=NOT_READ), "n1", 4, NodeFacts())
    assert isinstance(cluster().proxy, Known)
