"""What systems owe a node beside what is there: each kind with its cause, its meaning, its repair."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.departure import Departure
from nettrace.diagnose.owed_departures import owed_departures
from nettrace.model.edit import edit
from nettrace.model.ipvs import VirtualServer
from nettrace.model.links import Address, FdbEntry, Link, Neighbour, PortAttrs, VxlanAttrs
from nettrace.model.owed import (
    Owed,
    OwedAddress,
    OwedChain,
    OwedFdb,
    OwedJump,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
    OwedSysctl,
    OwedVirtualServer,
)
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import NOT_READ, Known, Section
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule

BY: dict[str, Any] = {"netns": "n", "owner": "agentd", "source": "annotations of Node b", "about": "b's pods"}
MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"

BRIDGE = Link(name="br", index=2, kind="bridge", mac=MAC, up=False)
PORT = Link(name="veth1", index=3, kind="veth", mac=MAC, port=PortAttrs(hairpin=False), master="br", up=True)
TUNNEL = Link(name="vx", index=4, kind="vxlan", mac=MAC, vxlan=VxlanAttrs(vni=1, port=8472), up=True)
ROUTE = Route(dst="10.244.2.0/24", nexthops=(NextHop(device="vx", via="10.244.2.0"),))


def state(**sections: Any) -> Snapshot:
    """A namespace that has nothing of all this, but for what is given."""
    nat: dict[str, Section[XtChain]] = {
        name: Known(XtChain(policy="ACCEPT")) for name in ("PREROUTING", "POSTROUTING")
    }
    known: dict[str, Any] = {
        "links": Known((BRIDGE, PORT, TUNNEL)),
        "addresses": Known(()),
        "routes": Known((Route(dst="10.244.2.0/24", table=7),)),
        "neighbours": Known(()),
        "fdb": Known(()),
        "ipvs": Known(()),
        "sysctls": Known({"net.ipv4.ip_forward": "0", "net.ipv4.conf.br.rp_filter": "1", "net.x": "0"}),
        "xt_nft": Known(XtRuleset({"nat": Known(XtTable(nat))})),
        "xt_legacy": Known(XtRuleset({})),
        **sections,
    }
    return Snapshot(namespaces={"n": Netns(name="n", node="n", **known)})


def one(owed: Owed, *others: Owed, **sections: Any) -> Departure:
    """The one departure of the first; the others are there too."""
    found = [d for d in owed_departures(state(**sections), (owed, *others)) if d.owner == owed.owner]
    return found[0]


def link(device: str, attribute: str, value: str) -> OwedLink:
    """A setting of a device."""
    return OwedLink(**BY, device=device, attribute=attribute, value=value)


def sysctl(name: str, value: str) -> OwedSysctl:
    """A sysctl."""
    return OwedSysctl(**BY, name=name, values=(value,))


def jump(chain: str) -> OwedJump:
    """A jump out of POSTROUTING."""
    return OwedJump(**BY, table="nat", chain="POSTROUTING", rule=parse_rule(f"-j {chain}"))


MASQ = OwedChain(**BY, table="nat", chain="MASQ", rules=(parse_rule("-s 10.0.0.0/8 -j MASQUERADE"),))


@pytest.mark.parametrize(
    ("owed", "sections", "kind", "cause", "place"),
    [
        (OwedRoute(**BY, route=ROUTE), {}, "missing", "pod-route-missing", "ip route"),
        (
            OwedRoute(**BY, route=ROUTE),
            {"routes": Known((replace(ROUTE, nexthops=(NextHop(device="br"),)),))},
            "differs",
            "wrong-next-hop",
            "ip route",
        ),
        (
            OwedRoute(**BY, route=ROUTE),
            {"routes": Known((replace(ROUTE, type="unreachable", nexthops=()),))},
            "differs",
            "reject-route",
            "ip route",
        ),
        (
            OwedRoute(**BY, subject="pod/default/web", route=replace(ROUTE, dst="10.244.1.2/32")),
            {},
            "missing",
            "owed-state-missing",
            "ip route",
        ),
        (
            OwedRoute(**BY, route=Route(dst="10.9.0.1/32", type="local", table=255)),
            {},
            "missing",
            "ipvs-vip-missing",
            "ip route",
        ),
        (
            OwedNeighbour(**BY, entry=Neighbour(device="vx", address="10.1.0.1", mac=MAC, state="permanent")),
            {},
            "missing",
            "owed-state-missing",
            "ip neigh",
        ),
        (
            OwedFdb(**BY, entry=FdbEntry(device="vx", mac=MAC, dst="10.0.0.2", permanent=True)),
            {"fdb": Known((FdbEntry(device="vx", mac=MAC, dst="10.0.0.9", permanent=True),))},
            "differs",
            "fdb-stale-remote",
            "bridge fdb",
        ),
        (
            OwedFdb(**BY, entry=FdbEntry(device="vx", mac=MAC, dst="10.0.0.2", permanent=True)),
            {},
            "missing",
            "owed-state-missing",
            "bridge fdb",
        ),
        (sysctl("net.ipv4.ip_forward", "1"), {}, "differs", "ip-forward-off", "sysctl"),
        (sysctl("net.ipv4.conf.br.rp_filter", "0"), {}, "differs", "rp-filter-strict", "sysctl"),
        (sysctl("net.x", "1"), {}, "differs", "owed-state-missing", "sysctl"),
        (link("vx", "address", OTHER), {}, "differs", "vtep-mac-mismatch", "ip link"),
        (link("veth1", "hairpin", "on"), {}, "differs", "hairpin-off", "ip link"),
        (link("br", "up", "on"), {}, "differs", "bridge-down", "ip link"),
        (link("veth1", "mtu", "9000"), {}, "differs", "owed-state-missing", "ip link"),
        (
            OwedAddress(**BY, address=Address(device="br", address="10.244.1.1", prefixlen=24)),
            {},
            "missing",
            "bridge-address-missing",
            "ip addr",
        ),
        (
            OwedVirtualServer(**BY, server=VirtualServer(address="10.9.0.1", port=80, proto="tcp")),
            {},
            "missing",
            "service-rules-absent",
            "ipvs",
        ),
        (MASQ, {}, "missing", "masquerade-missing", "nat"),
        (
            OwedRule(**BY, table="nat", chain="PREROUTING", rule=parse_rule("-j DNAT --to 10.0.0.1")),
            {},
            "missing",
            "owed-state-missing",
            "nat",
        ),
    ],
)
def test_each_kind_has_its_cause(
    owed: Owed, sections: dict[str, Any], kind: str, cause: str, place: str
) -> None:
    """By what it is, and whether something else stands in its place; who owes it and by what is said."""
    found = one(owed, **sections)
    assert (found.kind, found.cause, found.table) == (kind, cause, place)
    assert (found.owner, found.source, found.netns) == ("agentd", "annotations of Node b", "n")
    assert "b's pods" in found.meaning
    assert found.owed


def test_a_jump_to_masquerading_is_masquerading() -> None:
    """The way to a chain that rewrites sources counts as the chain does; another one does not."""
    chains: dict[str, Section[XtChain]] = {
        "MASQ": Known(XtChain(rules=MASQ.rules)),
        "POSTROUTING": Known(XtChain(policy="ACCEPT")),
    }
    there = Known(XtRuleset({"nat": Known(XtTable(chains))}))
    assert one(jump("MASQ"), MASQ, xt_nft=there).cause == "masquerade-missing"
    assert one(jump("OTHER"), MASQ, xt_nft=there).cause == "owed-state-missing"


def test_the_changes_put_it_right() -> None:
    """With all of them made nothing departs any more."""
    owed: tuple[Owed, ...] = (
        OwedRoute(**BY, route=replace(ROUTE, nexthops=(NextHop(device="vx", via="10.0.0.2"),))),
        OwedNeighbour(**BY, entry=Neighbour(device="vx", address="10.1.0.1", mac=MAC, state="permanent")),
        sysctl("net.ipv4.ip_forward", "1"),
        link("veth1", "hairpin", "on"),
        MASQ,
        jump("MASQ"),
    )
    direct = Route(dst="10.0.0.0/24", nexthops=(NextHop(device="vx"),), scope="link", protocol="kernel")
    now = state(routes=Known((direct,)))
    found = owed_departures(now, owed)
    assert len(found) == len(owed)
    for change in dict.fromkeys(change for departure in found for change in departure.changes):
        now = edit(now, change)
    assert owed_departures(now, owed) == ()


def test_what_was_not_read_departs_from_nothing() -> None:
    """Nothing is said of it here; what could not be read is told beside."""
    assert owed_departures(state(routes=NOT_READ), (OwedRoute(**BY, route=ROUTE),)) == ()
