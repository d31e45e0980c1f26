"""
What may be done to each network, and who calls whom in it.

Lives here: data, of IPv4.  Each line of a menu changes one thing and knows how to take it back; which are
taken, and with which rules, is drawn in generate.
Not here: IPv6 (benches6), all of them (networks).
"""

from typing import NamedTuple

__all__ = ["BENCHES4", "MORE", "Bench", "Change"]

#: Last octets of the further addresses of a client: an error's rate is limited by whom it is for.
MORE = range(120, 152)


class Change(NamedTuple):
    """One change by command: namespace, how it is made, how it is taken back."""

    netns: str
    do: str
    undo: str


class Bench(NamedTuple):
    """
    A topology of tests.kernel.walkbed as the oracle uses it.

    ``under_test`` are the namespaces that get rules; ``calls``: (source, destination, protocol, port);
    ``sysctls``: (namespace, name, values); the rest are words that rules are made of.
    """

    topology: str
    weight: int
    under_test: tuple[str, ...]
    calls: tuple[tuple[str, str, str, int | None], ...]
    sysctls: tuple[tuple[str, str, tuple[str, ...]], ...]
    menu: tuple[Change | tuple[Change, ...], ...]
    addresses: tuple[str, ...]
    prefixes: tuple[str, ...]
    devices: tuple[str, ...]
    to: tuple[str, ...]
    by: tuple[str, ...]
    ports: tuple[str, ...]
    physdevs: tuple[str, ...] = ()
    #: (namespace, device) at which frames may arrive, and the other end of that device.
    arrivals: tuple[tuple[str, str, str, str], ...] = ()
    more: tuple[tuple[str, str, str], ...] = ()  # (namespace, device, prefix of further addresses)
    narrow: tuple[tuple[str, str], ...] = ()  # (namespace, device) that lets only so much pass
    #: What no rule may give another destination: a tunnel's packets that are sent into the tunnel never end.
    spared: str = ""
    #: Changes that alone bring about what else is seldom seen; many states have one of these.
    rare: tuple[tuple[Change, ...], ...] = ()
    loops: tuple[tuple[Change, ...], ...] = ()  # the same, for what goes round
    family: int = 4
    built: str = ""  # the topology of walkbed or walkbed6, if it is not called as the bench is

    @property
    def wiring(self) -> str:
        """The topology that is built."""
        return self.built or self.topology


def _route(netns: str, words: str) -> Change:
    return Change(netns, f"ip route add {words}", f"ip route del {words}")


def _rule(netns: str, words: str) -> Change:
    return Change(netns, f"ip rule add {words}", f"ip rule del {words}")


def _address(netns: str, words: str) -> Change:
    return Change(netns, f"ip addr add {words}", f"ip addr del {words}")


def _sysctl(netns: str, name: str, value: str, usual: str) -> Change:
    return Change(netns, f"sysctl -qw {name}={value}", f"sysctl -qw {name}={usual}")


def _strict(netns: str, *changes: Change) -> tuple[Change, ...]:
    """Strict reverse paths in a namespace, and what makes them matter."""
    return (_sysctl(netns, "net.ipv4.conf.all.rp_filter", "1", "0"), *changes)


def _mtu(netns: str, device: str, value: int, usual: int = 1500) -> Change:
    return Change(netns, f"ip link set {device} mtu {value}", f"ip link set {device} mtu {usual}")


def _port(netns: str, port: str, words: str, usual: str) -> Change:
    return Change(netns, f"bridge link set dev {port} {words}", f"bridge link set dev {port} {usual}")


def _neighbour(netns: str, address: str, device: str) -> Change:
    return Change(
        netns,
        f"ip neigh replace {address} lladdr 02:00:00:00:00:99 dev {device} nud permanent",
        f"ip neigh del {address} dev {device}",
    )


def _link_down(netns: str, device: str, *routes: str) -> Change:
    """A device that is down, and its routes anew once it is up."""
    again = "".join(f"\nip route replace {route}" for route in routes)
    return Change(netns, f"ip link set {device} down", f"ip link set {device} up{again}")


def _table(netns: str, rule: str, *routes: str, table: int) -> Change:
    """A policy rule to a table of its own."""
    made = "\n".join(f"ip route add {route} table {table}" for route in routes)
    return Change(
        netns,
        f"{made}\nip rule add {rule} lookup {table}",
        f"ip rule del {rule} lookup {table}\nip route flush table {table}",
    )


_FILTERS = ("0", "1", "2")
_SWITCH = ("0", "1")


def _device_sysctls(netns: str, *devices: str) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for device in ("all", *devices):
        prefix = f"net.ipv4.conf.{device.replace('.', '/')}"
        found += [
            (netns, f"{prefix}.rp_filter", _FILTERS),
            (netns, f"{prefix}.accept_local", _SWITCH),
            (netns, f"{prefix}.route_localnet", _SWITCH),
            (netns, f"{prefix}.src_valid_mark", _SWITCH),
            (netns, f"{prefix}.send_redirects", _SWITCH),
        ]
        if device != "all":
            found.append((netns, f"{prefix}.forwarding", _SWITCH))
    return tuple(found)


def _common(netns: str) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    return (
        (netns, "net.ipv4.ip_forward", ("1", "0")),
        (netns, "net.ipv4.fwmark_reflect", _SWITCH),
        (netns, "net.ipv4.tcp_fwmark_accept", _SWITCH),
        (netns, "net.ipv4.icmp_echo_ignore_all", _SWITCH),
        (netns, "net.ipv4.icmp_errors_use_inbound_ifaddr", _SWITCH),
        (netns, "net.netfilter.nf_conntrack_tcp_loose", _SWITCH),
        (netns, "net.netfilter.nf_conntrack_tcp_be_liberal", _SWITCH),
        (netns, "net.ipv4.ip_default_ttl", ("64", "3")),
    )


ROUTER = Bench(
    topology="router",
    weight=4,
    under_test=("r", "r", "r", "server", "client"),
    calls=(
        *(
            ("client", dst, proto, port)
            for dst in ("10.2.0.2", "10.2.0.1", "10.1.0.1", "10.99.0.1")
            for proto, port in (("udp", 7), ("udp", 9), ("tcp", 80), ("tcp", 81), ("icmp", None))
        ),
        ("client", "10.2.0.77", "udp", 7),
        ("client", "9.9.9.9", "udp", 7),
        ("client", "10.1.0.2", "udp", 7),
        ("client", "127.0.0.1", "udp", 7),
        ("client", "10.2.0.3", "tcp", 80),
        ("server", "10.1.0.1", "udp", 7),
        ("server", "10.1.0.2", "icmp", None),
        ("server", "10.99.0.1", "tcp", 80),
        ("r", "10.2.0.2", "udp", 7),
        ("r", "10.2.0.2", "tcp", 80),
        ("r", "10.2.0.2", "icmp", None),
        ("r", "10.1.0.1", "udp", 7),
        ("r", "10.99.0.1", "tcp", 80),
        ("r", "10.1.0.2", "udp", 7),
        ("r", "127.0.0.1", "tcp", 80),
        ("r", "127.0.0.1", "udp", 9),
        ("r", "10.1.0.2", "tcp", 80),
    ),
    sysctls=(*_common("r"), *_device_sysctls("r", "c", "s"), *_device_sysctls("server", "eth0")),
    menu=(
        _route("r", "blackhole 10.2.0.2/32"),
        _route("r", "unreachable 10.2.0.2/32"),
        _route("r", "prohibit 10.2.0.2/32"),
        _route("r", "throw 10.2.0.2/32"),
        _route("r", "10.99.0.0/24 via 10.2.0.2"),
        _route("r", "10.2.0.2/32 dev c"),
        _route("r", "local 10.99.0.1/32 dev lo"),
        _route("r", "default via 10.2.0.2"),
        _route("r", "default via 10.1.0.2"),
        _route("r", "10.2.0.2/32 dev s tos 0x10"),
        _route("r", "10.2.0.2/32 via 10.2.0.2 dev s onlink mtu 600"),
        _route("r", "10.1.0.2/32 dev c src 10.2.0.1"),
        _route("client", "blackhole 10.2.0.0/16"),
        _route("client", "prohibit 10.99.0.0/24"),
        _route("client", "10.99.0.1/32 via 10.1.0.1 src 10.1.0.2"),
        _route("server", "unreachable 10.1.0.0/24"),
        _rule("r", "fwmark 0x1/0x1 prio 100 blackhole"),
        _rule("r", "to 10.2.0.2 prio 101 unreachable"),
        _rule("r", "from 10.1.0.2 prio 102 prohibit"),
        _rule("r", "iif c prio 103 lookup main suppress_prefixlength 0"),
        _rule("r", "tos 0x10 prio 104 blackhole"),
        _rule("r", "ipproto udp dport 7 prio 105 unreachable"),
        _rule("r", "not from 10.1.0.0/24 prio 106 lookup 77"),
        _rule("r", "prio 107 goto 32767"),
        _rule("client", "fwmark 0x10/0x10 prio 100 prohibit"),
        _table("r", "fwmark 0x2/0x2 prio 110", "default via 10.2.0.2", table=61),
        _table("r", "to 10.99.0.0/24 prio 111", "10.99.0.0/24 via 10.2.0.2", table=62),
        _table("r", "from 10.2.0.2 prio 112", "blackhole default", table=63),
        _table("r", "iif s prio 113", "throw 10.1.0.0/24", "prohibit default", table=64),
        _table("r", "oif s prio 114", "default dev s", table=65),
        _address("r", "10.2.0.3/24 dev s"),
        _address("r", "10.2.0.2/32 dev lo"),
        _address("r", "10.99.0.1/32 dev lo"),
        _address("server", "10.99.0.1/32 dev lo"),
        _address("server", "10.1.0.2/32 dev lo"),
        _address("client", "10.1.0.9/24 dev eth0"),
        _neighbour("r", "10.2.0.2", "s"),
        _neighbour("client", "10.1.0.1", "eth0"),
        Change("r", "ip link set s mtu 1000", "ip link set s mtu 1500"),
        Change("server", "ip link set eth0 mtu 900", "ip link set eth0 mtu 1500"),
        Change("server", "ip link set eth0 arp off", "ip link set eth0 arp on"),
        _link_down("server", "eth0", "default via 10.2.0.1"),
        (_neighbour("r", "10.2.0.2", "s"), _link_down("server", "eth0", "default via 10.2.0.1")),
        Change(
            "client",
            "sysctl -qw net.ipv4.conf.eth0.forwarding=1",
            "sysctl -qw net.ipv4.conf.eth0.forwarding=0",
        ),
        (
            Change(
                "client",
                "sysctl -qw net.ipv4.conf.eth0.forwarding=1",
                "sysctl -qw net.ipv4.conf.eth0.forwarding=0",
            ),
            _route("r", "10.99.0.0/24 via 10.1.0.2"),
        ),
    ),
    addresses=("10.1.0.2", "10.2.0.2", "10.1.0.1", "10.2.0.1", "10.99.0.1"),
    prefixes=("10.1.0.0/24", "10.2.0.0/16", "10.0.0.0/8", "10.99.0.0/24", "127.0.0.0/8"),
    devices=("c", "s", "lo", "c+", "eth0", "l", "eth"),  # the last two are only like others
    to=("10.2.0.2", "10.2.0.1", "10.1.0.1", "10.1.0.2", "127.0.0.1"),
    by=("10.2.0.1", "10.1.0.1", "10.99.0.7"),
    ports=("7", "9", "80"),
    more=(("client", "eth0", "10.1.0."), ("server", "eth0", "10.2.0.")),
    arrivals=(("r", "c", "client", "eth0"), ("r", "s", "server", "eth0"), ("server", "eth0", "r", "s")),
    rare=(
        (_neighbour("r", "10.2.0.2", "s"), _link_down("server", "eth0", "default via 10.2.0.1")),
        (_link_down("r", "s"),),
        (_mtu("r", "s", 640),),
        (_mtu("server", "eth0", 600), _mtu("r", "s", 640)),
        _strict("r", _route("r", "10.1.0.120/29 dev s"), _route("r", "10.1.0.128/28 via 10.2.0.2")),
        _strict("server", _route("server", "10.1.0.128/27 dev lo")),
    ),
    loops=(
        (
            _sysctl("client", "net.ipv4.conf.eth0.forwarding", "1", "0"),
            _route("r", "10.99.0.0/24 via 10.1.0.2"),
        ),
        (
            _sysctl("server", "net.ipv4.conf.eth0.forwarding", "1", "0"),
            _route("r", "default via 10.2.0.2"),
        ),
    ),
)

TWO_WAYS = Bench(
    topology="two-ways",
    weight=2,
    under_test=("r1", "r2", "client", "server"),
    calls=(
        *tuple(
            ("client", dst, proto, port)
            for dst in ("10.2.0.2", "10.4.0.2", "10.3.0.1", "10.2.0.1", "10.99.0.1")
            for proto, port in (("udp", 7), ("tcp", 80), ("icmp", None), ("tcp", 81))
        ),
        ("server", "10.1.0.2", "icmp", None),
        ("server", "10.3.0.2", "udp", 7),
        ("r1", "10.4.0.2", "tcp", 80),
    ),
    sysctls=(
        *_common("r1"),
        *_device_sysctls("r1", "c", "s"),
        *_device_sysctls("r2", "c", "s"),
        *_device_sysctls("server", "eth0", "eth1"),
        *_device_sysctls("client", "eth0", "eth1"),
    ),
    menu=(
        _route("client", "10.2.0.0/24 via 10.3.0.1"),
        _route("client", "10.4.0.2/32 via 10.3.0.1 src 10.1.0.2"),
        _route("client", "10.99.0.0/24 via 10.3.0.1"),
        _route("server", "10.1.0.0/24 via 10.4.0.1"),
        _route("server", "10.1.0.0/24 via 10.4.0.1 metric 5"),
        _route("server", "10.3.0.0/24 via 10.2.0.1"),
        _route("r1", "10.3.0.0/24 via 10.1.0.2"),
        _route("r2", "10.1.0.0/24 via 10.4.0.2"),
        _rule("server", "iif eth1 prio 90 blackhole"),
        _table("server", "from 10.4.0.2 prio 100", "default via 10.4.0.1", table=61),
        _table("client", "from 10.3.0.2 prio 100", "default via 10.3.0.1", table=61),
        _table("client", "fwmark 0x1/0x1 prio 101", "default via 10.3.0.1", table=62),
        _table("r1", "from 10.1.0.2 prio 102", "default via 10.1.0.2", table=63),
        _table("client", "ipproto tcp prio 103", "default via 10.3.0.1", table=64),
    ),
    addresses=("10.1.0.2", "10.2.0.2", "10.3.0.2", "10.4.0.2", "10.99.0.1"),
    prefixes=("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "10.0.0.0/8"),
    devices=("c", "s", "eth0", "eth1", "eth+", "eth"),
    to=("10.2.0.2", "10.4.0.2"),
    by=("10.2.0.1", "10.4.0.1", "10.1.0.2", "10.3.0.2"),
    ports=("7", "80"),
    more=(("client", "eth0", "10.1.0."),),
    arrivals=(("r1", "c", "client", "eth0"), ("r2", "s", "server", "eth1"), ("server", "eth1", "r2", "s")),
    rare=(
        _strict("server", _route("client", "10.2.0.0/24 via 10.3.0.1")),
        _strict("server", _route("client", "10.2.0.2/32 via 10.3.0.1 src 10.1.0.2")),
        _strict("client", _route("server", "10.1.0.0/24 via 10.4.0.1")),
        _strict("r2", _route("client", "10.2.0.2/32 via 10.3.0.1 src 10.1.0.2")),
        (_route("client", "10.2.0.0/24 via 10.3.0.1"), _link_down("r2", "s", "default via 10.4.0.2")),
        (_mtu("server", "eth0", 640), _mtu("r1", "s", 640)),
        (
            _sysctl("server", "net.ipv4.conf.all.forwarding", "1", "0"),
            _route("r1", "10.99.0.0/24 via 10.2.0.2"),
        ),
        (
            _sysctl("server", "net.ipv4.conf.all.forwarding", "1", "0"),
            _route("r1", "10.4.0.2/32 via 10.2.0.2"),
            _route("server", "10.99.0.0/24 via 10.2.0.1"),
        ),
    ),
)

PODS = Bench(
    topology="pods",
    weight=3,
    under_test=("node", "node", "node", "pod1", "pod1", "pod2"),
    calls=(
        *tuple(
            ("pod1", dst, proto, port)
            for dst in (
                "10.244.1.3",
                "10.244.1.1",
                "192.168.50.100",
                "10.96.0.1",
            )
            for proto, port in (("udp", 53), ("udp", 54), ("tcp", 9376), ("tcp", 80), ("icmp", None))
        ),
        ("pod1", "10.244.1.2", "udp", 53),
        ("pod1", "10.244.1.2", "tcp", 80),
        ("pod1", "10.244.1.77", "udp", 53),
        ("pod1", "10.244.1.77", "tcp", 80),
        ("node", "10.244.1.3", "udp", 53),
        ("node", "10.96.0.1", "tcp", 80),
        ("node", "10.96.0.1", "udp", 53),
        ("node", "192.168.50.11", "tcp", 9376),
        ("outside", "192.168.50.11", "tcp", 80),
        ("outside", "192.168.50.11", "udp", 53),
        ("outside", "192.168.50.11", "icmp", None),
    ),
    sysctls=(
        ("node", "net.bridge.bridge-nf-call-iptables", ("1", "0")),
        *_common("node"),
        *_device_sysctls("node", "cni0", "eth0"),
        *_device_sysctls("pod2", "eth0"),
    ),
    menu=(
        _route("node", "blackhole 10.96.0.0/16"),
        _route("node", "10.96.0.0/16 dev cni0"),
        _route("node", "unreachable 10.244.1.3/32"),
        _route("pod2", "prohibit 192.168.50.0/24"),
        _route("outside", "10.244.1.0/24 via 192.168.50.11"),
        _route("outside", "10.96.0.0/16 via 192.168.50.11"),
        _rule("node", "fwmark 0x1/0x1 prio 100 blackhole"),
        _rule("node", "iif cni0 prio 101 prohibit"),
        _address("node", "10.96.0.1/32 dev lo"),
        _address("node", "10.244.1.9/24 dev cni0"),
        Change("node", "bridge link set dev veth1 hairpin off", "bridge link set dev veth1 hairpin on"),
        Change(
            "node",
            "bridge link set dev veth1 isolated on\nbridge link set dev veth2 isolated on",
            "bridge link set dev veth1 isolated off\nbridge link set dev veth2 isolated off",
        ),
        Change("node", "bridge link set dev veth2 learning off", "bridge link set dev veth2 learning on"),
        Change("node", "bridge link set dev veth2 state 1", "bridge link set dev veth2 state 3"),
        Change("pod2", "ip link set eth0 mtu 800", "ip link set eth0 mtu 1500"),
        _link_down("pod2", "eth0", "default via 10.244.1.1"),
    ),
    addresses=("10.244.1.2", "10.244.1.3", "10.244.1.1", "192.168.50.100", "10.96.0.1", "192.168.50.11"),
    prefixes=("10.244.1.0/24", "192.168.50.0/24", "10.96.0.0/16", "10.0.0.0/8"),
    devices=("cni0", "eth0", "lo", "cni+", "cni"),
    to=("10.244.1.3", "10.244.1.4", "10.244.1.1", "10.244.1.2", "192.168.50.100"),
    by=("10.244.1.1", "192.168.50.11"),
    ports=("53", "54", "9376"),
    physdevs=("veth1", "veth2", "veth+"),
    more=(("outside", "eth0", "192.168.50."), ("pod1", "eth0", "10.244.1.")),
    arrivals=(("node", "eth0", "outside", "eth0"),),
    rare=(
        (_port("node", "veth1", "hairpin off", "hairpin on"),),
        (
            _port("node", "veth1", "isolated on", "isolated off"),
            _port("node", "veth2", "isolated on", "isolated off"),
        ),
        (_port("node", "veth2", "state 1", "state 3"),),
        (_mtu("pod2", "eth0", 640), _mtu("node", "veth2", 640)),
        (_mtu("node", "veth2", 640),),
        (_mtu("node", "eth0", 640), _mtu("outside", "eth0", 640)),
        (_link_down("pod2", "eth0", "default via 10.244.1.1"),),
        (
            _route("outside", "10.99.0.0/24 via 192.168.50.11"),
            _route("outside", "10.244.1.0/24 via 192.168.50.11"),
        ),
        _strict(
            "node",
            _route("outside", "10.244.1.0/24 via 192.168.50.11"),
            _route("node", "192.168.50.128/27 dev cni0"),
        ),
        (
            _sysctl("outside", "net.ipv4.conf.all.forwarding", "1", "0"),
            _route("node", "10.96.0.0/16 via 192.168.50.100"),
            _route("outside", "10.96.0.0/16 via 192.168.50.11"),
        ),
    ),
)

_NO_FAR_END = Change(
    "node1",
    "mac=$(bridge fdb show dev flannel.1 | awk '/dst 192.168.50.12/ {print $1}'); "
    "bridge fdb del $mac dev flannel.1 dst 192.168.50.12; ip link set flannel.1 alias $mac",
    "bridge fdb add $(cat /sys/class/net/flannel.1/ifalias) dev flannel.1 dst 192.168.50.12",
)

VXLAN = Bench(
    topology="vxlan",
    weight=2,
    under_test=("node1", "node2", "node1", "pod2"),
    calls=(
        *tuple(
            (source, dst, proto, port)
            for source, dst in (("pod1", "10.244.2.2"), ("node1", "10.244.2.2"), ("pod2", "10.244.1.2"))
            for proto, port in (("udp", 53), ("tcp", 9376), ("icmp", None), ("udp", 54))
        ),
        ("pod1", "192.168.50.12", "icmp", None),
        ("pod1", "10.244.2.1", "icmp", None),
    ),
    sysctls=(
        *_common("node1"),
        *_device_sysctls("node1", "cni0", "eth0", "flannel.1"),
        *_device_sysctls("node2", "cni0", "eth0", "flannel.1"),
    ),
    menu=(
        _route("node2", "blackhole 10.244.1.2/32"),
        _rule("node1", "to 10.244.2.0/24 prio 100 unreachable"),
        _rule("node1", "ipproto udp dport 8472 prio 101 blackhole"),
        _neighbour("node2", "192.168.50.11", "eth0"),
        Change("node2", "ip link set flannel.1 mtu 600", "ip link set flannel.1 mtu 1450"),
        _NO_FAR_END,
    ),
    addresses=("10.244.1.2", "10.244.2.2", "10.244.1.0", "192.168.50.11", "192.168.50.12"),
    prefixes=("10.244.1.0/24", "10.244.2.0/24", "192.168.50.0/24", "10.0.0.0/8"),
    devices=("cni0", "eth0", "flannel.1", "flannel+"),
    to=("10.244.2.2", "10.244.1.2"),
    by=("10.244.1.0", "10.244.2.0", "192.168.50.11"),
    ports=("53", "54", "8472", "9376"),
    more=(("pod1", "eth0", "10.244.1."), ("pod2", "eth0", "10.244.2.")),
    arrivals=(("node1", "eth0", "wire", "port1"),),
    narrow=(("wire", "port1"), ("wire", "port2")),
    spared="-p udp -m udp --dport 8472",
    rare=(
        (_NO_FAR_END,),
        (_mtu("node2", "flannel.1", 600, 1450), _mtu("node1", "flannel.1", 600, 1450)),
        (_mtu("wire", "port1", 640),),
        (_mtu("pod2", "eth0", 640, 1450),),
        (_link_down("node2", "flannel.1", "10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink"),),
        (_link_down("node2", "eth0"),),
        _strict("node2", _route("node2", "10.244.1.128/27 dev eth0")),
        (_route("node2", "10.244.1.2/32 via 192.168.50.11"),),
    ),
)

BENCHES4 = (ROUTER, TWO_WAYS, PODS, VXLAN)
