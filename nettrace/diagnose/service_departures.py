"""
What is wrong with the chains of one Service port, and of one endpoint.

Lives here: balancing chains (KUBE-SVC, KUBE-SVL, KUBE-XLB), chains for outside traffic and
source ranges (KUBE-EXT, KUBE-FW), endpoints' chains (KUBE-SEP).
Not here: chains of all Services, the frame (departures.py).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from nettrace.diagnose.departure import Departure, DepartureKind, Share
from nettrace.diagnose.difference_xt import plain, shown
from nettrace.diagnose.found_chains import FoundChains
from nettrace.diagnose.shares import chances, fraction_text, jumps_by_lot
from nettrace.model.owed import OwedChain, RuleNote
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Recent
from nettrace.model.xt_target import Dnat, Jump

__all__ = ["SERVICE_CHAINS", "destinations", "service_departures"]

_BALANCING = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-")
_ENDPOINT = "KUBE-SEP-"
_MASQUERADE = "KUBE-MARK-MASQ"
SERVICE_CHAINS = (*_BALANCING, _ENDPOINT, "KUBE-EXT-", "KUBE-FW-")

#: Shares that differ by less are the same.
_CLOSE = 1e-6


def destinations(chains: Sequence[OwedChain]) -> dict[str, str]:
    """Return what the owed chains of endpoints lead to, as ``10.244.1.5:9376``."""
    found = {}
    for chain in chains:
        for rule in chain.rules:
            if isinstance(rule.target, Dnat):
                found[chain.chain] = _destination(rule.target)
    return found


def _destination(target: Dnat) -> str:
    address, ports = target.to.lo or "", target.to.ports
    text = f"[{address}]" if ":" in address else address
    return f"{text}:{ports.lo}" if ports is not None else text


def service_departures(
    item: OwedChain, there: Sequence[XtRule], found: FoundChains, ends: Mapping[str, str]
) -> Iterator[Departure]:
    """Compare one chain; *ends* are the destinations of owed endpoints' chains."""
    if [plain(rule) for rule in there] == [plain(rule) for rule in item.rules]:
        return
    look = _Look(item, there, found, ends)
    told = list(look.masquerading())
    if item.chain.startswith(_ENDPOINT):
        told += look.endpoint()
    else:
        told += look.balancing()
        told += look.others()
    yield from told or look.order()


class _Look:
    """One owed chain beside the one that is there."""

    def __init__(
        self, item: OwedChain, there: Sequence[XtRule], found: FoundChains, ends: Mapping[str, str]
    ) -> None:
        self.item = item
        self.there = there
        self.found = found
        self.ends = ends
        left, right = Counter(map(plain, there)), Counter(map(plain, item.rules))
        self.missing = self._only(item.rules, left)
        self.extra = self._only(there, right)

    @staticmethod
    def _only(rules: Sequence[XtRule], others: Counter[XtRule]) -> list[tuple[int, XtRule]]:
        """Return (position, rule) of the rules that *others* lack."""
        rest = Counter(others)
        found = []
        for position, rule in enumerate(rules, 1):
            if rest[plain(rule)] > 0:
                rest[plain(rule)] -= 1
            else:
                found.append((position, rule))
        return found

    def _tell(self, kind: DepartureKind, cause: str, meaning: str, **more: Any) -> Departure:
        return Departure(
            kind=kind,
            cause=cause,
            meaning=meaning,
            family=self.found.family,
            table=self.item.table,
            chain=self.item.chain,
            subject=self.item.subject,
            **more,
        )

    def _shown(self, rule: XtRule) -> str:
        return shown(self.item.chain, rule)

    def _note(self, position: int) -> RuleNote | None:
        return self.item.notes[position - 1] if position <= len(self.item.notes) else None

    # --- masquerading ----------------------------------------------------------------

    def masquerading(self) -> Iterator[Departure]:
        """Rules that mark for masquerading: gone, or with another test."""
        extra = [(position, rule) for position, rule in self.extra if _target(rule) == _MASQUERADE]
        for _, rule in [entry for entry in self.missing if _target(entry[1]) == _MASQUERADE]:
            other = next((entry for entry in extra if _alike(entry[1], rule)), None)
            if other is None:
                cause = (
                    "hairpin-masq-missing" if self.item.chain.startswith(_ENDPOINT) else "masquerade-missing"
                )
                yield self._tell("masquerade-missing", cause, self._unmasked(rule), owed=self._shown(rule))
                continue
            extra.remove(other)
            everybody = other[1].src is None and other[1].in_device is None
            yield self._tell(
                "masquerade-differs",
                "masquerade-all" if everybody else "clustercidr-wrong",
                "every client's address is hidden, that of this node's pods too"
                if everybody
                else "other clients than those from outside the pod network are masqueraded: kube-proxy runs "
                "with another clusterCIDR or detectLocalMode than it is configured with",
                owed=self._shown(rule),
                found=self._shown(other[1]),
                position=other[0],
            )
        for position, rule in extra:
            yield self._tell(
                "masquerade-differs",
                "masquerade-all",
                "kube-proxy does not owe it: client addresses are hidden that should be kept",
                found=self._shown(rule),
                position=position,
            )

    def _unmasked(self, rule: XtRule) -> str:
        if self.item.chain.startswith(_ENDPOINT):
            end = self.ends.get(self.item.chain, "it")
            return (
                f"missing MASQ: {end} that reaches itself by its Service sees a packet from its own address"
            )
        if self.item.chain.startswith("KUBE-EXT-"):
            return "missing MASQ: endpoints on other nodes answer outside clients directly, past this node"
        if rule.src is None and rule.in_device is None:
            return "missing MASQ: clients of the cluster IP are not masqueraded"
        return (
            "missing MASQ: clients of the cluster IP that are no pods of this node (the node itself, others "
            "that route to it) keep their source, and endpoints on other nodes answer past it"
        )

    # --- endpoints -------------------------------------------------------------------

    def balancing(self) -> Iterator[Departure]:
        """Who gets the connections: endpoints too many, too few, and their shares."""
        want, have = jumps_by_lot(self.item.rules), jumps_by_lot(self.there)
        wanted, held = dict(want), dict(have)
        if want == have:
            yield from self._affinity(set(held) - set(wanted))
            return
        owed_shares, _ = chances(want)
        got, unmatched = chances(have)
        shares = tuple(
            Share(endpoint=self._end(chain), owed=owed_shares.get(chain, 0.0), found=got.get(chain, 0.0))
            for chain in dict.fromkeys([*(c for c, _ in want), *(c for c, _ in have)])
        )
        unequal = any(abs(s.owed - s.found) > _CLOSE for s in shares) or unmatched > 0
        told = {"shares": shares, "unmatched": unmatched} if unequal else {}
        stale, lacking = [c for c in held if c not in wanted], [c for c in wanted if c not in held]
        for chain in stale:
            position = next(n for n, rule in enumerate(self.there, 1) if _target(rule) == chain)
            yield self._tell(
                "endpoint-stale",
                "stale-endpoint-rule",
                f"stale endpoint: {fraction_text(got.get(chain, 0.0))} of the connections go to "
                f"{self._end(chain)}, which is none of the Service's endpoints",
                found=self._shown(self.there[position - 1]),
                position=position,
                **told,
            )
        for chain in lacking:
            rule = next(rule for rule in self.item.rules if _target(rule) == chain and not _remembers(rule))
            yield self._tell(
                "endpoint-missing",
                "owed-state-missing",
                f"endpoint missing: {self._end(chain)} is ready and gets no connection",
                owed=self._shown(rule),
                **told,
            )
        if not stale and not lacking and unequal:
            yield self._probability(shares, unmatched)
        yield from self._affinity(set(stale) | set(lacking))

    def _probability(self, shares: tuple[Share, ...], unmatched: float) -> Departure:
        parts = ", ".join(f"{fraction_text(s.found)} to {s.endpoint}" for s in shares)
        rest = (
            f"; {fraction_text(unmatched)} match nothing and go on to the Service's address, unanswered"
            if unmatched
            else ""
        )
        first = next(
            (n for n, (a, b) in enumerate(zip(self.there, self.item.rules, strict=False)) if a != b), 0
        )
        return self._tell(
            "wrong-probability",
            "owed-state-missing",
            f"wrong probability: each rule decides only about what the rules before it left over, which "
            f"comes to {parts}{rest}; owed is {fraction_text(shares[0].owed)} to each",
            owed=self._shown(self.item.rules[min(first, len(self.item.rules) - 1)]),
            found=self._shown(self.there[first]),
            position=first + 1,
            shares=shares,
            unmatched=unmatched,
        )

    def _end(self, chain: str) -> str:
        return self.found.destination(chain) or self.ends.get(chain) or chain

    def _affinity(self, told: set[str]) -> Iterator[Departure]:
        """Rules that send a remembered client back, where its endpoint is not told of already."""
        for _, rule in self.missing:
            if _remembers(rule) and _target(rule) not in told:
                yield self._tell(
                    "affinity",
                    "owed-state-missing",
                    f"session affinity fails: clients of {self._end(_target(rule))} are not sent back",
                    owed=self._shown(rule),
                )
        for position, rule in self.extra:
            if _remembers(rule) and _target(rule) not in told:
                yield self._tell(
                    "affinity",
                    "owed-state-missing",
                    f"clients are sent back to {self._end(_target(rule))} after another time than is "
                    "owed, or though no session affinity is asked for",
                    found=self._shown(rule),
                    position=position,
                )

    def endpoint(self) -> Iterator[Departure]:
        """The DNAT of one endpoint."""
        end = self.ends.get(self.item.chain, "its endpoint")
        wrong = [(position, rule) for position, rule in self.extra if isinstance(rule.target, Dnat)]
        for _, rule in self.missing:
            if not isinstance(rule.target, Dnat):
                continue
            if not wrong:
                yield self._tell(
                    "wrong-destination",
                    "owed-state-missing",
                    f"connections for {end} are not led there: the chain has no DNAT",
                    owed=self._shown(rule),
                )
                continue
            position, other = wrong.pop(0)
            assert isinstance(other.target, Dnat)  # noqa: S101  (chosen by it)
            same = other.target == rule.target
            yield self._tell(
                "affinity" if same else "wrong-destination",
                "owed-state-missing" if same else "stale-endpoint-rule",
                f"clients of {end} are not remembered as session affinity wants it, or others are led there"
                if same
                else f"stale endpoint: connections for {end} are led to {_destination(other.target)}",
                owed=self._shown(rule),
                found=self._shown(other),
                position=position,
            )
        yield from self._foreign(
            (position, rule)
            for position, rule in self.extra
            if _target(rule) != _MASQUERADE
            and (not isinstance(rule.target, Dnat) or (position, rule) in wrong)
        )

    # --- the rest --------------------------------------------------------------------

    def others(self) -> Iterator[Departure]:
        """Rules that neither masquerade nor lead to an endpoint."""
        for position, rule in self.missing:
            to = _target(rule)
            if to == _MASQUERADE or to.startswith(_ENDPOINT):
                continue
            note = self._note(position)
            words = f"traffic does not get to {to}" if to else "a rule is missing"
            if self.item.chain.startswith("KUBE-FW-"):
                words = f"a source that may reach the load balancer's address is not let through to {to}"
            elif to == "KUBE-MARK-DROP":
                words = "traffic without a local endpoint is not dropped"
            yield self._tell(
                "rule-missing",
                "owed-state-missing",
                f"{words} ({note.about if note is not None and note.about else self.item.about})",
                owed=self._shown(rule),
            )
        yield from self._foreign(
            (position, rule)
            for position, rule in self.extra
            if _target(rule) != _MASQUERADE and not _target(rule).startswith(_ENDPOINT)
        )

    def _foreign(self, rules: Iterator[tuple[int, XtRule]]) -> Iterator[Departure]:
        for position, rule in rules:
            yield self._tell(
                "rule-extra",
                "owed-state-missing",
                f"kube-proxy did not write it: it decides about {self.item.about} before the rules after it",
                found=self._shown(rule),
                position=position,
            )

    def order(self) -> Iterator[Departure]:
        """Nothing is missing and nothing too much: the order is another."""
        yield self._tell(
            "rule-order",
            "owed-state-missing",
            f"the rules stand in another order than kube-proxy writes them: {self.item.about}",
        )


def _target(rule: XtRule) -> str:
    return rule.target.chain if isinstance(rule.target, Jump) else ""


def _remembers(rule: XtRule) -> bool:
    return any(isinstance(match, Recent) for match in rule.matches)


def _alike(one: XtRule, other: XtRule) -> bool:
    """Do two rules test the same but for where a packet comes from?"""
    bare = [replace(plain(rule), src=None, in_device=None) for rule in (one, other)]
    return bare[0] == bare[1]
