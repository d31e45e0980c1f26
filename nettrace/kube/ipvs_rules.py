"""
The few iptables rules of kube-proxy in ipvs mode.

Lives here: the jumps from built-in chains, and the chains; a rule that looks into a set is
there only while the set has entries.
Not here: the sets (ipvs_sets).

Sources: pkg/proxy/ipvs/proxier.go (writeIptablesRules) of Kubernetes; the dump of 1.36.
"""

from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from nettrace.kube.frame import established
from nettrace.kube.ipvs_layout import IpvsLayout
from nettrace.kube.ipvs_sets import COMMENTS, SETS, set_name
from nettrace.kube.rules import comment, host, mark_test, rule, states
from nettrace.kube.settings import LOOPBACK, Settings
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Addrtype, Extension, Match, Negatable, Physdev, SetMatch
from nettrace.model.xt_target import Accept, Drop, MarkTarget, Masquerade, Reject, Return

__all__ = ["Barred", "ipvs_chains"]

_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}


class Barred(Struct, frozen=True):
    """An address of a load balancer that the node itself may not ask."""

    address: str
    proto: str
    port: int


def ipvs_chains(
    settings: Settings, filled: Collection[str], barred: Sequence[Barred], layout: IpvsLayout
) -> dict[tuple[str, str], tuple[XtRule, ...]]:
    """
    Return (table, chain) -> rules, the jumps from built-in chains among them.

    *filled* are the sets (keys of SETS) that have entries.
    """
    writer = _Writer(settings, filled, layout)
    found: dict[tuple[str, str], tuple[XtRule, ...]] = {}
    for table, chain, to, words in layout.jumps:
        found[table, chain] = (*found.get((table, chain), ()), rule(to, *comment(words)))
    for table, names in layout.chains.items():
        for name in names:
            found[table, name] = tuple(writer.chain(table, name, barred))
    return found


class _Writer:
    """The rules of one family."""

    def __init__(self, settings: Settings, filled: Collection[str], layout: IpvsLayout) -> None:
        self.settings, self.filled, self.layout = settings, filled, layout

    def chain(self, table: str, name: str, barred: Sequence[Barred]) -> Iterator[XtRule]:
        """Yield the rules of one chain."""
        if (table, name) == ("nat", "KUBE-SERVICES") and self.layout.binds_own:
            yield rule(Return(), src=LOOPBACK[self.settings.family])
        for one in self.layout.by_set:
            if (one.table, one.chain) == (table, name) and one.name in self.filled:
                tests = (*comment(COMMENTS[one.name]), self.set(one.name))
                yield rule(one.target, *tests, proto=one.proto)
        match table, name:
            case "nat", "KUBE-SERVICES":
                yield from self._services()
            case "nat", "KUBE-POSTROUTING":
                yield from self._postrouting()
            case "nat", "KUBE-LOAD-BALANCER":
                yield rule("KUBE-MARK-MASQ")
            case "nat", "KUBE-FIRE-WALL":
                yield rule("KUBE-MARK-DROP")
            case "nat", "KUBE-MARK-MASQ":
                yield rule(MarkTarget(self.settings.mark, self.settings.mark))
            case "filter", "KUBE-FORWARD":
                yield from self._forward()
            case "filter", "KUBE-NODE-PORT":
                health = "HEALTH-CHECK-NODE-PORT"
                yield rule(Accept(), *comment(COMMENTS[health]), self.set(health))
            case "filter", "KUBE-SOURCE-RANGES-FIREWALL":
                yield rule(Drop())
            case "filter", "KUBE-IPVS-FILTER":
                yield from self._access()
            case "filter", "KUBE-IPVS-OUT-FILTER":
                for shut in barred:
                    words = f"--vproto {_NUMBERS[shut.proto]} --vaddr {shut.address} --vport {shut.port}"
                    yield rule(Drop(), Extension("ipvs", words), src=host(shut.address))
            case _:
                pass

    def set(self, name: str, first: str = "dst") -> Match:
        """``--match-set NAME dst,dst``, as many as the type has parts; a third is the source."""
        parts = SETS[name].partition(":")[2].count(",") + 1
        return SetMatch(name=set_name(name, self.settings.family), directions=(first, "dst", "src")[:parts])

    def _services(self) -> Iterator[XtRule]:
        settings = self.settings
        if "CLUSTER-IP" in self.filled:
            words = comment(COMMENTS["CLUSTER-IP"])
            if settings.masquerade_all:
                yield rule("KUBE-MARK-MASQ", *words, self.set("CLUSTER-IP"))
            elif settings.detector.implemented:
                src, device = settings.detector.test(local=False)
                yield rule("KUBE-MARK-MASQ", *words, self.set("CLUSTER-IP"), src=src, in_device=device)
            else:  # the node asks with a VIP of kube-ipvs0 as its source
                yield rule("KUBE-MARK-MASQ", *words, self.set("CLUSTER-IP", first="src"))
        for name in ("EXTERNAL-IP", "EXTERNAL-IP-LOCAL"):
            if name not in self.filled:
                continue
            tests = (*comment(COMMENTS[name]), self.set(name))
            if name == "EXTERNAL-IP":
                yield rule("KUBE-MARK-MASQ", *tests)
            away = Addrtype(src_type=Negatable("LOCAL", invert=True))
            yield rule(Accept(), *tests, Physdev(is_in=False), away)
            yield rule(Accept(), *tests, Addrtype(dst_type=Negatable("LOCAL")))
        yield rule("KUBE-NODE-PORT", Addrtype(dst_type=Negatable("LOCAL")))
        for name in ("CLUSTER-IP", "LOAD-BALANCER"):
            if name in self.filled:
                yield rule(Accept(), self.set(name))

    def _postrouting(self) -> Iterator[XtRule]:
        mark = self.settings.mark
        yield rule(Return(), mark_test(mark, invert=True))
        yield rule(MarkTarget(mark, 0))
        yield rule(Masquerade(random_fully=True), *comment("kubernetes service traffic requiring SNAT"))

    def _forward(self) -> Iterator[XtRule]:
        mark = mark_test(self.settings.mark)
        yield rule(Accept(), *comment("kubernetes forwarding rules"), mark)
        yield from established(self.settings.traits)

    def _access(self) -> Iterator[XtRule]:
        """A VIP is an address of the node: its other ports would be the node's own."""
        for name in (
            "LOAD-BALANCER",
            "CLUSTER-IP",
            "EXTERNAL-IP",
            *(["EXTERNAL-IP-LOCAL"] if self.layout.out else []),
        ):
            yield rule(Return(), self.set(name))
        yield rule(Return(), self.set("HEALTH-CHECK-NODE-PORT"))
        refusal = "icmp6-port-unreachable" if self.settings.family == 6 else "icmp-port-unreachable"
        yield rule(Reject(refusal), states("NEW"), self.set("IPVS-IPS"))
