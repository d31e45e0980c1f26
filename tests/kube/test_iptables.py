"""The rules, feature by feature: what the dumps of one configuration do not show."""

import pytest
from msgspec.structs import replace

from nettrace.kube.iptables import OWNER, describe_chain, owed_kube_proxy, ruleset
from nettrace.kube.names import SERVICE_PREFIXES, endpoint_chain, service_chain
from nettrace.model.errors import UserError
from nettrace.model.kube import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Kube,
    KubeNode,
    KubeProxyConfig,
    Service,
    ServicePort,
)
from nettrace.model.owed import OwedChain, OwedJump, OwedSysctl
from nettrace.model.section import NOT_READ, Known
from nettrace.model.xt import XtChain, XtRuleset
from nettrace.parse.iptables import rule_text

CONFIG = KubeProxyConfig(cluster_cidrs=("10.244.0.0/16",), version="1.30")
NODE = KubeNode(name="n1", internal_ips=("192.168.50.11",), pod_cidrs=("10.244.1.0/24",))
WEB = Service(
    name="web",
    type="NodePort",
    cluster_ips=("10.96.0.20",),
    ports=(ServicePort(port=80, name="http", node_port=30080),),
)
SLICE = EndpointSlice(
    name="web-1",
    service="web",
    endpoints=(
        Endpoint(addresses=("10.244.1.5",), node_name="n1", target="default/web-0"),
        Endpoint(addresses=("10.244.2.5",), node_name="n2"),
    ),
    ports=(EndpointPort(name="http", port=8080),),
)
SVC, SVL, EXT, FW = (service_chain(prefix, "default/web:http", "tcp") for prefix in SERVICE_PREFIXES)
SEP_HERE, SEP_THERE = (
    endpoint_chain("default/web:http", "tcp", text) for text in ("10.244.1.5:8080", "10.244.2.5:8080")
)

LAST = '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"'
MASQUERADE = '-m comment --comment "masquerade traffic for default/web:http external destinations"'


def cluster(
    config: KubeProxyConfig = CONFIG,
    services: tuple[Service, ...] = (WEB,),
    slices: tuple[EndpointSlice, ...] = (SLICE,),
) -> Kube:
    """A cluster with node n1."""
    return Kube(
        services=Known(services),
        endpoint_slices=Known(slices),
        nodes=Known((NODE,)),
        pods=Known(()),
        proxy=Known(config),
    )


def lines(rules: XtRuleset, table: str, chain: str) -> list[str]:
    """The rules of a chain as text; the chain has to be there."""
    return [rule_text(rule) for rule in known(rules, table)[chain].rules]


def known(rules: XtRuleset, table: str) -> dict[str, XtChain]:
    """The chains of a table."""
    section = rules.tables[table]
    assert isinstance(section, Known)
    found = {}
    for name, chain in section.value.chains.items():
        assert isinstance(chain, Known)
        found[name] = chain.value
    return found


def test_a_service_from_jump_to_endpoint() -> None:
    """One Service, written out: dispatch, balancing, hairpin, DNAT."""
    rules = ruleset(cluster(), "n1")
    words = '-m comment --comment "default/web:http'
    assert lines(rules, "nat", "KUBE-SERVICES") == [
        f'-d 10.96.0.20/32 -p tcp {words} cluster IP" -m tcp --dport 80 -j {SVC}',
        f"{LAST} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
    ]
    assert lines(rules, "nat", "KUBE-NODEPORTS") == [f'-p tcp {words}" -m tcp --dport 30080 -j {EXT}']
    assert lines(rules, "nat", EXT) == [
        f"{MASQUERADE} -j KUBE-MARK-MASQ",
        f"-j {SVC}",
    ]
    outside = "! -s 10.244.0.0/16 -d 10.96.0.20/32 -p tcp"
    half = "-m statistic --mode random --probability 0.50000000000"
    assert lines(rules, "nat", SVC) == [
        f'{outside} {words} cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ',
        f'{words} -> 10.244.1.5:8080" {half} -j {SEP_HERE}',
        f'{words} -> 10.244.2.5:8080" -j {SEP_THERE}',
    ]
    assert lines(rules, "nat", SEP_HERE) == [
        f'-s 10.244.1.5/32 {words}" -j KUBE-MARK-MASQ',
        f'-p tcp {words}" -m tcp -j DNAT --to-destination 10.244.1.5:8080',
    ]
    assert list(known(rules, "mangle"))[-1] == "KUBE-PROXY-CANARY"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"masquerade_all": True}, ["-d 10.96.0.20/32 -p tcp"]),
        ({"masquerade_all": True, "cluster_cidrs": ()}, ["-d 10.96.0.20/32 -p tcp"]),
        ({"cluster_cidrs": ()}, []),
        ({"detect_local_mode": "NodeCIDR"}, ["! -s 10.244.1.0/24 -d 10.96.0.20/32 -p tcp"]),
        (
            {"detect_local_mode": "BridgeInterface", "detect_local_bridge": "cni0"},
            ["-d 10.96.0.20/32 ! -i cni0 -p tcp"],
        ),
        (
            {"detect_local_mode": "InterfaceNamePrefix", "detect_local_interface_prefix": "veth"},
            ["-d 10.96.0.20/32 ! -i veth+ -p tcp"],
        ),
    ],
)
def test_whose_traffic_to_a_cluster_ip_is_masqueraded(changes: dict[str, str], expected: list[str]) -> None:
    """Everybody's with masqueradeAll, that of others than local pods if they can be told, else nobody's."""
    rules = ruleset(cluster(replace(CONFIG, **changes)), "n1")
    marked = [text for text in lines(rules, "nat", SVC) if text.endswith("-j KUBE-MARK-MASQ")]
    rest = ' -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ'
    assert marked == [text + rest for text in expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, f"-s 10.244.0.0/16 -m comment --comment X -j {SVC}"), ({"cluster_cidrs": ()}, None)],
)
def test_pods_reach_external_addresses_as_cluster_ips(changes: dict[str, str], expected: str | None) -> None:
    """With policy Local they skip the policy, if pods can be told from others."""
    service = replace(WEB, external_traffic_policy="Local")
    rules = ruleset(cluster(replace(CONFIG, **changes), services=(service,)), "n1")
    found = lines(rules, "nat", EXT)
    words = '"pod traffic for default/web:http external destinations"'
    assert [text.replace(words, "X") for text in found if words in text] == ([expected] if expected else [])
    assert found[-1] == f"-j {SVL}"


def test_node_ports_on_some_addresses_only() -> None:
    """Each address has its own last rule; those that are not on the node have none."""
    config = replace(CONFIG, node_port_addresses=("192.168.50.0/24", "10.0.0.0/8"))
    rules = ruleset(cluster(config), "n1", addresses=("192.168.50.11", "10.244.1.1", "172.17.0.1"))
    last = [text for text in lines(rules, "nat", "KUBE-SERVICES") if text.endswith("KUBE-NODEPORTS")]
    assert [text.split()[1] for text in last] == ["192.168.50.11/32", "10.244.1.1/32"]
    assert lines(rules, "filter", "KUBE-FIREWALL") == []


def test_without_localhost_node_ports() -> None:
    """127.0.0.0/8 is left out of the dispatch, and nothing has to be protected."""
    rules = ruleset(cluster(replace(CONFIG, localhost_node_ports=False, version="1.36")), "n1")
    assert lines(rules, "nat", "KUBE-SERVICES")[-1].startswith("! -d 127.0.0.0/8 -m comment")
    assert len(lines(rules, "nat", "KUBE-NODEPORTS")) == 1
    assert lines(rules, "filter", "KUBE-FIREWALL") == []


@pytest.mark.parametrize(("version", "node_ports"), [("1.30", 1), ("1.36", 2)])
def test_what_is_counted(version: str, node_ports: int) -> None:
    """Newer kube-proxies count INVALID packets and NodePorts on localhost."""
    rules = ruleset(cluster(replace(CONFIG, version=version)), "n1")
    assert len(lines(rules, "nat", "KUBE-NODEPORTS")) == node_ports
    assert ("nfacct" in lines(rules, "filter", "KUBE-FORWARD")[0]) is (version == "1.36")


def test_a_liberal_conntrack_needs_no_rule_for_invalid_packets() -> None:
    """With tcp_be_liberal the DROP is not written."""
    assert len(lines(ruleset(cluster(), "n1"), "filter", "KUBE-FORWARD")) == 3
    rules = ruleset(cluster(), "n1", be_liberal=True)
    assert [text for text in lines(rules, "filter", "KUBE-FORWARD") if "INVALID" in text] == []


def test_another_mark() -> None:
    """The mark's bit is the configured one in every rule that speaks of it."""
    rules = ruleset(cluster(replace(CONFIG, masquerade_bit=4)), "n1")
    assert lines(rules, "nat", "KUBE-MARK-MASQ") == ["-j MARK --set-xmark 0x10/0x10"]
    assert lines(rules, "nat", "KUBE-POSTROUTING")[:2] == [
        "-m mark ! --mark 0x10/0x10 -j RETURN",
        "-j MARK --set-xmark 0x10/0x0",
    ]
    assert "--mark 0x10/0x10" in lines(rules, "filter", "KUBE-FORWARD")[1]


def test_everybody_may_come_from_anywhere() -> None:
    """The source range 0.0.0.0/0 is a rule without a test, and the balancer's address passes too."""
    service = replace(
        WEB,
        type="LoadBalancer",
        load_balancer_ips=("203.0.113.10",),
        load_balancer_source_ranges=("0.0.0.0/0",),
    )
    rules = ruleset(cluster(services=(service,)), "n1")
    words = '-m comment --comment "default/web:http loadbalancer IP"'
    assert lines(rules, "nat", FW)[:2] == [
        f"{words} -j {EXT}",
        f"-s 203.0.113.10/32 {words} -j {EXT}",
    ]


@pytest.mark.parametrize(("number", "commented"), [(1000, True), (1001, False)])
def test_large_clusters_have_no_comments_about_endpoints(number: int, commented: bool) -> None:
    """Above a thousand endpoints, ready or not, kube-proxy saves the bytes."""
    endpoints = tuple(
        Endpoint(addresses=(f"10.244.{i // 250}.{i % 250}",), ready=i < 3) for i in range(number)
    )
    rules = ruleset(cluster(slices=(replace(SLICE, endpoints=endpoints),)), "n1")
    about_endpoints = [
        text
        for name in known(rules, "nat")
        if name.startswith(("KUBE-SEP-", "KUBE-SVC-"))
        for text in lines(rules, "nat", name)
        if "cluster IP" not in text
    ]
    assert len(about_endpoints) == 3 + 3 * 2
    assert {("--comment" in text) for text in about_endpoints} == {commented}
    assert "--comment" in lines(rules, "nat", SVC)[0]


def test_session_affinity_remembers_by_endpoint() -> None:
    """The list of clients is named like the endpoint's chain, for the Service's own time."""
    service = replace(WEB, session_affinity="ClientIP", session_affinity_timeout=600)
    rules = ruleset(cluster(services=(service,)), "n1")
    back = f"-m recent --rcheck --seconds 600 --reap --name {SEP_HERE} --mask 255.255.255.255 --rsource"
    assert lines(rules, "nat", SVC)[1].endswith(f"{back} -j {SEP_HERE}")
    assert f"-m recent --set --name {SEP_HERE} --mask" in lines(rules, "nat", SEP_HERE)[1]


def test_hints_by_annotation_in_older_layouts() -> None:
    """Up to 1.30 a zone hint counts only where the Service asks for it."""
    node = replace(NODE, labels={"topology.kubernetes.io/zone": "a"})
    endpoints = tuple(replace(e, hints_zones=(zone,)) for e, zone in zip(SLICE.endpoints, "ab", strict=True))
    for annotations, number in (({}, 2), ({"service.kubernetes.io/topology-mode": "Auto"}, 1)):
        kube = cluster(
            services=(replace(WEB, annotations=annotations),), slices=(replace(SLICE, endpoints=endpoints),)
        )
        rules = ruleset(replace(kube, nodes=Known((node,))), "n1")
        assert len([text for text in lines(rules, "nat", SVC) if "KUBE-SEP" in text]) == number


@pytest.mark.parametrize("missing", ["services", "endpoint_slices", "nodes", "proxy"])
def test_objects_that_were_not_read(missing: str) -> None:
    """The tables cannot be told, and nothing is said to be owed."""
    kube = replace(cluster(), **{missing: NOT_READ})
    with pytest.raises(UserError, match="were not read"):
        ruleset(kube, "n1")
    assert owed_kube_proxy(kube, "n1", "ns") == ()


@pytest.mark.parametrize("changes", [{"mode": "ipvs"}, {"mode": "nftables"}, {"version": "1.19"}])
def test_what_is_not_owed(changes: dict[str, str]) -> None:
    """Other modes and layouts owe other rules."""
    assert owed_kube_proxy(cluster(replace(CONFIG, **changes)), "n1", "ns") == ()


def test_a_node_that_is_not_there_owes_nothing_but_an_error() -> None:
    """A wrong name is told, not taken for a node without Services."""
    with pytest.raises(UserError, match="no Node is called n9"):
        owed_kube_proxy(cluster(), "n9", "ns")


def owed_chains(kube: Kube, services: tuple[str, ...] | None = None) -> dict[tuple[str, str], OwedChain]:
    """The chains owed to n1."""
    owed = owed_kube_proxy(kube, "n1", "ns", services=services)
    return {(item.table, item.chain): item for item in owed if isinstance(item, OwedChain)}


def test_owed_state_is_the_tables_in_other_words() -> None:
    """Every chain and every jump of the tables is owed once, by kube-proxy, in the namespace asked for."""
    rules = ruleset(cluster(), "n1")
    owed = owed_kube_proxy(cluster(), "n1", "ns")
    assert {(item.netns, item.owner) for item in owed} == {("ns", OWNER)}
    chains = owed_chains(cluster())
    jumps: dict[tuple[str, str], list[str]] = {}
    for item in owed:
        if isinstance(item, OwedJump):
            assert item.first
            jumps.setdefault((item.table, item.chain), []).append(rule_text(item.rule))
    for table in rules.tables:
        for name, chain in known(rules, table).items():
            if chain.policy is None:
                assert chains.pop((table, name)).rules == chain.rules
            else:
                assert jumps.pop((table, name), []) == lines(rules, table, name)
    assert not chains
    assert not jumps


def test_owed_rules_say_whose_they_are() -> None:
    """A missing rule of a chain of many is laid to its Service, a missing endpoint to its slice."""
    chains = owed_chains(cluster())
    services = chains["nat", "KUBE-SERVICES"]
    assert (services.subject, services.source) == ("", "kube-proxy's configuration")
    assert not services.ordered
    assert services.last == services.rules[-1:]
    first, last = services.notes
    assert (first.source, first.subject) == ("svc/default/web", "svc/default/web")
    assert first.about == "cluster IP 10.96.0.20:80/tcp of Service default/web"
    assert last.subject == ""
    balancing = chains["nat", SVC]
    assert (balancing.subject, balancing.about) == (
        "svc/default/web",
        "endpoints of Service default/web (port http)",
    )
    assert balancing.ordered
    assert [note.source for note in balancing.notes] == [
        "svc/default/web",
        *["EndpointSlice default/web-1"] * 2,
    ]
    endpoint = chains["nat", SEP_HERE]
    assert endpoint.source == "EndpointSlice default/web-1"
    assert endpoint.about == "endpoint default/web-0 10.244.1.5:8080 of Service default/web"
    assert endpoint.subject == "svc/default/web"
    assert endpoint.notes == ()
    assert chains["nat", SEP_THERE].about == "endpoint 10.244.2.5:8080 of Service default/web"


def test_owed_chains_of_some_services_only() -> None:
    """Dispatch is owed for all Services, the chains of one only where it is asked for."""
    other = replace(WEB, name="api", cluster_ips=("10.96.0.30",))
    kube = cluster(services=(WEB, other), slices=(SLICE, replace(SLICE, service="api")))
    everything, some = owed_chains(kube), owed_chains(kube, ("default/web",))
    assert some.items() < everything.items()
    assert {item.subject for item in some.values()} == {"", "svc/default/web"}
    assert {item.subject for item in everything.values()} == {"", "svc/default/web", "svc/default/api"}


def test_the_sysctl_that_localhost_node_ports_need() -> None:
    """kube-proxy sets route_localnet, and leaves KUBE-FIREWALL to kubelet where it does not."""
    owed = owed_kube_proxy(cluster(), "n1", "ns")
    (sysctl,) = [item for item in owed if isinstance(item, OwedSysctl)]
    assert (sysctl.name, sysctl.values) == ("net.ipv4.conf.all.route_localnet", ("1",))
    assert ("filter", "KUBE-FIREWALL") in owed_chains(cluster())
    without = cluster(replace(CONFIG, localhost_node_ports=False))
    assert not [item for item in owed_kube_proxy(without, "n1", "ns") if isinstance(item, OwedSysctl)]
    assert ("filter", "KUBE-FIREWALL") not in owed_chains(without)


@pytest.mark.parametrize(
    ("sysctls", "number"),
    [
        (None, 3),
        ({}, 3),
        ({"net.netfilter.nf_conntrack_tcp_be_liberal": "0"}, 3),
        ({"net.netfilter.nf_conntrack_tcp_be_liberal": "1"}, 2),
    ],
)
def test_owed_rules_for_a_liberal_conntrack(sysctls: dict[str, str] | None, number: int) -> None:
    """The sysctl of the namespace decides whether INVALID packets are dropped."""
    owed = owed_kube_proxy(cluster(), "n1", "ns", sysctls)
    (forward,) = [item for item in owed if isinstance(item, OwedChain) and item.chain == "KUBE-FORWARD"]
    assert len(forward.rules) == number


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (SEP_HERE, "endpoint default/web-0 10.244.1.5:8080 of Service default/web"),
        (SEP_THERE, "endpoint 10.244.2.5:8080 of Service default/web"),
        (SVC, "endpoints of Service default/web (port http)"),
        (SVL, "this node's endpoints of Service default/web (port http)"),
        (EXT, "outside traffic to Service default/web (port http)"),
        (FW, "source ranges of Service default/web (port http)"),
        ("KUBE-MARK-MASQ", "marking of traffic that will be masqueraded"),
        (
            "KUBE-SERVICES",
            "dispatch to all Services by address and port; refusals of cluster IPs without endpoints",
        ),
        ("KUBE-PROXY-CANARY", "the sign by which kube-proxy sees that rules were flushed"),
        ("KUBE-SEP-AAAAAAAAAAAAAAAA", None),
        ("KUBE-SVC-AAAAAAAAAAAAAAAA", None),
        ("DOCKER", None),
    ],
)
def test_words_for_chains(chain: str, expected: str | None) -> None:
    """A name says which Service or endpoint it stands for, or nothing if it is of none."""
    assert describe_chain(cluster(), chain) == expected


def test_words_for_chains_without_objects() -> None:
    """What no object is needed for is said anyway."""
    assert describe_chain(Kube(), SVC) is None
    assert describe_chain(Kube(), "KUBE-MARK-MASQ") is not None
    assert describe_chain(replace(cluster(), endpoint_slices=NOT_READ), SEP_HERE) is None
    unnamed = replace(WEB, ports=(ServicePort(port=80),))
    assert (
        describe_chain(cluster(services=(unnamed,)), "KUBE-SVC-LOLE4ISW44XBNF3G")
        == "endpoints of Service default/web"
    )
