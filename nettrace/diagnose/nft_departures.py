"""
kube-proxy's native table beside what it owes, and what each difference means.

Lives here: the mode nftables, the table and its chains.
Not here: the modes iptables (departures.py) and ipvs (ipvs_departures.py), sets and maps
(nft_set_departures.py), reading the table (nettrace.kube.nft_found).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from nettrace.diagnose.departure import Departure, DepartureKind, Share
from nettrace.diagnose.nft_set_departures import set_departures
from nettrace.diagnose.nft_telling import SERVICE_CHAIN, Telling
from nettrace.diagnose.shares import fraction_text
from nettrace.kube.expected import ExpectedNftChain, ExpectedNftTable
from nettrace.kube.nft_found import canonical_rule

__all__ = ["nft_departures"]

_DRAWN = re.compile(r"numgen random mod (\d+) v?map \{ (.*) \}")
_TO_ENDPOINT = re.compile(r"dnat to (\S+)")
_ENDPOINT_NAME = re.compile(r"__([^/]+)/(\d+)$")

#: Frame chain -> (cause, what it means that it or its rules are gone).
_FRAME: Mapping[str, tuple[str, str]] = {
    "nat-prerouting": ("service-jump-missing", "pods and others outside reach no Service here"),
    "nat-output": ("service-output-jump-missing", "this node and its hostNetwork pods reach no Service"),
    "services": ("service-rules-absent", "Services or NodePorts are not dispatched"),
    "nat-postrouting": (
        "kube-postrouting-missing",
        "nothing is masqueraded: answers go past this node",
    ),
    "masquerading": ("kube-postrouting-missing", "nothing is masqueraded: answers go past this node"),
    "mark-for-masquerade": ("masquerade-missing", "nothing is marked for masquerading"),
}


def nft_departures(owed: ExpectedNftTable, there: ExpectedNftTable | None) -> tuple[Departure, ...]:
    """
    Compare one table; *there* is None where the node has no table of the name.

    Elements of sets that rules fill (affinity) are not compared.
    """
    family = 6 if owed.family == "ip6" else 4
    telling = Telling(family, f"{owed.family} {owed.name}")
    if there is None:
        gone = telling.tell(
            "flushed",
            "nft-table-gone",
            "",
            f"the table is gone, by `nft flush ruleset` or with a firewall's restart: no Service is reached; "
            f"kube-proxy writes it again when it is restarted ({len(owed.chains)} chains are owed)",
        )
        return (gone,)
    return (
        *set_departures(telling, owed.sets, there.sets),
        *_Chains(telling).departures(owed.chains, there.chains),
    )


class _Drawn(NamedTuple):
    """The ends among which a rule draws lots, as ``10.244.1.5:9376``, and of how many."""

    ends: tuple[str, ...]
    among: int


class _Chains:
    """The chains of one table."""

    def __init__(self, telling: Telling) -> None:
        self.telling = telling

    def departures(
        self, owed: Sequence[ExpectedNftChain], there: Sequence[ExpectedNftChain]
    ) -> Iterator[Departure]:
        """Compare hooks and rules."""
        held = {chain.name: chain for chain in there}
        for chain in owed:
            other = held.pop(chain.name, None)
            if other is None:
                yield self._missing(chain)
                continue
            if chain.base != other.base:
                cause, meaning = _FRAME.get(chain.name, _OTHER)
                yield self.telling.tell(
                    "not-linked",
                    cause,
                    chain.name,
                    f"the chain is hooked in differently: {meaning}",
                    owed=_hook(chain),
                    found=_hook(other),
                )
            yield from self._rules(chain, other)
        for other in held.values():
            if not other.rules and other.base is None and SERVICE_CHAIN.match(other.name):
                continue  # kube-proxy empties what it no longer needs and deletes it at a later run
            yield self.telling.tell(
                "rule-extra",
                "owed-state-missing",
                other.name,
                "kube-proxy does not owe this chain: its Service or endpoint is gone, or it is not its own",
                found=other.rules[0] if other.rules else "",
            )

    def _missing(self, chain: ExpectedNftChain) -> Departure:
        owed = chain.rules[0] if chain.rules else ""
        if chain.name in _FRAME:
            cause, meaning = _FRAME[chain.name]
            kind: DepartureKind = "not-linked"
        elif SERVICE_CHAIN.match(chain.name):
            kind, cause = "service-missing", "service-rules-absent"
            meaning = "the Service is not served: what leads there goes nowhere"
        else:
            (cause, meaning), kind = _OTHER, "rule-missing"
        return self.telling.tell(kind, cause, chain.name, f"the chain is missing: {meaning}", owed=owed)

    def _rules(self, chain: ExpectedNftChain, other: ExpectedNftChain) -> Iterator[Departure]:
        wanted, held = [*map(canonical_rule, chain.rules)], [*map(canonical_rule, other.rules)]
        if wanted == held:
            return
        told = False
        lots, drawn = _drawn(wanted), _drawn(held)
        if lots is not None and drawn is not None and lots != drawn:
            told = True
            yield from self._endpoints(chain.name, lots, drawn, held)
        lacking = [rule for rule in wanted if rule not in held and not _DRAWN.search(rule)]
        for rule in lacking:
            told = True
            yield self._lacking(chain.name, rule)
        if drawn is None and lots is not None:
            told = True
            rule = next(rule for rule in wanted if _drawn([rule]))
            yield self.telling.tell(
                "service-missing",
                "service-rules-absent",
                chain.name,
                "no rule leads to the endpoints: the Service is not reached",
                owed=rule,
            )
        for position, rule in enumerate(held, 1):
            if rule in wanted or (_drawn([rule]) is not None and lots is not None):
                continue
            told = True
            yield self.telling.tell(
                "rule-extra",
                "owed-state-missing",
                chain.name,
                "kube-proxy did not write it: it decides before the rules after it",
                found=rule,
                position=position,
            )
        if not told:
            yield self.telling.tell(
                "rule-order",
                "owed-state-missing",
                chain.name,
                "the rules stand in another order or number than kube-proxy writes them",
            )

    def _lacking(self, chain: str, rule: str) -> Departure:
        if "meta mark set" in rule or "mark-for-masquerade" in rule or "masquerade" in rule:
            cause = _FRAME.get(chain, ("masquerade-missing", ""))[0]
            words = "missing MASQ: clients keep their source, and endpoints elsewhere answer past this node"
            return self.telling.tell("masquerade-missing", cause, chain, words, owed=rule)
        cause, meaning = _FRAME.get(chain, _OTHER)
        kind: DepartureKind = "not-linked" if chain in _FRAME else "rule-missing"
        return self.telling.tell(kind, cause, chain, f"a rule is missing: {meaning}", owed=rule)

    def _endpoints(
        self, chain: str, owed: _Drawn, there: _Drawn, rules: Sequence[str]
    ) -> Iterator[Departure]:
        ends = dict.fromkeys((*owed.ends, *there.ends))
        shares = tuple(
            Share(
                endpoint=end,
                owed=owed.ends.count(end) / owed.among,
                found=there.ends.count(end) / there.among,
            )
            for end in ends
        )
        position = next(n for n, rule in enumerate(rules, 1) if _drawn([rule]))
        found = rules[position - 1]
        told = False
        for share in shares:
            if not share.owed:
                told = True
                yield self.telling.tell(
                    "endpoint-stale",
                    "stale-endpoint-rule",
                    chain,
                    f"stale endpoint: {fraction_text(share.found)} of the connections go to "
                    f"{share.endpoint}, which is none of the Service's endpoints",
                    found=found,
                    position=position,
                    shares=shares,
                )
            elif not share.found:
                told = True
                yield self.telling.tell(
                    "endpoint-missing",
                    "owed-state-missing",
                    chain,
                    f"endpoint missing: {share.endpoint} is ready and gets no connection",
                    found=found,
                    position=position,
                    shares=shares,
                )
        if not told:
            yield self.telling.tell(
                "wrong-probability",
                "owed-state-missing",
                chain,
                "the endpoints do not get equal shares",
                found=found,
                position=position,
                shares=shares,
            )


_OTHER = ("owed-state-missing", "traffic is not filtered or led on as kube-proxy means it")


def _hook(chain: ExpectedNftChain) -> str:
    base = chain.base
    return (
        f"type {base.type} hook {base.hook} priority {base.priority} policy {base.policy}" if base else "none"
    )


def _drawn(rules: Sequence[str]) -> _Drawn | None:
    """Return among which ends the rules draw lots, or the one they lead to; None if they do not."""
    for rule in rules:
        found = _DRAWN.search(rule)
        if found is not None:
            values = [part.partition(" : ")[2] for part in found[2].split(", ")]
            return _Drawn(tuple(_end(value) for value in values), int(found[1]))
        single = _TO_ENDPOINT.search(rule)
        if single is not None and "numgen" not in rule:
            return _Drawn((single[1],), 1)
    return None


def _end(value: str) -> str:
    """``10.244.1.5 . 9376`` or ``goto endpoint-...__10.244.1.5/9376`` as ``10.244.1.5:9376``."""
    name = _ENDPOINT_NAME.search(value)
    if name is not None:
        address, port = name[1], name[2]
        if address.count(".") != 3 or not address.replace(".", "").isdecimal():
            address = f"[{address.replace('.', ':')}]"
        return f"{address}:{port}"
    address, dot, port = value.rpartition(" . ")
    if not dot:
        return value
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
