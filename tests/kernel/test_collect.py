"""Reading real namespaces: every section held against what the system's own tools print."""

import json
import threading
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.collect import sockets as sockets_module
from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.links import FdbEntry, Neighbour, Peer
from nettrace.model.routes import NextHop, PolicyRule, Route
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Netns
from tests.kernel.bed import Bed, Space, eventually


def handle(space: Space, **fields: Any) -> Handle:
    """A handle to a space under its own name."""
    return Handle(name=space.name, path=space.path, inode=space.inode, netns=space.name, **fields)


def read(space: Space, *sections: str, others: tuple[Space, ...] = ()) -> Netns:
    """Read sections of one namespace; *others* are known by name."""
    with Reader([handle(space), *map(handle, others)]) as reader:
        keys = [SectionKey(space.name, section) for section in sections]
        return reader.read(keys, reader.skeleton()).namespaces[space.name]


def known(section: Any) -> Any:
    """The value of a section that has to be known."""
    assert isinstance(section, Known), section
    return section.value


def ip_json(space: Space, *words: str) -> Any:
    """What `ip -j` prints."""
    return json.loads(space.run("ip", "-j", "-d", *words) or "[]")


def test_links_equal_those_of_ip(netns: Bed) -> None:
    """Names, kinds, flags, masters, hairpin, isolation and both ends of veths are as ip(8) prints them."""
    a, b, c = netns.new("a"), netns.new("b"), netns.new("c")
    netns.veth(a, "to-b", b, "eth0")
    netns.veth(a, "to-c", c, "eth0")
    a.ip("link add here type veth peer name there")
    netns.bridge(a, "br0", "to-b", "here", address="10.1.0.1/24")
    a.run("bridge", "link", "set", "dev", "to-b", "hairpin", "on", "isolated", "on", "learning", "off")
    a.ip("link set to-b promisc on arp off mtu 1400")
    netns.stub(a, "stub0")
    links = {link.name: link for link in known(read(a, "links", others=(b,)).links)}
    for shown in ip_json(a, "link"):
        link = links.pop(shown["ifname"])
        assert link.index == shown["ifindex"]
        assert link.mtu == shown["mtu"]
        assert link.mac == shown["address"]
        assert link.master == shown.get("master")
        assert link.up == ("UP" in shown["flags"])
        assert link.carrier == ("LOWER_UP" in shown["flags"])
        assert link.promisc == ("PROMISC" in shown["flags"])
        assert link.noarp == ("NOARP" in shown["flags"])
        info = shown.get("linkinfo", {})
        assert link.kind == info.get("info_kind", "loopback")
        if "info_slave_data" in info:
            port = info["info_slave_data"]
            assert link.port is not None
            assert (link.port.hairpin, link.port.isolated) == (port["hairpin"], port["isolated"])
            assert (link.port.learning, link.port.flood) == (port["learning"], port["flood"])
            assert link.port.state == {"forwarding": 3, "disabled": 0}[port["state"]]
        else:
            assert link.port is None
    assert not links
    links = {link.name: link for link in known(read(a, "links", others=(b,)).links)}
    assert links["to-b"].peer == Peer(b.name, ip_json(b, "link", "show", "eth0")[0]["ifindex"])
    assert links["to-c"].peer == Peer(None, ip_json(c, "link", "show", "eth0")[0]["ifindex"])
    assert links["here"].peer == Peer(a.name, links["there"].index)
    assert links["br0"].bridge is not None
    assert links["to-b"].port is not None
    assert links["to-b"].port.hairpin


def test_tunnels_and_uppers(netns: Bed) -> None:
    """VXLAN attributes and the device underneath a macvlan are read."""
    a = netns.new("a")
    netns.stub(a, "stub0", "10.9.0.1/24")
    a.ip("link add flannel.1 type vxlan id 7 dev stub0 local 10.9.0.1 dstport 8472 nolearning")
    a.ip("link add mv0 link stub0 type macvlan mode bridge")
    links = {link.name: link for link in known(read(a, "links").links)}
    vxlan = links["flannel.1"].vxlan
    assert (vxlan.vni, vxlan.local, vxlan.device, vxlan.port, vxlan.learning) == (
        7,
        "10.9.0.1",
        "stub0",
        8472,
        False,
    )
    assert links["mv0"].lower == "stub0"
    assert links["mv0"].peer is None


def test_addresses(netns: Bed) -> None:
    """Addresses of both families with scope, peer and secondary are as ip(8) prints them."""
    a = netns.new("a")
    netns.stub(a, "stub0", "10.1.0.1/24", "10.1.0.2/24", "192.0.2.1 peer 192.0.2.9/32", "2001:db8::1/64")
    found = {(one.device, one.address): one for one in known(read(a, "addresses").addresses)}
    shown = [
        (link["ifname"], entry)
        for link in ip_json(a, "addr")
        for entry in link["addr_info"]
        if entry.get("local")
    ]
    assert len(shown) == len(found)
    for device, entry in shown:
        one = found[device, entry["local"]]
        assert one.prefixlen == entry["prefixlen"]
        assert one.scope == entry["scope"]
        assert one.secondary == entry.get("secondary", False)
        assert one.peer == entry.get("address")
    assert found["stub0", "10.1.0.2"].secondary


def test_routes_of_all_tables_equal_those_of_ip(netns: Bed) -> None:
    """Every route of every table comes with the attributes that ip(8) prints, and no other."""
    a = netns.new("a")
    netns.stub(a, "stub0", "10.1.0.1/24")
    netns.stub(a, "stub1", "10.2.0.1/24")
    for words in (
        "default via 10.1.0.254 dev stub0 proto static metric 100",
        "10.244.1.0/24 via 10.244.1.0 dev stub0 onlink",
        "10.3.0.0/16 nexthop via 10.1.0.7 weight 3 nexthop via 10.2.0.7 dev stub1 weight 1",
        "blackhole 10.4.0.0/16",
        "prohibit 10.5.0.0/16 table 100",
        "10.6.0.0/16 via 10.1.0.9 table 100 mtu 1300 advmss 1200 src 10.1.0.1",
        "10.7.0.0/16 dev stub0 scope link proto bird",
        "10.8.0.0/16 via inet6 fe80::1 dev stub0",
    ):
        a.ip(f"route add {words}")
    found = [route for route in known(read(a, "routes").routes) if ":" not in route.dst]
    shown = ip_json(a, "-4", "route", "show", "table", "all")
    assert len(found) == len(shown)
    tables = {"local": 255, "main": 254, "default": 253}
    by_key = {(route.table, route.dst, route.metric): route for route in found}
    for entry in shown:
        table = entry.get("table", "main")
        dst = "0.0.0.0/0" if entry["dst"] == "default" else entry["dst"]
        dst = dst if "/" in dst else f"{dst}/32"
        route = by_key[tables.get(table) or int(table), dst, entry.get("metric", 0)]
        assert route.type == entry.get("type", "unicast")
        assert route.protocol == entry["protocol"]
        assert route.scope == entry["scope"]
        assert route.prefsrc == entry.get("prefsrc")
        hops = entry.get("nexthops", [entry] if "dev" in entry else [])
        assert [hop.device for hop in route.nexthops] == [hop["dev"] for hop in hops]
        assert [hop.via for hop in route.nexthops] == [
            hop.get("gateway") or hop.get("via", {}).get("host") for hop in hops
        ]
        assert [hop.weight for hop in route.nexthops] == [hop.get("weight", 1) for hop in hops]
        assert [hop.onlink for hop in route.nexthops] == ["onlink" in hop.get("flags", []) for hop in hops]
        metrics: dict[str, int] = {
            key: value for part in entry.get("metrics", []) for key, value in part.items()
        }
        assert route.mtu == metrics.get("mtu")
        assert route.more == (("advmss", str(metrics["advmss"])) if "advmss" in metrics else ())


def test_dead_next_hops(netns: Bed) -> None:
    """A next hop without carrier is dead only where the sysctl says that routes over it are ignored."""
    a, b = netns.new("a"), netns.new("b")
    netns.veth(a, "v0", b, "eth0")
    a.address("v0", "10.1.0.1/24")
    a.ip("route add 10.5.0.0/16 via 10.1.0.2")
    b.ip("link set eth0 down")

    def dead() -> bool:
        routes: tuple[Route, ...] = known(read(a, "routes").routes)
        return next(route for route in routes if route.dst == "10.5.0.0/16").nexthops[0].dead

    assert not dead()
    a.sysctl("net.ipv4.conf.v0.ignore_routes_with_linkdown", 1)
    eventually(dead)  # the kernel tells routes about a lost carrier within a second


def test_routes_of_ipv6(netns: Bed) -> None:
    """IPv6 routes stand beside the others with their own default."""
    a = netns.new("a")
    netns.stub(a, "stub0", "2001:db8::1/64")
    a.ip("-6 route add default via 2001:db8::ff dev stub0")
    routes = {(route.table, route.dst): route for route in known(read(a, "routes").routes)}
    assert routes[254, "::/0"].nexthops == (NextHop(device="stub0", via="2001:db8::ff"),)
    assert (255, "2001:db8::1/128") in routes


def test_policy_rules(netns: Bed) -> None:
    """Selectors of rules are read, and those that the model does not have are named."""
    a = netns.new("a")
    for words in (
        "pref 10 from 10.1.0.0/16 to 10.2.0.0/16 iif lo lookup 100",
        "pref 20 fwmark 0x4000/0xf000 lookup 200",
        "pref 30 not fwmark 0xca6c lookup 51820",
        "pref 40 lookup main suppress_prefixlength 0",
        "pref 50 ipproto tcp sport 1000-2000 dport 80 prohibit",
        "pref 60 goto 32766",
        "pref 70 uidrange 0-99 lookup 100",
        "pref 80 oif lo tos 0x10 blackhole",
    ):
        a.ip(f"rule add {words}")
    a.ip("-6 rule add pref 10 lookup 300")
    rules = known(read(a, "rules").rules)
    assert rules[1:9] == (
        PolicyRule(priority=10, src="10.1.0.0/16", dst="10.2.0.0/16", iif="lo", table=100),
        PolicyRule(priority=20, fwmark=0x4000, fwmask=0xF000, table=200),
        PolicyRule(priority=30, invert=True, fwmark=0xCA6C, table=51820),
        PolicyRule(priority=40, table=254, suppress_prefixlen=0),
        PolicyRule(priority=50, ipproto="tcp", sport=(1000, 2000), dport=(80, 80), action="prohibit"),
        PolicyRule(priority=60, action="goto", goto=32766),
        PolicyRule(priority=70, table=100, unknown=("uidrange",)),
        PolicyRule(priority=80, oif="lo", tos=0x10, action="blackhole"),
    )
    assert [
        (rule.priority, rule.table)
        for rule in rules
        if rule.family == 4 and rule.priority in (0, 32766, 32767)
    ] == [
        (0, 255),
        (32766, 254),
        (32767, 253),
    ]
    assert PolicyRule(priority=10, family=6, table=300) in rules


def test_neighbours_and_fdb(netns: Bed) -> None:
    """Neighbour and FDB entries are read with their states; receive filters are no FDB entries."""
    a, b = netns.new("a"), netns.new("b")
    netns.veth(a, "v0", b, "eth0")
    netns.bridge(a, "br0", "v0", address="10.1.0.1/24")
    a.ip("link add vx0 type vxlan id 1 local 10.1.0.1 dstport 8472 nolearning")
    a.ip("link set vx0 up")
    a.ip("neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev br0 nud permanent")
    a.ip("neigh add 10.1.0.8 lladdr 02:00:00:00:00:08 dev br0 nud stale")
    a.run("bridge", "fdb", "add", "02:00:00:00:00:07", "dev", "vx0", "dst", "10.1.0.77", "self", "permanent")
    a.run("bridge", "fdb", "add", "02:00:00:00:00:06", "dev", "v0", "master", "static")
    found = read(a, "neighbours", "fdb")
    neighbours = known(found.neighbours)
    assert (
        Neighbour(device="br0", address="10.1.0.9", mac="02:00:00:00:00:09", state="permanent") in neighbours
    )
    assert Neighbour(device="br0", address="10.1.0.8", mac="02:00:00:00:00:08", state="stale") in neighbours
    fdb = known(found.fdb)
    assert FdbEntry(device="vx0", mac="02:00:00:00:00:07", dst="10.1.0.77", permanent=True) in fdb
    assert FdbEntry(device="v0", mac="02:00:00:00:00:06", master="br0", static=True) in fdb
    assert all(entry.master or entry.device == "vx0" for entry in fdb)
    own = [entry for entry in fdb if entry.permanent and entry.device == "v0"]
    assert own[0].mac == ip_json(a, "link", "show", "v0")[0]["address"]


def test_sysctls(netns: Bed) -> None:
    """Sysctls are those of the namespace, with a device's own dots written as a slash."""
    a = netns.new("a")
    netns.stub(a, "stub0")
    netns.stub(a, "stub0.7")
    a.sysctl("net.ipv4.ip_forward", 1)
    a.sysctl("net.ipv4.conf.stub0/7.rp_filter", 2)
    values = known(read(a, "sysctls").sysctls)
    assert values["net.ipv4.ip_forward"] == "1"
    assert values["net.ipv4.conf.stub0/7.rp_filter"] == "2"
    assert values["net.ipv4.ip_local_port_range"] == "32768 60999"
    for name in ("net.ipv4.conf.all.forwarding", "net.ipv4.conf.stub0.rp_filter", "net.ipv4.ip_default_ttl"):
        assert values[name] == a.run("sysctl", "-n", name).strip()


LISTENER = """
import socket
a = socket.create_server(("0.0.0.0", 8080))
b = socket.create_server(("::1", 8081), family=socket.AF_INET6)
c = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
c.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); c.bind(("::", 8082)); c.listen()
d = socket.create_server(("::", 8083), family=socket.AF_INET6, dualstack_ipv6=True)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 5353))
u.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
w = socket.create_connection(("127.0.0.1", 8083)); x, _ = d.accept()
print("ready", flush=True)
input()
"""


def test_sockets(netns: Bed) -> None:
    """Listeners, UDP sockets and connections are read with their owner, v6only and device."""
    a = netns.new("a")
    process = a.python(LISTENER.replace("input()", "import time; time.sleep(60)"))
    sockets = known(read(a, "sockets").sockets)
    by_port = {(one.proto, one.port, one.state): one for one in sockets}
    assert by_port["tcp", 8080, "listen"].address == "0.0.0.0"
    assert by_port["tcp", 8081, "listen"].address == "::1"
    assert by_port["tcp", 8082, "listen"].v6only
    assert not by_port["tcp", 8083, "listen"].v6only
    assert by_port["udp", 5353, "unconn"].device == "lo"
    connected = by_port["tcp", 8083, "established"]
    assert connected.address == "127.0.0.1"  # of an IPv6 socket that talks IPv4
    assert connected.remote == "127.0.0.1"
    assert {one.process for one in sockets} == {"python3"}
    assert by_port["tcp", 8080, "listen"].pid == process.pid


def test_sockets_without_sock_diag(netns: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sock_diag would load a module, /proc and the sockets themselves tell the same."""
    a = netns.new("a")
    a.python(LISTENER.replace("input()", "import time; time.sleep(60)"))
    expected = read(a, "sockets").sockets
    monkeypatch.setattr(sockets_module, "has_module", lambda name: False)
    assert set(known(read(a, "sockets").sockets)) == set(known(expected))


def test_a_namespace_that_is_gone_is_a_reason(netns: Bed) -> None:
    """A namespace that vanished before it is read gives FAILED with its name, and no other is harmed."""
    a, b = netns.new("a"), netns.new("b")
    with Reader([handle(a), handle(b)]) as reader:
        skeleton = reader.skeleton()
        netns.delete(a)
        keys = [
            SectionKey(space.name, name) for space in (a, b) for name in ("links", "xt/nft", "xt/nft/nat/X")
        ]
        found = reader.read(keys, skeleton).namespaces
    for section in (found[a.name].links, found[a.name].xt_nft):
        assert isinstance(section, Missing)
        assert section.kind is MissingKind.FAILED
        assert a.path in section.reason
    assert known(found[b.name].links)


def test_a_namespace_that_vanishes_between_reads_is_a_reason(netns: Bed) -> None:
    """One that is deleted while a worker keeps it alive is not passed off as readable."""
    a = netns.new("a")
    with Reader([handle(a)]) as reader:
        snapshot = reader.read([SectionKey(a.name, "links")], reader.skeleton())
        assert known(snapshot.namespaces[a.name].links)
        netns.delete(a)
        found = reader.read([SectionKey(a.name, "routes")], snapshot).namespaces[a.name]
    assert isinstance(found.routes, Missing)
    assert "vanished" in found.routes.reason
    assert known(found.links)


def test_a_namespace_that_vanishes_in_the_middle(netns: Bed) -> None:
    """Whenever a namespace vanishes, every section is known or says why, and nothing is raised."""
    for round_ in range(6):
        a, b = netns.new(f"a{round_}"), netns.new(f"b{round_}")
        for number in range(8):
            netns.veth(a, f"v{number}", b, f"eth{number}")
        a.run("iptables-nft", "-A", "FORWARD", "-j", "ACCEPT")
        with Reader([handle(a), handle(b)]) as reader:
            skeleton = reader.skeleton()
            timer = threading.Timer(0.004 * round_, lambda gone=a: netns.delete(gone))
            timer.start()
            found = reader.read_all(skeleton).namespaces
            timer.join()
        for name in ("links", "routes", "sysctls", "sockets", "xt_nft", "xt_legacy", "nft"):
            section = getattr(found[a.name], name)
            assert isinstance(section, Known) or section.kind is MissingKind.FAILED, section
            known(getattr(found[b.name], name))


def test_devices_that_come_and_go(netns: Bed) -> None:
    """Reading while devices and rules change gives sections or a reason, never an error."""
    a = netns.new("a")
    a.spawn(
        "sh",
        "-c",
        "while :; do ip link add x0 type veth peer name x1; ip addr add 10.1.0.1/24 dev x0;"
        " ip link set x0 up; iptables-nft -N X; iptables-nft -A X -j ACCEPT; tc qdisc add dev x0 clsact;"
        " ip link del x0; iptables-nft -F; iptables-nft -X X; done",
    )
    with Reader([handle(a)]) as reader:
        for _ in range(40):
            found = reader.read_all(reader.skeleton()).namespaces[a.name]
            for name in ("links", "addresses", "routes", "neighbours", "fdb", "sysctls", "nft"):
                section = getattr(found, name)
                assert isinstance(section, Known) or "unstable" in section.reason, (name, section)


def test_another_namespace_in_its_place_is_not_read(netns: Bed) -> None:
    """A name that leads to another namespace than when it was found is refused."""
    a, b = netns.new("a"), netns.new("b")
    wrong = replace(handle(a), path=b.path)
    with Reader([wrong]) as reader:
        found = reader.read([SectionKey(a.name, "links")], reader.skeleton()).namespaces[a.name]
    assert isinstance(found.links, Missing)
    assert "another stands there now" in found.links.reason


def test_no_thread_is_left(netns: Bed) -> None:
    """Closing a reader ends all its threads, and the namespace can go."""
    spaces = [netns.new(str(number)) for number in range(4)]
    before = threading.active_count()
    with Reader([handle(space) for space in spaces]) as reader:
        reader.read_all(reader.skeleton())
        assert threading.active_count() == before + 4
    assert threading.active_count() == before
