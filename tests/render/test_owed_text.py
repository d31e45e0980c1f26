"""What is owed, in the words of the tool that shows it."""

from typing import Any

import pytest

from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.links import Address, FdbEntry, Neighbour
from nettrace.model.owed import (
    Owed,
    OwedAddress,
    OwedChain,
    OwedFdb,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
    OwedSysctl,
    OwedVirtualServer,
)
from nettrace.model.routes import NextHop, Route
from nettrace.parse.iptables import parse_rule
from nettrace.render.owed_text import owed_family, owed_lines, owed_tool

BY: dict[str, Any] = {"netns": "n", "owner": "agentd", "source": "a file"}
MAC = "02:00:00:00:00:01"
SERVER = VirtualServer(
    address="fd00::1",
    port=80,
    proto="tcp",
    scheduler="rr",
    real_servers=(RealServer(address="fd00::2", port=80),),
)


@pytest.mark.parametrize(
    ("item", "tool", "family", "lines"),
    [
        (
            OwedRoute(
                **BY,
                route=Route(dst="10.2.0.0/24", nexthops=(NextHop(via="10.2.0.0", device="vx", onlink=True),)),
            ),
            "ip route",
            4,
            ("10.2.0.0/24 via 10.2.0.0 dev vx onlink",),
        ),
        (
            OwedRoute(**BY, route=Route(dst="fd02::/64", nexthops=(NextHop(device="vx"),))),
            "ip route",
            6,
            ("fd02::/64 dev vx",),
        ),
        (
            OwedNeighbour(**BY, entry=Neighbour(device="vx", address="10.2.0.0", mac=MAC, state="permanent")),
            "ip neigh",
            4,
            (f"10.2.0.0 lladdr {MAC} dev vx nud permanent",),
        ),
        (
            OwedFdb(**BY, entry=FdbEntry(device="vx", mac=MAC, dst="10.0.0.2", permanent=True)),
            "bridge fdb",
            4,
            (f"{MAC} dev vx dst 10.0.0.2 self permanent",),
        ),
        (
            OwedFdb(**BY, entry=FdbEntry(device="vx", mac="00:00:00:00:00:00", dst="10.0.0.2")),
            "bridge fdb",
            4,
            ("00:00:00:00:00:00 dev vx dst 10.0.0.2 self dynamic",),
        ),
        (OwedSysctl(**BY, name="net.x", values=("1", "2")), "sysctl", 4, ("net.x = 1 or 2",)),
        (OwedLink(**BY, device="vx", attribute="mtu", value="1450"), "ip link", 4, ("dev vx mtu 1450",)),
        (
            OwedLink(**BY, device="veth1", attribute="hairpin", value="on"),
            "bridge link",
            4,
            ("dev veth1 hairpin on",),
        ),
        (
            OwedAddress(**BY, address=Address(device="br", address="10.1.0.1", prefixlen=24)),
            "ip addr",
            4,
            ("10.1.0.1/24 dev br",),
        ),
        (
            OwedVirtualServer(**BY, server=SERVER),
            "ipvsadm-save -n",
            6,
            ("-A -t [fd00::1]:80 -s rr", "-a -t [fd00::1]:80 -r [fd00::2]:80 -m -w 1"),
        ),
        (
            OwedChain(**BY, table="nat", chain="C", rules=(parse_rule("-j RETURN"), parse_rule("-j DROP"))),
            "iptables-save",
            4,
            ("-A C -j RETURN", "-A C -j DROP"),
        ),
        (
            OwedRule(**BY, table="filter", chain="FORWARD", rule=parse_rule("-i br -j ACCEPT")),
            "iptables-save",
            4,
            ("-A FORWARD -i br -j ACCEPT",),
        ),
    ],
)
def test_words(item: Owed, tool: str, family: int, lines: tuple[str, ...]) -> None:
    """Each kind as its tool lists it."""
    assert (owed_tool(item), owed_family(item), owed_lines(item)) == (tool, family, lines)
