"""
What may be done to each network over IPv6, and who calls whom in it.

Lives here: data, as in benches.  The networks are those of walkbed6, IPv4 beside IPv6.
"""

from tests.oracle.benches import Bench, Change

__all__ = ["BENCHES6"]

_SWITCH = ("0", "1")


def _route(netns: str, words: str) -> Change:
    return Change(netns, f"ip -6 route add {words}", f"ip -6 route del {words}")


def _rule(netns: str, words: str) -> Change:
    return Change(netns, f"ip -6 rule add {words}", f"ip -6 rule del {words}")


def _address(netns: str, words: str) -> Change:
    return Change(netns, f"ip -6 addr add {words} nodad", f"ip -6 addr del {words}")


def _sysctl(netns: str, name: str, value: str, usual: str) -> Change:
    return Change(netns, f"sysctl -qw {name}={value}", f"sysctl -qw {name}={usual}")


def _mtu(netns: str, device: str, value: int, usual: int = 1500) -> Change:
    return Change(netns, f"ip link set {device} mtu {value}", f"ip link set {device} mtu {usual}")


def _neighbour(netns: str, address: str, device: str) -> Change:
    return Change(
        netns,
        f"ip neigh replace {address} lladdr 02:00:00:00:00:99 dev {device} nud permanent",
        f"ip neigh del {address} dev {device}",
    )


def _forgotten(netns: str) -> Change:
    """Neighbours that have to be found, past whatever rules there are."""
    return Change(netns, "ip -6 neigh flush all", "true")


def _down(netns: str, device: str, *routes: str) -> Change:
    """A device that is down, and its routes anew once it is up."""
    again = "".join(f"\nip -6 route replace {route}" for route in routes)
    return Change(netns, f"ip link set {device} down", f"ip link set {device} up{again}")


def _port(netns: str, port: str, words: str, usual: str) -> Change:
    return Change(netns, f"bridge link set dev {port} {words}", f"bridge link set dev {port} {usual}")


def _table(netns: str, rule: str, *routes: str, table: int) -> Change:
    """A policy rule to a table of its own."""
    made = "\n".join(f"ip -6 route add {route} table {table}" for route in routes)
    return Change(
        netns,
        f"{made}\nip -6 rule add {rule} lookup {table}",
        f"ip -6 rule del {rule} lookup {table}\nip -6 route flush table {table}",
    )


def _sysctls(netns: str, *devices: str) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    found: list[tuple[str, str, tuple[str, ...]]] = [
        (netns, "net.ipv6.conf.all.forwarding", ("1", "0")),
        (netns, "net.ipv6.fwmark_reflect", _SWITCH),
        (netns, "net.ipv4.tcp_fwmark_accept", _SWITCH),
        (netns, "net.ipv6.icmp.echo_ignore_all", _SWITCH),
        (netns, "net.ipv6.anycast_src_echo_reply", _SWITCH),
        (netns, "net.netfilter.nf_conntrack_tcp_loose", _SWITCH),
        (netns, "net.netfilter.nf_conntrack_tcp_be_liberal", _SWITCH),
    ]
    for device in devices:
        prefix = f"net.ipv6.conf.{device.replace('.', '/')}"
        found += [
            (netns, f"{prefix}.forwarding", _SWITCH),
            (netns, f"{prefix}.hop_limit", ("64", "3")),
            (netns, f"{prefix}.use_oif_addrs_only", _SWITCH),
        ]
    return tuple(found)


ROUTER = Bench(
    topology="router-6",
    built="router",
    family=6,
    weight=2,
    under_test=("r", "r", "r", "server", "client"),
    calls=(
        *(
            ("client", dst, proto, port)
            for dst in ("fd00:2::2", "fd00:2::1", "fd00:1::1", "fd00:99::1")
            for proto, port in (("udp", 7), ("udp", 9), ("tcp", 80), ("tcp", 81), ("icmpv6", None))
        ),
        ("client", "fd00:2::77", "udp", 7),
        ("client", "2001:db8::9", "udp", 7),
        ("client", "fd00:1::2", "udp", 7),
        ("client", "::1", "udp", 7),
        ("client", "fd00:2::3", "tcp", 80),
        ("server", "fd00:1::1", "udp", 7),
        ("server", "fd00:1::2", "icmpv6", None),
        ("server", "fd00:99::1", "tcp", 80),
        ("r", "fd00:2::2", "udp", 7),
        ("r", "fd00:2::2", "tcp", 80),
        ("r", "fd00:2::2", "icmpv6", None),
        ("r", "fd00:1::1", "udp", 7),
        ("r", "fd00:99::1", "tcp", 80),
        ("r", "fd00:1::2", "udp", 7),
        ("r", "::1", "tcp", 80),
        ("r", "::1", "udp", 9),
        ("r", "fd00:1::2", "tcp", 80),
    ),
    sysctls=(*_sysctls("r", "c", "s"), *_sysctls("server", "eth0")),
    menu=(
        _route("r", "blackhole fd00:2::2/128"),
        _route("r", "unreachable fd00:2::2/128"),
        _route("r", "prohibit fd00:2::2/128"),
        _route("r", "throw fd00:2::2/128"),
        _route("r", "fd00:99::/64 via fd00:2::2"),
        _route("r", "fd00:2::2/128 dev c"),
        _route("r", "local fd00:99::1/128 dev lo"),
        _route("r", "anycast fd00:99::1/128 dev lo"),
        _route("r", "default via fd00:2::2"),
        _route("r", "default via fd00:1::2"),
        _route("r", "fd00:2::2/128 via fd00:2::2 dev s onlink mtu 1300"),
        _route("r", "fd00:1::2/128 dev c src fd00:2::1"),
        _route("r", "fd00:2::/64 dev s metric 100"),
        _route("r", "fd00:2::/65 dev c metric 2000"),
        _route("client", "blackhole fd00:2::/32"),
        _route("client", "prohibit fd00:99::/64"),
        _route("client", "fd00:99::1/128 via fd00:1::1 src fd00:1::2"),
        _route("client", "fd00:2::2/128 via fd00:1::1 hoplimit 2"),
        _route("server", "unreachable fd00:1::/64"),
        _rule("r", "fwmark 0x1/0x1 prio 100 blackhole"),
        _rule("r", "to fd00:2::2 prio 101 unreachable"),
        _rule("r", "from fd00:1::2 prio 102 prohibit"),
        _rule("r", "iif c prio 103 lookup main suppress_prefixlength 0"),
        _rule("r", "tos 0x10 prio 104 blackhole"),
        _rule("r", "ipproto udp dport 7 prio 105 unreachable"),
        _rule("r", "not from fd00:1::/64 prio 106 lookup 77"),
        _rule("r", "prio 107 goto 32766"),
        _rule("client", "fwmark 0x10/0x10 prio 100 prohibit"),
        _table("r", "fwmark 0x2/0x2 prio 110", "default via fd00:2::2", table=61),
        _table("r", "to fd00:99::/64 prio 111", "fd00:99::/64 via fd00:2::2", table=62),
        _table("r", "from fd00:2::2 prio 112", "blackhole default", table=63),
        _table("r", "iif s prio 113", "throw fd00:1::/64", "prohibit default", table=64),
        _table("r", "oif s prio 114", "default dev s", table=65),
        _address("r", "fd00:2::3/64 dev s"),
        _address("r", "fd00:2::2/128 dev lo"),
        _address("r", "fd00:99::1/128 dev lo"),
        _address("server", "fd00:99::1/128 dev lo"),
        _address("server", "fd00:1::2/128 dev lo"),
        _address("client", "fd00:1::9/64 dev eth0"),
        (_address("r", "fe80::1/64 dev c"), _route("client", "fd00:2::/64 via fe80::1 dev eth0")),
        (_address("server", "fe80::2/64 dev eth0"), _route("r", "fd00:99::/64 via fe80::2 dev s")),
        _neighbour("r", "fd00:2::2", "s"),
        _neighbour("client", "fd00:1::1", "eth0"),
        _forgotten("r"),
        (_forgotten("r"), _forgotten("client")),
        (_forgotten("r"), _forgotten("server")),
        _mtu("r", "s", 1400),
        _mtu("server", "eth0", 1300),
        Change("server", "ip link set eth0 arp off", "ip link set eth0 arp on"),
        _down("server", "eth0", "default via fd00:2::1"),
        (_neighbour("r", "fd00:2::2", "s"), _down("server", "eth0", "default via fd00:2::1")),
        _sysctl("client", "net.ipv6.conf.all.forwarding", "1", "0"),
        (
            _sysctl("client", "net.ipv6.conf.all.forwarding", "1", "0"),
            _route("r", "fd00:99::/64 via fd00:1::2"),
        ),
    ),
    addresses=("fd00:1::2", "fd00:2::2", "fd00:1::1", "fd00:2::1", "fd00:99::1"),
    prefixes=("fd00:1::/64", "fd00:2::/32", "fd00::/16", "fd00:99::/64", "::1/128"),
    devices=("c", "s", "lo", "c+", "eth0", "l", "eth"),
    to=("fd00:2::2", "fd00:2::1", "fd00:1::1", "fd00:1::2", "::1"),
    by=("fd00:2::1", "fd00:1::1", "fd00:99::7"),
    ports=("7", "9", "80"),
    more=(("client", "eth0", "fd00:1::"), ("server", "eth0", "fd00:2::")),
    arrivals=(("r", "c", "client", "eth0"), ("r", "s", "server", "eth0"), ("server", "eth0", "r", "s")),
    rare=(
        (_neighbour("r", "fd00:2::2", "s"), _down("server", "eth0", "default via fd00:2::1")),
        (_down("r", "s"),),
        (_mtu("r", "s", 1300),),
        (_mtu("server", "eth0", 1280), _mtu("r", "s", 1300)),
        (_forgotten("r"), _forgotten("client"), _forgotten("server")),
    ),
    loops=(
        (
            _sysctl("client", "net.ipv6.conf.all.forwarding", "1", "0"),
            _route("r", "fd00:99::/64 via fd00:1::2"),
        ),
        (
            _sysctl("server", "net.ipv6.conf.all.forwarding", "1", "0"),
            _route("r", "default via fd00:2::2"),
        ),
    ),
)

TWO_WAYS = Bench(
    topology="two-ways-6",
    built="two-ways",
    family=6,
    weight=1,
    under_test=("r1", "r2", "client", "server"),
    calls=(
        *tuple(
            ("client", dst, proto, port)
            for dst in ("fd00:2::2", "fd00:4::2", "fd00:3::1", "fd00:2::1", "fd00:99::1")
            for proto, port in (("udp", 7), ("tcp", 80), ("icmpv6", None), ("tcp", 81))
        ),
        ("server", "fd00:1::2", "icmpv6", None),
        ("server", "fd00:3::2", "udp", 7),
        ("r1", "fd00:4::2", "tcp", 80),
    ),
    sysctls=(
        *_sysctls("r1", "c", "s"),
        *_sysctls("r2", "c", "s"),
        *_sysctls("server", "eth0", "eth1"),
        *_sysctls("client", "eth0", "eth1"),
    ),
    menu=(
        _route("client", "fd00:2::/64 via fd00:3::1"),
        _route("client", "fd00:4::2/128 via fd00:3::1 src fd00:1::2"),
        _route("client", "fd00:99::/64 via fd00:3::1"),
        _route("client", "fd00:4::/64 nexthop via fd00:1::1 nexthop via fd00:3::1"),
        _route("server", "fd00:1::/64 via fd00:4::1"),
        _route("server", "fd00:1::/64 via fd00:4::1 metric 5"),
        _route("server", "fd00:3::/64 via fd00:2::1"),
        _route("r1", "fd00:3::/64 via fd00:1::2"),
        _route("r2", "fd00:1::/64 via fd00:4::2"),
        _rule("server", "iif eth1 prio 90 blackhole"),
        _table("server", "from fd00:4::2 prio 100", "default via fd00:4::1", table=61),
        _table("client", "from fd00:3::2 prio 100", "default via fd00:3::1", table=61),
        _table("client", "fwmark 0x1/0x1 prio 101", "default via fd00:3::1", table=62),
        _table("r1", "from fd00:1::2 prio 102", "default via fd00:1::2", table=63),
        _table("client", "ipproto tcp prio 103", "default via fd00:3::1", table=64),
        (_forgotten("r1"), _forgotten("client")),
    ),
    addresses=("fd00:1::2", "fd00:2::2", "fd00:3::2", "fd00:4::2", "fd00:99::1"),
    prefixes=("fd00:1::/64", "fd00:2::/64", "fd00:3::/64", "fd00::/16"),
    devices=("c", "s", "eth0", "eth1", "eth+", "eth"),
    to=("fd00:2::2", "fd00:4::2"),
    by=("fd00:2::1", "fd00:4::1", "fd00:1::2", "fd00:3::2"),
    ports=("7", "80"),
    more=(("client", "eth0", "fd00:1::"),),
    arrivals=(("r1", "c", "client", "eth0"), ("r2", "s", "server", "eth1"), ("server", "eth1", "r2", "s")),
    rare=(
        (_route("client", "fd00:2::/64 via fd00:3::1"), _down("r2", "s", "default via fd00:4::2")),
        (_mtu("server", "eth0", 1300), _mtu("r1", "s", 1300)),
        (
            _sysctl("server", "net.ipv6.conf.all.forwarding", "1", "0"),
            _route("r1", "fd00:99::/64 via fd00:2::2"),
        ),
        (
            _sysctl("server", "net.ipv6.conf.all.forwarding", "1", "0"),
            _route("r1", "fd00:4::2/128 via fd00:2::2"),
            _route("server", "fd00:99::/64 via fd00:2::1"),
        ),
    ),
)

PODS = Bench(
    topology="pods-6",
    built="pods",
    family=6,
    weight=1,
    under_test=("node", "node", "node", "pod1", "pod1", "pod2"),
    calls=(
        *tuple(
            ("pod1", dst, proto, port)
            for dst in ("fd00:244:1::3", "fd00:244:1::1", "fd00:50::100", "fd00:96::1")
            for proto, port in (("udp", 53), ("udp", 54), ("tcp", 9376), ("tcp", 80), ("icmpv6", None))
        ),
        ("pod1", "fd00:244:1::2", "udp", 53),
        ("pod1", "fd00:244:1::2", "tcp", 80),
        ("pod1", "fd00:244:1::77", "udp", 53),
        ("pod1", "fd00:244:1::77", "tcp", 80),
        ("node", "fd00:244:1::3", "udp", 53),
        ("node", "fd00:96::1", "tcp", 80),
        ("node", "fd00:96::1", "udp", 53),
        ("node", "fd00:50::11", "tcp", 9376),
        ("outside", "fd00:50::11", "tcp", 80),
        ("outside", "fd00:50::11", "udp", 53),
        ("outside", "fd00:50::11", "icmpv6", None),
    ),
    sysctls=(
        ("node", "net.bridge.bridge-nf-call-ip6tables", ("1", "0")),
        *_sysctls("node", "cni0", "eth0"),
        *_sysctls("pod2", "eth0"),
    ),
    menu=(
        _route("node", "blackhole fd00:96::/64"),
        _route("node", "fd00:96::/64 dev cni0"),
        _route("node", "unreachable fd00:244:1::3/128"),
        _route("pod2", "prohibit fd00:50::/64"),
        _route("outside", "fd00:244:1::/64 via fd00:50::11"),
        _route("outside", "fd00:96::/64 via fd00:50::11"),
        _rule("node", "fwmark 0x1/0x1 prio 100 blackhole"),
        _rule("node", "iif cni0 prio 101 prohibit"),
        _address("node", "fd00:96::1/128 dev lo"),
        _address("node", "fd00:244:1::9/64 dev cni0"),
        _port("node", "veth1", "hairpin off", "hairpin on"),
        (
            _port("node", "veth1", "isolated on", "isolated off"),
            _port("node", "veth2", "isolated on", "isolated off"),
        ),
        _port("node", "veth2", "learning off", "learning on"),
        _port("node", "veth2", "state 1", "state 3"),
        _mtu("pod2", "eth0", 1300),
        _down("pod2", "eth0", "default via fd00:244:1::1"),
        (_forgotten("pod1"), _forgotten("node")),
        _forgotten("pod1"),
    ),
    addresses=(
        "fd00:244:1::2", "fd00:244:1::3", "fd00:244:1::1", "fd00:50::100", "fd00:96::1", "fd00:50::11",
    ),
    prefixes=("fd00:244:1::/64", "fd00:50::/64", "fd00:96::/64", "fd00::/16"),
    devices=("cni0", "eth0", "lo", "cni+", "cni"),
    to=("fd00:244:1::3", "fd00:244:1::4", "fd00:244:1::1", "fd00:244:1::2", "fd00:50::100"),
    by=("fd00:244:1::1", "fd00:50::11"),
    ports=("53", "54", "9376"),
    physdevs=("veth1", "veth2", "veth+"),
    more=(("outside", "eth0", "fd00:50::"), ("pod1", "eth0", "fd00:244:1::")),
    arrivals=(("node", "eth0", "outside", "eth0"),),
    rare=(
        (_port("node", "veth1", "hairpin off", "hairpin on"),),
        (
            _port("node", "veth1", "isolated on", "isolated off"),
            _port("node", "veth2", "isolated on", "isolated off"),
        ),
        (_port("node", "veth2", "state 1", "state 3"),),
        (_mtu("pod2", "eth0", 1300), _mtu("node", "veth2", 1300)),
        (_mtu("node", "eth0", 1300), _mtu("outside", "eth0", 1300)),
        (_down("pod2", "eth0", "default via fd00:244:1::1"),),
        (
            _sysctl("outside", "net.ipv6.conf.all.forwarding", "1", "0"),
            _route("node", "fd00:96::/64 via fd00:50::100"),
            _route("outside", "fd00:96::/64 via fd00:50::11"),
        ),
    ),
)  # fmt: skip

VXLAN = Bench(
    topology="vxlan-6",
    built="vxlan",
    family=6,
    weight=1,
    under_test=("node1", "node2", "node1", "pod2"),
    calls=(
        *tuple(
            (source, dst, proto, port)
            for source, dst in (
                ("pod1", "fd00:244:2::2"),
                ("node1", "fd00:244:2::2"),
                ("pod2", "fd00:244:1::2"),
            )
            for proto, port in (("udp", 53), ("tcp", 9376), ("icmpv6", None), ("udp", 54))
        ),
        ("pod1", "fd00:244:2::1", "icmpv6", None),
    ),
    sysctls=(
        *_sysctls("node1", "cni0", "eth0", "flannel.1"),
        *_sysctls("node2", "cni0", "eth0", "flannel.1"),
    ),
    menu=(
        _route("node2", "blackhole fd00:244:1::2/128"),
        _rule("node1", "to fd00:244:2::/64 prio 100 unreachable"),
        _mtu("node2", "flannel.1", 1300, 1450),
        (_forgotten("node2"), _forgotten("pod2")),
    ),
    addresses=("fd00:244:1::2", "fd00:244:2::2", "fd00:244:2::1", "fd00:244:1::1"),
    prefixes=("fd00:244:1::/64", "fd00:244:2::/64", "fd00:50::/64", "fd00::/16"),
    devices=("cni0", "eth0", "flannel.1", "flannel+"),
    to=("fd00:244:2::2", "fd00:244:1::2"),
    by=("fd00:244:1::1", "fd00:244:2::1"),
    ports=("53", "54", "8472", "9376"),
    more=(("pod1", "eth0", "fd00:244:1::"), ("pod2", "eth0", "fd00:244:2::")),
    narrow=(("wire", "port1"), ("wire", "port2")),
    arrivals=(("node1", "cni0", "pod1", "eth0"),),
    rare=(
        (_mtu("node2", "flannel.1", 1300, 1450), _mtu("node1", "flannel.1", 1300, 1450)),
        (_mtu("wire", "port1", 1400),),
        (_mtu("pod2", "eth0", 1300, 1450),),
    ),
)

BENCHES6 = (ROUTER, TWO_WAYS, PODS, VXLAN)
