"""Differences named: each kind of damage to real rules, what it is called, and what it means."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.departure import Departure
from nettrace.diagnose.departures import departures
from nettrace.diagnose.shares import fraction_text
from nettrace.kube.iptables import owed_kube_proxy
from nettrace.model.kube import Endpoint, Kube, Service
from nettrace.model.section import Missing, MissingKind
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import parse_save, save_text
from tests.kube.test_iptables import CONFIG, FW, NODE, SLICE, SVC, WEB, cluster

LIBERAL = {"net.netfilter.nf_conntrack_tcp_be_liberal": "0", "net.ipv4.conf.all.route_localnet": "1"}
THIRDS = replace(
    SLICE,
    endpoints=tuple(Endpoint(addresses=(f"10.244.{n}.5",), node_name="n1") for n in (1, 2, 3)),
)
API = replace(WEB, name="api", cluster_ips=("10.96.0.30",), ports=(replace(WEB.ports[0], node_port=30081),))
STICKY = replace(WEB, session_affinity="ClientIP")
RANGED = replace(
    WEB,
    type="LoadBalancer",
    load_balancer_ips=("203.0.113.10",),
    load_balancer_source_ranges=("198.51.100.0/24",),
)


def kube_of(*services: Service, version: str = "1.30") -> Kube:
    """A cluster with these Services, of three endpoints each."""
    chosen = services or (WEB,)
    slices = tuple(replace(THIRDS, name=service.name, service=service.name) for service in chosen)
    return cluster(replace(CONFIG, version=version), chosen, slices)


def text_of(kube: Kube) -> str:
    """What iptables-save shows on a node that is as it is owed."""
    from nettrace.kube.iptables import ruleset

    return save_text(ruleset(kube, NODE.name))


def told(
    change: Callable[[str], str], *services: Service, sysctls: dict[str, str] | None = LIBERAL
) -> tuple[Departure, ...]:
    """What is said about a node whose rules were changed as text."""
    kube = kube_of(*services)
    text = text_of(kube)
    changed = change(text)
    assert changed != text or change is same
    return compare(kube, parse_save(changed, "x"), sysctls)


def compare(kube: Kube, rules: XtRuleset, sysctls: dict[str, str] | None = LIBERAL) -> tuple[Departure, ...]:
    """What is said about rules."""
    return departures(owed_kube_proxy(kube, NODE.name, "ns", sysctls), rules, 4, sysctls)


def same(text: str) -> str:
    """Nothing is changed."""
    return text


def without(pattern: str) -> Callable[[str], str]:
    """Take out the rules that match."""
    return lambda text: "".join(
        line
        for line in text.splitlines(keepends=True)
        if not (line.startswith("-A") and re.search(pattern, line))
    )


def instead(pattern: str, new: str) -> Callable[[str], str]:
    """Write something else."""
    return lambda text: re.sub(pattern, new, text, flags=re.MULTILINE)


def only(found: tuple[Departure, ...]) -> Departure:
    """The one difference."""
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("services", [(WEB,), (WEB, API), (STICKY,), (RANGED,)])
def test_as_it_is_owed(services: tuple[Service, ...]) -> None:
    """What kube-proxy wrote differs from nothing, nor do comments, counters and the order of Services."""
    assert told(same, *services) == ()
    bare = instead(r' -m comment --comment "[^"]*"| -m comment --comment \S+', "")
    assert told(bare, *services) == ()


@pytest.mark.parametrize(
    ("change", "services", "kind", "cause", "words"),
    [
        (without("^-A PREROUTING.*KUBE-SERVICES"), (), "not-linked", "service-jump-missing", "not linked"),
        (without('^-A OUTPUT.*"kubernetes service portals" -j'), (), "not-linked", None, "not linked"),
        (without("^-A POSTROUTING"), (), "not-linked", "kube-postrouting-missing", "not linked"),
        (without("^-A INPUT.*KUBE-NODEPORTS"), (), "not-linked", "owed-state-missing", "health check"),
        (
            without("KUBE-POSTROUTING.*MASQUERADE"),
            (),
            "masquerade-missing",
            "kube-postrouting-missing",
            "own source",
        ),
        (instead("0x4000/0x4000$", "0x8000/0x8000"), (), None, None, "not marked"),
        (
            without("^-A KUBE-SERVICES -d 10.96.0.20"),
            (),
            "service-missing",
            "service-rules-absent",
            "cluster IP",
        ),
        (
            without("^-A KUBE-NODEPORTS.*30080"),
            (),
            "service-missing",
            "service-rules-absent",
            "NodePort 30080",
        ),
        (without("^-A KUBE-SERVICES.*NODEPORTS"), (), "rule-missing", "owed-state-missing", "NodePorts"),
        (without(f"^-A {SVC} ! -s"), (), "masquerade-missing", "masquerade-missing", "missing MASQ"),
        (without("^-A KUBE-EXT.*MASQ"), (), "masquerade-missing", "masquerade-missing", "other nodes"),
        (
            without("^-A KUBE-SEP.*-s 10.244.2.5/32"),
            (),
            "masquerade-missing",
            "hairpin-masq-missing",
            "10.244.2.5:8080",
        ),
        (
            instead(f"^-A {SVC} ! -s 10.244.0.0/16", f"-A {SVC}"),
            (),
            "masquerade-differs",
            "masquerade-all",
            "every",
        ),
        (
            instead(f"^-A {SVC} ! -s 10.244", f"-A {SVC} ! -s 10.245"),
            (),
            "masquerade-differs",
            "clustercidr-wrong",
            "CIDR",
        ),
        (
            instead("--to-destination 10.244.2.5:8080", "--to-destination 10.244.9.9:8080"),
            (),
            "wrong-destination",
            "stale-endpoint-rule",
            "led to 10.244.9.9:8080",
        ),
        (
            without("--to-destination 10.244.2.5:8080"),
            (),
            "wrong-destination",
            "owed-state-missing",
            "no DNAT",
        ),
        (without("--rcheck.*-j KUBE-SEP"), (STICKY,), "affinity", "owed-state-missing", "not sent back"),
        (instead("--seconds 10800", "--seconds 60"), (STICKY,), "affinity", "owed-state-missing", "affinity"),
        (
            instead(r"-m recent --set --name \S+ --mask \S+ --rsource ", ""),
            (STICKY,),
            "affinity",
            None,
            "remembered",
        ),
        (without(f"^-A {FW} -s 198"), (RANGED,), "rule-missing", "owed-state-missing", "not let through"),
        (without("^-A KUBE-PROXY-FIREWALL"), (RANGED,), "rule-missing", "owed-state-missing", "not enforced"),
        (without("KUBE-FORWARD.*0x4000"), (), "rule-missing", "owed-state-missing", "policy of FORWARD"),
        (
            instead(f"^(-A {SVC}) ! -s", r"\1 -j DROP\n\1 ! -s"),
            (),
            "rule-extra",
            "owed-state-missing",
            "did not write",
        ),
        (
            instead(
                "^(-A KUBE-FORWARD) -m conntrack --ctstate INVALID",
                r"\1 -j DROP\n\1 -m conntrack --ctstate INVALID",
            ),
            (),
            "rule-extra",
            "owed-state-missing",
            "did not write",
        ),
        (
            instead(
                "^(-A KUBE-SERVICES) -d 10.96.0.20/32",
                r"\1 -d 10.96.0.99/32 -j KUBE-MARK-MASQ\n\1 -d 10.96.0.20/32",
            ),
            (),
            "rule-extra",
            "owed-state-missing",
            "did not write",
        ),
        (
            instead(r"^COMMIT\n\Z", "-A KUBE-EXTERNAL-SERVICES -j DROP\nCOMMIT\n"),
            (),
            "rule-extra",
            "owed-state-missing",
            "refused",
        ),
        (instead("^:KUBE-PROXY-CANARY.*\n", ""), (), "rule-missing", "rules-flushed", "flushed"),
    ],
)
def test_each_difference_has_a_name(
    change: Callable[[str], str],
    services: tuple[Service, ...],
    kind: str | None,
    cause: str | None,
    words: str,
) -> None:
    """One piece of damage: its kind, its cause, and what it means."""
    found = told(change, *services)
    assert found
    assert any(words in one.meaning for one in found), [one.meaning for one in found]
    first = next(one for one in found if words in one.meaning)
    assert kind in (None, first.kind)
    assert cause in (None, first.cause)
    assert first.owed or first.found
    if kind is not None and kind != "affinity" and first.chain != "KUBE-PROXY-CANARY":
        assert {one.kind for one in found} == {kind}


def test_shares_of_a_wrong_probability() -> None:
    """Three rules of 1/3 each give 1/3, 2/9 and 4/27, and 8/27 match nothing."""

    def thirds(text: str) -> str:
        text = text.replace("--probability 0.50000000000", "--probability 0.33333333349")
        third = "-m statistic --mode random --probability 0.33333333349"
        return re.sub(rf'^(-A {SVC} .*10.244.3.5:8080") -j', rf"\1 {third} -j", text, flags=re.MULTILINE)

    found = only(told(thirds))
    assert (found.kind, found.subject) == ("wrong-probability", "svc/default/web")
    assert [fraction_text(share.found) for share in found.shares] == ["1/3", "2/9", "4/27"]
    assert [fraction_text(share.owed) for share in found.shares] == ["1/3"] * 3
    assert [share.endpoint for share in found.shares] == [f"10.244.{n}.5:8080" for n in (1, 2, 3)]
    assert fraction_text(found.unmatched) == "8/27"
    assert "1/3 to 10.244.1.5:8080, 2/9 to 10.244.2.5:8080, 4/27 to 10.244.3.5:8080" in found.meaning
    assert "8/27 match nothing" in found.meaning
    assert found.position == 3


def test_a_stale_endpoint_and_what_it_takes() -> None:
    """The branch that leads to an address which is no endpoint is named with its share."""

    def stale(text: str) -> str:
        added = f"-A {SVC} -m statistic --mode random --probability 0.25000000000 -j KUBE-SEP-GONE\n"
        text = (
            text.replace(":KUBE-SERVICES", ":KUBE-SEP-GONE - [0:0]\n:KUBE-SERVICES", 1)
            if "*nat" not in text
            else text
        )
        head, nat = text.split("*nat\n")
        nat = nat.replace(":KUBE-SERVICES", ":KUBE-SEP-GONE - [0:0]\n:KUBE-SERVICES", 1)
        first = re.search(rf"^-A {SVC} -m comment", nat, re.MULTILINE)
        assert first
        nat = nat[: first.start()] + added + nat[first.start() :]
        gone = "-A KUBE-SEP-GONE -p tcp -m tcp -j DNAT --to-destination 10.244.7.7:8080\n"
        return head + "*nat\n" + nat.replace("COMMIT\n", f"{gone}COMMIT\n", 1)

    found = only(told(stale))
    assert (found.kind, found.cause) == ("endpoint-stale", "stale-endpoint-rule")
    assert "1/4 of the connections go to 10.244.7.7:8080" in found.meaning
    assert {share.endpoint: fraction_text(share.found) for share in found.shares} == {
        "10.244.1.5:8080": "1/4",
        "10.244.2.5:8080": "1/4",
        "10.244.3.5:8080": "1/4",
        "10.244.7.7:8080": "1/4",
    }


def test_an_endpoint_that_is_missing() -> None:
    """It is named, and who gets its share."""
    found = only(told(without(f"^-A {SVC} .*10.244.3.5:8080")))
    assert (found.kind, found.cause) == ("endpoint-missing", "owed-state-missing")
    assert "10.244.3.5:8080 is ready and gets no connection" in found.meaning
    assert fraction_text(found.unmatched) == "1/3"


def test_a_service_that_is_gone() -> None:
    """Rules of a Service that the cluster does not have are named as its leftovers."""
    kube = kube_of(WEB)
    found = compare(kube, parse_save(text_of(kube_of(WEB, API)), "x"))
    assert {one.kind for one in found} == {"rule-extra"}
    assert all(one.cause == "stale-endpoint-rule" for one in found)
    assert any(
        "default/api:http, a Service port that the cluster does not have" in one.meaning for one in found
    )


def test_a_service_that_nobody_wrote() -> None:
    """Only the rules that lead to it are named, not each of its chains."""
    found = compare(kube_of(WEB, API), parse_save(text_of(kube_of(WEB)), "x"))
    assert {one.kind for one in found} == {"service-missing"}
    assert {one.subject for one in found} == {"svc/default/api"}
    assert len(found) == 2


@pytest.mark.parametrize("emptied", [True, False])
def test_a_flushed_table_is_one_difference(emptied: bool) -> None:
    """Not one for each rule: it is said that the table was flushed, or that kube-proxy never wrote."""

    def flush(text: str) -> str:
        lines = [line for line in text.splitlines() if not line.startswith("-A")]
        if not emptied:
            lines = [line for line in lines if not line.startswith(":KUBE-")]
        return "\n".join(lines) + "\n"

    found = told(flush)
    assert {one.kind for one in found if one.kind != "rule-missing"} == {"flushed"}
    flushed = [one for one in found if one.kind == "flushed"]
    assert [one.table for one in flushed] == ["nat", "filter"]
    assert {one.cause for one in flushed} == {"rules-flushed" if emptied else "kubeproxy-not-running"}
    assert "14" not in flushed[0].owed
    assert "no Service works" in flushed[0].meaning


def test_one_jump_left_is_no_flush() -> None:
    """Two of three jumps of table nat are gone: each is named."""
    found = told(without("^-A (PREROUTING|POSTROUTING)"))
    assert [one.kind for one in found] == ["not-linked"] * 2


def test_rules_after_the_last_one() -> None:
    """NodePorts come last in KUBE-SERVICES."""

    def moved(text: str) -> str:
        last = re.search(r"^-A KUBE-SERVICES .*KUBE-NODEPORTS\n", text, re.MULTILINE)
        assert last
        return text.replace(last[0], "").replace("-A KUBE-SERVICES -d", f"{last[0]}-A KUBE-SERVICES -d", 1)

    found = only(told(moved))
    assert (found.kind, found.position) == ("rule-order", 1)


def test_another_order_of_the_same_rules() -> None:
    """It is told where order decides."""

    def swapped(text: str) -> str:
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(f"-A {SVC} ! -s"))
        moved = lines.pop(at)
        lines.insert(at + 3, moved)
        return "\n".join(lines) + "\n"

    assert only(told(swapped)).kind == "rule-order"

    def returned(text: str) -> str:
        first = "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n"
        second = "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n"
        return text.replace(first + second, second + first)

    assert only(told(returned)).kind == "rule-order"


def test_a_sysctl() -> None:
    """NodePorts on localhost need route_localnet; what is not known is not compared."""
    off = {**LIBERAL, "net.ipv4.conf.all.route_localnet": "0"}
    found = only(told(same, sysctls=off))
    assert (found.kind, found.cause) == ("sysctl", "route-localnet-off")
    assert told(same, sysctls=None) == ()


def test_what_was_not_read_is_not_compared() -> None:
    """A chain or a table without a value differs from nothing."""
    kube = kube_of(WEB)
    rules = parse_save(text_of(kube), "x")
    denied = Missing(MissingKind.DENIED, "no")
    assert compare(kube, XtRuleset(dict.fromkeys(rules.tables, denied))) == ()
    nat: Any = rules.tables["nat"]
    holed = replace(nat.value, chains={**nat.value.chains, SVC: denied, "KUBE-SERVICES": denied})
    assert compare(kube, XtRuleset({**rules.tables, "nat": replace(nat, value=holed)})) == ()


def test_the_layout_of_1_20() -> None:
    """Its markings stand in the chains of all Services, and are told by what they mark."""
    kube = kube_of(WEB, version="1.20")
    kube = replace(kube, endpoints=kube.endpoint_slices)
    text = text_of(kube)
    assert compare(kube, parse_save(text, "x")) == ()
    found = only(compare(kube, parse_save(without("^-A KUBE-SERVICES ! -s")(text), "x")))
    assert (found.kind, found.subject) == ("masquerade-missing", "svc/default/web")
