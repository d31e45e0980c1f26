"""
Rules drawn at random, as the kernel could hold them.

Lives here: hypothesis strategies for every match and target that nettrace types.
"""

from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import strategies as st

from nettrace.model.packet import PortRange
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import (
    Addrtype,
    Comment,
    Connmark,
    Conntrack,
    Icmp,
    Limit,
    Mark,
    Match,
    Multiport,
    Negatable,
    Nfacct,
    Physdev,
    Ports,
    Recent,
    Rpfilter,
    SetMatch,
    State,
    Statistic,
    Tcp,
    Udp,
    UnknownMatch,
)
from nettrace.model.xt_target import (
    Accept,
    ConnmarkTarget,
    Ct,
    Dnat,
    Drop,
    Jump,
    Log,
    MarkTarget,
    Masquerade,
    NatRange,
    Nflog,
    Notrack,
    PassThrough,
    Redirect,
    Reject,
    Return,
    Snat,
    Target,
    Tcpmss,
    UnknownTarget,
)

__all__ = ["rules"]

_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED")
_TYPES = ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST")
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")

bits = st.integers(0, 0xFFFFFFFF)
counts = st.integers(1, 10_000)
words = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=12
).filter(lambda text: not text.startswith("-"))
#: What a comment may hold: anything but NUL, which ends it, and what UTF-8 cannot write.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
options = st.sampled_from(("", "--one", '--one "two words"', "--one 5 --two a:b"))


def _subset(names: tuple[str, ...], least: int = 1) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(names), min_size=least).map(
        lambda chosen: tuple(name for name in names if name in chosen)
    )


@st.composite
def port_ranges(draw: st.DrawFn) -> PortRange:
    """Any port range."""
    lo, hi = sorted((draw(st.integers(0, 65535)), draw(st.integers(0, 65535))))
    return PortRange(lo, lo if draw(st.booleans()) else hi)


#: A test that every port passes is not printed, so it is not drawn.
ports = st.builds(Ports, port_ranges(), st.booleans()).filter(lambda test: test != Ports(PortRange(0, 65535)))
maybe_ports = st.none() | ports
addresses = st.integers(0, 0xFFFFFFFF).map(lambda number: str(IPv4Address(number))) | st.integers(
    0, (1 << 128) - 1
).map(lambda number: str(IPv6Address(number)))


@st.composite
def prefixes(draw: st.DrawFn) -> str:
    """A prefix with its host bits cleared; not the one of all addresses, which is no test."""
    address = draw(addresses)
    return str(ip_network(f"{address}/{draw(st.integers(1, 128 if ':' in address else 32))}", strict=False))


def _negatable(values: st.SearchStrategy[str]) -> st.SearchStrategy[Negatable | None]:
    return st.none() | st.builds(Negatable, values, st.booleans())


@st.composite
def nat_ranges(draw: st.DrawFn) -> NatRange:
    """What DNAT or SNAT may rewrite to; never nothing."""
    lo = draw(st.none() | addresses)
    hi = None
    if lo is not None and draw(st.booleans()):
        other = draw(addresses.filter(lambda text: (":" in text) == (":" in lo)))
        hi = None if other == lo else other
    return NatRange(lo=lo, hi=hi, ports=draw(port_ranges() if lo is None else st.none() | port_ranges()))


_flags = _subset(_FLAGS, 0).map(frozenset)
_states = _subset(_STATES)
_devices = _negatable(words)

matches: st.SearchStrategy[Match] = st.one_of(
    st.builds(Comment, texts),
    st.builds(
        Addrtype,
        _negatable(_subset(_TYPES).map(",".join)),
        _negatable(_subset(_TYPES).map(",".join)),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        Conntrack,
        states=_states,
        invert=st.booleans(),
        direction=st.sampled_from((None, "ORIGINAL", "REPLY")),
        proto=_negatable(st.integers(0, 255).map(str)),
        orig_src=_negatable(prefixes()),
        orig_dst=_negatable(addresses),
        repl_src=_negatable(prefixes()),
        repl_dst=_negatable(addresses),
        orig_sport=maybe_ports,
        orig_dport=maybe_ports,
        repl_sport=maybe_ports,
        repl_dport=maybe_ports,
        status=_negatable(_subset(("NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED")).map(",".join)),
        expire=_negatable(st.sampled_from(("5", "5:7"))),
    ),
    st.builds(State, _states, st.booleans()),
    st.builds(Mark, bits, bits, st.booleans()),
    st.builds(Connmark, bits, bits, st.booleans()),
    st.builds(
        Multiport,
        st.sampled_from(("sports", "dports", "ports")),
        st.lists(port_ranges(), min_size=1, max_size=15).map(tuple),
        st.booleans(),
    ),
    st.builds(
        Physdev,
        physin=_devices,
        physout=_devices,
        is_in=st.none() | st.booleans(),
        is_out=st.none() | st.booleans(),
        is_bridged=st.none() | st.booleans(),
    ),
    st.builds(Statistic, mode=st.just("random"), probability=st.integers(0, 1 << 31), invert=st.booleans()),
    st.builds(Statistic, mode=st.just("nth"), every=counts, packet=st.none() | counts, invert=st.booleans()),
    st.builds(Tcp, sport=maybe_ports, dport=maybe_ports),
    st.builds(Tcp, flags=st.tuples(_flags, _flags), flags_invert=st.booleans()),
    st.builds(Tcp, option=st.integers(0, 255), option_invert=st.booleans()),
    st.builds(Udp, sport=maybe_ports, dport=maybe_ports, proto=st.sampled_from(("udp", "sctp", "dccp"))),
    st.builds(
        Udp, proto=st.just("sctp"), chunk_types=st.just("any DATA:Be,INIT"), chunk_invert=st.booleans()
    ),
    st.builds(
        Icmp, icmp_type=st.integers(0, 254), icmp_code=st.none() | st.integers(0, 255), invert=st.booleans()
    ),
    st.builds(Icmp, icmp_type=st.just(255), invert=st.booleans()),
    st.builds(Icmp, proto=st.just("icmp6"), icmp_type=st.integers(0, 255), invert=st.booleans()),
    st.builds(Icmp, proto=st.sampled_from(("icmp", "icmp6"))),
    st.builds(
        SetMatch,
        name=words,
        directions=st.lists(st.sampled_from(("src", "dst")), min_size=1, max_size=3).map(tuple),
        invert=st.booleans(),
        options=st.sampled_from(((), ("--return-nomatch", "!", "--update-counters", "--packets-lt", "5"))),
    ),
    st.builds(
        Recent,
        action=st.sampled_from(("set", "rcheck", "update", "remove")),
        name=words,
        side=st.sampled_from(("rsource", "rdest")),
        seconds=st.none() | counts,
        hitcount=st.none() | counts,
        reap=st.booleans(),
        rttl=st.booleans(),
        mask=st.none() | addresses,
        invert=st.booleans(),
    ),
    st.builds(Nfacct, words),
    st.builds(
        Limit, st.sampled_from(("1/sec", "90/min", "3/hour", "7/day", "10000/sec")), st.integers(0, 10_000)
    ),
    st.builds(
        Rpfilter,
        loose=st.booleans(),
        validmark=st.booleans(),
        accept_local=st.booleans(),
        invert=st.booleans(),
    ),
    st.builds(UnknownMatch, words.map(lambda text: f"x{text}"), options),
)

targets: st.SearchStrategy[Target] = st.one_of(
    st.sampled_from(
        (
            Accept(),
            Drop(),
            Return(),
            PassThrough(),
            Notrack(),
            Notrack(old=True),
            Tcpmss(),
            Ct("--zone 5"),
            Ct(""),
        )
    ),
    st.builds(Jump, words.map(lambda text: f"x{text}"), st.booleans()),
    st.builds(Reject, words),
    st.builds(Dnat, to=nat_ranges(), random=st.booleans(), persistent=st.booleans()),
    st.builds(
        Snat, to=nat_ranges(), random=st.booleans(), random_fully=st.booleans(), persistent=st.booleans()
    ),
    st.builds(Masquerade, ports=st.none() | port_ranges(), random=st.booleans(), random_fully=st.booleans()),
    st.builds(Redirect, ports=st.none() | port_ranges(), random=st.booleans()),
    st.builds(MarkTarget, bits, bits),
    st.builds(ConnmarkTarget, action=st.just("set"), value=bits, ctmask=bits),
    st.builds(ConnmarkTarget, action=st.sampled_from(("save", "restore")), ctmask=bits, nfmask=bits),
    st.builds(Log, options),
    st.builds(Nflog, options),
    st.builds(Tcpmss, st.integers(0, 65535)),
    st.builds(UnknownTarget, words.map(lambda text: f"x{text}"), options.filter(bool)),
)

#: Rules of all kinds; not all of them make sense, which parsing does not ask.
rules: st.SearchStrategy[XtRule] = st.builds(
    XtRule,
    src=_negatable(prefixes()),
    dst=_negatable(prefixes()),
    in_device=_devices,
    out_device=_devices,
    proto=_negatable(st.sampled_from(("tcp", "udp", "icmp", "ipv6-icmp", "sctp", "132", "99"))),
    fragment=st.none() | st.booleans(),
    matches=st.lists(matches, max_size=4).map(tuple),
    target=targets,
)
