"""What changed in mode ipvs from 1.20 to 1.29, which no dump shows."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.kube.expect import expected
from nettrace.kube.expected import Expected, ExpectedIpvs, NodeFacts
from nettrace.kube.ipvs_layout import ipvs_layout
from nettrace.model.kube import Endpoint, Kube, KubeProxyConfig, Service
from nettrace.model.section import Known
from nettrace.model.xt import XtChain
from nettrace.parse.iptables import rule_text
from tests.kube.test_iptables import CONFIG, SLICE, WEB, cluster

FACTS = NodeFacts(addresses=("127.0.0.1", "192.168.50.11", "10.244.1.1", "203.0.113.10"))
BALANCED = replace(
    WEB,
    type="LoadBalancer",
    load_balancer_ips=("203.0.113.10",),
    load_balancer_source_ranges=("198.51.100.0/24",),
    external_traffic_policy="Local",
    health_check_node_port=31000,
)
REMOTE = replace(SLICE, endpoints=(Endpoint(addresses=("10.244.2.5",), node_name="n2"),))


def made(version: str, service: Service = BALANCED, slices: Any = (SLICE,), **changed: Any) -> Expected:
    """What a kube-proxy in mode ipvs of this version owes n1."""
    config: KubeProxyConfig = replace(CONFIG, mode="ipvs", version=version, **changed)
    kube: Kube = cluster(config, (service,), slices)
    return expected(replace(kube, endpoints=kube.endpoint_slices), "n1", 4, FACTS)


def state(found: Expected) -> ExpectedIpvs:
    """The part outside of iptables."""
    assert found.ipvs is not None
    return found.ipvs


def chains(found: Expected, table: str) -> dict[str, XtChain]:
    """The chains of a table."""
    assert found.iptables is not None
    section = found.iptables.tables[table]
    assert isinstance(section, Known)
    return {name: chain.value for name, chain in section.value.chains.items() if isinstance(chain, Known)}


def targets(found: Expected, table: str, chain: str) -> list[str]:
    """Where the rules of a chain lead."""
    return [text.split()[-1] for text in rules(found, table, chain)]


def rules(found: Expected, table: str, chain: str) -> list[str]:
    """The rules of a chain as text."""
    return [rule_text(rule) for rule in chains(found, table)[chain].rules]


@pytest.mark.parametrize(
    ("version", "nat", "filters"),
    [
        ("1.20", {"KUBE-FIRE-WALL", "KUBE-MARK-DROP"}, set()),
        ("1.21", {"KUBE-FIRE-WALL", "KUBE-MARK-DROP"}, {"KUBE-NODE-PORT"}),
        ("1.24", {"KUBE-FIRE-WALL", "KUBE-MARK-DROP"}, {"KUBE-NODE-PORT"}),
        ("1.25", set(), {"KUBE-NODE-PORT", "KUBE-PROXY-FIREWALL", "KUBE-SOURCE-RANGES-FIREWALL"}),
        (
            "1.26",
            set(),
            {"KUBE-NODE-PORT", "KUBE-PROXY-FIREWALL", "KUBE-SOURCE-RANGES-FIREWALL", "KUBE-IPVS-FILTER"},
        ),
        (
            "1.29",
            set(),
            {
                "KUBE-NODE-PORT",
                "KUBE-PROXY-FIREWALL",
                "KUBE-SOURCE-RANGES-FIREWALL",
                "KUBE-IPVS-FILTER",
                "KUBE-IPVS-OUT-FILTER",
            },
        ),
    ],
)
def test_the_chains(version: str, nat: set[str], filters: set[str]) -> None:
    """iptablesChains and iptablesEnsureChains, and a jump for each of table filter."""
    found = made(version)
    always = {"KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-MARK-MASQ"}
    assert {name for name in chains(found, "nat") if name.startswith("KUBE-")} == always | nat
    assert {name for name in chains(found, "filter") if name.startswith("KUBE-")} == {
        "KUBE-FORWARD"
    } | filters
    entered = {
        text.rpartition(" ")[2]
        for hook in ("INPUT", "FORWARD", "OUTPUT")
        for text in rules(found, "filter", hook)
    }
    assert entered == {"KUBE-FORWARD"} | filters - {"KUBE-SOURCE-RANGES-FIREWALL"}


def test_source_ranges_end_in_kubelets_mark_until_1_24() -> None:
    """ipsetWithIptablesChain, 1.20 to 1.24: KUBE-FIRE-WALL behind the balancers' chain of table nat."""
    found = made("1.24")
    assert targets(found, "nat", "KUBE-LOAD-BALANCER") == ["KUBE-FIRE-WALL", "RETURN", "KUBE-MARK-MASQ"]
    assert targets(found, "nat", "KUBE-FIRE-WALL") == ["RETURN", "KUBE-MARK-DROP"]
    assert rules(found, "nat", "KUBE-MARK-DROP") == []
    assert targets(made("1.25"), "filter", "KUBE-SOURCE-RANGES-FIREWALL") == ["RETURN", "DROP"]


@pytest.mark.parametrize(
    ("version", "sets"),
    [
        ("1.20", set()),
        ("1.21", {"KUBE-HEALTH-CHECK-NODE-PORT"}),
        ("1.26", {"KUBE-HEALTH-CHECK-NODE-PORT", "KUBE-IPVS-IPS"}),
    ],
)
def test_the_sets(version: str, sets: set[str]) -> None:
    """ipsetInfo: fifteen sets in 1.20, sixteen until 1.25, seventeen since."""
    names = {one.name for one in state(made(version)).ipsets}
    assert names & {"KUBE-HEALTH-CHECK-NODE-PORT", "KUBE-IPVS-IPS"} == sets
    assert len(names) == 15 + len(sets)


@pytest.mark.parametrize(("version", "loopback"), [("1.21", True), ("1.22", False)])
def test_node_ports_on_loopback(version: str, loopback: bool) -> None:
    """NodeIPs: until 1.21 all source addresses of the local table, 127.0.0.1 among them."""
    served = {one.address for one in state(made(version)).servers if one.port == 30080}
    assert ("127.0.0.1" in served) is loopback
    chosen = state(made(version, node_port_addresses=("127.0.0.0/8", "192.168.0.0/16"))).servers
    assert {one.address for one in chosen if one.port == 30080} == {"192.168.50.11"}
    ports = replace(WEB.ports[0], protocol="SCTP")
    order = targets(made(version, replace(BALANCED, ports=(ports,)), ()), "nat", "KUBE-NODE-PORT")
    assert order == (["KUBE-MARK-MASQ", "RETURN"] if loopback else ["RETURN", "KUBE-MARK-MASQ"])


@pytest.mark.parametrize(("version", "ends"), [("1.20", 0), ("1.23", 0), ("1.24", 1)])
def test_policy_local_without_an_endpoint_here(version: str, ends: int) -> None:
    """syncEndpoint: since 1.24 those of all nodes stand in, and the cluster IP has them always."""
    servers = {one.port: one for one in state(made(version, slices=(REMOTE,))).servers}
    assert len(servers[30080].real_servers) == ends
    cluster_ip = next(
        one for one in state(made(version, slices=(REMOTE,))).servers if one.address == "10.96.0.20"
    )
    assert len(cluster_ip.real_servers) == 1
    inside = replace(WEB, internal_traffic_policy="Local")
    held = next(one for one in state(made(version, inside)).servers if one.address == "10.96.0.20")
    assert len(held.real_servers) == (2 if version == "1.20" else 1)


@pytest.mark.parametrize(("version", "bound"), [("1.26", True), ("1.27", False)])
def test_an_address_that_another_device_has(version: str, bound: bool) -> None:
    """syncService was told to bind external addresses whatever device has them, until 1.27 (#115019)."""
    assert ("203.0.113.10" in state(made(version)).addresses) is bound


def test_what_else_changed() -> None:
    """Sysctls, localhost, established connections, external IPs of policy Local."""
    assert made("1.20").sysctls["net.ipv4.conf.all.route_localnet"] == "1"
    assert "net.ipv4.conf.all.route_localnet" not in made("1.21").sysctls
    assert "-s 127.0.0.0/8 -j RETURN" not in rules(made("1.26"), "nat", "KUBE-SERVICES")
    assert rules(made("1.27"), "nat", "KUBE-SERVICES")[0] == "-s 127.0.0.0/8 -j RETURN"
    assert [len(rules(made(version), "filter", "KUBE-FORWARD")) for version in ("1.22", "1.23")] == [3, 2]
    passed = [rules(made(version), "filter", "KUBE-IPVS-FILTER") for version in ("1.28", "1.29")]
    assert ["KUBE-EXTERNAL-IP-LOCAL" in "".join(texts) for texts in passed] == [False, True]
    assert ipvs_layout((1, 36)) == ipvs_layout((1, 29))


def test_1_20_watches_endpoints_where_its_gate_is_off() -> None:
    """LOOP-BACK and the real servers are of these, the ready ones alone."""
    ends = (*SLICE.endpoints, Endpoint(addresses=("10.244.1.9",), node_name="n1", ready=False))
    found = made(
        "1.20", slices=(replace(SLICE, endpoints=ends),), feature_gates={"EndpointSliceProxying": False}
    )
    sets = {one.name: one.members for one in state(found).ipsets}
    assert sets["KUBE-LOOP-BACK"] == ("10.244.1.5,tcp:8080,10.244.1.5",)
