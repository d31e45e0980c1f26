"""
Random states and probes, the same for the same seed.

Lives here: drawing.  The walk has no say in what is drawn.
Not here: the words that a network offers (benches), running a case (run).
"""

import random

from tests.oracle.benches import MORE, Bench, Change
from tests.oracle.case import Probe, State
from tests.oracle.ipsec import drawn_policies
from tests.oracle.networks import BENCHES
from tests.oracle.nft import LOADER, NativeRules
from tests.oracle.pieces import CLOSED, SET_KINDS, Pieces, drawn_sets

__all__ = ["MATCHES", "TARGETS", "Generator"]

BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
#: User-defined chains that a built-in chain may jump to; each may jump to those after it.
_OWN = {"nat": {"PREROUTING": "ABC", "OUTPUT": "ABC", "INPUT": "XYZ", "POSTROUTING": "XYZ"}}
_IN, _OUT = ("PREROUTING", "INPUT", "FORWARD"), ("FORWARD", "OUTPUT", "POSTROUTING")
_LOADERS = {
    4: ("iptables-restore", "iptables-legacy-restore"),
    6: ("ip6tables-restore", "ip6tables-legacy-restore"),
}
#: Sources that nobody has, or that may not be.
_STRANGE = {
    4: ("127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "9.9.9.9"),
    6: ("::1", "::", "ff02::1", "fe80::99", "2001:db8::9"),
}
_ERRORS = {
    4: ("icmp-port-unreachable", "icmp-host-prohibited", "icmp-net-unreachable"),
    6: ("icmp6-port-unreachable", "icmp6-adm-prohibited", "icmp6-no-route", "icmp6-addr-unreachable"),
}

#: A type of address that is asked for besides local and unicast ones.
_KINDS = {4: "BROADCAST", 6: "ANYCAST"}

#: What is drawn from, by the tags of nettrace.model.xt or the names of extensions.
MATCHES = CLOSED | {"state", "set", *(f"set {kind}" for kind in SET_KINDS)}
TARGETS = frozenset(
    {
        "ACCEPT", "DROP", "RETURN", "REJECT", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "MARK", "CONNMARK",
        "NOTRACK", "CT", "LOG", "NFLOG", "AUDIT", "TTL", "DSCP", "TOS", "CLASSIFY", "CHECKSUM", "TCPMSS",
        "TCPOPTSTRIP", "none",
    }
)  # fmt: skip

#: What few places take or few packets meet: many states have a rule of one of these in front.
_SCARCE = (
    *("mac", "owner", "owner", "socket", "tcpmss", "TCPMSS", "TCPOPTSTRIP"),
    *("hash:net,iface", "bitmap:port", "hash:ip", "hash:ip,port,net"),
)
#: IPv6's own are in a third of the networks.
_SCARCE6 = (*_SCARCE, "icmp6", "icmp6", "ipv6header")

#: Source ports come from below the ephemeral ones, so that none is used twice in a run of 10,000.
_SPORTS = (1025, 32000)


class Generator:
    """Draws states, and probes for them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0

    # --- drawing ---------------------------------------------------------------------------

    def maybe(self, chance: float) -> bool:
        """Draw yes or no."""
        return self.random.random() < chance

    def pick(self, *choices: str) -> str:
        """Draw one of several."""
        return self.random.choice(choices)

    def negated(self) -> str:
        """Draw a negation, seldom."""
        return "! " if self.maybe(0.2) else ""

    def topology(self) -> str:
        """Draw a topology by weight."""
        return self.random.choices(list(BENCHES), [bench.weight for bench in BENCHES.values()])[0]

    # --- state -----------------------------------------------------------------------------

    def state(self, topology: str) -> State:
        """Draw a state of a topology: rules in one or two namespaces, sysctls, routes."""
        bench = BENCHES[topology]
        rules: list[tuple[str, str, str]] = []
        made: list[Change] = []
        places = {self.random.choice(bench.under_test) for _ in range(self.random.choice((2, 3, 3, 4)))}
        for label in sorted(places):
            kind = self.random.random()
            sets: tuple[str, ...] = ()
            focus = self.pick(*(_SCARCE6 if bench.family == 6 else _SCARCE)) if self.maybe(0.6) else ""
            if self.maybe(0.45) or focus in SET_KINDS:
                sets, changes = drawn_sets(self, bench, label, focus)
                made += changes
            both = _LOADERS[bench.family]
            loaders: tuple[str, ...] = both[:1] if kind < 0.65 else both[1:] if kind < 0.98 else both
            native = self.maybe(0.4)
            if native:  # alone, or beside one or both of the others
                loaders = () if self.maybe(0.5) else loaders
                rules.append((label, LOADER, NativeRules(self, bench, label, mixed=bool(loaders)).ruleset()))
            for loader in loaders:
                density = 1.0 if len(loaders) + native == 1 else 0.4
                rules.append((label, loader, Rules(self, bench, density, sets, focus).ruleset()))
        sysctls: dict[tuple[str, str], str] = {}
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 4))):
            label, name, values = self.random.choice(bench.sysctls)
            sysctls[label, name] = self.random.choice(values)
        menu = self.random.sample(bench.menu, self.random.choice((0, 0, 1, 1, 2, 3)))
        if self.maybe(0.5):
            menu.append(self.random.choice((*bench.rare, *bench.loops, *bench.loops, *bench.loops)))
        commands: dict[tuple[str, str], Change] = {}
        for line in menu:
            for change in (line,) if isinstance(line, Change) else line:
                commands.setdefault((change.netns, change.do), change)
        if self.maybe(0.15):
            made.append(drawn_policies(self, bench, self.pick(*bench.under_test)))
        for change in made:
            commands[change.netns, change.do] = change
        return State(
            topology=topology,
            rules=tuple(rules),
            sysctls=tuple((label, name, value) for (label, name), value in sysctls.items()),
            commands=tuple((change.netns, change.do, change.undo) for change in commands.values()),
        )

    # --- probes ----------------------------------------------------------------------------

    def probe(self, topology: str) -> Probe:
        """Draw a call."""
        bench = BENCHES[topology]
        if self.maybe(0.2):
            return self.arrival(bench)
        source, dst, proto, port = self.random.choice(bench.calls)
        self.number += 1
        sport = None
        if not proto.startswith("icmp") and self.maybe(0.15):
            low, high = _SPORTS
            sport = low + self.number * 7919 % (high - low)
        src = ""
        for label, _, prefix in bench.more:
            if label == source and self.maybe(0.7):
                src = f"{prefix}{self.random.choice(MORE)}"
        talk = proto == "tcp" and self.maybe(0.4)
        stale: tuple[tuple[str, str], ...] = ()
        if src and sport and self.maybe(0.12):
            stale = (self.stale(bench, source, src, dst, proto, port),)
        return Probe(
            source=source,
            src=src,
            talk=talk,
            stale=stale,
            dst=dst,
            proto=proto,
            dport=port,
            sport=sport,
            ttl=self.random.choice((64, 64, 64, 64, 64, 1, 2, 3)),
            tos=self.random.choice((0, 0, 0, 0x10, 0x08, 0xB8)),
            mark=self.random.choice((0, 0, 0, 0, 1, 2, 0x10)),
            size=self.random.choice((60, 60, 60, 84, 700, 950, 1400)) if proto != "tcp" else 60,
            df=proto == "tcp" or self.maybe(0.6),
            icmp_id=self.number & 0xFFFF,
            cookie=f"{self.number:08d}",
        )

    def stale(
        self, bench: Bench, source: str, src: str, dst: str, proto: str, port: int | None
    ) -> tuple[str, str]:
        """Draw an entry that an earlier connection with these ends may have left somewhere."""
        place = source if self.maybe(0.25) else self.random.choice(bench.under_test)
        words = f"-p {proto} -s {src} -d {dst} --sport {{sport}} --dport {port} -t 100"
        far = dst
        if self.maybe(0.2):  # the packet is its answer
            far = src
            words = f"-p {proto} -s {dst} -d {src} --sport {port} --dport {{sport}} -t 100"
        if proto == "tcp":
            # whether one that is over may begin anew depends on flags that conntrack(8) cannot set
            state = self.pick("SYN_SENT", "SYN_RECV", "ESTABLISHED", "ESTABLISHED", "FIN_WAIT", "LAST_ACK")
            words += f" --state {state}"
        if self.maybe(0.6):
            words += self.pick(" -u SEEN_REPLY", " -u SEEN_REPLY,ASSURED")
        if self.maybe(0.4):
            to = self.pick(*bench.to)
            words += f" --dst-nat {at(to, self.pick('', f':{self.pick(*bench.ports)}'))}"
        elif self.maybe(0.3):
            words += f" --src-nat {self.pick(*bench.by)}"
        else:  # nat has decided, and changed nothing
            words += f" --dst-nat {far}"
        if self.maybe(0.3):
            words += " -m 1"
        return place, words

    def arrival(self, bench: Bench) -> Probe:
        """Draw a frame that arrives at a device, as nobody may have sent it."""
        self.number += 1
        netns, device, _, _ = self.random.choice(bench.arrivals)
        _, dst, proto, port = self.random.choice(bench.calls)
        src = self.pick(*_STRANGE[bench.family]) if self.maybe(0.15) else self.pick(*bench.addresses)
        flags = (("SYN",),) * 5 + (("ACK",), ("RST",), ("SYN", "ACK"), ("ACK", "FIN"))
        low, high = _SPORTS
        return Probe(
            source=netns,
            device=device,
            src=src,
            dst=dst,
            proto=proto,
            dport=port,
            sport=low + self.number * 7919 % (high - low) if not proto.startswith("icmp") else None,
            ttl=self.random.choice((64, 64, 64, 1, 2)),
            tos=self.random.choice((0, 0, 0x10)),
            size=self.random.choice((60, 60, 700, 1400)) if proto != "tcp" else 60,
            df=self.maybe(0.7),
            flags=self.random.choice(flags),
            icmp_id=self.number & 0xFFFF,
            cookie=f"{self.number:08d}",
        )


def at(address: str, port: str) -> str:
    """An address and ``:port`` or "", as iptables and conntrack(8) write them."""
    return f"[{address}]{port}" if port and ":" in address else f"{address}{port}"


class Rules:
    """Random iptables rule sets."""

    def __init__(
        self, draw: Generator, bench: Bench, density: float, sets: tuple[str, ...] = (), focus: str = ""
    ) -> None:
        self.draw = draw
        self.bench = bench
        self.density = density
        self.focus = focus
        self.pieces = Pieces(draw, bench, sets)

    def ruleset(self) -> str:
        """iptables-restore text of all four tables."""
        return "".join(self.table(table) for table in BUILT_IN)

    def table(self, table: str) -> str:
        """All chains of a table."""
        draw = self.draw
        own = sorted({chain for chains in _OWN.get(table, {"": "ABC"}).values() for chain in chains})
        lines = [f"*{table}"]
        for chain in BUILT_IN[table]:
            drop = table in ("filter", "mangle") and draw.maybe(0.04)
            lines.append(f":{chain} {'DROP' if drop else 'ACCEPT'} [0:0]")
        lines += [f":{chain} - [0:0]" for chain in own]
        for chain in BUILT_IN[table]:
            if table == "nat" and chain in ("PREROUTING", "OUTPUT") and self.bench.spared:
                lines.append(f"-A {chain} {self.bench.spared} -j ACCEPT")
            if self.focus and draw.maybe(0.5):
                line = self.pieces.scarce(self.focus, table, chain)
                lines += [f"-A {chain} {line}"] if line else []
            if table == "filter" and draw.maybe(0.25):  # the handshake passes, and what comes then does not
                end = draw.pick("DROP", "REJECT --reject-with tcp-reset", "REJECT --reject-with tcp-reset")
                lines.append(f"-A {chain} -p tcp -m tcp --tcp-flags PSH PSH -j {end}")
            for _ in range(round(draw.random.choice((1, 2, 3, 4, 5, 6)) * self.density)):
                lines.append(self.rule(table, chain, chain))
        for chain in own:
            home = next((one for one, chains in _OWN.get(table, {}).items() if chain in chains), "FORWARD")
            for _ in range(draw.random.randint(1, 4)):
                lines.append(self.rule(table, chain, home))
        return "\n".join([*lines, "COMMIT", ""])

    def rule(self, table: str, chain: str, home: str) -> str:
        """One rule; *home* is the built-in chain that decides what is allowed in it."""
        draw, bench = self.draw, self.bench
        proto = draw.pick("", "", "", "udp", "udp", "tcp", "tcp", "icmp" if bench.family == 4 else "icmpv6")
        words = [f"-A {chain}"]
        if draw.maybe(0.3):  # a rule that anything meets
            return f"-A {chain} {self.target(table, chain, home, '')}"
        if draw.maybe(0.15):
            words.append(f"{draw.negated()}-s {draw.pick(*bench.addresses, *bench.prefixes)}")
        if draw.maybe(0.15):
            words.append(f"{draw.negated()}-d {draw.pick(*bench.addresses, *bench.prefixes)}")
        own = len(chain) == 1
        if draw.maybe(0.15) and (own or chain in _IN):
            words.append(f"{draw.negated()}-i {draw.pick(*bench.devices)}")
        if draw.maybe(0.15) and (own or chain in _OUT):
            words.append(f"{draw.negated()}-o {draw.pick(*bench.devices)}")
        if proto:
            words.append(f"-p {proto}")
        with_piece = draw.maybe(0.3)
        if not with_piece or draw.maybe(0.4):
            words += self.matches(table, chain, proto)
        if with_piece:
            words.append(self.pieces.match(table, "" if own else chain, proto, " ".join(words)))
        words.append(self.target(table, chain, home, proto))
        return " ".join(word for word in words if word)

    def matches(self, table: str, chain: str, proto: str) -> list[str]:
        """Some tests that fit together."""
        draw, bench = self.draw, self.bench
        found: list[str] = []
        if proto == "udp" and draw.maybe(0.5):
            found.append(
                f"-m udp {draw.negated()}--{draw.pick('dport', 'dport', 'sport')} "
                f"{draw.pick(*bench.ports, '1:100', '1024:65535')}"
            )
        if proto == "tcp" and draw.maybe(0.4):
            found.append(
                draw.pick(
                    "-m tcp --dport 80",
                    "-m tcp ! --dport 81:90",
                    "-m tcp --sport 80",
                    "-m tcp --tcp-flags SYN,ACK SYN",
                    "-m tcp --tcp-flags ACK ACK",
                    "-m tcp ! --syn",
                    "-m multiport --ports 80,443",
                    "-m multiport ! --dports 81:9376",
                )
            )
        if proto == "icmp" and draw.maybe(0.4):
            found.append(f"-m icmp {draw.negated()}--icmp-type {draw.pick('8', '0', '3/3', '3')}")
        if proto == "icmpv6" and draw.maybe(0.4):
            kind = draw.pick("echo-request", "129", "1/4", "1", "destination-unreachable")
            found.append(f"-m icmp6 {draw.negated()}--icmpv6-type {kind}")
        if draw.maybe(0.18):
            found.append(
                f"-m mark {draw.negated()}--mark {draw.pick('0x1/0x1', '0x2/0x3', '0x0', '0x10/0x10')}"
            )
        if table != "raw" and draw.maybe(0.22):
            states = draw.pick(
                "NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "UNTRACKED", "DNAT", "SNAT"
            )
            module = draw.pick("conntrack", "conntrack", "state")
            if module == "state" and states in ("DNAT", "SNAT"):
                module = "conntrack"
            option = "--ctstate" if module == "conntrack" else "--state"
            found.append(f"-m {module} {draw.negated()}{option} {states}")
        if table != "raw" and draw.maybe(0.12):
            found.append(
                draw.pick(
                    "-m conntrack --ctdir REPLY",
                    "-m conntrack --ctdir ORIGINAL",
                    f"-m conntrack --ctorigdst {draw.pick(*bench.addresses)}",
                    f"-m conntrack ! --ctreplsrc {draw.pick(*bench.to)}",
                    "-m conntrack --ctstatus CONFIRMED",
                    "-m conntrack ! --ctstatus SEEN_REPLY",
                    "-m connmark --mark 0x1/0x1",
                    "-m connmark ! --mark 0x1/0x1",
                )
            )
        if draw.maybe(0.12):
            kinds = draw.pick("LOCAL", "UNICAST", _KINDS[bench.family], "LOCAL,UNICAST")
            found.append(f"-m addrtype {draw.negated()}--{draw.pick('src', 'dst')}-type {kinds}")
        if table in ("raw", "mangle") and chain == "PREROUTING" and draw.maybe(0.2):
            found.append(f"-m rpfilter {draw.pick('', '--loose', '--invert')}")
        if bench.physdevs and table != "nat" and draw.maybe(0.2):
            found.append(f"-m physdev {self.physdev(chain)}")
        if draw.maybe(0.05):
            found.append(f"-m statistic --mode random --probability {draw.pick('0.5', '0.25', '0.9')}")
        if draw.maybe(0.1):
            found.append("-m comment --comment x")
        return found

    def physdev(self, chain: str) -> str:
        """A test of bridge ports; going out is known in FORWARD and POSTROUTING only."""
        draw = self.draw
        device = draw.pick(*self.bench.physdevs)
        if chain in ("FORWARD", "POSTROUTING"):
            return draw.negated() + draw.pick(
                "--physdev-is-bridged", f"--physdev-out {device}", f"--physdev-in {device}"
            )
        return draw.negated() + draw.pick(f"--physdev-in {device}", "--physdev-is-in")

    def target(self, table: str, chain: str, home: str, proto: str) -> str:
        """A target that the table allows."""
        draw = self.draw
        later = [one for one in _OWN.get(table, {}).get(home, "ABC") if len(chain) > 1 or one > chain]
        if later and draw.maybe(0.3):
            return f"-{draw.pick('j', 'j', 'j', 'g')} {draw.random.choice(later)}"
        if draw.maybe(0.12):
            return draw.pick("-j RETURN", "")
        if table == "mangle" and proto == "tcp" and chain in _OUT and draw.maybe(0.3):
            return draw.pick(
                "-j TCPMSS --set-mss 1300",
                "-j TCPMSS --set-mss 600",
                "-j TCPOPTSTRIP --strip-options timestamp",
            )
        if draw.maybe(0.15):
            found = self.pieces.target(table, "" if len(chain) == 1 else chain, proto)
            if found:
                return found
        if table == "nat":
            return self.nat(home, proto)
        if table == "raw":
            if draw.maybe(0.06):
                return "-j DROP"
            return draw.pick("-j CT --notrack", "-j ACCEPT", "", "-j MARK --set-xmark 0x10/0x10")
        if table == "mangle":
            return draw.pick(
                "-j MARK --set-xmark 0x1/0x1",
                "-j MARK --set-xmark 0x2/0xffffffff",
                "-j MARK --set-xmark 0x3/0x0",
                "-j CONNMARK --set-xmark 0x1/0xffffffff",
                "-j CONNMARK --save-mark",
                "-j CONNMARK --restore-mark",
                "-j ACCEPT",
                "-j DROP" if draw.maybe(0.2) else "-j NFLOG --nflog-group 9",
            )
        if draw.maybe(0.15):
            with_ = draw.pick(*_ERRORS[self.bench.family])
            return "-j REJECT --reject-with " + ("tcp-reset" if proto == "tcp" and draw.maybe(0.5) else with_)
        return draw.pick(
            "-j ACCEPT", "-j ACCEPT", "", "-j DROP" if draw.maybe(0.4) else "-j NFLOG --nflog-group 9"
        )

    def nat(self, home: str, proto: str) -> str:
        """A translation, or none."""
        draw, bench = self.draw, self.bench
        ports = proto in ("udp", "tcp")
        if draw.maybe(0.25):
            return draw.pick("-j ACCEPT", "")
        if home in ("PREROUTING", "OUTPUT"):
            to = draw.pick(*bench.to)
            port = draw.pick(*(f":{one}" for one in bench.ports), ":80", "") if ports else ""
            if ports and draw.maybe(0.4) and home == "PREROUTING":
                return f"-j REDIRECT --to-ports {draw.pick(*bench.ports)}"
            return f"-j DNAT --to-destination {at(to, port)}"
        if home == "INPUT" or draw.maybe(0.4):
            to = draw.pick(*bench.by)
            return f"-j SNAT --to-source {at(to, ':4000-4100' if ports and draw.maybe(0.3) else '')}"
        return f"-j MASQUERADE{draw.pick('', ' --random-fully')}"
