"""
Random rules of native nftables: tests, statements, sets.

Lives here: words of nft, about IPv4.  Some rules that come of them are refused by nft, and left out when
they are loaded.
Not here: chains and hooks (nft), the same about IPv6 (nft_words).
"""

import random
from typing import Protocol

from tests.oracle.benches import Bench
from tests.oracle.nft_words import NOBODY, about, network, span

__all__ = ["Draw", "Pieces"]

#: Hooks that no packet passes twice.
_ENDS = ("input", "output")
_TRANSPORT = "meta l4proto { tcp, udp }"


class Draw(Protocol):
    """What draws: tests.oracle.generate.Generator."""

    random: random.Random

    def maybe(self, chance: float) -> bool:
        """Draw yes or no."""

    def pick(self, *choices: str) -> str:
        """Draw one of several."""


class Pieces:
    """Rules made of a network's words."""

    def __init__(self, draw: Draw, bench: Bench) -> None:
        self.draw, self.bench = draw, bench
        self.devices = tuple(sorted({one.replace("+", "*") for one in bench.devices}))

    def no(self) -> str:
        """Draw a negation, seldom."""
        return "!= " if self.draw.maybe(0.2) else ""

    def address(self) -> str:
        """An address of the network."""
        return self.draw.pick(*self.bench.addresses)

    def there(self) -> str:
        """The address that most are called at."""
        return "10.2.0.2" if self.bench.family == 4 else "fd00:2::2"

    def some(self) -> str:
        """What may stand behind ``ip saddr``."""
        one, other = self.draw.random.sample(self.bench.addresses, 2)
        return self.draw.pick(
            one,
            self.draw.pick(*self.bench.prefixes),
            span(one, 9),
            "@nets",
            "@seen",
            f"{{ {one}, {other} }}",
            f"{{ {one}/{31 if self.bench.family == 4 else 127}, {other} }}",
        )

    def port(self) -> str:
        """What may stand behind ``dport``."""
        return self.draw.pick(
            *self.bench.ports, "7-9", "1-1023", "{ 7, 53, 80 }", "{ 1-8, 50-90 }", "@ports", "> 1023"
        )

    def device(self) -> str:
        """What may stand behind ``iifname``."""
        return self.draw.pick(*(f'"{one}"' for one in self.devices), '{ "lo", "eth0" }')

    def sets(self, at: str) -> list[str]:
        """Sets and maps that rules ask."""
        bench, draw = self.bench, self.draw
        one, two = draw.random.sample(bench.addresses, 2)
        net, low = network(two), span(two, 3)
        alone = one if network(one) != net else NOBODY[bench.family][1]
        beside = one if bench.family == 4 else alone
        port, other = draw.pick(*bench.ports), draw.pick(*bench.ports)
        found = [
            f"add set {at} nets {{ type ipv4_addr; flags interval; elements = {{ {beside}, {low} }} }}",
            f"add set {at} ports {{ type inet_service; elements = {{ {port}, 443 }} }}",
            (
                f"add set {at} pairs {{ type ipv4_addr . inet_service; flags interval; "
                f"elements = {{ {net} . 7-60, {beside} . {port} }} }}"
            ),
            (
                f"add set {at} exact {{ type ipv4_addr . inet_proto . inet_service; "
                f"elements = {{ {one} . tcp . 80, {two} . udp . {other} }} }}"
            ),
            f"add set {at} seen {{ type ipv4_addr; size 100; flags dynamic,timeout; timeout 1h; }}",
            (
                f"add map {at} marks {{ type ipv4_addr : mark; flags interval; "
                f"elements = {{ {net} : 0x11, {alone} : 0x12 }} }}"
            ),
        ]
        return [about(bench.family, line) for line in found]

    # --- rules of IP -------------------------------------------------------------------------

    def rule(self, hook: str, kind: str, later: list[str], *, early: bool) -> str:
        """One rule; *later*: chains that it may go to."""
        return about(self.bench.family, self._rule(hook, kind, later, early=early))

    def _rule(self, hook: str, kind: str, later: list[str], *, early: bool) -> str:
        draw = self.draw
        proto = draw.pick("", "", "tcp", "udp", "icmp", "th")
        words = [
            self.match(hook, proto, early=early) for _ in range(draw.random.choice((0, 0, 1, 1, 1, 2, 2)))
        ]
        if draw.maybe(0.15):
            words.append("counter")
        if draw.maybe(0.02):
            words.append("limit rate 1000000/second burst 1000 packets counter")
            return " ".join(words)
        return " ".join([*words, self.statement(hook, kind, later, early=early)])

    def match(self, hook: str, proto: str, *, early: bool) -> str:
        """One test."""
        draw = self.draw
        choices = self.of_header(proto) * (2 if proto else 1)
        choices += self.of_packet()
        if hook in ("prerouting", "input", "forward"):
            choices += [f"iifname {self.no()}{self.device()}", f"iif {self.no()}lo"]
        if hook == "prerouting":
            choices.append(f"fib saddr . iif oif {draw.pick('missing', 'exists', 'lo')}")
            choices.append(f"fib saddr . mark oifname {self.no()}{self.device()}")
        if hook in ("output", "postrouting", "forward"):
            choices += [f"oifname {self.no()}{self.device()}", f"oif {self.no()}lo"]
        if hook in ("postrouting", "forward"):
            choices.append(f"rt ip nexthop {self.no()}{self.address()}")
        if not early:
            choices += self.of_connection() * 2
        return draw.random.choice(choices)

    def of_header(self, proto: str) -> list[str]:
        """Tests of a protocol's header, or of IP's."""
        pick, no = self.draw.pick, self.no
        found = {
            "tcp": [
                f"tcp dport {no()}{self.port()}",
                f"tcp sport {no()}{pick('80', '1-1023')}",
                pick(
                    "tcp flags syn",
                    "tcp flags & (syn | ack) == syn",
                    "tcp flags ! syn",
                    "tcp flags ack / ack,rst",
                ),
                f"tcp option maxseg size {pick('> 1000', '< 900')}",
                f"ip saddr . tcp dport {no()}{{ {self.address()} . 80, {self.there()} . 1-99 }}",
            ],
            "udp": [
                f"udp dport {no()}{self.port()}",
                f"udp sport {no()}{pick('7', '53', '1-100')}",
                f"udp length {pick('> 30', '< 100')}",
            ],
            "icmp": [
                f"icmp type {no()}{pick('echo-request', 'echo-reply', '{ echo-request, 3 }')}",
                f"icmp code {pick('0', '3', 'port-unreachable')}",
            ],
            "th": [
                f"{_TRANSPORT} th dport {no()}{self.port()}",
                f"{_TRANSPORT} ip daddr . th dport {no()}@pairs",
                f"{_TRANSPORT} ip daddr . meta l4proto . th dport {no()}@exact",
                f"{_TRANSPORT} th sport . th dport {no()}{{ 7 . 7, 1024-65535 . 1-100 }}",
            ],
        }
        return found.get(proto, [f"ip saddr {no()}{self.some()}", f"ip daddr {no()}{self.some()}"])

    def of_packet(self) -> list[str]:
        """Tests of IP's header, of what the kernel notes of a packet, of hashes."""
        pick, no = self.draw.pick, self.no
        return [
            f"ip saddr {no()}{self.some()}",
            f"ip daddr {no()}{self.some()}",
            f"ip protocol {no()}{pick('tcp', 'udp', 'icmp')}",
            f"meta l4proto {no()}{pick('tcp', 'udp', 'icmp', '{ tcp, icmp }')}",
            f"meta mark {no()}{pick('0', '0x1', '0x10', '{ 0x0, 0x12 }', '0x1-0x11')}",
            f"meta mark & 0x3 {pick('==', '!=')} {pick('0', '1')}",
            f"ip ttl {pick('64', '< 64', '>= 63', '{ 60-63, 255 }')}",
            f"ip dscp {no()}{pick('cs0', 'cs1', '0x04', 'ef')}",
            f"ip length {pick('> 30', '< 9000', '60')}",
            f"meta length {pick('> 30', '<= 84', '< 9000')}" if self.draw.maybe(0.3) else "meta protocol ip",
            f"meta nfproto {no()}ipv4",
            pick("meta protocol ip", "meta pkttype host", "meta protocol ip6"),
            f"fib daddr type {no()}{pick('local', 'unicast', '{ local, broadcast }')}",
            f"fib saddr type {no()}{pick('local', 'unicast')}",
            f"jhash ip saddr . ip daddr mod 4 seed 0x17 {pick('0', '< 2', '{ 1, 3 }')}",
            f"jhash ip daddr . ip protocol mod 3 seed 0x99 offset 5 {pick('5', '6', '7')}",
            f"numgen {pick('random', 'inc')} mod 2 {pick('0', '1')}"
            if self.draw.maybe(0.3)
            else "ip version 4",
            f"symhash mod 2 {pick('0', '1')}" if self.draw.maybe(0.2) else "ip frag-off & 0x1fff == 0",
            "ip hdrlength 5",
        ]

    def of_connection(self) -> list[str]:
        """Tests of conntrack's entry."""
        pick, no = self.draw.pick, self.no
        states = ("new", "established", "established,related", "invalid", "untracked", "{ new, related }")
        return [
            f"ct state {no()}{pick(*states)}",
            f"ct state {pick('new', 'established')}",
            f"ct direction {pick('original', 'reply')}",
            f"ct status {pick('dnat', 'snat', 'confirmed', 'seen-reply', 'assured', '! dnat')}",
            f"ct mark {no()}{pick('0', '0x5', '0x10')}",
            f"ct original ip daddr {no()}{self.address()}",
            f"ct reply ip saddr {no()}{self.address()}",
            f"{_TRANSPORT} ct original proto-dst {pick(*self.bench.ports)}",
            f"ct protocol {pick('tcp', 'udp')}",
        ]

    # --- statements --------------------------------------------------------------------------

    def statement(self, hook: str, kind: str, later: list[str], *, early: bool) -> str:
        """What the rule does."""
        draw = self.draw
        if later and draw.maybe(0.3):
            return self.leap(draw.random.choice(later))
        if draw.maybe(0.12):
            return draw.pick("return", "counter", "continue")
        if kind == "nat":
            return self.nat(hook)
        if early and draw.maybe(0.15):
            return "notrack"
        if draw.maybe(0.5):
            return self.deed(hook, early=early)
        if hook in ("input", "forward", "output") and draw.maybe(0.2):
            return draw.pick(
                "reject",
                "reject with icmp host-unreachable",
                "reject with icmpx host-unreachable",
                "reject with icmpx admin-prohibited",
                "reject with icmp net-prohibited",
                "meta l4proto tcp reject with tcp reset",
            )
        return draw.pick("accept", "accept", "drop" if draw.maybe(0.35) else "counter")

    def leap(self, user: str) -> str:
        """Go to another chain."""
        draw = self.draw
        return draw.pick(
            f"jump {user}",
            f"jump {user}",
            f"goto {user}",
            f"ip saddr vmap {{ {self.address()} : jump {user}, {NOBODY[self.bench.family][0]} : accept }}",
            f"meta l4proto vmap {{ tcp : goto {user}, udp : jump {user} }}",
            f"ip protocol . ip ttl vmap {{ tcp . 64 : jump {user}, udp . 63 : continue, icmp . 1 : return }}",
        )

    def deed(self, hook: str, *, early: bool) -> str:
        """
        Mark, note, rewrite.

        What is forwarded keeps its TTL: packets that go round with a new one never end, and neither
        does emptying the table of connections while they do.
        """
        draw = self.draw
        marks = [
            "meta mark set 0x1",
            "meta mark set 0x10",
            "meta mark set meta mark | 0x2",
            "meta mark set meta mark & 0xfffffffe ^ 0x3",
            "meta mark set ip saddr map @marks",
            "meta mark set ip protocol map { tcp : 0x10, udp : 0x1 }",
            "meta mark set jhash ip saddr mod 8 seed 0x5 offset 16",
            "add @seen { ip saddr }",
            "update @seen { ip daddr timeout 2h }",
            "ip ttl set 33" if draw.maybe(0.3) and hook in _ENDS else "ip dscp set cs1",
            "tcp option maxseg size set 1200",
            "log group 9",
            "meta priority set 0x3",
        ]
        if not early:
            marks += [
                "ct mark set 0x5",
                "ct mark set meta mark",
                "meta mark set ct mark",
                "ct mark set ct mark | 0x10",
            ]
        return draw.random.choice(marks)

    def at(self, address: str, port: str) -> str:
        """An address and ``:port``, or without."""
        return f"[{address}]{port}" if port and ":" in address else f"{address}{port}"

    def nat(self, hook: str) -> str:
        """A translation, or none."""
        draw, bench = self.draw, self.bench
        if draw.maybe(0.2):
            return draw.pick("accept", "counter", "meta mark set 0x1")
        proto = draw.pick(f"{_TRANSPORT} ", f"{_TRANSPORT} ", "")
        if hook in ("prerouting", "output"):
            to, other = draw.pick(*bench.to), draw.pick(*bench.to)
            port = draw.pick(*(f":{one}" for one in bench.ports), "") if proto else ""
            one, two = draw.pick(*bench.ports), draw.pick(*bench.ports)
            first, second = draw.random.sample(bench.addresses, 2)
            choices = [f"{proto}dnat ip to {self.at(to, port)}"] * 2
            choices.append(
                f"{_TRANSPORT} dnat ip addr . port to th dport map "
                f"{{ {one} : {to} . {two}, 8080 : {other} . {one} }}"
            )
            choices.append(f"dnat ip to ip daddr map {{ {first} : {to}, {second} : {other} }}")
            if to != other:
                choices.append(f"dnat ip to numgen random mod 2 map {{ 0 : {to}, 1 : {other} }}")
                choices.append(f"dnat ip to jhash ip saddr mod 2 seed 0x7 map {{ 0 : {to}, 1 : {other} }}")
            if hook == "prerouting" or draw.maybe(0.1):
                choices.append(f"{proto}redirect to :{one}" if proto else "redirect")
            return draw.random.choice(choices)
        to = draw.pick(*bench.by)
        ports = ":4000-4100" if proto and draw.maybe(0.3) else ""
        choices = [f"{proto}snat ip to {self.at(to, ports)}"]
        if hook == "postrouting":
            choices += ["masquerade", "masquerade fully-random", "masquerade random,persistent"]
        return draw.random.choice(choices)

    # --- below IP ----------------------------------------------------------------------------

    def layer2_rule(self, family: str, hook: str, later: list[str]) -> str:
        """One rule of a bridge's chain or a device's."""
        return about(self.bench.family, self._layer2_rule(family, hook, later))

    def _layer2_rule(self, family: str, hook: str, later: list[str]) -> str:
        draw = self.draw
        words = [self.layer2_match(family, hook) for _ in range(draw.random.choice((0, 1, 1, 1, 2)))]
        if draw.maybe(0.2):
            words.append("counter")
        if later and draw.maybe(0.25):
            return " ".join([*words, draw.pick(f"jump {later[0]}", f"goto {later[0]}")])
        words.append(
            draw.pick(
                "return",
                "accept",
                "accept",
                "drop" if words and draw.maybe(0.5) else "counter",
                "meta mark set 0x1",
                "meta mark set meta mark | 0x10",
                "log group 9",
                "ip dscp set cs1" if draw.maybe(0.5) else "ip protocol udp counter",
            )
        )
        return " ".join(words)

    def layer2_match(self, family: str, hook: str) -> str:
        """One test."""
        pick, no = self.draw.pick, self.no
        choices = [
            f"ether type {no()}ip",
            f"ip saddr {no()}{self.address()}",
            f"ip daddr {no()}{pick(*self.bench.prefixes)}",
            f"ip protocol {no()}{pick('tcp', 'udp', 'icmp')}",
            f"udp dport {no()}{pick(*self.bench.ports)}",
            f"tcp dport {no()}{pick(*self.bench.ports)}",
            f"tcp flags {pick('syn', '& (syn | ack) == syn | ack')}",
            f"icmp type {pick('echo-request', 'echo-reply')}",
            f"meta mark {no()}{pick('0', '0x1')}",
            f"meta protocol {no()}ip",
            f"ip ttl {pick('64', '63', '< 3')}",
            f"jhash ip saddr mod 2 seed 0x3 {pick('0', '1')}",
        ]
        ports = [f'"{one}"' for one in self.bench.physdevs if "+" not in one] or ['"port1"', '"eth0"']
        if family == "bridge":
            if hook in ("prerouting", "input", "forward"):
                choices.append(f"iifname {no()}{pick(*ports)}")
            if hook in ("forward", "output", "postrouting"):
                choices.append(f"oifname {no()}{pick(*ports)}")
        return self.draw.random.choice(choices)
