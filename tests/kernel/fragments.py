"""
Pieces of iptables rules that are valid at a place, for tests that put rules together.

Lives here: every match and target of iptables 1.8.9 that this kernel takes and that needs no
object of another tool, true and false variants, with the tables, chains, protocols and families
it is good for.
Not here: putting them together, loading them, walking them.

Words in braces are filled in by who uses a piece: ``{src}`` and ``{dst}`` are the client's and the
server's address, ``{port}`` the server's port, ``{near}`` and ``{far}`` the router's devices
towards client and server, ``{mac}`` the MAC of the client's device, ``{other}`` an address
that belongs to nobody.
"""

from typing import NamedTuple

__all__ = ["ALL", "MATCHES", "TARGETS", "Fragment", "fitting"]

ALL = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_CAME_IN = ("PREROUTING", "INPUT", "FORWARD")


class Fragment(NamedTuple):
    """
    One piece; empty tuples mean that there is no restriction.

    ``open``: no state decides it, so a walk may say that it does not know.
    """

    text: str
    family: tuple[int, ...] = (4, 6)
    protos: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    open: bool = False


def fitting(
    pieces: tuple[Fragment, ...], *, family: int, table: str, chain: str, proto: str
) -> list[Fragment]:
    """Return the pieces that a rule of that place may have; *proto* is what its ``-p`` says, "" without."""
    return [
        one
        for one in pieces
        if family in one.family
        and (not one.protos or proto in one.protos)
        and (not one.tables or table in one.tables)
        and (not one.chains or chain in one.chains)
    ]


def _both(*texts: str, **more: object) -> tuple[Fragment, ...]:
    return tuple(Fragment(text, **more) for text in texts)  # type: ignore[arg-type]


_PORTS = ("tcp", "udp")
_MORE_PORTS = ("tcp", "udp", "sctp", "dccp", "udplite")
_V4, _V6 = (4,), (6,)

MATCHES: tuple[Fragment, ...] = (
    # the connection, which raw has not seen yet
    *_both(
        "-m conntrack --ctstate NEW",
        "-m conntrack ! --ctstate NEW",
        "-m conntrack --ctstate RELATED,ESTABLISHED",
        "-m conntrack --ctstate INVALID,UNTRACKED",
        "-m conntrack --ctstate DNAT",
        "-m conntrack ! --ctstate SNAT",
        "-m conntrack --ctdir ORIGINAL",
        "-m conntrack --ctdir REPLY",
        "-m conntrack --ctorigsrc {src}",
        "-m conntrack ! --ctorigsrc {src}",
        "-m conntrack --ctorigdst {dst}",
        "-m conntrack --ctreplsrc {other}",
        "-m conntrack ! --ctrepldst {src}",
        "-m conntrack --ctproto 17",
        "-m conntrack ! --ctproto 6",
        "-m conntrack --ctorigdstport {port}",
        "-m conntrack ! --ctorigdstport 1:6",
        "-m conntrack --ctreplsrcport {port}",
        "-m conntrack --ctstatus NONE",
        "-m conntrack ! --ctstatus NONE",
        "-m conntrack --ctstatus EXPECTED",
        "-m conntrack ! --ctstatus ASSURED",
        "-m conntrack --ctstatus CONFIRMED",
        "-m conntrack --ctstatus SEEN_REPLY,EXPECTED",
        "-m state --state NEW",
        "-m state ! --state NEW,UNTRACKED",
        "-m connmark --mark 0x0",
        "-m connmark ! --mark 0x0/0xf",
        "-m connmark --mark 0x7/0x7",
        "-m connlabel --label 5",
        "-m connlabel ! --label 5",
        "-m connlabel --label 6 --set",
        "-m helper --helper ftp",
        "-m helper ! --helper ftp",
        "-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdeadbeef",
        "-m cluster --cluster-total-nodes 2 --cluster-local-node 2 --cluster-hash-seed 0xdeadbeef",
        "-m cluster --cluster-total-nodes 7 ! --cluster-local-nodemask 21 --cluster-hash-seed 5",
        "-m cluster --cluster-total-nodes 7 --cluster-local-nodemask 21 --cluster-hash-seed 5",
        tables=("mangle", "nat", "filter", "security"),
    ),
    *_both(
        "-m conntrack --ctexpire 5:9",
        "-m connbytes --connbytes 1:1 --connbytes-dir both --connbytes-mode packets",
        tables=("mangle", "filter"),
        open=True,
    ),
    *_both(
        "-m connlimit --connlimit-above 0 --connlimit-mask 24",
        "-m connlimit --connlimit-upto 100000 --connlimit-mask 8",
        "-m connlimit --connlimit-above 100000 --connlimit-daddr",
        tables=("mangle", "filter"),
    ),
    # marks, counters, chance
    *_both(
        "-m mark --mark 0x0",
        "-m mark ! --mark 0x0/0xff",
        "-m mark --mark 0x1/0x1",
        "-m comment --comment x",
        "-m quota --quota 0",
        "-m quota ! --quota 1",
        "-m recent --name f1 --set",
        "-m recent --name f1 --rcheck",
        "-m recent --name f1 --update --seconds 60 --rsource",
    ),
    *_both(
        "-m limit --limit 1/min --limit-burst 1",
        "-m hashlimit --hashlimit-upto 1/min --hashlimit-burst 1 --hashlimit-name f2 --hashlimit-mode srcip",
        "-m cpu --cpu 0",
        "-m time --timestart 00:00 --timestop 12:00",
        "-m quota --quota 100000",
        "-m recent --name f3 --rcheck",
        open=True,
    ),
    # headers
    *_both(
        "-m dscp --dscp 0",
        "-m dscp ! --dscp 0x00",
        "-m dscp --dscp-class EF",
        "-m tos --tos 0x00",
        "-m tos ! --tos 0x00/0x3f",
        "-m tos --tos 0x10/0xff",
        "-m ecn --ecn-ip-ect 0",
        "-m ecn ! --ecn-ip-ect 0",
        "-m pkttype --pkt-type unicast",
        "-m pkttype ! --pkt-type unicast",
        "-m pkttype --pkt-type multicast",
        "-m length --length 0:65535",
        "-m length ! --length 1:65535",
        "-m length --length 0:19",
        "-m u32 --u32 0>>28=4",
        "-m u32 --u32 0>>28=6",
        "-m u32 --u32 8=1:2,7",
        "-m u32 ! --u32 0>>28=4:6&&0>>24=1",
        '-m bpf --bytecode "5,48 0 0 0,84 0 0 240,21 0 1 64,6 0 0 1,6 0 0 0"',
        '-m bpf --bytecode "5,48 0 0 0,116 0 0 4,21 0 1 6,6 0 0 65535,6 0 0 0"',
        "-m statistic --mode random --probability 1.0",
        "-m statistic --mode random --probability 0.0",
    ),
    *_both(
        "-m ttl --ttl-eq 64",
        "-m ttl ! --ttl-eq 64",
        "-m ttl --ttl-gt 62",
        "-m ttl --ttl-lt 64",
        "-m u32 --u32 6&0xFF=17",
        "-m u32 --u32 6&0xFF=6,1",
        "-m u32 --u32 8>>24=60:64",
        "-m u32 --u32 12={src_hex}",
        "-m u32 --u32 16={src_hex}",
        '-m bpf --bytecode "4,48 0 0 9,21 0 1 17,6 0 0 1,6 0 0 0"',
        '-m bpf --bytecode "4,48 0 0 9,53 0 1 6,6 0 0 1,6 0 0 0"',
        family=_V4,
    ),
    *_both(
        "-m hl --hl-eq 64",
        "-m hl ! --hl-eq 64",
        "-m hl --hl-gt 62",
        "-m hl --hl-lt 64",
        "-m u32 --u32 4>>8&0xFF=17",
        "-m dst --dst-len 8",
        "-m hbh ! --hbh-len 8",
        "-m frag --fragid 5:7",
        "-m rt --rt-type 0",
        "-m srh ! --srh-next-hdr 17",
        "-m ipv6header --header prot",
        "-m ipv6header ! --header prot",
        "-m ipv6header --header frag,prot --soft",
        "-m ipv6header --header frag --soft",
        family=_V6,
    ),
    *_both(
        "-m iprange --src-range {src}-{src}",
        "-m iprange ! --src-range {src}-{src}",
        "-m iprange --dst-range {other}-{other}",
        "-m iprange ! --dst-range {other}-{other} --src-range {src}-{src}",
        "-m addrtype --src-type UNICAST",
        "-m addrtype --src-type LOCAL",
        "-m addrtype ! --dst-type LOCAL",
        "-m addrtype --dst-type MULTICAST",
        "-s {src}",
        "! -s {src}",
        "-d {dst}",
        "! -d {dst}",
    ),
    *_both("-m addrtype --dst-type BROADCAST", "-m addrtype ! --src-type BROADCAST,BLACKHOLE", family=_V4),
    *_both("-m addrtype --dst-type UNREACHABLE", "-m addrtype ! --src-type UNREACHABLE", family=_V6),
    *_both("-m u32 --u32 0>>22&0x3C@0&0xFFFF={port}", family=_V4, protos=_PORTS, open=True),
    *_both("-m realm --realm 5", family=_V4, chains=ALL[1:], open=True),
    *_both("-f", "! -f", family=_V4),
    # devices and frames
    *_both(
        "-i {near}",
        "! -i {near}",
        "-i {near}+",
        "-m mac --mac-source {mac}",
        "-m mac ! --mac-source {mac}",
        "-m devgroup --src-group 0",
        "-m devgroup --src-group 0x5",
        "-m devgroup ! --src-group 0x5/0x5",
        chains=_CAME_IN,
    ),
    *_both(
        "-o {far}",
        "! -o {far}",
        "-m devgroup --dst-group 0",
        "-m devgroup ! --dst-group 0x0",
        chains=("FORWARD", "OUTPUT", "POSTROUTING"),
    ),
    *_both(
        "-m owner --uid-owner 0-4294967294",
        "-m owner ! --uid-owner 7",
        "-m owner --gid-owner 7",
        "-m cgroup --cgroup 5",
        chains=("OUTPUT", "POSTROUTING"),
        open=True,
    ),
    # a closing TCP socket has lost its owner, and what it then sends is not walked
    *_both(
        "-m owner --socket-exists",
        "-m owner ! --socket-exists",
        protos=("udp", "icmp", "ipv6-icmp"),
        chains=("OUTPUT", "POSTROUTING"),
    ),
    *_both(
        "-m policy --dir in --pol none",
        "-m policy --dir in --pol ipsec",
        chains=("PREROUTING", "INPUT", "FORWARD"),
    ),
    *_both(
        "-m policy --dir out --pol none",
        "-m policy --dir out --pol ipsec --mode tunnel --tunnel-src {src} --tunnel-dst {dst}",
        chains=("FORWARD", "OUTPUT", "POSTROUTING"),
    ),
    *_both(
        "-m rpfilter",
        "-m rpfilter --loose",
        "-m rpfilter --invert",
        "-m rpfilter --validmark --accept-local",
        tables=("raw", "mangle"),
        chains=("PREROUTING",),
    ),
    *_both(
        "-m socket",
        "-m socket --nowildcard",
        tables=("mangle",),
        chains=("PREROUTING", "INPUT"),
    ),
    *_both("-m physdev --physdev-is-in", "-m physdev ! --physdev-is-in"),
    *_both("-m physdev ! --physdev-is-bridged", "-m physdev --physdev-is-bridged", chains=("FORWARD",)),
    *_both("-m eui64", family=_V6, chains=_CAME_IN),
    # transport
    *_both(
        "-m multiport --dports 1,{port},90:99",
        "-m multiport ! --dports {port}",
        "-m multiport --sports {port}",
        "-m multiport --ports {port}",
        protos=_MORE_PORTS,
    ),
    *_both(
        "-m tcp --dport {port}",
        "-m tcp ! --dport {port}",
        "-m tcp --sport 1:1023",
        "-m tcp --tcp-flags SYN,ACK SYN",
        "-m tcp --tcp-flags SYN,ACK SYN,ACK",
        "-m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN",
        "-m tcp --tcp-flags ACK ACK",
        "-m tcp --tcp-option 2",
        "-m tcp ! --tcp-option 2",
        "-m tcp --tcp-option 200",
        "-m tcpmss --mss 1460",
        "-m tcpmss --mss 1440",
        "-m tcpmss ! --mss 1000:1500",
        "-m ecn --ecn-tcp-cwr",
        "-m ecn ! --ecn-tcp-ece",
        protos=("tcp",),
    ),
    *_both("-m string --string GET --algo bm", "-m length --length 60", protos=("tcp",), open=True),
    *_both("-m osf --genre Linux", family=_V4, protos=("tcp",), chains=_CAME_IN, open=True),
    *_both(
        "-m udp --dport {port}",
        "-m udp ! --dport {port}",
        "-m udp --sport {port}",
        protos=("udp",),
    ),
    *_both("-m string --string {payload} --algo bm", protos=("udp",), open=True),
    *_both(
        "-m string ! --hex-string |4500| --algo kmp --to 2",
        "-m string --hex-string |4500| --algo kmp --to 2",
        "-m string --hex-string |4500| --algo kmp --from 7 --to 9",
        family=_V4,
    ),
    *_both(
        "-m icmp --icmp-type 8",
        "-m icmp ! --icmp-type 8",
        "-m icmp --icmp-type 0/0",
        "-m icmp --icmp-type any",
        family=_V4,
        protos=("icmp",),
    ),
    *_both(
        "-m icmp6 --icmpv6-type 128",
        "-m icmp6 ! --icmpv6-type 128",
        "-m icmp6 --icmpv6-type 129/0",
        "-m icmp6 --icmpv6-type 255",
        family=_V6,
        protos=("ipv6-icmp",),
    ),
    *_both("-m sctp --dport {port}", "-m sctp ! --chunk-types any DATA", protos=("sctp",)),
    *_both("-m dccp --dport {port}", protos=("dccp",)),
    *_both(
        "-p ah -m ah --ahspi 5", "-p esp -m esp --espspi 5", "-p ipcomp -m ipcomp --ipcompspi 5", protos=()
    ),
    *_both("-p mh -m mh --mh-type 5", family=_V6),
)

TARGETS: tuple[Fragment, ...] = (
    *_both(
        "-j LOG --log-prefix x",
        "-j NFLOG --nflog-group 9",
        "-j AUDIT --type accept",
        "-j MARK --set-xmark 0x1/0x1",
        "-j MARK --set-xmark 0x3/0x0",
    ),
    *_both(
        "-j CONNMARK --set-xmark 0x5/0xff",
        "-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xf",
        "-j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xf",
        "-j CONNMARK --set-xmark 0x5/0xff --left-shift-mark 3",
        "-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff --right-shift-mark 1",
        "-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff --left-shift-mark 4",
        "-j DSCP --set-dscp 0x2e",
        "-j DSCP --set-dscp-class CS1",
        "-j TOS --set-tos 0x10/0x3f",
        "-j TOS --and-tos 0xf0",
        "-j TOS --or-tos 0x08",
        "-j TOS --xor-tos 0x04",
        "-j CLASSIFY --set-class 1:10",
        "-j CHECKSUM --checksum-fill",
        tables=("mangle",),
    ),
    *_both(
        "-j TTL --ttl-set 9",
        "-j TTL --ttl-dec 3",
        "-j TTL --ttl-inc 5",
        "-j TTL --ttl-set 1",
        family=_V4,
        tables=("mangle",),
    ),
    *_both(
        "-j HL --hl-set 9",
        "-j HL --hl-dec 3",
        "-j HL --hl-inc 5",
        "-j HL --hl-set 1",
        family=_V6,
        tables=("mangle",),
    ),
    *_both(
        "-j TCPMSS --set-mss 1300",
        "-j TCPOPTSTRIP --strip-options timestamp",
        "-j TCPOPTSTRIP --strip-options mss,wscale",
        protos=("tcp",),
        tables=("mangle",),
        chains=("FORWARD", "OUTPUT", "POSTROUTING"),
    ),
    *_both("-j CT --notrack", "-j NOTRACK", "-j CT --zone 5", "-j CT --zone-orig 6", tables=("raw",)),
    *_both("-j REJECT --reject-with tcp-reset", protos=("tcp",), tables=("filter",)),
    *(
        Fragment(f"-j REJECT --reject-with icmp-{kind}", _V4, tables=("filter",))
        for kind in (
            "net-unreachable",
            "host-unreachable",
            "proto-unreachable",
            "port-unreachable",
            "net-prohibited",
            "host-prohibited",
            "admin-prohibited",
        )
    ),
    *(
        Fragment(f"-j REJECT --reject-with icmp6-{kind}", _V6, tables=("filter",))
        for kind in (
            "no-route",
            "adm-prohibited",
            "addr-unreachable",
            "port-unreachable",
            "policy-fail",
            "reject-route",
        )
    ),
    *_both("-j ACCEPT", "-j RETURN"),
    *_both("-j DROP", tables=("raw", "mangle", "filter", "security")),
)
