"""What a node departs by from what kube-proxy owes in modes nftables and ipvs."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.causes import CAUSES
from nettrace.diagnose.departure import Departure
from nettrace.diagnose.ipvs_departures import ipvs_departures
from nettrace.diagnose.nft_departures import nft_departures
from nettrace.kube.expect import expected
from nettrace.kube.expected import Expected, ExpectedIpvs, ExpectedNftTable
from nettrace.kube.nft_found import listed_tables
from nettrace.model.edit import edit
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.parse.ipset import parse_ipset_save
from nettrace.parse.ipvs import parse_ipvsadm_save
from tests.kube.fixture_cluster import FIXTURES, NODE, fixture_cluster
from tests.kube.test_ipvs_dump import DUMP, FACTS

LISTING = (FIXTURES / "nftables-1.36/nft-list-ruleset.txt").read_text()
HOSTNAMES = "service-EJAJPSCL-default/hostnames/tcp/"
_ENDPOINTS = "\t\tct state new jump service-endpoints-check\n"
_CLUSTER_IPS = "\t\tct state new jump cluster-ips-check\n"
_FIRST = "0 : 10.244.1.10 . 9376"
_SHORT_CUT = (
    "\t\tfib saddr type local goto service-KFCEHOL4-default/lb-local/tcp/http "
    'comment "short-circuit local traffic"'
)
ELEMENT = f"10.96.10.1 . tcp . 80 : goto {HOSTNAMES}"


def owed_table(family: int, version: str = "1.36") -> ExpectedNftTable:
    """The table of the fixture's objects."""
    return expected(fixture_cluster("nftables-1.36", version), NODE, family, FACTS).nft[0]


def departures(text: str, family: int = 4) -> tuple[Departure, ...]:
    """What a listing departs by."""
    owed = owed_table(family)
    there = {table.family: table for table in listed_tables(text)}
    return nft_departures(owed, there.get(owed.family))


@pytest.mark.parametrize("family", [4, 6])
def test_the_real_table_is_as_it_is_owed(family: int) -> None:
    """Nothing differs in what kube-proxy wrote."""
    assert departures(LISTING, family) == ()


NFT = [
    ("", "flushed", "nft-table-gone", ""),
    (f"{ELEMENT},", "service-missing", "service-rules-absent", "svc/default/hostnames"),
    (
        "tcp . 30080 : goto external-LYFBGF5Q-default/np-cluster/tcp/http,",
        "service-missing",
        "service-rules-absent",
        "svc/default/np-cluster",
    ),
    (
        'tcp . 30082 comment "default/np-local-remote:http" : drop,',
        "rule-missing",
        "owed-state-missing",
        "svc/default/np-local-remote",
    ),
    ("10.244.1.10 . 10.244.1.10 . tcp . 9376,", "masquerade-missing", "hairpin-masq-missing", ""),
    (", 2 : 10.244.2.11 . 9376", "endpoint-missing", "owed-state-missing", "svc/default/hostnames"),
    ("\t\tjump masquerading\n", "not-linked", "kube-postrouting-missing", ""),
    (f"{_SHORT_CUT}\n", "rule-missing", "owed-state-missing", "svc/default/lb-local"),
    (
        "\t\tmeta l4proto tcp dnat ip to numgen random mod 1 map { 0 : 10.244.2.157 . 8080 }\n",
        "service-missing",
        "service-rules-absent",
        "svc/default/single",
    ),
]


@pytest.mark.parametrize(("gone", "kind", "cause", "subject"), NFT)
def test_what_is_gone_is_told(gone: str, kind: str, cause: str, subject: str) -> None:
    """One departure of the right kind, cause and Service for each thing that is taken away."""
    text = LISTING.replace(gone, "", 1) if gone else ""
    assert text != LISTING
    (one, *more) = departures(text)
    assert more == []
    assert (one.kind, one.cause, one.subject) == (kind, cause, subject)
    assert one.meaning


def _changed(old: str, new: str) -> Callable[[], str]:
    return lambda: LISTING.replace(old, new, 1)


@pytest.mark.parametrize(
    ("change", "kind", "cause"),
    [
        (
            _changed("1 : 10.244.2.10 . 9376", "1 : 10.244.9.9 . 9376"),
            "endpoint-stale",
            "stale-endpoint-rule",
        ),
        (
            _changed(ELEMENT, f"{ELEMENT}, 10.96.99.9 . tcp . 80 : goto {HOSTNAMES}"),
            "rule-extra",
            "owed-state-missing",
        ),
        (_changed(ELEMENT, "10.96.10.1 . tcp . 80 : drop"), "wrong-destination", "service-rules-absent"),
        (
            _changed(
                f"mod 3 map {{ {_FIRST}, 1 : 10.244.2.10 . 9376, 2",
                f"mod 4 map {{ {_FIRST}, 1 : 10.244.1.10 . 9376, 2 : 10.244.2.10 . 9376, 3",
            ),
            "wrong-probability",
            "owed-state-missing",
        ),
        (_changed("timeout 10m", "timeout 9m"), "affinity", "owed-state-missing"),
        (
            _changed("hook output priority -100", "hook output priority -90"),
            "not-linked",
            "service-output-jump-missing",
        ),
        (
            _changed("\tchain reject-chain {", "\tchain odd {\n\t\tdrop\n\t}\n\n\tchain reject-chain {"),
            "rule-extra",
            "owed-state-missing",
        ),
        (
            _changed("\t\tjump services\n", "\t\tdrop\n\t\tjump services\n"),
            "rule-extra",
            "owed-state-missing",
        ),
        (_changed(_ENDPOINTS + _CLUSTER_IPS, _CLUSTER_IPS + _ENDPOINTS), "rule-order", "owed-state-missing"),
    ],
)
def test_what_is_other_is_told(change: Callable[[], str], kind: str, cause: str) -> None:
    """Stale and wrong elements, endpoints and rules, hooks and orders have each a kind of their own."""
    assert (kind, cause) in {(one.kind, one.cause) for one in departures(change())}


def test_an_emptied_chain_of_a_service_is_nothing() -> None:
    """kube-proxy empties what it no longer needs, and deletes it at a later run."""
    old = "\tchain reject-chain {"
    stale = "\tchain service-AAAAAAAA-default/gone/tcp/ {\n\t}\n\n"
    assert departures(LISTING.replace(old, stale + old, 1)) == ()


def test_shares_of_a_stale_endpoint() -> None:
    """A third of the connections goes to an endpoint that is gone."""
    found = departures(LISTING.replace("1 : 10.244.2.10 . 9376", "1 : 10.244.9.9 . 9376", 1))
    stale = next(one for one in found if one.kind == "endpoint-stale")
    assert {share.endpoint: round(share.found, 3) for share in stale.shares} == {
        "10.244.1.10:9376": 0.333,
        "10.244.2.10:9376": 0.0,
        "10.244.2.11:9376": 0.333,
        "10.244.9.9:9376": 0.333,
    }


@pytest.mark.parametrize("family", [4, 6])
def test_chains_of_endpoints_have_ends(family: int) -> None:
    """In the layout of 1.30 the endpoint stands in its chain's name, of IPv6 too."""
    owed = owed_table(family, "1.30")
    chain = next(one for one in owed.chains if one.name.startswith("service-") and "mod 2" in one.rules[-1])
    short = replace(
        chain, rules=(*chain.rules[:-1], chain.rules[-1].replace("mod 2", "mod 1").partition(",")[0] + " }")
    )
    there = replace(owed, chains=tuple(short if one is chain else one for one in owed.chains))
    (one,) = nft_departures(owed, there)
    assert one.kind == "endpoint-missing"
    assert one.shares[1].endpoint.startswith("[fd00:" if family == 6 else "10.244.")


# --- ipvs ------------------------------------------------------------------------------


def owed_ipvs(**changed: Any) -> tuple[Expected, ExpectedIpvs]:
    """What is owed for the fixture's objects."""
    owed = expected(fixture_cluster("ipvs-1.36", **changed), NODE, 4, FACTS)
    assert owed.ipvs is not None
    return owed, owed.ipvs


def servers() -> list[VirtualServer]:
    """The dump's virtual servers, of both families."""
    return list(parse_ipvsadm_save((DUMP / "ipvsadm-save-n.txt").read_text()))


def sets() -> list[IpSet]:
    """The dump's sets."""
    return list(parse_ipset_save((DUMP / "ipset-save.txt").read_text()))


def test_the_real_state_is_as_it_is_owed() -> None:
    """Nothing differs in what kube-proxy wrote."""
    owed, ipvs = owed_ipvs()
    found = ipvs_departures(
        owed, servers=servers(), ipsets=sets(), addresses=ipvs.addresses, sysctls=owed.sysctls
    )
    assert found == ()
    assert ipvs_departures(owed) == ()
    assert ipvs_departures(replace(owed, ipvs=None), servers=()) == ()


def _with(reals: tuple[RealServer, ...]) -> list[VirtualServer]:
    return [
        replace(one, real_servers=reals) if (one.address, one.port) == ("10.96.10.1", 80) else one
        for one in servers()
    ]


def _real(address: str, weight: int = 1, forwarding: str = "masq") -> RealServer:
    return RealServer(address=address, port=9376, weight=weight, forwarding=forwarding)


OURS = ("10.244.1.10", "10.244.2.10", "10.244.2.11")


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (_with(()), [("endpoint-missing", "ipvs-no-real-servers")]),
        (_with(tuple(_real(a, 0) for a in OURS)), [("weight-zero", "ipvs-rs-weight0")] * 3),
        (_with(tuple(map(_real, (*OURS, "10.244.9.9")))), [("endpoint-stale", "ipvs-stale-real-server")]),
        (_with((*map(_real, OURS), _real("10.244.9.9", 0))), []),
        (_with(tuple(map(_real, OURS[:2]))), [("endpoint-missing", "owed-state-missing")]),
        (
            _with((_real(OURS[0], forwarding="route"), *map(_real, OURS[1:]))),
            [("wrong-destination", "owed-state-missing")],
        ),
        (
            [one for one in servers() if one.address != "10.96.10.1"],
            [("service-missing", "service-rules-absent")],
        ),
        ([*servers(), VirtualServer(address="10.96.99.9", port=80)], [("rule-extra", "owed-state-missing")]),
        (
            [replace(one, persistent=7) if one.address == "10.96.10.1" else one for one in servers()],
            [("affinity", "owed-state-missing")],
        ),
        (
            [replace(one, scheduler="wlc") if one.address == "10.96.10.1" else one for one in servers()],
            [("wrong-probability", "owed-state-missing")],
        ),
    ],
)
def test_servers(there: list[VirtualServer], told: list[tuple[str, str]]) -> None:
    """Servers that are gone, idle, stale or other are told by the causes of the catalogue."""
    owed, _ = owed_ipvs()
    assert [(one.kind, one.cause) for one in ipvs_departures(owed, servers=there)] == told


def test_addresses_sets_and_sysctls() -> None:
    """A VIP that is no address, sets that are gone, emptied or of another type, sysctls that are off."""
    owed, ipvs = owed_ipvs(strict_arp=True)
    lost, extra = ipvs_departures(owed, addresses=[*ipvs.addresses[1:], "10.96.99.9", "fd00::1"])
    assert (lost.kind, lost.cause) == ("address-missing", "ipvs-vip-missing")
    assert lost.owed == f"ip addr add {ipvs.addresses[0]}/32 dev kube-ipvs0"
    assert extra.kind == "rule-extra"
    changed = {
        "KUBE-LOOP-BACK": None,
        "KUBE-EXTERNAL-IP": (),
        "KUBE-NODE-PORT-UDP": ("30090", "30999"),
    }
    there = []
    for one in sets():
        members = changed.get(one.name, one.members)
        if members is not None:
            there.append(replace(one, members=members))
    there = [replace(one, type="hash:ip") if one.name == "KUBE-LOAD-BALANCER" else one for one in there]
    found = ipvs_departures(owed, ipsets=there)
    assert sorted((one.chain, one.kind) for one in found) == [
        ("KUBE-EXTERNAL-IP", "rule-missing"),
        ("KUBE-EXTERNAL-IP", "rule-missing"),
        ("KUBE-EXTERNAL-IP", "rule-missing"),
        ("KUBE-LOAD-BALANCER", "set-missing"),
        ("KUBE-LOOP-BACK", "set-missing"),
        ("KUBE-NODE-PORT-UDP", "rule-extra"),
    ]
    assert {one.cause for one in found} == {"ipvs-ipset-missing", "owed-state-missing"}
    assert [one.chain for one in found if not one.changes] == ["KUBE-LOAD-BALANCER"]  # of another type
    now = Snapshot(namespaces={"n": Netns(name="n", node="n", ipsets=Known(tuple(there)))})
    for departure in ipvs_departures(owed, ipsets=there, netns="n"):
        for change in departure.changes:
            now = edit(now, change)
    held = now.namespaces["n"].ipsets
    assert isinstance(held, Known)
    mended = ipvs_departures(owed, ipsets=held.value, netns="n")
    assert [one.chain for one in mended] == ["KUBE-LOAD-BALANCER"]
    off = ipvs_departures(owed, sysctls={**dict.fromkeys(owed.sysctls, "0"), "net.ipv4.ip_forward": "1"})
    assert {one.cause for one in off} == {"ipvs-conntrack-off", "owed-state-missing"}
    assert len(off) == len(owed.sysctls) - 1
    assert {one.cause for one in off} <= {cause.id for cause in CAUSES}
