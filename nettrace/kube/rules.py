"""
The words that kube-proxy's rules are made of.

Lives here: short ways to write rules as the kernel holds them and iptables-save prints them,
and the record of whose rule each is.
Not here: which rules there are.
"""

from functools import lru_cache
from math import floor

from msgspec import Struct

from nettrace.model.owed import RuleNote
from nettrace.model.packet import PortRange
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Comment, Conntrack, Mark, Match, Negatable, Ports, Statistic, Tcp, Udp
from nettrace.model.xt_target import Jump, PassThrough, Target

__all__ = [
    "Chain",
    "Line",
    "chance",
    "comment",
    "host",
    "mark_test",
    "ports",
    "probability",
    "rule",
    "states",
]


class Line(Struct, frozen=True):
    """One rule and whose it is."""

    rule: XtRule
    note: RuleNote


class Chain(Struct, frozen=True, kw_only=True):
    """
    One chain as kube-proxy writes it, and what it is for.

    ``ordered`` False: a dispatch chain, whose ``last`` lines come after all others.
    """

    table: str
    name: str
    note: RuleNote
    lines: tuple[Line, ...] = ()
    last: tuple[Line, ...] = ()
    ordered: bool = True

    @property
    def rules(self) -> tuple[XtRule, ...]:
        """All rules, the last ones at the end."""
        return tuple(line.rule for line in (*self.lines, *self.last))


@lru_cache(maxsize=65536)
def comment(text: str) -> tuple[Match, ...]:
    """Return ``-m comment --comment TEXT``, or nothing for no text."""
    return (Comment(text),) if text else ()


def ports(proto: str, port: int | None = None) -> tuple[Match, ...]:
    """``-m PROTO --dport PORT``; kube-proxy writes ``-m PROTO`` even without a port."""
    dport = None if port is None else Ports(PortRange(port, port))
    return (Tcp(dport=dport),) if proto == "tcp" else (Udp(dport=dport, proto=proto),)


def host(address: str) -> str:
    """Return a bare address with its full length, as rules keep it."""
    return f"{address}/128" if ":" in address else f"{address}/32"


def mark_test(mark: int, *, invert: bool = False) -> Mark:
    """``-m mark [!] --mark MARK/MARK``."""
    return Mark(mark, mark, invert)


@lru_cache(maxsize=4096)
def probability(among: int) -> int:
    """
    Return the chance of one endpoint *among* so many that are left, in units of 1/2^31.

    kube-proxy writes ten decimals of 1/n, iptables rounds that to the kernel's 31 bits
    (extensions/libxt_statistic.c).
    """
    return floor(float(f"{1 / among:.10f}") * 2**31 + 0.5)


def chance(among: int) -> Match:
    """``-m statistic --mode random`` for one endpoint of so many that are left."""
    return Statistic(mode="random", probability=probability(among))


def states(*names: str, invert: bool = False) -> Match:
    """``-m conntrack [!] --ctstate NAMES``."""
    return Conntrack(states=names, invert=invert)


def rule(
    target: Target | str | None,
    *matches: Match,
    src: Negatable | str | None = None,
    dst: Negatable | str | None = None,
    in_device: Negatable | None = None,
    proto: str | None = None,
) -> XtRule:
    """
    Return a rule; a *target* of text is a chain to jump to, None counts only.

    An address without a prefix gets its full length.  A source that every packet has
    (0.0.0.0/0) is no test: the kernel's mask of it is empty, and iptables-save is silent.
    """
    return XtRule(
        src=_address(src),
        dst=_address(dst),
        in_device=in_device,
        proto=Negatable(proto) if proto else None,
        matches=matches,
        target=PassThrough() if target is None else Jump(target) if isinstance(target, str) else target,
    )


def _address(value: Negatable | str | None) -> Negatable | None:
    if value is None:
        return None
    test = Negatable(value) if isinstance(value, str) else value
    if "/" not in test.value:
        test = Negatable(host(test.value), test.invert)
    return None if test.value.endswith("/0") and not test.invert else test
