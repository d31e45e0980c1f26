"""``nettrace show``: items and columns."""

import pytest

from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.kube import Endpoint, EndpointPort, EndpointSlice, Kube, Service, ServicePort
from nettrace.model.links import Address, Link, Peer, VxlanAttrs
from nettrace.model.nft import NftBase, NftChain, NftRule, NftRuleset, NftTable
from nettrace.model.nft_expr import ImmediateExpr, NftVerdict
from nettrace.model.nft_statement import CounterExpr
from nettrace.model.offloads import DeviceOffloads
from nettrace.model.routes import NextHop, PolicyRule, Route
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.sockets import ConntrackEntry, Socket, Tuple
from nettrace.model.xfrm import Xfrm, XfrmPolicy, XfrmState, XfrmTemplate
from nettrace.model.xt import Counters, XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_target import Accept, Jump
from nettrace.render.page import Look
from nettrace.render.show_text import policy_rule_text, route_text
from nettrace.render.shown import show_document
from nettrace.render.text import render

GUARD = NftTable(
    family="netdev",
    name="guard",
    chains={
        "in": NftChain(
            handle=1,
            base=NftBase(type="filter", hook="ingress", priority=-10, policy="drop", devices=("eth0",)),
            use=2,
            rules=Known(
                (
                    NftRule(
                        handle=2,
                        expressions=(
                            CounterExpr(),
                            ImmediateExpr(dreg=0, verdict=NftVerdict("jump", "more")),
                        ),
                        packets=7,
                    ),
                    NftRule(
                        handle=3,
                        expressions=(ImmediateExpr(dreg=0, verdict=NftVerdict("accept")),),
                        comment="the rest",
                    ),
                )
            ),
        ),
        "more": NftChain(handle=4, use=1, rules=Known(())),
    },
)
FORWARD = XtChain(
    policy="DROP",
    rules=(XtRule(target=Jump("B")), XtRule(target=Accept())),
    counters=(Counters(3, 180), Counters(0, 0)),
)
NODE = Netns(
    name="node-a",
    node="node-a",
    role="node",
    links=Known(
        (
            Link(index=1, name="lo", kind="loopback"),
            Link(index=2, name="eth0", kind="veth", peer=Peer("wire", 7)),
            Link(index=3, name="flannel.1", kind="vxlan", up=False, vxlan=VxlanAttrs(vni=1), mtu=1450),
            Link(index=4, name="eth1", kind="veth", carrier=False, peer=Peer(None, 9)),
        )
    ),
    addresses=Known(
        (
            Address(device="lo", address="127.0.0.1", prefixlen=8, scope="host"),
            Address(device="eth0", address="172.18.0.11", prefixlen=16),
        )
    ),
    routes=Known(
        (
            Route(dst="0.0.0.0/0", nexthops=(NextHop(device="eth0", via="172.18.0.1"),)),
            Route(dst="127.0.0.0/8", table=255, type="local", nexthops=(NextHop(device="lo"),)),
        )
    ),
    rules=Known((PolicyRule(priority=0, table=255), PolicyRule(priority=32766, table=254))),
    conntrack=Known(
        (
            ConntrackEntry(
                proto="tcp",
                state="ESTABLISHED",
                original=Tuple(src="10.0.0.1", dst="10.96.0.1", sport=4000, dport=80),
                reply=Tuple(src="10.0.0.2", dst="10.0.0.1", sport=8080, dport=4000),
                mark=0x4000,
            ),
            ConntrackEntry(
                proto="icmp",
                original=Tuple(src="10.0.0.1", dst="10.0.0.2", icmp_type=8, icmp_id=7),
                reply=Tuple(src="10.0.0.2", dst="10.0.0.1", icmp_type=0, icmp_id=7),
            ),
        )
    ),
    sockets=Known((Socket(proto="tcp", address="::", port=80, state="listen", process="nginx", pid=12),)),
    ipsets=Known((IpSet(name="BLOCK", type="hash:ip", members=tuple(f"10.0.0.{n}" for n in range(6))),)),
    offloads=Known(
        (
            DeviceOffloads(device="eth0", tx_checksums=True),
            DeviceOffloads(device="flannel.1", tx_checksums=False),
        )
    ),
    xfrm=Known(
        Xfrm(
            policies=(
                XfrmPolicy(src="10.0.0.0/8", dst="0.0.0.0/0", direction="out", templates=(XfrmTemplate(),)),
                XfrmPolicy(src="10.1.0.0/16", dst="0.0.0.0/0", direction="in", action="block", priority=9),
            ),
            blocks=("fwd",),
            states=(XfrmState(src="192.0.2.1", dst="192.0.2.2", proto="esp", spi=256),),
        )
    ),
    ipvs=Known(
        (
            VirtualServer(
                address="10.96.0.1",
                port=80,
                persistent=300,
                netmask=24,
                real_servers=(
                    RealServer(address="10.1.0.1", port=8080, active=2),
                    RealServer(address="10.1.0.2", port=8080, weight=0, inactive=1),
                ),
            ),
            VirtualServer(address="", port=0, proto="", fwmark=7, scheduler="wlc"),
        )
    ),
    xt_nft=Known(
        XtRuleset(
            {
                "filter": Known(
                    XtTable({"B": Known(XtChain()), "A": Known(XtChain()), "FORWARD": Known(FORWARD)})
                )
            }
        )
    ),
    xt_legacy=Known(XtRuleset({})),
    xt6_nft=Known(XtRuleset({})),
    xt6_legacy=Known(XtRuleset({})),
    nft=Known(NftRuleset(tables={"netdev guard": GUARD})),
)
SERVICE = Service(
    name="web",
    namespace="shop",
    cluster_ips=("10.96.0.1",),
    ports=(ServicePort(port=80, name="http", node_port=30080), ServicePort(port=443, name="https")),
)
SLICE = EndpointSlice(
    name="web-1",
    namespace="shop",
    service="web",
    ports=(EndpointPort(name="http", port=8080),),
    endpoints=(
        *(Endpoint(addresses=(f"10.1.0.{n}",)) for n in range(1, 6)),
        Endpoint(addresses=("10.1.0.9",), ready=False),
    ),
)
SNAPSHOT = Snapshot(
    namespaces={"node-a": NODE},
    kube=Kube(services=Known((SERVICE,)), endpoint_slices=Known((SLICE,)), pods=Known(())),
)


def shown(what: str, *, wide: bool = False) -> list[str]:
    """Return the lines of what is shown."""
    return render(show_document(what, SNAPSHOT), Look(wide=wide)).splitlines()


def test_namespaces_count_devices_and_addresses() -> None:
    """A namespace is one row with its global addresses."""
    assert shown("namespaces")[1].split() == ["node-a", "node-a", "node", "<none>", "4", "172.18.0.11/16"]


def test_links_tell_their_state_and_other_end() -> None:
    """Up, without carrier and down are told apart; a peer outside the snapshot is called so."""
    rows = [line.split() for line in shown("links")[1:]]
    assert [row[3] for row in rows] == ["up", "up", "down", "no-carrier"]
    assert "wire#7" in rows[1]
    assert "<outside>#9" in rows[3]
    assert "vni 1 port 8472" in shown("links")[3]


def test_routes_are_written_as_ip_route_does() -> None:
    """Policy rules and routes stand below their namespace; the local table only in full."""
    assert shown("routes") == [
        "node-a",
        "  rule     0: from all lookup local",
        "  rule     32766: from all lookup main",
        "  route    default via 172.18.0.1 dev eth0 proto boot",
    ]
    assert shown("routes", wide=True)[-1] == "  route    local 127.0.0.0/8 dev lo table local proto boot"


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (Route(dst="10.0.0.0/8", type="blackhole"), "blackhole 10.0.0.0/8 proto boot"),
        (
            Route(
                dst="10.0.0.0/8",
                table=9,
                scope="link",
                prefsrc="10.0.0.1",
                metric=5,
                mtu=1400,
                more=("rtt", "9"),
                protocol="kernel",
                nexthops=(NextHop(device="eth0", onlink=True),),
            ),
            "10.0.0.0/8 dev eth0 onlink table 9 proto kernel scope link src 10.0.0.1 metric 5 mtu 1400 rtt 9",
        ),
        (
            Route(dst="::/0", nexthops=(NextHop(device="a", via="fe80::1"), NextHop(device="b", weight=2))),
            "default proto boot nexthop via fe80::1 dev a weight 1 nexthop dev b weight 2",
        ),
    ],
)
def test_routes_with_attributes(route: Route, words: str) -> None:
    """Types, tables, metrics and several hops are written in ip route's order."""
    assert route_text(route) == words


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (PolicyRule(priority=1, invert=True, src="10.0.0.0/8", table=7), "1: not from 10.0.0.0/8 lookup 7"),
        (
            PolicyRule(priority=2, fwmark=0x200, fwmask=0xF00, table=254),
            "2: from all fwmark 0x200/0xf00 lookup main",
        ),
        (PolicyRule(priority=3, action="goto", goto=9, iif="eth0"), "3: from all iif eth0 goto 9"),
        (
            PolicyRule(priority=4, action="prohibit", dport=(80, 80), ipproto="tcp"),
            "4: from all ipproto tcp dport 80 prohibit",
        ),
        (
            PolicyRule(
                priority=5, dst="10.0.0.1", sport=(1, 9), table=254, suppress_prefixlen=0, unknown=("l3mdev",)
            ),
            "5: from all to 10.0.0.1 sport 1-9 l3mdev lookup main suppress_prefixlength 0",
        ),
    ],
)
def test_policy_rules_with_selectors(rule: PolicyRule, words: str) -> None:
    """Selectors are written in ip rule's words."""
    assert policy_rule_text(rule) == words


def test_rules_are_written_as_iptables_save_does() -> None:
    """
    Built-in chains come first, the others by name, every rule with its number and counter.

    Native chains follow, with where they hook in; a rule without a counter has none.
    """
    assert shown("rules") == [
        "node-a",
        "  *filter  iptables-nft",
        "    FORWARD  policy DROP",
        "       1  [3] -j B",
        "       2  [0] -j ACCEPT",
        "    A  -",
        "    B  -",
        "  table netdev guard  nft",
        "    in  filter hook ingress device eth0 priority -10, policy drop",
        "       1  [7] counter jump more",
        '       2  accept comment "the rest"',
        "    more  -",
    ]


def test_services_are_one_row_a_port() -> None:
    """Ports, node ports and ready endpoints; those that are not ready are counted."""
    rows = shown("services")
    assert "80:30080/TCP" in rows[1]
    assert "10.1.0.1:8080, 10.1.0.2:8080, 10.1.0.3:8080 and 2 more (1 not ready)" in rows[1]
    assert rows[2].split()[-2:] == ["443/TCP", "<none>"]
    assert "10.1.0.5:8080" in shown("services", wide=True)[1]


def test_conntrack_sockets_and_sets() -> None:
    """Entries with both directions, sockets with their process, sets with their first members."""
    assert "10.0.0.1:4000 -> 10.96.0.1:80" in shown("conntrack")[1]
    assert shown("conntrack")[1].endswith("0x4000")
    assert "type 8 id 7" in shown("conntrack")[2]
    assert "[::]:80" in shown("sockets")[1]
    assert "nginx (12)" in shown("sockets")[1]
    assert "10.0.0.3 and 2 more" in shown("sets")[1]


def test_offloads_are_on_or_off() -> None:
    """A row a device."""
    assert [row.split()[1:] for row in shown("offloads")[1:]] == [["eth0", "on"], ["flannel.1", "off"]]


def test_ipsec_is_policies_defaults_and_states() -> None:
    """Policies by direction and priority, what is blocked without one, and whose states there are."""
    rows = shown("xfrm")[1:]
    assert [row.split()[1] for row in rows] == ["in", "out", "fwd", "state"]
    assert rows[0].split()[2] == "9"
    assert rows[0].endswith("block")
    assert "esp" in rows[1]
    assert "what no policy is about" in rows[2]
    assert "192.0.2.1 -> 192.0.2.2" in rows[3]


def test_virtual_servers_are_one_row_a_real_server() -> None:
    """Scheduler and affinity, ways of forwarding, weights and counts; one without servers has its row too."""
    first, second, marked = shown("ipvs")[1:]
    assert "tcp 10.96.0.1:80" in first
    assert "rr persistent 300/24" in first
    assert first.endswith("10.1.0.1:8080  masq        1       2 active, 0 inactive")
    assert "0 active, 1 inactive" in second
    assert "fwmark 7" in marked
    assert "<none>" in marked


def test_what_is_missing_is_said() -> None:
    """A section that was not read is a line with its reason, never an empty table."""
    bare = Snapshot(
        namespaces={"x": Netns(name="x", node="x", sockets=Missing(MissingKind.DENIED, "no privilege"))}
    )
    document = show_document("sockets", bare)
    assert render(document) == "? x/sockets: not known: no privilege\n"
    assert [missing.section for missing in document.missing] == ["sockets"]
    assert render(show_document("conntrack", Snapshot())) == "no conntrack here\n"
    for what in ("namespaces", "links", "routes", "rules", "sets", "ipvs", "conntrack", "services"):
        assert show_document(what, bare).missing
