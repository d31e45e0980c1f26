"""
Matches and targets of all extensions of iptables, and sets, for random rules.

Lives here: the pieces of tests.kernel.fragments with the words of a network filled in, and ipsets of
every type.
Not here: rules (generate), what the pieces mean.
"""

import re
import socket
from typing import TYPE_CHECKING

from tests.kernel.fragments import MATCHES, TARGETS, Fragment, fitting
from tests.oracle.benches import Bench, Change

if TYPE_CHECKING:
    from tests.oracle.generate import Generator

__all__ = ["CLOSED", "SET_KINDS", "Pieces", "drawn_sets", "set_kind"]

_NOBODY = {4: "198.51.100.77", 6: "2001:db8::77"}
#: Types of sets that this kernel has, and how many sides a packet is asked with.
SET_KINDS = {
    "hash:ip": 1,
    "hash:ip,port": 2,
    "hash:ip,port,ip": 3,
    "hash:ip,port,net": 3,
    "hash:net": 1,
    "hash:net,port": 2,
    "hash:net,iface": 2,
    "bitmap:ip": 1,
    "bitmap:port": 1,
    "list:set": 2,
}
_PREFIX = "o-"
#: Whose lists the kernel tidies up in its own time, so that probes disturb each other.
_COUNTING = ("connlimit",)
#: The protocol that a rule has to name before a match of the extension.
_PROTO_OF = {"tcpmss": "tcp", "socket": "tcp", "icmp6": "icmpv6"}
#: Extensions whose matches few places take, or that seldom fit.
_WEIGHTY, _SELDOM = ("owner", "socket", "tcpmss"), 4
#: A TTL that is raised at each turn of a loop keeps the packet in it for ever.
_ENDLESS = ("--ttl-set 9", "--ttl-inc", "--hl-set 9", "--hl-inc")


def _stateful(one: Fragment) -> bool:
    """Does what earlier probes of the case did decide?  Then the snapshot before them does not."""
    return "-m recent" in one.text and "--set" not in one.text


def _extension(one: Fragment) -> str:
    found = re.search(r"-m (\w+)", one.text)
    return found[1] if found and one.text.startswith(("-m ", "-p ")) else ""


def _by_name(pieces: list[Fragment]) -> dict[str, list[Fragment]]:
    found: dict[str, list[Fragment]] = {}
    for one in pieces:
        found.setdefault(_extension(one), []).append(one)
    return {name: held for name, held in sorted(found.items()) if name}


#: Extensions with pieces that state decides.
CLOSED = frozenset(
    _by_name(
        [
            one
            for one in MATCHES
            if not (one.open or _stateful(one) or one.text.startswith("-p "))
            and _extension(one) not in _COUNTING
            and (not one.protos or {"tcp", "udp", "icmp", "ipv6-icmp"} & set(one.protos))
        ]
    )
)


def set_kind(name: str) -> str:
    """Return the type of one of the sets that are made here."""
    return name.removeprefix(_PREFIX).replace(".", ",")


class Pieces:
    """Draws pieces for the rules of one namespace."""

    def __init__(self, draw: "Generator", bench: Bench, sets: tuple[str, ...] = ()) -> None:
        self.draw, self.bench, self.sets = draw, bench, sets

    def match(self, table: str, chain: str, proto: str, taken: str) -> str:
        """
        A match for a place; *chain* "" where several built-in chains may lead there.

        *taken* is the rule so far: of two matches of one extension iptables-nft lists one.
        """
        draw = self.draw
        if self.sets and draw.maybe(0.4):
            return self.set_match(chain)
        undecided = draw.maybe(0.001)
        found = _by_name(
            [
                one
                for one in self._fitting(MATCHES, table, chain, proto)
                if (one.open or _stateful(one)) == undecided
                and (not one.text.startswith("-p ") or not proto)
                and f"-m {_extension(one)} " not in f"{taken} "
                and _extension(one) not in _COUNTING
            ]
        )
        if not found:
            return ""
        names = list(found)
        name = draw.random.choices(names, [_SELDOM if name in _WEIGHTY else 1 for name in names])[0]
        return self.filled(draw.random.choice(found[name]).text)

    def target(self, table: str, chain: str, proto: str) -> str:
        """A target for a place that goes on to the next rule, or "" if there is none."""
        found = [
            one
            for one in self._fitting(TARGETS, table, chain, proto)
            if not any(words in one.text for words in _ENDLESS) or chain in ("INPUT", "OUTPUT")
        ]
        ends = ("-j ACCEPT", "-j RETURN", "-j DROP")
        found = [one for one in found if one.text not in ends]
        named: dict[str, list[Fragment]] = {}
        for one in found:
            named.setdefault(one.text.split()[1], []).append(one)
        if not named:
            return ""
        return self.filled(self.draw.random.choice(self.draw.random.choice(list(named.values()))).text)

    def _fitting(self, pieces: tuple[Fragment, ...], table: str, chain: str, proto: str) -> list[Fragment]:
        proto = "ipv6-icmp" if proto == "icmpv6" else proto
        return fitting(pieces, family=self.bench.family, table=table, chain=chain, proto=proto)

    def filled(self, text: str) -> str:
        """Put the network's words in."""
        draw, bench = self.draw, self.bench
        src, dst = draw.pick(*bench.addresses), draw.pick(*bench.addresses)
        return text.format(
            src=src,
            dst=dst,
            src_hex=f"0x{socket.inet_aton(src).hex()}" if bench.family == 4 else "0",
            port=draw.pick(*bench.ports, "80"),
            near=draw.pick(*bench.devices[:2]),
            far=draw.pick(*bench.devices[:2]),
            mac="02:00:00:00:00:99",
            other=_NOBODY[bench.family],
            payload="0000",
        )

    # --- sets ------------------------------------------------------------------------------

    def scarce(self, what: str, table: str, chain: str) -> str:
        """A rule of an extension, a target or a type of set for a built-in chain, or "" if none fits."""
        draw = self.draw
        note = "-j NFLOG --nflog-group 9"
        if what in ("TCPMSS", "TCPOPTSTRIP"):
            if table != "mangle" or (what == "TCPMSS" and chain in ("PREROUTING", "INPUT")):
                return ""
            mss = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 600"
            return mss if what == "TCPMSS" else "-p tcp -j TCPOPTSTRIP --strip-options timestamp"
        if what in SET_KINDS:
            name = f"{_PREFIX}{what.replace(',', '.')}"
            if name not in self.sets or table == "nat" or ("iface" in what and chain != "FORWARD"):
                return ""
            sides = [draw.pick("src", "dst") for _ in range(SET_KINDS[what])]
            if "port" in what:
                sides[min(1, len(sides) - 1)] = "dst"
            proto = draw.pick("-p tcp ", "-p udp ") if "port" in what else ""
            return f"{proto}-m set {draw.negated()}--match-set {name} {','.join(sides)} {note}"
        proto = _PROTO_OF.get(what, "")
        found = _by_name(
            [
                one
                for one in self._fitting(MATCHES, table, chain, proto)
                if not one.open and not _stateful(one)
            ]
        ).get(what)
        if not found or table == "nat":
            return ""
        return f"{f'-p {proto} ' if proto else ''}{self.filled(draw.random.choice(found).text)} {note}"

    def set_match(self, chain: str) -> str:
        """A test of one of the sets."""
        draw = self.draw
        name = draw.pick(*self.sets)
        if chain == "FORWARD" and "o-hash:net.iface" in self.sets and draw.maybe(0.5):
            name = "o-hash:net.iface"  # asked for nowhere else
        if "iface" in name and chain != "FORWARD":
            name = self.sets[0] if "iface" not in self.sets[0] else ""
        if not name:
            return ""
        sides = [draw.pick("src", "dst") for _ in range(SET_KINDS[set_kind(name)])]
        if "port" in name and len(sides) > 1 and draw.maybe(0.6):
            sides[1] = "dst"  # few know their own port
        return f"-m set {draw.negated()}--match-set {name} {','.join(sides)}"


def drawn_sets(
    draw: "Generator", bench: Bench, netns: str, wanted: str = ""
) -> tuple[tuple[str, ...], list[Change]]:
    """Some sets in a namespace, one of the type *wanted* among them: their names, and how they are made."""
    known = [kind for kind in SET_KINDS if bench.family == 4 or kind != "bitmap:ip"]
    kinds = draw.random.sample(known, draw.random.choice((2, 3, 4)))
    if wanted in known and wanted not in kinds:
        kinds.append(wanted)
    names: list[str] = []
    changes: list[Change] = []
    for kind in sorted(kinds, key=lambda one: one == "list:set"):
        if kind == "list:set" and not names:
            continue
        name = f"{_PREFIX}{kind.replace(',', '.')}"  # list:set takes a comma for the end of a name
        lines = [f"create {name} {kind}{_options(kind, bench)}"]
        entries = names if kind == "list:set" else [_entry(draw, bench, kind) for _ in range(8)]
        lines += [f"add {name} {entry}" for entry in dict.fromkeys(entries)]
        text = "\\n".join(lines)
        # a rule that is deleted lets its sets go a little later
        unmake = f"for n in $(seq 40); do ipset destroy {name} 2>/dev/null && break; sleep 0.05; done"
        changes.append(Change(netns, f"printf '{text}\\n' | ipset -exist restore", unmake))
        names.append(name)
    return tuple(names), changes


def _options(kind: str, bench: Bench) -> str:
    if kind == "bitmap:ip":
        first = bench.addresses[0].rpartition(".")[0]
        return f" range {first}.0-{first}.255"
    if kind == "bitmap:port":
        return " range 0-10000"
    return " family inet6" if bench.family == 6 and kind.startswith("hash:") else ""


def _entry(draw: "Generator", bench: Bench, kind: str) -> str:
    """An entry that a packet of this network may be found by."""
    if kind == "bitmap:ip":
        first = bench.addresses[0].rpartition(".")[0]
        inside = [one for one in bench.addresses if one.startswith(f"{first}.")]
        return draw.pick(*inside, f"{first}.130")
    if kind == "bitmap:port":
        return draw.pick(*bench.ports, "80")
    parts = []
    echo = "icmp:8/0" if bench.family == 4 else "icmpv6:128/0"
    for part in kind.partition(":")[2].split(","):
        if part == "ip":
            parts.append(draw.pick(*bench.addresses))
        elif part == "net":
            parts.append(draw.pick(*bench.addresses, *bench.prefixes))
        elif part == "port":
            port = draw.pick(*bench.ports, "80")
            parts.append(draw.pick(f"udp:{port}", f"udp:{port}", f"tcp:{port}", echo))
        else:
            parts.append(draw.pick(*bench.devices[:2]))
    return ",".join(parts) + (" nomatch" if kind.startswith("hash:net") and draw.maybe(0.15) else "")
