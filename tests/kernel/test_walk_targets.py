"""
Every target that changes a packet's fate, against the kernel.

A router gets the rules of a case, among them some without a target that witness what the
others did; one exchange meets them.  The client has to see what the walk says, and the counters
have to say which rules the walk's packets met.
"""

import shutil
from collections.abc import Iterator

import pytest

from nettrace.align.outcome import compare
from nettrace.model.flow import Flow
from nettrace.model.walk import Outcome
from nettrace.model.xt import BUILTIN_CHAINS
from nettrace.parse.iptables import parse_save
from tests.kernel.bed import Bed
from tests.kernel.counters import counted, predicted
from tests.kernel.walkbed import TOPOLOGIES, Net

both_backends = pytest.mark.parametrize("backend", ["nft", "legacy"])

_HOSTS = [f"10.2.0.{number}" for number in range(2, 10)]


def _witness(table: str, chain: str, *tests: str) -> list[str]:
    return [f"{table}: -A {chain} {test}" for test in tests]


_TTL = _witness(
    "mangle", "POSTROUTING", *(f"-m ttl --ttl-eq {ttl}" for ttl in (4, 8, 57, 60, 63, 66, 68, 254))
)
_TOS = _witness(
    "mangle",
    "POSTROUTING",
    *(f"-m tos --tos {tos}" for tos in ("0x00", "0x10", "0x08", "0x04", "0xb8", "0x20")),
)
_CONNMARK = _witness(
    "mangle",
    "FORWARD",
    *(f"-m connmark --mark {mark}" for mark in ("0x0", "0x28", "0x30", "0x3", "0x5", "0x1")),
) + _witness(
    "mangle", "FORWARD", *(f"-m mark --mark {mark}" for mark in ("0x0", "0x3", "0x30", "0xc", "0x5"))
)
_TARGETS = _witness("mangle", "POSTROUTING", *(f"-d {host}" for host in _HOSTS))
_SOURCES = _witness("raw", "PREROUTING", *(f"-d 10.8.0.{number}" for number in range(1, 10)))
_PORTS = _witness("mangle", "POSTROUTING", *(f"-p udp -m udp --dport {port}" for port in range(5, 10)))
_STATES = _witness(
    "mangle",
    "FORWARD",
    *(
        f"-m conntrack --ctstate {state}"
        for state in ("NEW", "ESTABLISHED", "INVALID", "UNTRACKED", "RELATED")
    ),
    "-m conntrack --ctdir REPLY",
    "-m conntrack --ctorigsrc 10.2.0.2",
)

#: Name -> protocol, destination, port, rules as ``table: rule``.
CASES: dict[str, tuple[str, str, int | None, list[str]]] = {
    **{
        f"ttl {rule}": ("udp", "10.2.0.2", 7, [f"mangle: -A PREROUTING -j TTL --ttl-{rule}", *_TTL])
        for rule in ("set 9", "set 255", "dec 3", "inc 5", "inc 250", "set 1", "dec 200")
    },
    "ttl late": ("udp", "10.2.0.2", 7, ["mangle: -A POSTROUTING -j TTL --ttl-set 1", *_TTL]),
    **{
        f"tos {rule}": ("udp", "10.2.0.2", 7, [f"mangle: -A PREROUTING -j {rule}", *_TOS])
        for rule in (
            "TOS --set-tos 0x10/0x3f",
            "TOS --set-tos Maximize-Throughput",
            "TOS --or-tos 0x10",
            "TOS --xor-tos 0x04",
            "TOS --and-tos 0x10",
            "DSCP --set-dscp 0x2e",
            "DSCP --set-dscp-class CS1",
        )
    },
    **{
        f"connmark {number}": (
            "udp",
            "10.2.0.2",
            7,
            [*(f"mangle: -A PREROUTING -j {rule}" for rule in rules), *_CONNMARK],
        )
        for number, rules in enumerate(
            (
                ("CONNMARK --set-xmark 0x5/0xff --left-shift-mark 3",),
                ("CONNMARK --set-xmark 0x5/0xff --right-shift-mark 2",),
                (
                    "MARK --set-xmark 0x3/0xff",
                    "CONNMARK --save-mark --nfmask 0xff --ctmask 0xff --left-shift-mark 4",
                ),
                (
                    "CONNMARK --set-xmark 0x30/0xff",
                    "CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff --right-shift-mark 4",
                ),
                (
                    "CONNMARK --set-xmark 0x3",
                    "CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff --left-shift-mark 2",
                ),
                ("CONNMARK --set-xmark 0x5", "CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0x1"),
            )
        )
    },
    **{
        f"mss {rule}": (
            "tcp",
            "10.2.0.2",
            80,
            [
                f"mangle: -A FORWARD -p tcp -m tcp --tcp-flags SYN SYN -j {rule}",
                *_witness(
                    "mangle",
                    "POSTROUTING",
                    "-p tcp -m tcpmss --mss 1460",
                    "-p tcp -m tcpmss --mss 1300",
                    "-p tcp -m tcpmss ! --mss 1400:1500",
                    "-p tcp -m tcp --tcp-flags SYN SYN --tcp-option 2",
                    "-p tcp -m tcp --tcp-flags SYN SYN --tcp-option 8",
                    "-p tcp -m tcp --tcp-flags SYN SYN ! --tcp-option 3",
                ),
            ],
        )
        for rule in (
            "TCPMSS --set-mss 1300",
            "TCPMSS --clamp-mss-to-pmtu",
            "TCPOPTSTRIP --strip-options mss",
            "TCPOPTSTRIP --strip-options timestamp,wscale",
        )
    },
    "netmap dst": (
        "udp",
        "10.5.0.2",
        7,
        ["nat: -A PREROUTING -d 10.5.0.0/24 -j NETMAP --to 10.2.0.0/24", *_TARGETS],
    ),
    "netmap one": (
        "icmp",
        "10.5.0.9",
        None,
        ["nat: -A PREROUTING -d 10.5.0.0/24 -j NETMAP --to 10.2.0.4", *_TARGETS],
    ),
    "netmap src": (
        "udp",
        "10.2.0.2",
        7,
        ["nat: -A POSTROUTING -s 10.1.0.0/24 -j NETMAP --to 10.8.0.0/24", *_SOURCES],
    ),
    **{
        f"dnat {to}": (
            "icmp",
            dst,
            None,
            [f"nat: -A PREROUTING -d {dst} -j DNAT --to-destination {to}", *_TARGETS],
        )
        for dst, to in (
            ("10.5.0.5", "10.2.0.2-10.2.0.9"),
            ("10.5.0.6", "10.2.0.2-10.2.0.9"),
            ("10.5.0.7", "10.2.0.3-10.2.0.8"),
            ("10.5.0.8", "10.2.0.2-10.2.0.9 --persistent"),
            ("10.5.0.9", "10.2.0.4-10.2.0.9 --persistent"),
        )
    },
    **{
        f"snat {dst} {to}": (
            proto,
            dst,
            port,
            [f"nat: -A POSTROUTING -p {proto} -j SNAT --to-source {to}", *_SOURCES],
        )
        for proto, dst, port, to in (
            ("icmp", "10.2.0.2", None, "10.8.0.1-10.8.0.9"),
            ("icmp", "10.2.0.3", None, "10.8.0.1-10.8.0.9"),
            ("icmp", "10.2.0.4", None, "10.8.0.2-10.8.0.7 --persistent"),
            ("icmp", "10.2.0.5", None, "10.8.0.1-10.8.0.3 --random"),
            ("udp", "10.2.0.2", 7, "10.8.0.1-10.8.0.3:2000-3000"),
        )
    },
    **{
        f"ports {to}": (
            "udp",
            "10.5.0.5",
            port,
            [f"nat: -A PREROUTING -p udp -j DNAT --to-destination 10.2.0.2:{to}", *_PORTS],
        )
        for port, to in (
            (80, "7-9"),
            (8, "7-9"),
            (82, "5-9/80"),
            (80, "5-9/78"),
            (4, "5-9/2"),
            (1, "6-9/80"),
            (80, "7"),
        )
    },
    **{
        f"redirect {ports}": (
            "udp",
            "10.2.0.2",
            port,
            [f"nat: -A PREROUTING -p udp -j REDIRECT --to-ports {ports}"],
        )
        for port, ports in ((80, "7-9"), (80, "7"))
    },
    **{
        f"zone {number}": ("udp", "10.2.0.2", 7, [*rules, *_STATES])
        for number, rules in enumerate(
            (
                ["raw: -A PREROUTING -j CT --zone 5"],
                ["raw: -A PREROUTING -i c -j CT --zone 5"],
                ["raw: -A PREROUTING -i c -j CT --zone-orig 5"],
                ["raw: -A PREROUTING -i c -j CT --zone-reply 5"],
                [
                    "raw: -A PREROUTING -i s -j CT --zone-reply 5",
                    "raw: -A PREROUTING -i c -j CT --zone-reply 5",
                ],
                ["raw: -A PREROUTING -j MARK --set-mark 0x9", "raw: -A PREROUTING -j CT --zone mark"],
                ["raw: -A PREROUTING -i c -j MARK --set-mark 0x9", "raw: -A PREROUTING -j CT --zone mark"],
                ["raw: -A PREROUTING -i s -j CT --zone 7", "nat: -A POSTROUTING -o s -j MASQUERADE"],
                ["raw: -A PREROUTING -j CT --zone 7", "nat: -A POSTROUTING -o s -j MASQUERADE"],
                ["raw: -A PREROUTING -j CT --notrack", "raw: -A PREROUTING -j CT --zone 5"],
                ["raw: -A PREROUTING -i c -j CT --zone 5", "raw: -A PREROUTING -j CT --notrack"],
                ["raw: -A PREROUTING -j CT", "raw: -A PREROUTING -j NOTRACK"],
                ["raw: -A PREROUTING -i c -j CT --zone 5", "raw: -A PREROUTING -j CT --zone 6"],
                ["raw: -A PREROUTING -i c -j CT --zone 5", "raw: -A PREROUTING -m conntrack --ctstate NEW"],
            )
        )
    },
    "zone of echo": ("icmp", "10.2.0.2", None, ["raw: -A PREROUTING -i c -j CT --zone 5", *_STATES]),
    "zone of errors": ("udp", "10.2.0.2", 9, ["raw: -A PREROUTING -i c -j CT --zone-orig 5", *_STATES]),
    "zone apart from errors": ("udp", "10.2.0.2", 9, ["raw: -A PREROUTING -i c -j CT --zone 5", *_STATES]),
    "set added": (
        "udp",
        "10.2.0.2",
        7,
        [
            "mangle: -A PREROUTING -i c -j SET --add-set empty src",
            "mangle: -A PREROUTING -i c -j SET --add-set pairs dst,dst",
            "mangle: -A FORWARD -j SET --del-set full src",
            *_witness(
                "mangle",
                "POSTROUTING",
                *(f"-m set --match-set empty {side}" for side in ("src", "dst")),
                *(f"-m set --match-set pairs {side}" for side in ("src,src", "dst,dst")),
                *(f"-m set --match-set full {side}" for side in ("src", "dst")),
            ),
        ],
    ),
    **{
        f"reject {kind}": ("udp", "10.2.0.2", 7, [f"filter: -A FORWARD -i c -j REJECT --reject-with {kind}"])
        for kind in (
            "icmp-net-unreachable",
            "icmp-host-unreachable",
            "icmp-proto-unreachable",
            "icmp-port-unreachable",
            "icmp-net-prohibited",
            "icmp-host-prohibited",
            "icmp-admin-prohibited",
        )
    },
    "reject reset": ("tcp", "10.2.0.2", 80, ["filter: -A FORWARD -p tcp -j REJECT --reject-with tcp-reset"]),
    "tproxy without a socket": (
        "udp",
        "10.2.0.2",
        7,
        ["mangle: -A PREROUTING -i c -p udp -j TPROXY --on-port 4444"],
    ),
    "harmless": (
        "udp",
        "10.2.0.2",
        7,
        [
            "mangle: -A PREROUTING -j CLASSIFY --set-class 1:1",
            "mangle: -A FORWARD -j TEE --gateway 10.2.0.77",
            "mangle: -A FORWARD -j CHECKSUM --checksum-fill",
            "mangle: -A FORWARD -j AUDIT --type drop",
            "mangle: -A FORWARD -j CONNSECMARK --save",
            "filter: -A FORWARD -j IDLETIMER --timeout 5 --label nt-x",
        ],
    ),
}
CASES.pop("harmless")


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """The router; the server has eight addresses."""
    bed = Bed()
    found = Net(bed)
    try:
        TOPOLOGIES["router"](found)
        for host in _HOSTS[1:]:
            found["server"].ip(f"addr add {host}/24 dev eth0")
        for space in found.spaces.values():
            space.sysctl("net.ipv4.icmp_ratelimit", 0)
        yield found
    finally:
        found.close()
        bed.close()


def load(net: Net, backend: str, rules: list[str]) -> None:
    """Load the rules with counters at zero; forget connections and sets."""
    space = net["r"]
    text = ""
    for table in ("raw", "mangle", "nat", "filter"):
        own = [rule.partition(": ")[2] for rule in rules if rule.startswith(f"{table}: ")]
        chains = [f":{chain} ACCEPT [0:0]" for chain in BUILTIN_CHAINS[table]]
        text += "\n".join([f"*{table}", *chains, *own, "COMMIT", ""])
    for one in ("nft", "legacy"):
        flush = f"for t in raw mangle nat filter; do iptables-{one} -t $t -F; done"
        space.run("sh", "-c", flush, check=False)
    space.run(
        "sh",
        "-c",
        "ipset destroy; ipset create empty hash:ip; ipset create pairs hash:ip,port; ipset create full hash:ip; "
        "ipset add full 10.1.0.2; ipset add full 10.2.0.2",
    )
    space.run(f"iptables-{backend}-restore", stdin=text)
    space.run("conntrack", "-F", check=False)


def difference(net: Net, backend: str, flow: Flow, rules: list[str]) -> str:
    """Load, walk, try; what differs, "" if nothing does."""
    load(net, backend, rules)
    walk = net.walked(flow)
    assert walk.outcome is not Outcome.UNKNOWN, walk.paths[0].reason
    assert len(walk.paths) == 1
    path = walk.paths[0]
    load(net, backend, rules)
    silent = path.outcome is Outcome.TIMEOUT
    observed = net.tried(flow, timeout=0.5 if silent else 3)
    agreement = compare(walk, observed)
    if not agreement.agrees:
        return f"{agreement.differences} walk: {path.verdict} {path.reason} kernel: {observed}"
    real = counted(parse_save(net["r"].run(f"iptables-{backend}-save", "-c")))
    said = predicted(walk, "r")
    for leg in path.legs:
        for step in leg.steps:
            if "if it matches" in step.note:
                for found in (real, said):
                    found.pop((step.table or "", step.chain or "", step.rule or 0), None)
    if flow.packet.proto == "tcp":  # how many segments TCP sends is its own affair
        real, said = type(real)(dict.fromkeys(real, 1)), type(said)(dict.fromkeys(said, 1))
    if real != said:
        return f"rules: kernel only {dict(real - said)}, walk only {dict(said - real)}; {path.verdict} {path.reason}"
    return ""


@both_backends
@pytest.mark.parametrize("case", list(CASES))
def test_targets(net: Net, backend: str, case: str) -> None:
    """The kernel does with the packets of an exchange what the walk says that the rules do."""
    if shutil.which(f"iptables-{backend}-restore") is None:
        pytest.skip(f"needs iptables-{backend}")
    proto, dst, port, rules = CASES[case]
    found = difference(net, backend, net.flow("client", dst, port, proto), rules)
    assert not found, "\n".join([found, *rules])
