"""Virtual servers kept in a director's files."""

from nettrace.model.owed import OwedRoute, OwedSysctl, OwedVirtualServer
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace_plugins.lvs.owes import owed_by_files
from nettrace_plugins.lvs.plugin import plugin

RULES = "-A -t 10.96.0.80:80 -s rr\n-a -t 10.96.0.80:80 -r 192.168.0.11:8080 -m -w 1\n-A -f 7 -s wlc\n"
INTERFACES = """
auto lo
iface lo inet loopback
    up ip route add local 10.96.0.80 dev lo
    up ip route add local 10.96.0.81 dev lo
    up ip route add 10.0.0.0/8 via 192.168.0.1
"""
SYSCTLS = "# IPVS\nnet.ipv4.vs.conntrack = 1\nnet/ipv4/vs/expire_nodest_conn=1\nnet.ipv4.ip_forward = 1\n"


def snapshot(**files: str) -> Snapshot:
    """A node with these files, named by the last part of their paths."""
    places = {
        "rules": "/etc/ipvsadm.rules",
        "interfaces": "/etc/network/interfaces.d/lvs",
        "sysctls": "/etc/sysctl.d/90-lvs.conf",
    }
    return Snapshot(
        nodes={
            "d": NodeState(
                name="d", netns="d", files=Known({places[name]: text for name, text in files.items()})
            )
        },
        namespaces={"d": Netns(name="d", node="d")},
    )


def test_what_the_files_ask_for() -> None:
    """Each virtual server, the local routes of their addresses and no others, the sysctls of IPVS alone."""
    owed = tuple(owed_by_files(snapshot(rules=RULES, interfaces=INTERFACES, sysctls=SYSCTLS), "d"))
    servers = [one for one in owed if isinstance(one, OwedVirtualServer)]
    assert [one.about for one in servers] == ["virtual server 10.96.0.80:80", "virtual server mark 7"]
    assert servers[0].server.real_servers[0].address == "192.168.0.11"
    (route,) = [one for one in owed if isinstance(one, OwedRoute)]
    assert (route.route.dst, route.route.type, route.source) == (
        "10.96.0.80/32",
        "local",
        "/etc/network/interfaces.d/lvs",
    )
    sysctls = [one for one in owed if isinstance(one, OwedSysctl)]
    assert {(one.name, one.values) for one in sysctls} == {
        ("net.ipv4.vs.conntrack", ("1",)),
        ("net.ipv4.vs.expire_nodest_conn", ("1",)),
    }


def test_nothing_without_virtual_servers() -> None:
    """Without a file of virtual servers, or with one that cannot be read, nothing is owed."""
    for files in ({"interfaces": INTERFACES}, {"rules": "-A -t web:http -s rr\n"}):
        there = snapshot(**files)
        assert tuple(owed_by_files(there, "d")) == ()
        assert plugin.nettrace_detect(there) is None
    found = plugin.nettrace_detect(snapshot(rules=RULES))
    assert found is not None
    assert (found.name, found.nodes) == ("lvs", ("d",))
