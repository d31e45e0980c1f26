"""
ipsets of every type against the kernel: rules that test them count what the walk says.

Many tests of many sets stand in one chain of a router, and one exchange goes through it.
"""

import shutil
from collections.abc import Iterator

import pytest

from tests.kernel.bed import Bed
from tests.kernel.test_walk_matches import compared
from tests.kernel.walkbed import TOPOLOGIES, Net

both_backends = pytest.mark.parametrize("backend", ["nft", "legacy"])

#: Type and options -> entries, and the sides that it is asked with.
SETS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "ips": ("hash:ip", ("10.1.0.2", "10.9.9.9"), ("src", "dst", "src,dst")),
    "masked": ("hash:ip netmask 24", ("10.1.0.0", "10.3.0.0"), ("src", "dst")),
    "timed": (
        "hash:ip timeout 600 counters comment skbinfo",
        ("10.1.0.2", "10.9.9.9 timeout 0"),
        ("src", "dst"),
    ),
    "ports": (
        "hash:ip,port",
        ("10.2.0.2,udp:7", "10.2.0.2,icmp:8/0", "10.2.0.2,tcp:80"),
        ("dst,dst", "src,src", "src,dst", "dst"),
    ),
    "wider": (
        "hash:ip,port",
        ("10.2.0.2,udp:5-9", "10.2.0.2,icmp:echo-reply"),
        ("dst,dst", "src,src", "dst,src"),
    ),
    "others": ("hash:ip,port", ("10.2.0.2,gre:0", "10.2.0.2,sctp:7"), ("dst,dst", "src,src")),
    "three": (
        "hash:ip,port,ip",
        ("10.2.0.2,udp:7,10.1.0.2", "10.2.0.2,tcp:80,10.1.0.2"),
        ("dst,dst,src", "src,src,dst", "dst,dst,dst", "dst,dst"),
    ),
    "portnet": (
        "hash:ip,port,net",
        ("10.2.0.2,udp:7,10.0.0.0/8", "10.2.0.2,udp:7,10.1.0.0/24 nomatch", "10.2.0.2,tcp:80,10.1.0.0/24"),
        ("dst,dst,src", "src,src,dst", "dst,dst,dst"),
    ),
    "nets": ("hash:net", ("10.0.0.0/8", "10.2.0.0/16 nomatch", "10.2.0.0/24"), ("src", "dst")),
    "holes": (
        "hash:net",
        ("10.0.0.0/8", "10.2.0.0/16 nomatch"),
        ("src", "dst", "src --return-nomatch", "dst --return-nomatch"),
    ),
    "netport": (
        "hash:net,port",
        ("10.2.0.0/24,udp:7", "10.2.0.0/24,tcp:80", "10.0.0.0/8,icmp:8/0"),
        ("dst,dst", "src,src", "src,dst"),
    ),
    "ifaces": (
        "hash:net,iface",
        ("10.1.0.0/24,c", "10.2.0.0/24,s", "10.2.0.0/24,physdev:c"),
        ("src,src", "dst,dst", "src,dst", "dst,src", "src"),
    ),
    "wild": (
        "hash:net,iface",
        ("10.0.0.0/8,c wildcard", "10.2.0.0/24,x wildcard"),
        ("src,src", "dst,dst", "src,dst", "dst,src"),
    ),
    "bits": ("bitmap:ip range 10.1.0.0-10.1.0.255", ("10.1.0.2", "10.1.0.9"), ("src", "dst")),
    "bitnets": ("bitmap:ip range 10.0.0.0-10.9.255.255 netmask 24", ("10.1.0.0", "10.3.0.0"), ("src", "dst")),
    "bitports": ("bitmap:port range 0-1000", ("7", "80-90"), ("src", "dst")),
    "list": ("list:set", ("holes", "ports", "bitports"), ("src", "dst", "src,src", "dst,dst")),
    "lonely": ("list:set", (), ("src", "dst")),
    "six": ("hash:ip family inet6", ("fd00::1",), ()),
}


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """The router with all sets."""
    bed = Bed()
    found = Net(bed)
    try:
        TOPOLOGIES["router"](found)
        mac = found.mac("client", "eth0")
        sets = {
            **SETS,
            "macs": (
                "bitmap:ip,mac range 10.1.0.0-10.1.0.255",
                (f"10.1.0.2,{mac}", "10.1.0.9"),
                ("src,src",),
            ),
            "wrong": (
                "bitmap:ip,mac range 10.1.0.0-10.1.0.255",
                ("10.1.0.2,02:00:00:00:00:99",),
                ("src,src",),
            ),
        }
        lines = [f"create {name} {kind}" for name, (kind, _, _) in sets.items()]
        lines += [f"add {name} {entry}" for name, (_, entries, _) in sets.items() for entry in entries]
        found["r"].run("ipset", "restore", stdin="\n".join(lines) + "\n")
        yield found
    finally:
        found.close()
        bed.close()


@both_backends
@pytest.mark.parametrize(("proto", "port"), [("udp", 7), ("tcp", 80), ("icmp", None)])
def test_sets(net: Net, backend: str, proto: str, port: int | None) -> None:
    """Each set has the packets that the walk says it has, on all sides it is asked for."""
    if shutil.which(f"iptables-{backend}-restore") is None:
        pytest.skip(f"needs iptables-{backend}")
    rules = [
        f"-m set {negation}--match-set {name} {side}"
        for name, (_, _, sides) in SETS.items()
        for side in sides
        for negation in ("", "! ")
    ]
    rules += [f"-m set --match-set {name} src,src" for name in ("macs", "wrong")]
    rules += ["-m set --match-set ips src ! --update-counters", "-m set --match-set ips dst --packets-gt 5"]
    wrong = []
    seen_yes: set[int] = set()
    seen_no: set[int] = set()
    for chain in ("PREROUTING", "FORWARD"):
        given = [rule for rule in rules if chain == "FORWARD" or "iface" not in rule]
        different, yes, no, left_open = compared(
            net, backend, net.flow("client", "10.2.0.2", port, proto), "mangle", chain, given
        )
        wrong += different
        wrong += [
            f"{given[number - 1]}: left open" for number in left_open if "packets" not in given[number - 1]
        ]
        seen_yes |= yes
        seen_no |= no
    assert not wrong, "\n".join(wrong)
    assert len(seen_yes) > 20
    assert len(seen_no) > 20
