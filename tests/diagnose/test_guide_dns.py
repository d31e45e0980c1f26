"""The guided check of the Service's name: resolv.conf, queries and what they bring."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.guide.dns import domain_of
from nettrace.model.change import SysctlSet
from nettrace.model.kube import Service
from nettrace.model.lookup import DnsAnswer, Lookup
from nettrace.model.resolver import Resolver
from nettrace.model.section import Known
from nettrace.model.walk import Outcome
from tests.diagnose.dns_asked import FULL, NONE, PASSED, PROBLEM, RIGHT, SKIPPED, UNKNOWN, asked, dropping
from tests.diagnose.guided import (
    DENIED,
    RESOLVER,
    SILENT,
    Driver,
    answers,
    case,
    check,
    connects,
    texts,
    with_kube,
    with_resolver,
    with_section,
    with_service,
)
from tests.diagnose.worlds import cluster, with_objects

# --- whom to ask ---------------------------------------


@pytest.mark.parametrize("given", [case(external=True), case(as_dns=True)])
def test_who_needs_no_name(given: Any) -> None:
    """From outside no name is asked for, and the DNS server is not asked for itself."""
    assert check("dns", given=given).state is SKIPPED


def test_the_name_leads_to_the_service() -> None:
    """The answer over UDP is the Service's address; both transports and the question are shown."""
    found = asked(udp=RIGHT)
    assert found.state is PASSED
    assert found.conclusion == "hostnames is 10.96.10.1 for pod/default/client-near"
    assert f"{FULL} A @10.96.0.10 over TCP: 10.96.10.1" in texts(found)


def test_the_domain_is_that_of_the_search_list() -> None:
    """A cluster with another domain is asked for it."""
    domain = ("default.svc.k8s.test", "svc.k8s.test", "k8s.test")
    assert domain_of(Resolver(search=domain)) == "k8s.test"
    assert domain_of(Resolver(search=("test",))) is None
    seen: list[str] = []

    def query(lookup: Lookup) -> DnsAnswer:
        seen.append(lookup.name)
        return RIGHT

    check("dns", with_resolver(search=domain), queries=query)
    assert seen == ["hostnames.default.svc.k8s.test"] * 2


def test_another_namespace_is_part_of_the_name() -> None:
    """A client of another namespace says the Service's."""
    world = with_resolver(search=("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"))

    def query(lookup: Lookup) -> DnsAnswer:
        return RIGHT if lookup.name == FULL else NONE

    found = check("dns", world, case(client_namespace="shop"), queries=query)
    assert found.conclusion.startswith("hostnames.default is 10.96.10.1")


def test_a_node_asks_the_clusters_dns_by_the_full_name() -> None:
    """A node's own resolv.conf does not count: the full name is asked of the cluster's DNS."""
    given = case(client="node/node-a", netns="node-a", client_pod=None)
    found = asked(cluster(), given, udp=RIGHT)
    assert (found.state, found.conclusion) == (PASSED, f"{FULL} is 10.96.10.1 for node/node-a")


def test_a_resolv_conf_that_was_not_read_is_not_called_right() -> None:
    """The name resolves, but whether this client asks so is not known."""
    for world in (cluster(), with_section(cluster(), "client-near", "resolver", DENIED)):
        found = asked(world, udp=RIGHT)
        assert found.state is UNKNOWN
        assert "its resolv.conf was not read: needs root" in found.conclusion
        assert f"{FULL} is 10.96.10.1" in found.conclusion


def test_nobody_to_ask() -> None:
    """Without a resolv.conf and a Service of the DNS nobody is asked."""
    services = cluster().snapshot.kube.services
    assert isinstance(services, Known)
    world = with_kube(cluster(), services=Known(services.value[:1]))
    found = asked(world, udp=RIGHT)
    assert found.state is UNKNOWN
    assert "needs root, and no Service of a cluster DNS is known" in found.conclusion
    node = case(client="node/node-a", netns="node-a", client_pod=None)
    assert "no Service of a cluster DNS is known" in asked(world, node, udp=RIGHT).conclusion


def test_a_dns_service_without_an_address() -> None:
    """A cluster DNS without an address cannot be asked."""
    world = with_service(key="kube-system/kube-dns", cluster_ips=())
    assert asked(world, udp=RIGHT).conclusion == "the cluster's DNS Service has no address"


def test_the_dns_is_found_by_its_label() -> None:
    """A cluster DNS of another name is known by its label."""
    services = cluster().snapshot.kube.services
    assert isinstance(services, Known)
    other = replace(services.value[1], name="rke2-coredns", labels={"k8s-app": "kube-dns"})
    world = with_kube(with_resolver(nameservers=("10.9.9.9",)), services=Known((services.value[0], other)))
    found = asked(world, udp=RIGHT)
    assert found.cause == "dns-wrong-clusterdns"
    assert "(kube-system/rke2-coredns)" in found.conclusion


# --- the file ---------------------------------------


def test_a_client_that_asks_somebody_else_first() -> None:
    """The first server is the one that is asked; node-local DNS is the cluster's."""
    for servers in (("8.8.8.8",), ("8.8.8.8", "10.96.0.10")):
        found = asked(with_resolver(nameservers=servers), udp=RIGHT)
        assert (found.state, found.cause) == (PROBLEM, "dns-wrong-clusterdns")
        assert "the cluster's DNS is 10.96.0.10" in found.conclusion
    for servers in (("169.254.20.10",), ("10.96.0.10", "8.8.8.8")):
        assert asked(with_resolver(nameservers=servers), udp=RIGHT).state is PASSED


def test_a_pod_of_the_hosts_network_has_its_nodes_file() -> None:
    """The same for a pod with hostNetwork is a cause of its own."""
    pods = cluster().snapshot.kube.pods
    assert isinstance(pods, Known)
    changed = tuple(replace(p, host_network=p.name == "client-near") for p in pods.value)
    world = with_kube(with_resolver(nameservers=("8.8.8.8",)), pods=Known(changed))
    assert asked(world, udp=RIGHT).cause == "dns-hostnetwork"


@pytest.mark.parametrize("fields", [{"search": ()}, {"search": ("cluster.local",)}])
def test_a_search_list_that_lacks_the_namespace(fields: dict[str, Any]) -> None:
    """A short name that is never completed to the Service's is found without a query."""
    found = asked(with_resolver(**fields), udp=RIGHT)
    assert (found.state, found.cause) == (PROBLEM, "dns-search-incomplete")
    assert found.findings[0].subject == "pod/default/client-near"


# --- the answer ---------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NONE, "NXDOMAIN"),
        (DnsAnswer(rcode="SERVFAIL"), "SERVFAIL"),
        (DnsAnswer(rcode="REFUSED"), "REFUSED"),
        (DnsAnswer(rcode="NOERROR"), "no such record"),
        (DnsAnswer(rcode="NOERROR", records=("10.96.99.99",)), "10.96.99.99"),
    ],
)
def test_an_answer_that_is_not_the_services(answer: DnsAnswer, words: str) -> None:
    """No record, an error or another address is the server's fault, and the object is shown beside it."""
    found = asked(udp=answer)
    assert (found.state, found.cause) == (PROBLEM, "dns-no-record")
    assert found.conclusion == f"the DNS server says {words} for {FULL}; it should say 10.96.10.1"


def test_a_service_of_ipv6_is_asked_for_so() -> None:
    """The type of the query is that of the Service's first address."""
    for ips, kind in ((("fd00::1",), "AAAA"), (("10.96.10.1", "fd00::1"), "A")):
        driver = Driver(
            with_service(with_resolver(), cluster_ips=ips),
            answers(DnsAnswer(rcode="NOERROR", records=ips[:1])),
            lambda walk, count: None,
        )
        assert driver.run("dns", case()).state is PASSED
        assert {one.lookup.type for one in driver.asked if hasattr(one, "lookup")} == {kind}


def test_tcp_alone_failing_is_said() -> None:
    """A server that does not answer over TCP passes, with a note; one that was not asked, without."""
    found = asked(udp=RIGHT, tcp=SILENT)
    assert found.state is PASSED
    assert found.conclusion.endswith("; over TCP the server does not answer")
    assert "over TCP the" not in asked(udp=RIGHT, tcp=None).conclusion


def test_a_domain_that_answers_for_any_name_is_in_the_way() -> None:
    """A search domain before the cluster's that has the name as well is found first."""
    search = ("wild.test", *RESOLVER.search)
    found = asked(with_resolver(search=search), udp=RIGHT)
    assert found.state is PROBLEM
    assert found.conclusion == f"hostnames.wild.test exists as well and is found before {FULL}"

    def only_ours(lookup: Lookup) -> DnsAnswer:
        return RIGHT if lookup.name == FULL else NONE

    assert check("dns", with_resolver(search=search), queries=only_ours).state is PASSED


# --- silence ---------------------------------------


def test_udp_blocked_and_tcp_not() -> None:
    """A rule that drops UDP only is found by the answer over TCP, and shown as what decides."""
    found = asked(dropping("-p udp -m udp --dport 53 -j DROP"), udp=SILENT, tcp=RIGHT)
    assert (found.state, found.cause) == (PROBLEM, "dns-udp-blocked")
    assert found.findings[0].where == "node-a"
    assert any("--dport 53" in piece.text for piece in found.findings[0].evidence)


def test_udp_blocked_where_the_walk_does_not_know() -> None:
    """What is real counts: TCP works and UDP does not, though the walk sees nothing."""
    found = asked(udp=SILENT, tcp=RIGHT)
    assert (found.state, found.cause) == (PROBLEM, "dns-udp-blocked")
    assert found.findings[0].where == ""


def test_a_cause_with_a_name_of_its_own_goes_before() -> None:
    """Silence that the walk explains by more than a rule ends at that cause, with its repair."""
    world = with_resolver(netns="client-far").edited(
        SysctlSet(netns="node-b", name="net.ipv4.ip_forward", value="0")
    )
    found = asked(world, case("client-far"), udp=SILENT)
    assert (found.state, found.cause) == (PROBLEM, "ip-forward-off")
    assert found.findings[0].repairs[0].changes
    assert found.flow == ("pod/default/client-far", "svc/kube-system/kube-dns:53/udp")


def test_a_rule_that_drops_all_of_it() -> None:
    """Neither UDP nor TCP: the rule is the cause."""
    found = asked(dropping("-d 10.244.1.12/32 -j DROP"), udp=SILENT)
    assert (found.state, found.cause) == (PROBLEM, "firewall-rule-drop")


def test_no_endpoint_behind_the_dns() -> None:
    """A DNS Service without ready endpoints is down, and its own objects say why."""
    slices = cluster().snapshot.kube.endpoint_slices
    assert isinstance(slices, Known)
    unready = tuple(
        replace(s, endpoints=tuple(replace(e, ready=False) for e in s.endpoints))
        if s.service == "kube-dns"
        else s
        for s in slices.value
    )
    world = with_kube(with_resolver(), endpoint_slices=Known(unready))
    for udp in (SILENT, None):
        found = asked(world, udp=udp)
        assert (found.state, found.cause) == (PROBLEM, "dns-coredns-down")
        assert "kube-system/kube-dns does not serve: port 53" in found.conclusion
        assert found.findings[0].subject == "svc/kube-system/kube-dns"


def test_nobody_listens_in_the_pods_of_the_dns() -> None:
    """Ready pods of the DNS in which nobody listens are the DNS that is down."""
    world = with_section(with_resolver(), "kube-dns-0", "sockets", Known(()))
    found = asked(world, udp=DnsAnswer(errno="ECONNREFUSED"))
    assert (found.state, found.cause) == (PROBLEM, "dns-coredns-down")
    assert "nobody in kube-dns-0 listens on port 53" in found.conclusion


def test_silence_that_nothing_explains() -> None:
    """Where the walk finds no reason none is invented."""
    found = asked(udp=SILENT)
    assert found.state is UNKNOWN
    assert found.conclusion == (
        "10.96.0.10 does not answer, and no known cause fits: the walk of the query ends elsewhere"
    )


def test_a_server_that_is_no_service() -> None:
    """A server outside the cluster is walked to by its address."""
    services = cluster().snapshot.kube.services
    assert isinstance(services, Known)
    ours: tuple[Service, ...] = services.value[:1]
    for server in ("172.18.0.100", "fd00::53"):
        world = with_kube(with_resolver(nameservers=(server,)), services=Known(ours))
        found = asked(world, udp=SILENT)
        assert found.state in (UNKNOWN, PROBLEM)
        assert found.cause in ("", "pod-not-listening")
        assert server in texts(found)


# --- without queries ---------------------------------------


def test_without_queries_the_walk_is_said_to_be_one() -> None:
    """Nothing was asked for real, and that is what is said."""
    found = asked(udp=None)
    assert found.state is UNKNOWN
    assert "what it answers is not known" in found.conclusion
    assert "nothing was sent" in texts(found)


def test_without_queries_a_walk_that_fails_is_a_problem() -> None:
    """The walk of a query that ends at a cause ends there."""
    world = with_resolver(netns="client-far").edited(
        SysctlSet(netns="node-b", name="net.ipv4.ip_forward", value="0")
    )
    found = asked(world, case("client-far"), udp=None)
    assert (found.state, found.cause) == (PROBLEM, "ip-forward-off")


def test_without_queries_what_is_not_read_is_unknown() -> None:
    """A walk that does not know its way does not pass."""
    world = with_section(with_resolver(), "node-a", "sysctls", DENIED)
    found = asked(world, udp=None)
    assert found.state is UNKNOWN
    real = check("dns", world, queries=answers(udp=SILENT, tcp=SILENT), connections=connects(Outcome.TIMEOUT))
    assert real.state is UNKNOWN


def test_objects_changed_together_with_the_rules() -> None:
    """A DNS Service with a rule set that follows its objects is walked to through them."""
    services = cluster().snapshot.kube.services
    assert isinstance(services, Known)
    world = with_objects(cluster(), services=services.value)
    found = asked(with_resolver(world), udp=None)
    assert found.state is UNKNOWN
    assert "queries reach the DNS server" in found.conclusion
