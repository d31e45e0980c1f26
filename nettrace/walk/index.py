"""
The rules of a long chain that can match a packet, without asking all of them.

Lives here: an index by destination address and destination port.
Not here: evaluating the rules it leaves over (rules).
kube-proxy's KUBE-SERVICES has one rule for each Service, each with its own ``-d`` or
``--dport``; of 10,000 rules a packet can match a handful.
"""

from collections.abc import Iterable
from heapq import merge

from nettrace.model.packet import Packet
from nettrace.model.xt import XtChain, XtRule
from nettrace.model.xt_match import Tcp, Udp
from nettrace.walk.memory import derived

__all__ = ["candidates"]

#: Chains up to this length are walked rule by rule.
_SHORT = 16
#: So many indexes are held at a time: one of 10,000 rules takes about a megabyte.
_HELD = 64


class _Index:
    """Rule numbers by what the rule demands; each list is ascending."""

    __slots__ = ("by_dport", "by_dst", "others")

    def __init__(self, rules: Iterable[XtRule]) -> None:
        self.by_dst: dict[str, list[int]] = {}
        self.by_dport: dict[int, list[int]] = {}
        self.others: list[int] = []
        for number, rule in enumerate(rules):
            dst, dport = _host(rule), _dport(rule)
            if dst is not None:
                self.by_dst.setdefault(dst, []).append(number)
            elif dport is not None:
                self.by_dport.setdefault(dport, []).append(number)
            else:
                self.others.append(number)


def _host(rule: XtRule) -> str | None:
    """Return the one address that ``-d`` demands."""
    if rule.dst is None or rule.dst.invert:
        return None
    address, _, length = rule.dst.value.partition("/")
    return address if length in ("", "128" if ":" in address else "32") else None


def _dport(rule: XtRule) -> int | None:
    """Return the one port that ``--dport`` demands."""
    for match in rule.matches:
        if isinstance(match, Tcp | Udp) and match.dport is not None and not match.dport.invert:
            return match.dport.range.single
    return None


def _index(chain: XtChain) -> _Index:
    return _Index(chain.rules)


def candidates(chain: XtChain, packet: Packet, start: int) -> Iterable[int]:
    """Return, ascending, the numbers from *start* of all rules that *packet* might match."""
    count = len(chain.rules)
    if count <= _SHORT:
        return range(start, count)
    index = derived(_index, chain, keep=_HELD)
    lists = [index.by_dst.get(packet.dst, []), index.others]
    if packet.dport is not None:
        if packet.dport.single is not None:
            lists.append(index.by_dport.get(packet.dport.single, []))
        else:
            lists.append(
                sorted(
                    number
                    for port, numbers in index.by_dport.items()
                    if packet.dport.lo <= port <= packet.dport.hi
                    for number in numbers
                )
            )
    found = merge(*(numbers for numbers in lists if numbers))
    return (number for number in found if number >= start) if start else found
