"""The rules of kube-proxy 1.21 to 1.23, where they part from those of 1.20 that a dump shows."""

import pytest
from msgspec.structs import replace

from nettrace.model.kube import Endpoint
from tests.kube.test_iptables import SLICE, WEB, known, lines
from tests.kube.test_layouts import LOCAL, NOBODY, REMOTE, SVC, WORDS, XLB, at

OUTSIDE = replace(WEB, external_ips=("198.51.100.1",))
MARKED = "-j KUBE-MARK-MASQ"
FROM_OTHERS = "! -s 10.244.0.0/16"
CLUSTER_IP = f'-d 10.96.0.20/32 -p tcp {WORDS} cluster IP" -m tcp --dport 80'
EXTERNAL_IP = f'-d 198.51.100.1/32 -p tcp {WORDS} external IP" -m tcp --dport 80'
NODE_PORT = f'-p tcp {WORDS}" -m tcp --dport 30080'
MARKS = [
    f"{FROM_OTHERS} {CLUSTER_IP} {MARKED}",
    f"{FROM_OTHERS} {EXTERNAL_IP} {MARKED}",
    f"{NODE_PORT} {MARKED}",
]
TO_SVC = f"-j {SVC}"


def test_1_21_marks_where_it_dispatches() -> None:
    """syncProxyRules, 1.21: traffic to external IPs is told by the detector, physdev is gone."""
    rules = at("1.21", OUTSIDE)
    assert lines(rules, "nat", "KUBE-SERVICES")[:-1] == [
        MARKS[0],
        f"{CLUSTER_IP} {TO_SVC}",
        MARKS[1],
        f"{EXTERNAL_IP} {TO_SVC}",
    ]
    assert lines(rules, "nat", "KUBE-NODEPORTS") == [MARKS[2], f"{NODE_PORT} {TO_SVC}"]
    assert MARKED not in "".join(lines(rules, "nat", SVC))
    nobody = at("1.21", OUTSIDE, cluster_cidrs=())
    assert f"{EXTERNAL_IP} {MARKED}" in lines(nobody, "nat", "KUBE-SERVICES")


@pytest.mark.parametrize("version", ["1.22", "1.23"])
def test_since_1_22_the_services_chain_marks(version: str) -> None:
    """syncProxyRules, 1.22: cluster IP, external IPs, NodePort, then the endpoints (#96959)."""
    rules = at(version, OUTSIDE)
    assert lines(rules, "nat", "KUBE-SERVICES")[:-1] == [f"{CLUSTER_IP} {TO_SVC}", f"{EXTERNAL_IP} {TO_SVC}"]
    assert lines(rules, "nat", "KUBE-NODEPORTS") == [f"{NODE_PORT} {TO_SVC}"]
    assert lines(rules, "nat", SVC)[:3] == MARKS
    assert [text.partition(" -j ")[0] for text in lines(rules, "nat", SVC)[3:]] == [
        f'{WORDS}" -m statistic --mode random --probability 0.50000000000',
        f'{WORDS}"',
    ]
    assert lines(at(version, OUTSIDE, masquerade_all=True), "nat", SVC)[0] == f"{CLUSTER_IP} {MARKED}"


@pytest.mark.parametrize("version", ["1.21", "1.22", "1.23"])
def test_policy_local_keeps_the_source(version: str) -> None:
    """Marked is nothing but what the node asks of itself by its loopback address."""
    service = replace(LOCAL, external_ips=("198.51.100.1",))
    rules = at(version, service)
    assert lines(rules, "nat", "KUBE-NODEPORTS") == [
        f"-s 127.0.0.0/8 {NODE_PORT} {MARKED}",
        f"{NODE_PORT} -j {XLB}",
    ]
    assert f"{EXTERNAL_IP} -j {XLB}" in lines(rules, "nat", "KUBE-SERVICES")
    marks = [text for text in lines(rules, "nat", SVC) if text.endswith(MARKED)]
    assert marks == ([] if version == "1.21" else MARKS[:1])
    assert lines(at(version, service, slices=(REMOTE,)), "nat", XLB)[-1] == (
        f'{WORDS} has no local endpoints" -j KUBE-MARK-DROP'
    )
    assert lines(at(version, service, slices=(NOBODY,)), "nat", XLB) == []


@pytest.mark.parametrize(
    ("version", "words"), [("1.22", "Balancing rule 0 for default/web:http"), ("1.23", "")]
)
def test_outside_traffic_is_balanced_as_inside_traffic_since_1_23(version: str, words: str) -> None:
    """writeServiceToEndpointRules (#106269): the number goes, and with many endpoints the comment."""
    sticky = replace(LOCAL, session_affinity="ClientIP")
    found = lines(at(version, sticky), "nat", XLB)[-2:]
    assert "--rcheck --seconds 10800 --reap" in found[0]
    assert found[1].startswith(f'-m comment --comment "{words or "default/web:http"}" -j KUBE-SEP-')
    many = tuple(Endpoint(addresses=(f"10.244.{i // 250}.{i % 250}",), node_name="n1") for i in range(1001))
    balanced = lines(at(version, LOCAL, slices=(replace(SLICE, endpoints=many),)), "nat", XLB)[3:]
    assert all("--comment" in text for text in balanced) is bool(words)


@pytest.mark.parametrize(("version", "number"), [("1.21", 2), ("1.22", 2), ("1.23", 1)])
def test_established_connections_are_forwarded(version: str, number: int) -> None:
    """One rule for both directions since 1.23 (#97279)."""
    found = [text for text in lines(at(version), "filter", "KUBE-FORWARD") if "RELATED" in text]
    assert len(found) == number
    assert ("pod source rule" in found[0]) is (number == 2)


@pytest.mark.parametrize(("version", "left"), [("1.21", False), ("1.22", False), ("1.23", True)])
def test_no_address_for_node_ports(version: str, left: bool) -> None:
    """Until 1.22 the Service is given up there: its endpoints' rules and its health check are not written."""
    service = replace(LOCAL, type="LoadBalancer", health_check_node_port=31000)
    rules = at(version, service, node_port_addresses=("172.16.0.0/12",))
    assert lines(rules, "nat", "KUBE-NODEPORTS") == []
    assert len(lines(rules, "filter", "KUBE-NODEPORTS")) == int(left)
    assert any("KUBE-SEP" in text for text in lines(rules, "nat", SVC)) is left
    assert (lines(rules, "nat", XLB) != []) is left
    served = lines(at(version, service), "filter", "KUBE-NODEPORTS")
    assert served == [
        f'-p tcp {WORDS} health check node port" -m tcp --dport 31000 -j ACCEPT',
    ]


@pytest.mark.parametrize("version", ["1.21", "1.22", "1.23"])
def test_both_families(version: str) -> None:
    """Dual stack is on since 1.21."""
    six = replace(WEB, cluster_ips=("fd00:96::20",))
    ends = (Endpoint(addresses=("fd00:244:1::5",), node_name="n1"),)
    slices = (replace(SLICE, address_type="IPv6", endpoints=ends),)
    rules = at(version, replace(six, external_traffic_policy="Local"), slices=slices, family=6)
    assert lines(rules, "nat", "KUBE-NODEPORTS")[0].startswith("-s ::1/128 -p tcp")
    assert SVC in known(rules, "nat")
