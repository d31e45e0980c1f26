"""
The frame around all Services: jumps from built-in chains, and the chains that are always there.

Lives here: what kube-proxy writes whatever Services there are.
Not here: the rules of Services, which fill the dispatch chains.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from nettrace.kube.rules import Chain, Line, comment, mark_test, rule, states
from nettrace.kube.settings import LOOPBACK, Settings
from nettrace.kube.traits import Traits
from nettrace.model.owed import RuleNote
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Addrtype, Negatable, Nfacct
from nettrace.model.xt_target import Accept, Drop, Jump, MarkTarget, Masquerade, Return

__all__ = ["PURPOSES", "SOURCE", "BuiltinJump", "established", "frame_chains", "frame_note", "jumps"]

#: What findings cite for rules that no Service asks for.
SOURCE = "kube-proxy's configuration"

#: nfacct object, as kube-proxy's metrics call it (pkg/proxy/metrics).
_INVALID_COUNTER = "ct_state_invalid_dropped_pkts"

#: (table, chain) -> what it is for.
PURPOSES: Mapping[tuple[str, str], str] = {
    ("nat", "KUBE-SERVICES"): "dispatch to all Services by address and port",
    ("nat", "KUBE-NODEPORTS"): "dispatch to all Services by NodePort",
    ("nat", "KUBE-POSTROUTING"): "masquerading of Service traffic that was marked for it",
    ("nat", "KUBE-MARK-MASQ"): "marking of traffic that will be masqueraded",
    ("nat", "KUBE-MARK-DROP"): "marking of traffic that kubelet's rules drop",
    ("filter", "KUBE-SERVICES"): "refusals of cluster IPs without endpoints",
    ("filter", "KUBE-EXTERNAL-SERVICES"): "refusals of external addresses and NodePorts without endpoints",
    ("filter", "KUBE-NODEPORTS"): "acceptance of health check node ports",
    ("filter", "KUBE-PROXY-FIREWALL"): "load balancer traffic outside the source ranges",
    ("filter", "KUBE-FORWARD"): "forwarding of Service traffic",
    ("filter", "KUBE-FIREWALL"): "protection of 127.0.0.0/8 from the network",
    ("mangle", "KUBE-PROXY-CANARY"): "the sign by which kube-proxy sees that rules were flushed",
    ("nat", "KUBE-PROXY-CANARY"): "the sign by which kube-proxy sees that rules were flushed",
    ("filter", "KUBE-PROXY-CANARY"): "the sign by which kube-proxy sees that rules were flushed",
}

_DISPATCH = (
    ("nat", "KUBE-SERVICES"),
    ("nat", "KUBE-NODEPORTS"),
    ("filter", "KUBE-SERVICES"),
    ("filter", "KUBE-EXTERNAL-SERVICES"),
    ("filter", "KUBE-NODEPORTS"),
    ("filter", "KUBE-PROXY-FIREWALL"),
)


class BuiltinJump(Struct, frozen=True, kw_only=True):
    """A rule of a built-in chain; kube-proxy inserts each at the head of its chain."""

    table: str
    chain: str
    rule: XtRule

    @property
    def to(self) -> str:
        """The chain it jumps to."""
        return self.rule.target.chain if isinstance(self.rule.target, Jump) else ""


def _jump(table: str, chain: str, to: str, words: str, *, new: bool = False) -> BuiltinJump:
    matches = (*((states("NEW"),) if new else ()), *comment(words))
    return BuiltinJump(table=table, chain=chain, rule=rule(to, *matches))


_FIREWALL = "kubernetes load balancer firewall"
_PORTALS = "kubernetes service portals"
_EXTERNAL = "kubernetes externally-visible service portals"

#: In the order in which they stand in each built-in chain of a node that has no others.
_JUMPS = (
    _jump("filter", "INPUT", "KUBE-FIREWALL", ""),
    _jump("filter", "INPUT", "KUBE-PROXY-FIREWALL", _FIREWALL, new=True),
    _jump("filter", "INPUT", "KUBE-NODEPORTS", "kubernetes health check service ports"),
    _jump("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", _EXTERNAL, new=True),
    _jump("filter", "FORWARD", "KUBE-PROXY-FIREWALL", _FIREWALL, new=True),
    _jump("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
    _jump("filter", "FORWARD", "KUBE-SERVICES", _PORTALS, new=True),
    _jump("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", _EXTERNAL, new=True),
    _jump("filter", "OUTPUT", "KUBE-FIREWALL", ""),
    _jump("filter", "OUTPUT", "KUBE-PROXY-FIREWALL", _FIREWALL, new=True),
    _jump("filter", "OUTPUT", "KUBE-SERVICES", _PORTALS, new=True),
    _jump("nat", "PREROUTING", "KUBE-SERVICES", _PORTALS),
    _jump("nat", "OUTPUT", "KUBE-SERVICES", _PORTALS),
    _jump("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
)


def _is_of(known: Traits, table: str, chain: str) -> bool:
    """Is this one of the chains of a kube-proxy with these traits?"""
    match table, chain:
        case "filter", "KUBE-FIREWALL":
            return known.localnet_copy
        case "filter", "KUBE-PROXY-FIREWALL":
            return not known.mark_drop
        case "filter", "KUBE-NODEPORTS":
            return known.health_checks
        case _:
            return True


def jumps(known: Traits) -> tuple[BuiltinJump, ...]:
    """Return the jumps from built-in chains that a kube-proxy with these traits inserts."""
    return tuple(jump for jump in _JUMPS if _is_of(known, jump.table, jump.to))


def frame_note(about: str) -> RuleNote:
    """Return the note of a rule that serves no Service in particular."""
    return RuleNote(source=SOURCE, about=about)


def frame_chains(settings: Settings, dispatched: Mapping[tuple[str, str], Sequence[Line]]) -> Iterator[Chain]:
    """Yield the chains that are always there, the dispatch chains with the lines of Services."""
    for table in ("mangle", "nat", "filter"):
        yield _chain(table, "KUBE-PROXY-CANARY", ())
    for table, name in _DISPATCH:
        if not _is_of(settings.traits, table, name):
            continue
        last = tuple(_node_ports(settings)) if (table, name) == ("nat", "KUBE-SERVICES") else ()
        note = frame_note(PURPOSES[table, name])
        lines = tuple(dispatched.get((table, name), ()))
        yield Chain(table=table, name=name, note=note, lines=lines, last=last, ordered=False)
    yield _chain("nat", "KUBE-MARK-MASQ", (rule(MarkTarget(settings.mark, settings.mark)),))
    yield _chain("nat", "KUBE-POSTROUTING", _postrouting(settings))
    yield _chain("filter", "KUBE-FORWARD", tuple(_forward(settings)))
    if settings.traits.mark_drop:
        yield _chain("nat", "KUBE-MARK-DROP", ())  # kubelet fills it
    if settings.traits.localnet_copy:
        yield _chain("filter", "KUBE-FIREWALL", tuple(_localnet(settings)))


def _chain(table: str, name: str, rules: Sequence[XtRule]) -> Chain:
    note = frame_note(PURPOSES[table, name])
    return Chain(table=table, name=name, note=note, lines=tuple(Line(made, note) for made in rules))


def _node_ports(settings: Settings) -> Iterator[Line]:
    """The last rules of KUBE-SERVICES; no address of a Service may come after them."""
    words = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    note = frame_note("dispatch of traffic to the node's own addresses to NodePorts")
    if settings.node_port_ips is not None:
        for address in settings.node_port_ips:
            yield Line(rule("KUBE-NODEPORTS", *words, dst=address), note)
        return
    local = Addrtype(dst_type=Negatable("LOCAL"))
    everywhere = settings.localhost_node_ports or not settings.traits.localhost_option
    loopback = None if everywhere else Negatable(LOOPBACK[settings.family], invert=True)
    yield Line(rule("KUBE-NODEPORTS", *words, local, dst=loopback), note)


def _postrouting(settings: Settings) -> tuple[XtRule, ...]:
    """Masquerade what was marked, and take the mark off lest an outer packet be masqueraded too."""
    return (
        rule(Return(), mark_test(settings.mark, invert=True)),
        rule(MarkTarget(settings.mark, 0)),
        rule(Masquerade(random_fully=True), *comment("kubernetes service traffic requiring SNAT")),
    )


def _forward(settings: Settings) -> Iterator[XtRule]:
    """
    KUBE-FORWARD.

    An INVALID packet would leave un-NATed and make the other end reset the connection,
    unless conntrack is liberal with windows.
    """
    if not settings.keeps_invalid:
        counter = (Nfacct(_INVALID_COUNTER),) if settings.traits.counters else ()
        yield rule(Drop(), states("INVALID"), *counter)
    yield rule(Accept(), *comment("kubernetes forwarding rules"), mark_test(settings.mark))
    yield from established(settings.traits)


def established(known: Traits) -> Iterator[XtRule]:
    """Yield the acceptance of established connections, until 1.22 twice, for each direction."""
    for end in ("",) if known.one_balancing else ("pod source ", "pod destination "):
        words = comment(f"kubernetes forwarding conntrack {end}rule")
        yield rule(Accept(), *words, states("RELATED", "ESTABLISHED"))


def _localnet(settings: Settings) -> Iterator[XtRule]:
    """route_localnet, which NodePorts on localhost need, opens 127.0.0.0/8 to the network."""
    if settings.guards_localhost:
        words = comment("block incoming localnet connections")
        established = states("RELATED", "ESTABLISHED", "DNAT", invert=True)
        away = Negatable(LOOPBACK[4], invert=True)
        yield rule(Drop(), *words, established, src=away, dst=LOOPBACK[4])
