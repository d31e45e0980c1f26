"""What settings and versions make of a cluster in modes nftables and ipvs."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.kube.expect import expected
from nettrace.kube.expected import Expected, ExpectedIpvs, NodeFacts
from nettrace.kube.nft_services import Element
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube
from nettrace.model.section import Known
from nettrace.model.xt import XtRule
from nettrace.parse.iptables import rule_text
from nettrace.parse.ipvs import save_ipvsadm
from tests.kube.fixture_cluster import NODE, fixture_cluster

HERE = NodeFacts(addresses=("127.0.0.1", "192.168.50.11", "10.244.1.1", "fe80::1"))


def nft(
    version: str = "1.36", family: int = 4, **changed: Any
) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    """Chains' rules and sets' elements by name."""
    facts = changed.pop("facts", NodeFacts())
    (table,) = expected(fixture_cluster("nftables-1.36", version, **changed), NODE, family, facts).nft
    return {c.name: c.rules for c in table.chains}, {s.name: s.elements for s in table.sets}


def ipvs(kube: Kube, facts: NodeFacts = HERE) -> tuple[Expected, ExpectedIpvs]:
    """What is owed, and the part of it outside of iptables."""
    found = expected(kube, NODE, 4, facts)
    assert found.ipvs is not None
    return found, found.ipvs


def rules(found: Expected, table: str, chain: str) -> list[str]:
    """One chain's rules as text."""
    assert found.iptables is not None
    section = found.iptables.tables[table]
    assert isinstance(section, Known)
    held = section.value.chains[chain]
    assert isinstance(held, Known)
    made: tuple[XtRule, ...] = held.value.rules
    return list(map(rule_text, made))


def outside(kube: Kube, **changed: Any) -> Kube:
    """The cluster with one Service changed: that with external IPs."""
    assert isinstance(kube.services, Known)
    return replace(
        kube,
        services=Known(
            tuple(replace(s, **changed) if s.name == "ext-ips" else s for s in kube.services.value)
        ),
    )


# --- nftables --------------------------------------------------------------------------


def test_node_ports_everywhere() -> None:
    """Without a set of addresses every local one serves, but none of loopback."""
    chains, sets = nft(node_port_addresses=("0.0.0.0/0",))
    assert "nodeport-ips" not in sets
    assert chains["services"][-1].startswith("fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto")
    assert chains["nodeport-endpoints-check"][0].startswith("ip daddr != 127.0.0.0/8 meta l4proto")
    six, _ = nft(family=6, node_port_addresses=("::/0",))
    assert six["services"][-1].startswith("fib daddr type local ip6 daddr != ::1 ")


def test_node_ports_on_chosen_addresses() -> None:
    """The set holds what the node's devices have of the prefixes, loopback never."""
    _, sets = nft(node_port_addresses=("10.244.0.0/16", "127.0.0.0/8"), facts=HERE)
    assert sets["nodeport-ips"] == ("10.244.1.1",)


def test_who_is_no_pod_of_the_node() -> None:
    """By prefix, by bridge, by the beginning of a name, everybody, or nobody that can be told."""
    mark = "meta mark set meta mark | 0x00004000"
    detectors: tuple[dict[str, Any], ...] = (
        {},
        {"detect_local_mode": "BridgeInterface", "detect_local_bridge": "cni0"},
        {"detect_local_mode": "InterfaceNamePrefix", "detect_local_interface_prefix": "veth"},
    )
    first = [
        nft(**changed)[0]["services"][0].removesuffix(
            ' comment "masquerade clusterIP traffic from outside cluster"'
        )
        for changed in detectors
    ]
    assert first == [
        f"ip daddr @cluster-ips ip saddr != 10.244.0.0/16 {mark}",
        f'ip daddr @cluster-ips iifname != "cni0" {mark}',
        f'ip daddr @cluster-ips iifname != "veth*" {mark}',
    ]
    assert nft(masquerade_all=True)[0]["services"][0].startswith(f"ip daddr @cluster-ips {mark}")
    nobody, _ = nft(cluster_cidrs=())
    assert nobody["services"][0].endswith("vmap @service-ips")
    local = next(
        rules for name, rules in nobody.items() if name.startswith("external-") and "lb-local/" in name
    )
    assert not any("short-circuit pod traffic" in rule for rule in local)


def test_older_layouts() -> None:
    """1.30 tests port and source in the Service's chain, 1.34 the source; both mark in a chain of its own."""
    name = "service-EJAJPSCL-default/hostnames/tcp/"
    old, sets = nft("1.30")
    assert (
        old[name][0] == "ip daddr 10.96.10.1 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade"
    )
    assert old["filter-output-post-dnat"] == ("ct state new jump cluster-ips-check",)
    assert "hairpin-connections" not in sets
    newer, _ = nft("1.34")
    assert newer[name][0] == "ip daddr 10.96.10.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade"
    assert newer["filter-output"][-1] == "ct state new jump cluster-ips-check"
    assert nft("1.34", masquerade_all=True)[0][name][0] == "ip daddr 10.96.10.1 jump mark-for-masquerade"
    assert len(nft("1.34", cluster_cidrs=())[0][name]) == 1
    single = nft("1.37")[0]["service-COL4VJNJ-default/single/tcp/http"]
    assert single == ("meta l4proto tcp dnat to 10.244.2.157:8080",)
    with pytest.raises(UserError, match=r"1\.29 are not derived"):
        nft("1.29")


def test_service_cidrs_need_a_gate() -> None:
    """Before 1.33 they are watched only by a gate; unwatched, unallocated addresses are not dropped."""
    assert len(nft("1.32")[0]["cluster-ips-check"]) == 1
    gate = {"MultiCIDRServiceAllocator": True}
    assert nft("1.32", feature_gates=gate)[0]["cluster-ips-check"][1].startswith("ip daddr 10.96.0.0/12 drop")
    assert len(nft("1.36", feature_gates={"MultiCIDRServiceAllocator": False})[0]["cluster-ips-check"]) == 1


def test_a_long_name() -> None:
    """nft takes 128 characters of a comment; kube-proxy cuts the name of a Service's port there."""
    name = f"{'n' * 63}/{'s' * 63}:{'p' * 15}"
    element = Element(set="no-endpoint-services", key="k", value="drop", comment=name)
    assert element.text == f'k comment "{name[:128]}" : drop'


# --- ipvs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"masquerade_all": True}, "-m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ"),
        ({"cluster_cidrs": ()}, "-m set --match-set KUBE-CLUSTER-IP src,dst -j KUBE-MARK-MASQ"),
        (
            {"detect_local_mode": "BridgeInterface", "detect_local_bridge": "cni0"},
            "! -i cni0 -m comment --comment",
        ),
    ],
)
def test_ipvs_masquerading(changed: dict[str, Any], rule: str) -> None:
    """Everybody, whoever asks with a VIP as its source, or whoever does not come by the bridge."""
    found, _ = ipvs(fixture_cluster("ipvs-1.36", **changed))
    assert any(rule in text and "KUBE-MARK-MASQ" in text for text in rules(found, "nat", "KUBE-SERVICES"))


def test_ipvs_schedulers_and_node_ports() -> None:
    """The scheduler is every server's; NodePorts are served on the addresses that are chosen, or nowhere."""
    _, state = ipvs(fixture_cluster("ipvs-1.36", ipvs_scheduler="mh", node_port_addresses=("10.244.0.0/16",)))
    assert {server.scheduler for server in state.servers} == {"mh"}
    assert "-A -t 10.96.0.1:443 -s mh -b mh-port" in save_ipvsadm(state.servers)
    assert {server.address for server in state.servers if server.port == 30080} == {"10.244.1.1"}
    _, none = ipvs(fixture_cluster("ipvs-1.36", node_port_addresses=("198.18.0.0/15",)))
    sets = {one.name: one.members for one in none.ipsets}
    assert sets["KUBE-NODE-PORT-TCP"] == ()
    assert sets["KUBE-HEALTH-CHECK-NODE-PORT"] == ()
    assert not any(server.port == 30080 for server in none.servers)


def test_ipvs_external_ips() -> None:
    """Of policy Local they are not masqueraded; one that the node has already is not bound again."""
    kube = fixture_cluster("ipvs-1.36")
    found, state = ipvs(
        outside(kube, external_traffic_policy="Local"),
        replace(HERE, addresses=(*(HERE.addresses or ()), "198.51.100.200")),
    )
    sets = {one.name: one.members for one in state.ipsets}
    assert sorted(sets["KUBE-EXTERNAL-IP-LOCAL"]) == ["192.168.50.200,tcp:8888", "198.51.100.200,tcp:8888"]
    assert "198.51.100.200" not in state.addresses
    assert "192.168.50.200" in state.addresses
    local = [text for text in rules(found, "nat", "KUBE-SERVICES") if "KUBE-EXTERNAL-IP-LOCAL" in text]
    assert len(local) == 2
    assert all(text.endswith("-j ACCEPT") for text in local)


def test_ipvs_without_the_nodes_addresses() -> None:
    """Where nobody read them, those of the Node object are taken."""
    _, state = ipvs(fixture_cluster("ipvs-1.36"), NodeFacts())
    assert {server.address for server in state.servers if server.port == 30080} == {"192.168.50.11"}
