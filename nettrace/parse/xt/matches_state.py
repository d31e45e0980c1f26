"""
Matches on what the kernel remembers about a packet: conntrack, state, mark, connmark, rpfilter.

Lives here: a grammar and a writer for each.
"""

from collections.abc import Callable
from typing import Any

from nettrace.model.xt_match import Connmark, Conntrack, Mark, Match, Negatable, Rpfilter, State
from nettrace.parse.xt.options import Given, Grammar, flag, negatable, ports, value
from nettrace.parse.xt.values import mark_text, masked_mark, negatable_text, negated, ordered, ports_text

__all__ = ["GRAMMARS", "WRITERS"]

# In the order in which iptables prints them (libxt_conntrack.c, print_state() and print_status()).
_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED")
_CTSTATES = (*_STATES, "SNAT", "DNAT")
_STATUSES = ("NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED")

_ADDRESSES = ("--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst")
_PORTS = ("--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport")

#: Protocol names that ``--ctproto`` is given by people; iptables prints the number.
_PROTOCOLS = {"icmp": "1", "tcp": "6", "udp": "17", "icmpv6": "58", "ipv6-icmp": "58", "sctp": "132"}


def _in_order(states: tuple[str, ...]) -> str:
    return ",".join(ordered(",".join(states), _CTSTATES))


def _read_conntrack(given: Given) -> Conntrack:
    states = negatable(given, "--ctstate")
    proto, status = negatable(given, "--ctproto"), negatable(given, "--ctstatus")
    direction = value(given, "--ctdir")
    if direction not in (None, "ORIGINAL", "REPLY"):
        raise ValueError(f"{direction} is not a direction")
    orig_src, orig_dst, repl_src, repl_dst = (negatable(given, name) for name in _ADDRESSES)
    orig_sport, orig_dport, repl_sport, repl_dport = (ports(given, name) for name in _PORTS)
    return Conntrack(
        states=() if states is None else ordered(states.value, _CTSTATES),
        invert=states is not None and states.invert,
        direction=direction,
        proto=None if proto is None else Negatable(_PROTOCOLS.get(proto.value, proto.value), proto.invert),
        orig_src=orig_src,
        orig_dst=orig_dst,
        repl_src=repl_src,
        repl_dst=repl_dst,
        orig_sport=orig_sport,
        orig_dport=orig_dport,
        repl_sport=repl_sport,
        repl_dport=repl_dport,
        status=None
        if status is None
        else Negatable(",".join(ordered(status.value, _STATUSES)), status.invert),
        expire=negatable(given, "--ctexpire"),
    )


def _write_conntrack(match: Conntrack) -> str:
    """Return the options in the order of conntrack_dump(), libxt_conntrack.c."""
    addresses = (match.orig_src, match.orig_dst, match.repl_src, match.repl_dst)
    port_tests = (match.orig_sport, match.orig_dport, match.repl_sport, match.repl_dport)
    return (
        "conntrack"
        + (f" {negated(match.invert)}--ctstate {_in_order(match.states)}" if match.states else "")
        + negatable_text("--ctproto", match.proto)
        + "".join(map(negatable_text, _ADDRESSES, addresses))
        + "".join(map(ports_text, _PORTS, port_tests))
        + negatable_text("--ctstatus", match.status)
        + negatable_text("--ctexpire", match.expire)
        + (f" --ctdir {match.direction}" if match.direction else "")
    )


def _read_state(given: Given) -> State:
    states = negatable(given, "--state")
    if states is None:
        raise ValueError("--state is missing")
    return State(ordered(states.value, _STATES), states.invert)


def _write_state(match: State) -> str:
    return f"state {negated(match.invert)}--state {_in_order(match.states)}"


def _read_mark(kind: type[Mark] | type[Connmark]) -> Callable[[Given], Match]:
    def read(given: Given) -> Mark | Connmark:
        wanted = negatable(given, "--mark")
        if wanted is None:
            raise ValueError("--mark is missing")
        bits, mask = masked_mark(wanted.value)
        return kind(bits, mask, wanted.invert)

    return read


def _write_mark(match: Mark) -> str:
    return f"mark {negated(match.invert)}--mark {mark_text(match.value, match.mask)}"


def _write_connmark(match: Connmark) -> str:
    return f"connmark {negated(match.invert)}--mark {mark_text(match.value, match.mask)}"


_RPFILTER = ("--loose", "--validmark", "--accept-local", "--invert")


def _read_rpfilter(given: Given) -> Rpfilter:
    loose, validmark, accept_local, invert = (flag(given, name) for name in _RPFILTER)
    return Rpfilter(loose=loose, validmark=validmark, accept_local=accept_local, invert=invert)


def _write_rpfilter(match: Rpfilter) -> str:
    given = (match.loose, match.validmark, match.accept_local, match.invert)
    return " ".join(["rpfilter", *(name for name, on in zip(_RPFILTER, given, strict=True) if on)])


_CONNTRACK = ("--ctstate", "--ctproto", *_ADDRESSES, *_PORTS, "--ctstatus", "--ctexpire", "--ctdir")

GRAMMARS: dict[str, Grammar[Match]] = {
    "conntrack": Grammar(dict.fromkeys(_CONNTRACK, 1), _read_conntrack),
    "state": Grammar({"--state": 1}, _read_state),
    "mark": Grammar({"--mark": 1}, _read_mark(Mark)),
    "connmark": Grammar({"--mark": 1}, _read_mark(Connmark)),
    "rpfilter": Grammar(dict.fromkeys(_RPFILTER, 0), _read_rpfilter),
}

WRITERS: dict[type, Callable[[Any], str]] = {
    Connmark: _write_connmark,
    Conntrack: _write_conntrack,
    Mark: _write_mark,
    Rpfilter: _write_rpfilter,
    State: _write_state,
}
