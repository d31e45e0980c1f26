"""
The state browser's lists: what `nettrace show` shows, made line by line where it is long.

Lives here: lists over a snapshot.  A node may have 230,000 rules and 100,000 connections: those
are numbered once and written when they are looked at.
Not here: reading (nettrace.tui.session), the words of short tables (nettrace.render.show_text).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from nettrace.model.nft import NftBase, NftRule, NftTable, nft_path
from nettrace.model.section import Known, Missing, Section
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.xt import BACKENDS, BUILTIN_CHAINS, XT_SECTIONS, XtChain, XtRuleset
from nettrace.parse.iptables import rule_text
from nettrace.parse.late_chains import outline
from nettrace.parse.nft import rule_text as native_text
from nettrace.render.contract_state import ShowDocument, ShownService
from nettrace.render.packet_text import end
from nettrace.render.page import Look, Span, Style, line
from nettrace.render.show_text import show_page
from nettrace.render.shown import show_document
from nettrace.tui.entries import Entry, Listed, Source

__all__ = ["KINDS", "ConntrackList", "RuleList", "ServiceRow", "state_list", "titles_of"]

#: What the state browser has, in its order.
KINDS = (
    "namespaces",
    "links",
    "routes",
    "rules",
    "sets",
    "services",
    "ipvs",
    "conntrack",
    "sockets",
    "policies",
    "programs",
    "systems",
)


def state_list(what: str, snapshot: Snapshot, look: Look) -> Source:
    """Return the lines of one kind; KeyError for a word that is none of KINDS."""
    if what == "rules":
        return RuleList(snapshot)
    if what == "conntrack":
        return ConntrackList(snapshot)
    document = show_document(what, snapshot)
    keys = _service_rows(document) if what == "services" else []
    page = show_page(document, look)
    entries = [
        Entry(
            spans,
            key=keys[number - 1] if 0 < number <= len(keys) else what,
            problem=any(span.style in (Style.BAD, Style.UNSURE) for span in spans),
        )
        for number, spans in enumerate(page)
    ]
    return Listed(entries)


def titles_of(what: str) -> int:
    """Return how many lines at the top of a kind's list are titles."""
    return 0 if what in ("rules", "routes") else 1


class ServiceRow(NamedTuple):
    """A line of the list of Services: ``svc/NAMESPACE/NAME``."""

    target: str


def _service_rows(document: ShowDocument) -> list[ServiceRow]:
    """Return whose line each is below the titles: one a port, as nettrace.render.show_text lays them out."""
    return [
        ServiceRow(f"svc/{item.service.key}")
        for item in document.items
        if isinstance(item, ShownService)
        for _ in item.service.ports or (None,)
    ]


def _missing(snapshot: Snapshot, sections: Sequence[str]) -> list[Entry]:
    """Return a line for each section that is not known: never left out."""
    found = []
    for netns in snapshot.namespaces.values():
        for name in sections:
            section = getattr(netns, name)
            if not isinstance(section, Known):
                words = f"? {netns.name}/{name}: not known: {section.reason or section.kind.value}"
                found.append(Entry(line(Span(words, Style.UNSURE)), problem=True))
    return found


# --- rules -------------------------------------------------------------------------------


class _Chain(NamedTuple):
    """A chain of iptables or of native nftables; a rule is written when it is asked for."""

    netns: str
    command: str
    table: str
    name: str
    about: str
    length: int
    rule: Callable[[int], str]
    packets: Callable[[int], int | None]


class RuleList:
    """All chains of iptables and of native nftables, each followed by its rules."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._missing: list[Entry] = []
        self._chains = [*_chains(snapshot, self._missing), *_native_chains(snapshot, self._missing)]
        self._starts = [0, *accumulate(one.length + 1 for one in self._chains)]
        self._at = {
            (one.netns, one.command, one.table, one.name): start
            for one, start in zip(self._chains, self._starts, strict=False)
        }

    def __len__(self) -> int:
        """Return the number of lines."""
        return self._starts[-1] + len(self._missing)

    def _find(self, index: int) -> tuple[_Chain, int]:
        """Return the chain of a line and the rule in it, from 1; 0 is the chain's own line."""
        number = bisect_right(self._starts, index) - 1
        return self._chains[number], index - self._starts[number]

    def entry(self, index: int) -> Entry:
        """Return a chain's name or a rule with its counter."""
        if index >= self._starts[-1]:
            return self._missing[index - self._starts[-1]]
        one, number = self._find(index)
        if not number:
            place = f"  {one.netns}  {one.command}  {one.about}"
            head = (Span(f"{one.table} ", Style.HEAD), Span(one.name, Style.NAME), Span(place, Style.DIM))
            return Entry(line(*head), key=one)
        packets = one.packets(number - 1)
        count = f"{packets:>9} " if packets is not None else ""
        rule = Span(one.rule(number - 1), Style.CODE)
        return Entry(line(f"{number:>6} ", Span(count, Style.DIM), rule), key=(one, number))

    def text(self, index: int) -> str:
        """Return the words of a line."""
        if index >= self._starts[-1]:
            return "".join(span.text for span in self._missing[index - self._starts[-1]].line)
        one, number = self._find(index)
        return one.rule(number - 1) if number else f"{one.table} {one.name} {one.netns} {one.command}"

    def problems(self) -> Sequence[int]:
        """Return the lines that tell of what was not read."""
        return range(self._starts[-1], len(self))

    def target(self, index: int) -> int | None:
        """Return the line of the chain that a rule leads to, None if it leads to none."""
        if index >= self._starts[-1]:
            return None
        one, number = self._find(index)
        if not number:
            return None
        words = one.rule(number - 1).split()
        for flag in ("-j", "-g", "jump", "goto"):
            if flag in words[:-1]:
                name = words[len(words) - words[::-1].index(flag)]
                return self._at.get((one.netns, one.command, one.table, name))
        return None

    def step(self, index: int, direction: int) -> int:
        """Return the line of the next chain or of the one before."""
        number = bisect_right(self._starts, min(index, self._starts[-1] - 1)) - 1
        return self._starts[max(0, min(number + direction, len(self._chains) - 1))] if self._chains else 0


def _not_known(missing: list[Entry], place: str, section: Missing) -> None:
    words = f"? {place}: not known: {section.reason or section.kind.value}"
    missing.append(Entry(line(Span(words, Style.UNSURE)), problem=True))


def _chains(snapshot: Snapshot, missing: list[Entry]) -> Iterator[_Chain]:
    """Yield iptables' chains; what is not known goes to *missing*."""
    for netns in snapshot.namespaces.values():
        for head, backend in ((head, backend) for head in XT_SECTIONS for backend in BACKENDS):
            place = f"{netns.name}/{head}/{backend}"
            ruleset: Section[XtRuleset] = getattr(netns, f"{head}_{backend}")
            if isinstance(ruleset, Missing):
                _not_known(missing, place, ruleset)
                continue
            command = f"{'ip6tables' if head == 'xt6' else 'iptables'}-{backend}"
            for table, body in ruleset.value.tables.items():
                if isinstance(body, Missing):
                    _not_known(missing, f"{place}/{table}", body)
                    continue
                chains = body.value.chains
                built_in = [name for name in BUILTIN_CHAINS.get(table, ()) if name in chains]
                for name in [*built_in, *sorted(set(chains) - set(built_in))]:
                    about = outline(chains, name)
                    if isinstance(about, Missing):
                        _not_known(missing, f"{place}/{table}/{name}", about)
                    else:
                        yield _xt_chain(netns.name, command, table, name, chains, *about)


def _xt_chain(
    netns: str,
    command: str,
    table: str,
    name: str,
    chains: dict[str, Section[XtChain]],
    policy: str | None,
    length: int,
) -> _Chain:
    """A chain of which only the length is known: its rules are parsed when one is looked at."""

    def rule(index: int) -> str:
        section = chains[name]
        if isinstance(section, Missing):
            return f"? not known: {section.reason}"
        return rule_text(section.value.rules[index])

    def packets(index: int) -> int | None:
        section = chains[name]
        counters = section.value.counters if isinstance(section, Known) else None
        return counters[index].packets if counters is not None else None

    about = f"policy {policy}" if policy else f"{length} rules"
    return _Chain(netns, command, table, name, about=about, length=length, rule=rule, packets=packets)


def _native_chains(snapshot: Snapshot, missing: list[Entry]) -> Iterator[_Chain]:
    """Yield the chains of native nftables; what is not known goes to *missing*."""
    for netns in snapshot.namespaces.values():
        if isinstance(netns.nft, Missing):
            _not_known(missing, f"{netns.name}/nft", netns.nft)
            continue
        order = netns.nft.value.byteorder
        for table in netns.nft.value.tables.values():
            for name, chain in table.chains.items():
                if isinstance(chain.rules, Missing):
                    _not_known(missing, f"{netns.name}/{nft_path(table, name)}", chain.rules)
                else:
                    yield _native_chain(netns.name, table, name, chain.base, chain.rules.value, order)


def _native_chain(
    netns: str, table: NftTable, name: str, base: NftBase | None, rules: Sequence[NftRule], order: str
) -> _Chain:
    def text(index: int) -> str:
        comment = rules[index].comment
        return native_text(rules[index], table, order) + (f' comment "{comment}"' if comment else "")

    about = (
        f"hook {base.hook} priority {base.priority} policy {base.policy}" if base else f"{len(rules)} rules"
    )
    return _Chain(
        netns,
        f"nft {table.family}",
        table.name,
        name,
        about=about,
        length=len(rules),
        rule=text,
        packets=lambda index: rules[index].packets,
    )


# --- connections -------------------------------------------------------------------------


class ConntrackList:
    """All connections that the kernel remembers, one a line."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._entries: list[tuple[str, ConntrackEntry]] = []
        for netns in snapshot.namespaces.values():
            if isinstance(netns.conntrack, Known):
                self._entries.extend((netns.name, entry) for entry in netns.conntrack.value)
        self._missing = _missing(snapshot, ("conntrack",))

    def __len__(self) -> int:
        """Return the number of lines, the titles included."""
        return len(self._entries) + len(self._missing) + 1

    def entry(self, index: int) -> Entry:
        """Return a line."""
        if not index:
            titles = f"{'NETNS':<12} {'PROTO':<6} {'STATE':<12} {'ORIGINAL':<44} {'REPLY':<44} MARK"
            return Entry(line(Span(titles, Style.HEAD)))
        if index > len(self._entries):
            return self._missing[index - len(self._entries) - 1]
        netns, entry = self._entries[index - 1]
        return Entry(line(Span(f"{netns:<12} ", Style.NAME), self._words(entry)), key=(netns, entry))

    def text(self, index: int) -> str:
        """Return the words of a line."""
        if not 0 < index <= len(self._entries):
            return "".join(span.text for span in self.entry(index).line)
        netns, entry = self._entries[index - 1]
        return f"{netns} {self._words(entry)}"

    def problems(self) -> Sequence[int]:
        """Return the lines that tell of what was not read."""
        return range(len(self._entries) + 1, len(self))

    def place(self, chosen: tuple[str, ConntrackEntry]) -> int | None:
        """Return the line of the same connection, whatever its state is now; None if it is gone."""
        netns, gone = chosen
        for number, (place, entry) in enumerate(self._entries, 1):
            if place == netns and (entry.proto, entry.zone, entry.original, entry.reply) == (
                gone.proto,
                gone.zone,
                gone.original,
                gone.reply,
            ):
                return number
        return None

    @staticmethod
    def _words(entry: ConntrackEntry) -> str:
        state = entry.state or ("ASSURED" if "assured" in entry.status else "-")
        mark = f"{entry.mark:#x}" if entry.mark else ""
        ways = f"{_tuple(entry.original):<44} {_tuple(entry.reply):<44}"
        return f"{entry.proto:<6} {state:<12} {ways} {mark}"


def _tuple(one: Tuple) -> str:
    return f"{end(one.src, one.sport)} -> {end(one.dst, one.dport)}"
