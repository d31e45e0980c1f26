"""
Layout by layout: what no dump shows of 1.20, 1.24 to 1.27, and of one feature in several versions.

Those between, 1.21 to 1.23, are in test_xlb_rules.
"""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.kube.iptables import owed_kube_proxy, ruleset
from nettrace.kube.names import SERVICE_PREFIXES, XLB_PREFIX, endpoint_chain, service_chain
from nettrace.model.kube import Endpoint, KubeProxyConfig, Service
from nettrace.model.owed import OwedChain
from nettrace.model.section import Known
from nettrace.model.xt import XtRuleset
from tests.kube.test_iptables import CONFIG, SEP_HERE, SEP_THERE, SLICE, WEB, cluster, known, lines

SVC, SVL, EXT, FW, XLB = (
    service_chain(prefix, "default/web:http", "tcp") for prefix in (*SERVICE_PREFIXES, XLB_PREFIX)
)
LOCAL = replace(WEB, external_traffic_policy="Local")
BALANCED = replace(WEB, type="LoadBalancer", load_balancer_ips=("203.0.113.10", "203.0.113.11"))
RANGED = replace(BALANCED, load_balancer_source_ranges=("198.51.100.0/24", "192.168.50.0/24"))
REMOTE = replace(SLICE, endpoints=(Endpoint(addresses=("10.244.2.5",), node_name="n2"),))
NOBODY = replace(SLICE, endpoints=())
WORDS = '-m comment --comment "default/web:http'


def at(
    version: str, *services: Service, slices: object = (SLICE,), family: int = 4, **changes: object
) -> XtRuleset:
    """The rules that a kube-proxy of this version writes on n1."""
    config = replace(CONFIG, version=version, **changes)
    kube = cluster(config, services or (WEB,), slices)  # type: ignore[arg-type]
    return ruleset(replace(kube, endpoints=kube.endpoint_slices), "n1", family=family)


def frame(rules: XtRuleset, table: str) -> set[str]:
    """The names of kube-proxy's chains that are no Service's."""
    own = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-", "KUBE-XLB-")
    return {n for n in known(rules, table) if n.startswith("KUBE-") and not n.startswith(own)}


@pytest.mark.parametrize(
    ("version", "nat", "more", "less"),
    [
        ("1.20", {"KUBE-MARK-DROP"}, set(), {"KUBE-NODEPORTS"}),
        ("1.24", {"KUBE-MARK-DROP"}, set(), set()),
        ("1.25", set(), {"KUBE-PROXY-FIREWALL"}, set()),
        ("1.27", set(), {"KUBE-PROXY-FIREWALL", "KUBE-FIREWALL"}, set()),
        ("1.30", set(), {"KUBE-PROXY-FIREWALL", "KUBE-FIREWALL"}, set()),
    ],
)
def test_the_chains_of_the_frame(version: str, nat: set[str], more: set[str], less: set[str]) -> None:
    """KUBE-MARK-DROP until 1.24, the firewall chains since 1.25 and 1.27, health check ports after 1.20."""
    rules = at(version)
    always = {"KUBE-MARK-MASQ", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-PROXY-CANARY", "KUBE-SERVICES"}
    assert frame(rules, "nat") == always | nat
    always = {
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FORWARD",
        "KUBE-NODEPORTS",
        "KUBE-PROXY-CANARY",
        "KUBE-SERVICES",
    }
    assert frame(rules, "filter") == (always | more) - less
    jumped = {text.rsplit(" ", 1)[1] for text in lines(rules, "filter", "INPUT")}
    assert jumped == ({"KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS"} | more) - less
    assert len(lines(rules, "filter", "KUBE-FORWARD")) == (4 if version == "1.20" else 3)


def test_1_24_marks_what_it_drops() -> None:
    """Without a local endpoint traffic is led to the chain for policy Local, which marks it."""
    rules = at("1.24", replace(LOCAL, internal_traffic_policy="Local"), slices=(REMOTE,))
    outside = f'! -s 10.244.0.0/16 -d 10.96.0.20/32 -p tcp {WORDS} cluster IP" -m tcp --dport 80'
    assert lines(rules, "nat", SVL) == [
        f"{outside} -j KUBE-MARK-MASQ",
        f'{WORDS} has no local endpoints" -j KUBE-MARK-DROP',
    ]
    assert lines(rules, "nat", "KUBE-SERVICES")[0].endswith(f"-j {SVL}")
    assert lines(rules, "nat", EXT)[-1] == f"-j {SVL}"
    assert lines(rules, "nat", SVC) == [f'{WORDS} -> 10.244.2.5:8080" -j {SEP_THERE}']
    assert lines(rules, "filter", "KUBE-EXTERNAL-SERVICES") == []
    assert lines(rules, "filter", "KUBE-SERVICES") == []
    later = at("1.25", replace(LOCAL, internal_traffic_policy="Local"), slices=(REMOTE,))
    assert SVL not in known(later, "nat")
    assert f"-j {SVL}" not in lines(later, "nat", EXT)
    assert lines(later, "filter", "KUBE-SERVICES") == [
        f'-d 10.96.0.20/32 -p tcp {WORDS} has no local endpoints" -m tcp --dport 80 -j DROP'
    ]


def test_source_ranges_in_1_24_end_in_a_mark() -> None:
    """Later layouts drop in table filter what was not DNATed."""
    rules = at("1.24", RANGED)
    words = f'{WORDS} loadbalancer IP"'
    assert lines(rules, "nat", FW) == [
        f"-s 198.51.100.0/24 {words} -j {EXT}",
        f"-s 192.168.50.0/24 {words} -j {EXT}",
        f"{words} -j KUBE-MARK-DROP",
    ]
    assert lines(at("1.25", RANGED), "nat", FW)[-1] == f"-s 192.168.50.0/24 {words} -j {EXT}"
    assert lines(at("1.27", RANGED), "nat", FW)[-1] == (
        '-m comment --comment "other traffic to default/web:http will be dropped by KUBE-PROXY-FIREWALL"'
    )
    assert len(lines(at("1.25", RANGED), "filter", "KUBE-PROXY-FIREWALL")) == 2


@pytest.mark.parametrize(("version", "number"), [("1.24", 2), ("1.27", 2), ("1.28", 4), ("1.36", 4)])
def test_a_balancers_own_address_passes_if_the_nodes_does(version: str, number: int) -> None:
    """Up to 1.27 kube-proxy did not know its node's address in dual stack."""
    accepted = [text for text in lines(at(version, RANGED), "nat", FW) if text.endswith(EXT)]
    assert len(accepted) == number


def test_outside_traffic_in_1_20() -> None:
    """Policy Local: pods and the node get all endpoints, others this node's, by numbered rules."""
    local = replace(
        SLICE,
        endpoints=tuple(Endpoint(addresses=(f"10.244.1.{n}",), node_name="n1") for n in (5, 6, 7)),
    )
    rules = at("1.20", LOCAL, slices=(local,))
    seps = [endpoint_chain("default/web:http", "tcp", f"10.244.1.{n}:8080") for n in (5, 6, 7)]
    redirect = '"Redirect pods trying to reach external loadbalancer VIP to clusterIP"'
    masquerade = '"masquerade LOCAL traffic for default/web:http LB IP"'
    route = '"route LOCAL traffic for default/web:http LB IP to service chain"'
    chances = ["0.33333333349", "0.50000000000"]
    assert lines(rules, "nat", XLB) == [
        f"-s 10.244.0.0/16 -m comment --comment {redirect} -j {SVC}",
        f"-m comment --comment {masquerade} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
        f"-m comment --comment {route} -m addrtype --src-type LOCAL -j {SVC}",
        *(
            f'-m comment --comment "Balancing rule {n} for default/web:http" '
            f"-m statistic --mode random --probability {chances[n]} -j {seps[n]}"
            for n in (0, 1)
        ),
        f'-m comment --comment "Balancing rule 2 for default/web:http" -j {seps[2]}',
    ]
    assert lines(rules, "nat", "KUBE-NODEPORTS") == [
        f'-s 127.0.0.0/8 -p tcp {WORDS}" -m tcp --dport 30080 -j KUBE-MARK-MASQ',
        f'-p tcp {WORDS}" -m tcp --dport 30080 -j {XLB}',
    ]


def test_nobody_behind_a_service_in_1_20() -> None:
    """It is refused everywhere; the chain for policy Local is there all the same, and empty."""
    service = replace(
        LOCAL, type="LoadBalancer", load_balancer_ips=("203.0.113.10",), external_ips=("198.51.100.1",)
    )
    rules = at("1.20", service, slices=(NOBODY,))
    assert lines(rules, "nat", XLB) == []
    assert SVC not in known(rules, "nat")
    assert FW not in known(rules, "nat")
    refused = lines(rules, "filter", "KUBE-EXTERNAL-SERVICES")
    assert [text.split(" ", 2)[:2] for text in refused] == [
        ["-d", "198.51.100.1/32"],
        ["-d", "203.0.113.10/32"],
        ["-p", "tcp"],
    ]
    assert all(text.endswith("-j REJECT --reject-with icmp-port-unreachable") for text in refused)


@pytest.mark.parametrize("service_type", ["NodePort", "ClusterIP"])
def test_external_ips_in_1_20(service_type: str) -> None:
    """Policy Local keeps the source, and goes to the chain for it, if the type lets it hold."""
    service = replace(LOCAL, type=service_type, external_ips=("198.51.100.1",), ports=(WEB.ports[0],))
    local = service_type == "NodePort"
    found = [text for text in lines(at("1.20", service), "nat", "KUBE-SERVICES") if "external IP" in text]
    assert [text.rsplit(" ", 1)[1] for text in found] == (
        [XLB, XLB] if local else ["KUBE-MARK-MASQ", SVC, SVC]
    )
    assert found[-2].endswith(
        f"-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j {XLB if local else SVC}"
    )
    assert found[-1].endswith(f"-m addrtype --dst-type LOCAL -j {XLB if local else SVC}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["! -s 10.244.0.0/16 -d 10.96.0.20/32", "-d 10.96.0.20/32 -p"]),
        ({"masquerade_all": True}, ["-d 10.96.0.20/32 -p", "-d 10.96.0.20/32 -p"]),
        ({"cluster_cidrs": ()}, ["-d 10.96.0.20/32 -p"]),
    ],
)
def test_masquerading_of_cluster_ips_in_1_20(changes: dict[str, Any], expected: list[str]) -> None:
    """The rule stands in KUBE-SERVICES, right before the jump."""
    found = lines(at("1.20", **changes), "nat", "KUBE-SERVICES")[:-1]
    assert len(found) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True))
    assert [text for text in lines(at("1.20", **changes), "nat", SVC) if "KUBE-MARK-MASQ" in text] == []


@pytest.mark.parametrize(("version", "number"), [("1.20", 0), ("1.24", 0), ("1.27", 1)])
def test_no_address_for_node_ports(version: str, number: int) -> None:
    """Until 1.26 no NodePort is written then; 1.20 gives up the Service halfway."""
    rules = at(version, node_port_addresses=("172.16.0.0/12",))
    assert len(lines(rules, "nat", "KUBE-NODEPORTS")) == number
    assert [text for text in lines(rules, "nat", "KUBE-SERVICES") if text.endswith("KUBE-NODEPORTS")] == []
    assert (SEP_HERE in known(rules, "nat")) is (version != "1.20")
    if version == "1.20":
        assert lines(rules, "nat", SVC) == []


def test_many_endpoints_in_1_20() -> None:
    """Endpoints that are not ready do not count; rules about local endpoints keep their comments."""
    many = tuple(Endpoint(addresses=(f"10.244.{i // 250}.{i % 250}",), node_name="n1") for i in range(1001))
    ready = replace(SLICE, endpoints=many)
    rules = at("1.20", LOCAL, slices=(ready,))
    assert not any("--comment" in text for text in lines(rules, "nat", SVC))
    assert all("--comment" in text for text in lines(rules, "nat", XLB))
    halved = replace(SLICE, endpoints=(replace(many[0], ready=False), *many[1:]))
    assert all("--comment" in text for text in lines(at("1.20", LOCAL, slices=(halved,)), "nat", SVC))


def test_addresses_that_a_balancer_answers_itself() -> None:
    """ipMode Proxy is heeded since 1.30, before it such an address is captured like others."""
    service = replace(
        BALANCED,
        load_balancer_ips=("203.0.113.10",),
        load_balancer_status=(("203.0.113.11", "Proxy"), ("203.0.113.10", "VIP")),
    )
    for version, number in (("1.20", 2), ("1.28", 2), ("1.29", 2), ("1.30", 1), ("1.36", 1)):
        found = [t for t in lines(at(version, service), "nat", "KUBE-SERVICES") if "loadbalancer" in t]
        assert len(found) == number
    gated = lines(at("1.29", service, feature_gates={"LoadBalancerIPMode": True}), "nat", "KUBE-SERVICES")
    assert len([text for text in gated if "loadbalancer" in text]) == 1


@pytest.mark.parametrize(("version", "served"), [("1.24", False), ("1.25", False), ("1.26", True)])
def test_endpoints_that_terminate(version: str, served: bool) -> None:
    """They stand in for ready ones since 1.26."""
    leaving = Endpoint(addresses=("10.244.1.5",), node_name="n1", ready=False, terminating=True)
    rules = at(version, slices=(replace(SLICE, endpoints=(leaving,)),))
    assert (SVC in known(rules, "nat")) is served
    assert (len(lines(rules, "filter", "KUBE-SERVICES")) == 0) is served


def test_ipv6_node_ports_before_and_since_localhost_could_be_told() -> None:
    """::1 is left out of the dispatch since 1.26."""
    six = replace(WEB, cluster_ips=("fd00:96::20",))
    for version, start in (("1.24", "-m comment"), ("1.26", "! -d ::1/128 -m comment")):
        rules = at(version, six, slices=(replace(SLICE, address_type="IPv6", endpoints=()),), family=6)
        assert lines(rules, "nat", "KUBE-SERVICES")[-1].startswith(start)


@pytest.mark.parametrize(
    ("version", "owed"), [("1.20", False), ("1.24", False), ("1.26", False), ("1.28", True)]
)
def test_chains_that_kubelet_writes_too_are_not_owed_whole(version: str, owed: bool) -> None:
    """KUBE-MARK-DROP is kubelet's, and until 1.27 KUBE-FIREWALL holds its rule for dropped marks."""
    kube = cluster(KubeProxyConfig(cluster_cidrs=("10.244.0.0/16",), version=version))
    chains = {item.chain for item in owed_kube_proxy(kube, "n1", "ns") if isinstance(item, OwedChain)}
    assert "KUBE-MARK-DROP" not in chains
    assert ("KUBE-FIREWALL" in chains) is owed
    assert isinstance(kube.proxy, Known)
