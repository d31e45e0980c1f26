"""Matches and targets that are kept as text: yes, no, or that it cannot be told."""

import pytest
from msgspec.structs import replace

from nettrace.model.packet import Packet
from nettrace.walk.skb import BROADCAST
from tests.walk.test_matches import answer, connection, packet, port

MAC = "02:00:00:00:00:05"


def six(**fields: object) -> Packet:
    """A SYN over IPv6."""
    return packet(**{"src": "fd00::2", "dst": "fd01::2", **fields})


def udp(**fields: object) -> Packet:
    """A datagram of 60 bytes to port 53."""
    return packet(**{"proto": "udp", "tcp_flags": frozenset(), "dport": port(53), **fields})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("-m ah --ahspi 5", False),
        ("-p ah -m ah --ahspi 5", False),
        ("-m dscp --dscp 0x00", True),
        ("-m dscp --dscp-class ef", False),
        ("-m dscp ! --dscp-class CS0", False),
        ("-m tos --tos 0x10/0xff", False),
        ("-m tos ! --tos Minimize-Delay", True),
        ("-m ttl --ttl-eq 64", True),
        ("-m ttl ! --ttl-eq 64", False),
        ("-m ttl --ttl-lt 64", False),
        ("-m ttl --ttl-gt 5", True),
        ("-m ecn --ecn-ip-ect 0", True),
        ("-m ecn ! --ecn-ip-ect 0", False),
        ("-p tcp -m ecn --ecn-tcp-cwr", False),
        ("-p tcp -m ecn ! --ecn-tcp-cwr ! --ecn-tcp-ece", True),
        ("-p tcp -m ecn ! --ecn-tcp-cwr --ecn-tcp-ece --ecn-ip-ect 0", False),
        ("-m length --length 60", True),
        ("-m length ! --length 60", False),
        ("-m length --length 61:", False),
        ("-m length --length :59", False),
        ("-m iprange --src-range 10.1.0.1-10.1.0.3", True),
        ("-m iprange ! --src-range 10.1.0.1-10.1.0.3", False),
        ("-m iprange --src-range 10.1.0.2 --dst-range 10.2.0.3-10.2.0.9", False),
        ("-m iprange --src-range fd00::1-fd00::9", False),
        ("-m pkttype --pkt-type unicast", True),
        ("-m pkttype ! --pkt-type broadcast", True),
        ("-m devgroup --src-group 0x0", True),
        ("-m devgroup --src-group default ! --dst-group 7", True),
        ("-m devgroup --src-group 0x5/0xf", False),
        ("-p tcp -m tcpmss --mss 1460", True),
        ("-p tcp -m tcpmss ! --mss 1000:1500", False),
        ("-m u32 --u32 0x6&0xff=0x6", True),
        ("-m u32 --u32 6&0xFF=1,17", False),
        ("-m u32 ! --u32 6&0xFF=1,17", True),
        ("-m u32 --u32 0>>22&0x3C@0&0xFFFF=80", True),
        ("-m u32 --u32 0>>22&0x3C@12>>16&0x3F=0x02", True),
        ("-m u32 --u32 0>>28=4&&8>>24=60:64", True),
        ("-m u32 --u32 0>>28=4&&8>>24=0:9", False),
        ("-m u32 --u32 100=1:0xffffffff", False),
        ("-m u32 --u32 0<<4=0x50000000:0x5fffffff", True),
        ('-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"', True),
        ('-m bpf --bytecode "4,48 0 0 9,21 0 1 17,6 0 0 1,6 0 0 0"', False),
        # the destination port, through the header's length in X
        ('-m bpf --bytecode "5,177 0 0 0,72 0 0 2,21 0 1 80,6 0 0 65535,6 0 0 0"', True),
        # length, arithmetic, memory, moves between A and X
        ('-m bpf --bytecode "6,128 0 0 0,20 0 0 20,2 0 0 3,96 0 0 3,21 0 1 40,6 0 0 1,6 0 0 0"', None),
        ("-m string --algo bm --string GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG", False),
        ("-m string --algo bm ! --string GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG", True),
        ("-m string --algo bm --hex-string |0a0100020a02|", True),
        ("-m owner --uid-owner 5", False),
        ("-m owner ! --uid-owner 5", True),
        ("-m owner ! --uid-owner 5 --socket-exists", False),
        ("-m cgroup --cgroup 5", False),
        ("-m cgroup ! --cgroup 5", False),
        ("-m policy --dir in --pol none", True),
        ("-m policy --dir in --pol ipsec --mode tunnel --tunnel-src 1.1.1.1/32", False),
        ("-m quota --quota 59", False),
        ("-m quota ! --quota 59", True),
        ("-m connbytes --connbytes 5 --connbytes-mode bytes --connbytes-dir both", False),
        ("-m connlabel --label 5", False),
        ("-m connlabel ! --label 5", True),
        ("-m helper --helper ftp", False),
        ("-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 1", False),
        ("-m connlimit --connlimit-above 0", True),
        ("-m connlimit --connlimit-upto 0", False),
        ("-m connlimit --connlimit-upto 9 --connlimit-mask 24", True),
        ("-m connlimit --connlimit-above 9 --connlimit-daddr", False),
        ("-m recent --name a --set -m recent --name a --rcheck --seconds 5", True),
        ("-m recent --name a --set -m recent --name a ! --update", False),
        ("-m recent --name a --set -m recent --name a --remove", True),
        ("-m recent --name b --set -m recent --name b --rcheck --hitcount 3", False),
    ],
)
def test_a_syn_that_is_forwarded(spec: str, expected: bool | None) -> None:
    """A SYN of 60 bytes from 10.1.0.2 to 10.2.0.2:80 that passes through r; None: a broken program."""
    found = answer(spec, mss=1460)
    if expected is None:
        assert isinstance(found, str)
    else:
        assert found is expected


@pytest.mark.parametrize(
    ("spec", "about"),
    [
        ("-m cpu --cpu 0", "CPU"),
        ("-m hashlimit --hashlimit-upto 5/sec --hashlimit-name x", "hashlimit"),
        ("-p tcp -m osf --genre Linux", "fingerprints"),
        ("-m rateest --rateest x --rateest-lt --rateest-pps 5", "rates"),
        ("-m realm --realm 5", "realms"),
        ("-m time --timestart 10:00", "when"),
        ("-m quota --quota 60", "quota"),
        ("-m bpf --object-pinned /sys/fs/bpf/x", "pinned"),
        ("-m u32 --u32 4>>16=1", "u32"),
        ("-m u32 --u32 0>>22&0x3C@4&0xFF000000@0=1", "u32"),
        ('-m bpf --bytecode "4,40 0 0 4,21 0 1 6,6 0 0 1,6 0 0 0"', "program"),
        ('-m bpf --bytecode "3,40 0 0 4,7 0 0 0,80 0 0 0"', "program"),
        ('-m bpf --bytecode "2,48 0 0 4294963200,6 0 0 1"', "no part"),
        ('-m bpf --bytecode "9,6 0 0 1"', "not understood"),
        ('-m bpf --bytecode "1,0 0 0 1"', "not understood"),
        ('-m bpf --bytecode "2,224 0 0 1,6 0 0 1"', "not understood"),
        ("-m u32 --u32 nothing", "not understood"),
        ('-m string --algo bm --string "\\r"', "string"),
        ("-m dscp --dscp-class XX", "not understood"),
        ("-m mac --mac-source 02:00:00:00:00:05", "MAC"),
        ("-m l2tp --tid 5", "not understood"),
        ("-m connlimit --connlimit-saddr", "not understood"),
        ("-m cluster --cluster-total-nodes 2", "not understood"),
    ],
)
def test_what_stays_open(spec: str, about: str) -> None:
    """Clocks, counters, other CPUs, bytes that nobody knows, and values that make no sense."""
    found = answer(spec, mss=1460, conn=connection())
    assert isinstance(found, str)
    assert about in found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("-m mac --mac-source 02:00:00:00:00:05", True),
        ("-m mac --mac-source 02:00:00:00:00:06", False),
        ("-m mac ! --mac-source 02:00:00:00:00:06", True),
    ],
)
def test_the_frame_s_sender(spec: str, expected: bool) -> None:
    """The MAC address of a frame that came in is known; what is sent has none."""
    assert answer(spec, source_mac=MAC) is expected
    assert answer(spec, source_mac=MAC, hook="output") is expected


def test_a_frame_to_everybody() -> None:
    """A broadcast frame's packet is no unicast."""
    assert answer("-m pkttype --pkt-type broadcast", dest_mac=BROADCAST) is True
    assert answer("-m pkttype --pkt-type unicast", dest_mac=BROADCAST) is False


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("-m hl --hl-eq 64", True),
        ("-m hl --hl-lt 5", False),
        ("-m dst --dst-len 8", False),
        ("-m hbh ! --hbh-len 8", False),
        ("-m frag --fragfirst", False),
        ("-m rt --rt-type 0", False),
        ("-m srh --srh-next-hdr 6", False),
        ("-m mh --mh-type 5", False),
        ("-m ipv6header --header prot", True),
        ("-m ipv6header ! --header prot", False),
        ("-m ipv6header --header frag,prot", False),
        ("-m ipv6header --header frag,prot --soft", False),
        ("-m ipv6header --header prot --soft", True),
        ("-m ipv6header ! --header prot --soft", False),
        ("-m eui64", False),
        ("-m iprange --src-range fd00::1-fd00::5", True),
        ("-m iprange --src-range 10.0.0.0-11.0.0.0", False),
        ("-m u32 --u32 4>>8&0xFF=6", True),
        ("-m u32 --u32 8=0xfd000000", True),
        ("-m u32 --u32 4>>16=20", True),
        ("-m length --length 60", True),
        ("-m connlimit --connlimit-above 9 --connlimit-mask 64", False),
        ("-m multiport --dports 80", True),
    ],
)
def test_a_syn_over_ipv6(spec: str, expected: bool) -> None:
    """What ip6tables' matches say of a SYN from fd00::2 to fd01::2."""
    assert answer(spec, six(), mss=1440, source_mac=MAC) is expected


def test_an_identifier_made_of_a_mac() -> None:
    """eui64 holds for the source that the frame's sender gave itself."""
    assert answer("-m eui64", six(src="fd00::ff:fe00:5"), source_mac=MAC) is True
    assert isinstance(answer("-m eui64", six()), str)
    assert answer("-m icmp6 --icmpv6-type 128", six(proto="icmpv6", icmp_type=128, icmp_code=0)) in (
        True,
        False,
    )


@pytest.mark.parametrize(
    ("spec", "sent", "expected"),
    [
        ("-m tcpmss --mss 5", udp(), False),
        ("-m tcpmss ! --mss 5", packet(tcp_flags=frozenset({"ACK"})), True),
        ("-m ecn --ecn-tcp-cwr", udp(), False),
        ("-m osf --genre Linux", udp(), False),
        ("-m length --length 60", udp(), True),
        ("-m u32 --u32 0>>22&0x3C@4>>16=40", udp(), True),
        ("-m u32 --u32 0>>22&0x3C@0>>24=8", packet(proto="icmp", icmp_type=8, sport=None, dport=None), True),
        ("-p esp -m esp --espspi 5", packet(proto="esp", sport=None, dport=None), None),
        ("-m ipcomp", packet(proto="ipcomp", sport=None, dport=None), True),
        ("-m u32 --u32 6&0xFF=51", packet(proto="51", sport=None, dport=None), True),
    ],
)
def test_other_protocols(spec: str, sent: Packet, expected: bool | None) -> None:
    """Tests of one protocol's fields are false for another's; what is not modelled is open."""
    found = answer(spec, sent)
    assert isinstance(found, str) if expected is None else found is expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("-m connlabel --label 5 --set -m connlabel --label 5", True),
        ("-m connlabel ! --label 5 --set", False),
        ("-m connlabel --label 5", False),
        ("-m helper ! --helper ftp", True),
        ("-m cluster --cluster-total-nodes 1 --cluster-local-node 1 --cluster-hash-seed 1", True),
        ("-m cluster --cluster-total-nodes 4 --cluster-local-nodemask 15", True),
        ("-m cluster --cluster-total-nodes 4 ! --cluster-local-nodemask 15", False),
    ],
)
def test_connections(spec: str, expected: bool) -> None:
    """Labels, clusters and helpers of a new connection."""
    assert answer(spec, conn=connection(), state="NEW") is expected


@pytest.mark.parametrize(
    "spec",
    [
        "-m connlabel --label 5",
        "-m helper --helper ftp",
        "-m connbytes --connbytes 5 --connbytes-mode bytes --connbytes-dir both",
    ],
)
def test_connections_of_the_table(spec: str) -> None:
    """What a dump of conntrack does not show of a connection is open."""
    assert isinstance(answer(spec, conn=connection(listed=True), state="ESTABLISHED"), str)


def test_whose_socket_it_is() -> None:
    """A socket's owner and group are open; that it exists is certain."""
    assert answer("-m owner --socket-exists", own=True, hook="output") is True
    assert answer("-m owner ! --socket-exists", own=True, hook="output") is False
    assert isinstance(answer("-m owner --uid-owner 5", own=True, hook="output"), str)
    assert isinstance(answer("-m cgroup --cgroup 5", own=True, hook="output"), str)


@pytest.mark.parametrize(
    ("spec", "by_kernel", "expected"),
    [
        ("--socket-exists", True, True),
        ("! --socket-exists", True, False),
        ("--socket-exists ! --uid-owner 5", True, True),
        ("--uid-owner 5", True, False),
        ("--socket-exists", False, False),
        ("! --socket-exists", False, True),
        ("! --uid-owner 5", False, True),
    ],
)
def test_the_kernel_s_own_socket_has_no_owner(spec: str, by_kernel: bool, expected: bool) -> None:
    """A socket without a file is there, and is nobody's; no socket is not there, and nobody's too."""
    assert answer(f"-m owner {spec}", by_kernel=by_kernel, hook="output") is expected


def test_sockets() -> None:
    """Nobody in r listens at port 80, so that -m socket finds none for a packet on its way."""
    assert answer("-m socket") is False
    assert answer("-m socket --transparent", udp()) is False
    assert answer("-m socket", packet(proto="icmp", icmp_type=8, sport=None, dport=None)) is False
    error = packet(proto="icmp", icmp_type=3, icmp_code=3, sport=None, dport=None)
    assert answer("-m socket", error) is False
    assert answer("-m socket", replace(error, inner=udp())) is False
    assert answer("-m socket", replace(error, inner=packet(proto="icmp", sport=None, dport=None))) is False
