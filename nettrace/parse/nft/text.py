"""
A rule as ``nft list ruleset`` prints it.

Lives here: following registers from load to use, for the patterns that nft writes.
Not here: words for values (values), sets (sets); rules of other patterns, which are printed
expression by expression (netlink).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from nettrace.model import nft_expr as e
from nettrace.model.nft import NftRule, NftTable
from nettrace.parse.nft.netlink import expression_text, verdict_text
from nettrace.parse.nft.sets import Part, set_text
from nettrace.parse.nft.values import CT_TYPES, FIELDS, META_TYPES, NUMBERED, constant, flag_words, number

__all__ = ["rule_text"]


def rule_text(rule: NftRule, table: NftTable, byteorder: str = "little") -> str:
    """
    Return the rule's text, without its comment.

    A rule that holds what nft would not have written so comes out in the style of
    ``--debug=netlink``.
    """
    try:
        return _Writer(table, byteorder).write(rule)
    except (_Unreadable, IndexError, KeyError, ValueError):
        return " ".join(expression_text(one) for one in rule.expressions)


class _Unreadable(Exception):
    """No pattern of nft's."""


class _Term(NamedTuple):
    """What lies in a register: the words that put it there, its length and its type."""

    text: str
    length: int
    kind: str
    data: bytes | None = None  # of a constant
    mask: bytes | None = None  # it was ANDed with
    xor: bytes = b""
    swapped: bool = False
    maps: bool = False


_OPS = {"eq": "", "neq": "!= ", "lt": "< ", "lte": "<= ", "gt": "> ", "gte": ">= "}
_REJECTS = {0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable"}
_REJECTS |= {9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"}
_REJECTS6 = {0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable"}
_REJECTSX = ("no-route", "port-unreachable", "host-unreachable", "admin-prohibited")
_FAMILY = {"ip": "ip", "ip6": "ip6"}


class _Writer:
    """One rule."""

    def __init__(self, table: NftTable, byteorder: str) -> None:
        self.table, self.byteorder = table, byteorder
        self.words: list[str] = []
        self.registers: dict[int, _Term] = {}
        self.network = _FAMILY.get(table.family, "")
        self.transport = ""
        self.implied: dict[str, int] = {}  # layer -> index in words of the test that only says it
        self.lower: tuple[int, str] | None = None  # index of ``>= x`` that ``<= y`` may make a range

    def write(self, rule: NftRule) -> str:
        for expression in rule.expressions:
            write = _WRITE.get(type(expression))
            if write is None:
                raise _Unreadable
            write(self, expression)
        return " ".join(word for word in self.words if word)

    # --- registers -----------------------------------------------------------------------

    @staticmethod
    def _at(register: int) -> int:
        return register * 4 if register < 8 else register - 4

    def put(self, register: int, term: _Term) -> None:
        self.registers[self._at(register)] = term
        self.lower = None

    def get(self, register: int) -> _Term:
        term = self.registers.get(self._at(register))
        if term is None:
            raise _Unreadable
        return term

    def parts(self, register: int, length: int) -> list[_Term]:
        """The terms that lie one behind the other from a register on."""
        word, found = self._at(register), []
        left = length
        while left > 0:
            term = self.registers.get(word)
            if term is None:
                raise _Unreadable
            found.append(term)
            words = (term.length + 3) // 4
            word, left = word + words, left - 4 * words
        return found

    def value(self, term: _Term, kind: str) -> str:
        """A term as the right side of a statement."""
        if term.data is None:
            return self._computed(term, kind)
        return constant(term.data, kind, self.byteorder)

    def _computed(self, term: _Term, kind: str) -> str:
        if term.mask is None:
            return term.text
        mask, xor = (number(one, kind, self.byteorder) for one in (term.mask, term.xor))
        whole = (1 << 8 * len(term.mask)) - 1
        shown = {
            name: constant(one, kind, self.byteorder) for name, one in (("m", term.mask), ("x", term.xor))
        }
        if mask == whole ^ xor and xor:
            return f"{term.text} | {shown['x']}"
        if mask == whole:
            return f"{term.text} ^ {shown['x']}"
        return f"{term.text} & {shown['m']}" + (f" ^ {shown['x']}" if xor else "")

    # --- loads ---------------------------------------------------------------------------

    def payload(self, expr: e.PayloadExpr) -> None:
        header = {"link": "ether", "network": self.network, "transport": self.transport or "th"}.get(
            expr.base, ""
        )
        found = FIELDS.get((header, expr.offset, expr.length))
        if found is not None:
            self._drop_implied("link" if expr.base == "link" else expr.base)
            if header in ("icmp", "icmpv6"):
                self._drop_implied("network")
            self.put(expr.dreg, _Term(f"{header} {found[0]}", expr.length, found[1]))
            return
        for size, name in ((4, "ipv4_addr"), (16, "ipv6_addr")):  # nft loads only what a prefix covers
            for (head, offset, length), (field, kind) in FIELDS.items():
                if (head, offset, length, kind) == (header, expr.offset, size, name) and expr.length < size:
                    self._drop_implied("network")
                    self.put(expr.dreg, _Term(f"{header} {field}", expr.length, f"{name}/"))
                    return
        if expr.base == "transport" and (self.transport or "th") == "th" and expr.offset in (0, 2):
            raise _Unreadable
        short = {"link": "ll", "network": "nh", "transport": "th", "inner": "ih"}[expr.base]
        text = f"@{short},{expr.offset * 8},{expr.length * 8}"
        self.put(expr.dreg, _Term(text, expr.length, "raw"))

    def _drop_implied(self, layer: str) -> None:
        at = self.implied.pop(layer, None)
        if at is not None:
            self.words[at] = ""

    def meta(self, expr: e.MetaExpr) -> None:
        length, kind = META_TYPES.get(expr.key, (4, "host"))
        bare = expr.key in ("iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup", "iiftype", "oiftype")
        self.put(expr.dreg, _Term(expr.key if bare else f"meta {expr.key}", length, kind))

    def ct(self, expr: e.CtExpr) -> None:
        length, kind = CT_TYPES[expr.key]
        words = ["ct", expr.direction or "", expr.key.replace("ip_", "ip ").replace("ip6_", "ip6 ")]
        self.put(expr.dreg, _Term(" ".join(word for word in words if word), length, kind))

    def fib(self, expr: e.FibExpr) -> None:
        flags = " . ".join(name for name in ("saddr", "daddr", "mark", "iif", "oif") if name in expr.flags)
        kinds = {"type": (4, "fib_addrtype"), "oif": (4, "host"), "oifname": (16, "ifname")}
        length, kind = (1, "boolean") if "present" in expr.flags else kinds[expr.result]
        self.put(expr.dreg, _Term(f"fib {flags} {expr.result}", length, kind))

    def rt(self, expr: e.RtExpr) -> None:
        text, length, kind = {
            "nexthop4": ("rt ip nexthop", 4, "ipv4_addr"),
            "nexthop6": ("rt ip6 nexthop", 16, "ipv6_addr"),
            "tcpmss": ("rt mtu", 2, "host"),
            "classid": ("rt classid", 4, "host"),
            "ipsec": ("rt ipsec", 1, "boolean"),
        }[expr.key]
        self.put(expr.dreg, _Term(text, length, kind))

    def socket(self, expr: e.SocketExpr) -> None:
        length, kind = {"mark": (4, "mark"), "cgroupv2": (8, "host")}.get(expr.key, (1, "host"))
        level = f" level {expr.level}" if expr.key == "cgroupv2" else ""
        self.put(expr.dreg, _Term(f"socket {expr.key}{level}", length, kind))

    def exthdr(self, expr: e.ExthdrExpr) -> None:
        name = _option(expr.op, expr.option, expr.offset, expr.length)
        if expr.present:
            self.put(expr.dreg, _Term(name.rsplit(" ", 1)[0] if "size" in name else name, 1, "boolean"))
        else:
            self.put(expr.dreg, _Term(name, expr.length, "integer"))

    def numgen(self, expr: e.NumgenExpr) -> None:
        offset = f" offset {expr.offset}" if expr.offset else ""
        self.put(expr.dreg, _Term(f"numgen {expr.kind} mod {expr.modulus}{offset}", 4, "host"))

    def hash(self, expr: e.HashExpr) -> None:
        offset = f" offset {expr.offset}" if expr.offset else ""
        if expr.kind == "symmetric" or expr.sreg is None:
            text = f"symhash mod {expr.modulus}{offset}"
        else:
            key = " . ".join(term.text for term in self.parts(expr.sreg, expr.length))
            seed = f" seed 0x{expr.seed:x}" if expr.seed is not None else ""
            text = f"jhash {key} mod {expr.modulus}{seed}{offset}"
        self.put(expr.dreg, _Term(text, 4, "host"))

    # --- changes -------------------------------------------------------------------------

    def bitwise(self, expr: e.BitwiseExpr) -> None:
        term = self.get(expr.sreg)
        if expr.op in ("lshift", "rshift"):
            by = int(expr.data or "0", 16)
            by = int.from_bytes(bytes.fromhex(expr.data), self.byteorder)  # type: ignore[arg-type]
            self.put(
                expr.dreg, term._replace(text=f"{term.text} {'<<' if expr.op == 'lshift' else '>>'} {by}")
            )
            return
        if expr.op != "mask_xor" or term.mask is not None or term.data is not None:
            raise _Unreadable
        mask, xor = bytes.fromhex(expr.mask), bytes.fromhex(expr.xor)
        self.put(expr.dreg, term._replace(mask=mask, xor=xor))

    def byteorder_(self, expr: e.ByteorderExpr) -> None:
        term = self.get(expr.sreg)
        self.put(expr.dreg, term._replace(swapped=not term.swapped))

    # --- tests ---------------------------------------------------------------------------

    def cmp(self, expr: e.CmpExpr) -> None:
        term, data = self.get(expr.sreg), bytes.fromhex(expr.data)
        if term.mask is not None:
            self.words.append(self._masked(term, expr.op, data))
            return
        shown = self._shown(term, data)
        if expr.op == "lte" and self.lower is not None:
            index, low = self.lower
            self.words[index] = f"{term.text} {low}-{shown}"
            self.lower = None
            return
        if expr.op == "eq" and self._implies(term, data):
            return
        text = f"{term.text} {_OPS[expr.op]}{shown}"
        self.words.append(text)
        self.lower = (len(self.words) - 1, shown) if expr.op == "gte" else None

    def _implies(self, term: _Term, data: bytes) -> bool:
        """Tests that say which header follows are not written where a field of it is tested next."""
        if term.text == "meta nfproto" or (term.text in ("meta protocol", "ether type") and len(data) == 2):
            named = constant(data, term.kind, self.byteorder)
            self.network = {"ipv4": "ip", "ipv6": "ip6"}.get(named, named)
            layer = "network"
        elif term.text in ("meta l4proto", "ip protocol", "ip6 nexthdr"):
            named = constant(data, "inet_proto", self.byteorder)
            self.transport = "icmpv6" if named == "ipv6-icmp" else named
            layer = "transport"
        elif term.text in ("iiftype", "oiftype") and data[:1] == b"\x01":
            named, layer = "ether", "link"
            self.implied[layer] = len(self.words)
        else:
            return False
        self.words.append(f"{term.text} {named}")
        if term.text in ("meta nfproto", "meta l4proto", "meta protocol"):
            self.implied[layer] = len(self.words) - 1
        return True

    def _shown(self, term: _Term, data: bytes) -> str:
        whole = {"ipv4_addr": 4, "ipv6_addr": 16}.get(term.kind.rstrip("/"), 0)
        if len(data) < whole:  # of a prefix of whole bytes only those are compared
            kind = term.kind.rstrip("/")
            return f"{constant(data.ljust(whole, bytes(1)), kind, self.byteorder)}/{8 * len(data)}"
        if term.kind == "tos":
            return f"0x{data.hex()}"
        kind = "integer" if term.swapped and term.kind == "host" else term.kind
        if term.swapped and term.kind == "mark":
            return f"0x{int.from_bytes(data):08x}"
        if kind == "raw":
            return f"0x{data.hex()}"
        return constant(data, kind, self.byteorder)

    def _masked(self, term: _Term, op: str, data: bytes) -> str:
        mask = term.mask or b""
        if any(term.xor):
            raise _Unreadable
        if term.kind in ("ipv4_addr", "ipv6_addr"):
            length = int.from_bytes(mask).bit_count()
            whole = 8 * len(mask)
            if int.from_bytes(mask) == (1 << whole) - (1 << (whole - length)):
                return f"{term.text} {_OPS[op]}{constant(data, term.kind, self.byteorder)}/{length}"
        if term.kind == "tos" and mask == b"\xfc":
            return f"{term.text} {_OPS[op]}{constant(bytes((data[0] >> 2,)), 'dscp', self.byteorder)}"
        if term.text == "ip version" and mask == b"\xf0":
            return f"{term.text} {_OPS[op]}{data[0] >> 4}"
        if term.kind in ("ct_state", "ct_status", "tcp_flag"):
            asked = flag_words(number(mask, term.kind, self.byteorder), term.kind)
            if not any(data) and op in ("eq", "neq"):
                return f"{term.text} {'! ' if op == 'eq' else ''}{asked}"
            found = constant(data, term.kind, self.byteorder)
            return f"{term.text} {_OPS[op]}{found} / {asked}"
        sign = {"eq": "==", "neq": "!="}.get(op, _OPS[op].strip())
        kind = "raw" if term.kind == "tos" else term.kind
        shown = [
            f"0x{one.hex()}" if kind == "raw" else constant(one, kind, self.byteorder) for one in (mask, data)
        ]
        return f"{term.text} & {shown[0]} {sign} {shown[1]}"

    def range(self, expr: e.RangeExpr) -> None:
        term = self.get(expr.sreg)
        low, high = (self._shown(term, bytes.fromhex(one)) for one in (expr.low, expr.high))
        self.words.append(f"{term.text} {_OPS[expr.op]}{low}-{high}")

    # --- sets ----------------------------------------------------------------------------

    def _key(self, name: str, register: int) -> tuple[str, str]:
        """The words for the key, and for the set."""
        one = self.table.sets.get(name)
        if one is None:
            raise _Unreadable
        terms = self.parts(register, one.key_len)
        text = " . ".join(self._computed(term, term.kind) for term in terms)
        kinds = [
            Part(term.length, "integer" if term.swapped and term.kind == "host" else term.kind)
            for term in terms
        ]
        return text, set_text(name, one, kinds, self.byteorder)

    def lookup(self, expr: e.LookupExpr) -> None:
        key, shown = self._key(expr.set, expr.sreg)
        if key.startswith("meta l4proto") and " . " not in key:
            self.transport = ""
        if expr.dreg is None:
            self.words.append(f"{key} {'!= ' if expr.invert else ''}{shown}")
        elif expr.dreg == 0:
            self.words.append(f"{key} vmap {shown}")
        else:
            one = self.table.sets[expr.set]
            kind = NUMBERED.get(one.data_type, "integer")
            self.put(expr.dreg, _Term(f"{key} map {shown}", one.data_len, kind, maps=one.data_type > 63))

    def dynset(self, expr: e.DynsetExpr) -> None:
        one = self.table.sets[expr.set]
        key = " . ".join(term.text for term in self.parts(expr.sreg_key, one.key_len))
        timeout = f" timeout {_time(expr.timeout)}" if expr.timeout else ""
        more = "".join(f" {name}" for name in expr.stateful)
        data = ""
        if expr.sreg_data is not None:
            kind = NUMBERED.get(one.data_type, "integer")
            data = f" : {self.value(self.get(expr.sreg_data), kind)}"
        self.words.append(f"{expr.op} @{expr.set} {{ {key}{timeout}{more}{data} }}")

    def objref(self, expr: e.ObjrefExpr) -> None:
        kinds = {1: "counter", 2: "quota", 3: "ct helper set", 4: "limit", 7: "ct timeout set"}
        kinds |= {8: "meta secmark set", 9: "ct expectation set", 10: "synproxy"}
        if expr.sreg is not None:
            key, shown = self._key(expr.set, expr.sreg)
            word = kinds.get(self.table.sets[expr.set].object_type, "object")
            self.words.append(f"{word} name {key} map {shown}")
            return
        word = kinds.get(expr.kind, "object")
        self.words.append(f'{word} "{expr.name}"' if word.endswith("set") else f'{word} name "{expr.name}"')

    # --- statements ----------------------------------------------------------------------

    def immediate(self, expr: e.ImmediateExpr) -> None:
        if expr.verdict is not None:
            self.words.append(verdict_text(expr.verdict))
            return
        data = bytes.fromhex(expr.data)
        self.put(expr.dreg, _Term("", len(data), "", data))

    def meta_set(self, expr: e.MetaSetExpr) -> None:
        kind = META_TYPES.get(expr.key, (4, "host"))[1]
        self.words.append(f"meta {expr.key} set {self.value(self.get(expr.sreg), kind)}")

    def ct_set(self, expr: e.CtSetExpr) -> None:
        kind = CT_TYPES.get(expr.key, (4, "host"))[1]
        words = ["ct", expr.direction or "", expr.key, "set", self.value(self.get(expr.sreg), kind)]
        self.words.append(" ".join(word for word in words if word))

    def payload_set(self, expr: e.PayloadSetExpr) -> None:
        term = self.get(expr.sreg)
        header = {"link": "ether", "network": self.network, "transport": self.transport or "th"}.get(
            expr.base, ""
        )
        if term.data is None:
            self.words.append(self._field_set(header, expr.offset, term))
            return
        name, kind = FIELDS[header, expr.offset, expr.length]
        self._drop_implied("network" if expr.base == "network" else "transport")
        self.words.append(f"{header} {name} set {constant(term.data, kind, self.byteorder)}")

    def _field_set(self, header: str, offset: int, term: _Term) -> str:
        """A field of one byte is written as two, for the checksum's sake; of tos six bits are the dscp."""
        mask = term.mask or b""
        (index,) = (at for at, byte in enumerate(mask) if byte != 0xFF)
        name, kind = FIELDS[header, offset + index, 1]
        value = term.xor[index]
        if mask[index] == 0x03 and kind == "tos":
            value, kind = value >> 2, "dscp"
        elif mask[index]:
            raise _Unreadable
        self._drop_implied("network")
        return f"{header} {name} set {constant(bytes((value,)), kind, self.byteorder)}"

    def exthdr_set(self, expr: e.ExthdrSetExpr) -> None:
        name = _option(expr.op, expr.option, expr.offset, expr.length)
        if expr.sreg is None:
            self.words.append(f"reset {name.removesuffix(' size')}")
            return
        self.words.append(f"{name} set {self.value(self.get(expr.sreg), 'integer')}")

    def limit(self, expr: e.LimitExpr) -> None:
        unit = {1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}.get(
            expr.unit, str(expr.unit)
        )
        over = "over " if expr.invert else ""
        shown, usual = str(expr.rate), 5
        if expr.kind == "bytes":
            usual = 0
            size = next((one for one in (1 << 20, 1 << 10) if expr.rate % one == 0), 1)
            shown = f"{expr.rate // size} {({1 << 20: 'mbytes', 1 << 10: 'kbytes'}).get(size, 'bytes')}"
        burst = f" burst {expr.burst} {expr.kind}" if expr.burst not in (0, usual) else ""
        self.words.append(f"limit rate {over}{shown}/{unit}{burst}")

    def quota(self, expr: e.QuotaExpr) -> None:
        self.words.append(f"quota {'over ' if expr.invert else ''}{expr.bytes} bytes")

    def connlimit(self, expr: e.ConnlimitExpr) -> None:
        self.words.append(f"ct count {'over ' if expr.invert else ''}{expr.count}")

    def log(self, expr: e.LogExpr) -> None:
        words = ["log"]
        words += [f'prefix "{expr.prefix}"'] if expr.prefix else []
        words += [f"group {expr.group}"] if expr.group is not None else []
        self.words.append(" ".join(words))

    def nat(self, expr: e.NatExpr) -> None:
        length = 4 if expr.family == "ip" else 16
        words = [expr.kind, expr.family if self.table.family != expr.family else ""]
        address = self._range(expr.addr_min, expr.addr_max, "ipv4_addr" if length == 4 else "ipv6_addr")
        mapped = expr.addr_min is not None and self.get(expr.addr_min).maps
        if mapped:
            words += [expr.family if not words[1] else "", "addr . port"]
        port = "" if mapped else self._range(expr.port_min, expr.port_max, "inet_service")
        end = f"[{address}]:{port}" if port and ":" in address else f"{address}:{port}" if port else address
        if "netmap" in expr.flags:
            words.append("prefix")
        self.words.append(self._nat_words([*words, "to", end] if end else words, expr.flags))

    def _range(self, low: int | None, high: int | None, kind: str) -> str:
        if low is None:
            return ""
        first = self.value(self.get(low), kind)
        if high is None or high == low:
            return first
        last = self.value(self.get(high), kind)
        return first if first == last else f"{first}-{last}"

    @staticmethod
    def _nat_words(words: list[str], flags: frozenset[str]) -> str:
        shown = ",".join(name for name in ("random", "fully-random", "persistent") if name in flags)
        return " ".join(word for word in (*words, shown) if word)

    def masq(self, expr: e.MasqExpr) -> None:
        port = self._range(expr.port_min, expr.port_max, "inet_service")
        self.words.append(self._nat_words(["masquerade", f"to :{port}" if port else ""], expr.flags))

    def redir(self, expr: e.RedirExpr) -> None:
        port = self._range(expr.port_min, expr.port_max, "inet_service")
        self.words.append(self._nat_words(["redirect", f"to :{port}" if port else ""], expr.flags))

    def reject(self, expr: e.RejectExpr) -> None:
        if expr.kind == "tcp-reset":
            self.words.append("reject with tcp reset")
        elif expr.kind == "icmpx":
            code = _REJECTSX[expr.code]
            self.words.append("reject" if code == "port-unreachable" else f"reject with icmpx {code}")
        else:
            six = self.network == "ip6"
            code = (_REJECTS6 if six else _REJECTS).get(expr.code, str(expr.code))
            plain = code == "port-unreachable" and self.table.family in ("ip", "ip6")
            self.words.append("reject" if plain else f"reject with {'icmpv6' if six else 'icmp'} {code}")
            self._drop_implied("network")

    def queue(self, expr: e.QueueExpr) -> None:
        flags = ",".join(name for name, on in (("bypass", expr.bypass), ("fanout", expr.fanout)) if on)
        to = (
            f" to {expr.number}" + (f"-{expr.number + expr.total - 1}" if expr.total > 1 else "")
            if expr.number is not None
            else ""
        )
        self.words.append(f"queue{f' flags {flags}' if flags else ''}{to}")

    def dup(self, expr: e.DupExpr) -> None:
        where = [
            self.value(self.get(one), kind)
            for one, kind in ((expr.addr, "ipv4_addr"), (expr.device, "host"))
            if one
        ]
        self.words.append("dup to " + " device ".join(where))

    def fwd(self, expr: e.FwdExpr) -> None:
        if expr.device is None:
            raise _Unreadable
        self.words.append(f"fwd to {self.value(self.get(expr.device), 'host')}")

    def word(self, text: str) -> None:
        self.words.append(text)


def _option(op: str, option: int, offset: int, length: int) -> str:
    names = {2: "maxseg", 3: "window", 4: "sack-perm", 5: "sack", 8: "timestamp"}
    if op != "tcpopt":
        raise _Unreadable
    field = " size" if option == 2 and (offset, length) in ((2, 2), (0, 1), (0, 0)) else ""
    if option not in names or (not field and (offset, length) not in ((0, 1), (0, 0))):
        raise _Unreadable
    return f"tcp option {names[option]}{field}"


def _time(milliseconds: int) -> str:
    """``1h30m``."""
    text, left = "", milliseconds
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text


_WRITE: dict[type, Callable[[_Writer, Any], None]] = {
    e.BitwiseExpr: _Writer.bitwise,
    e.ByteorderExpr: _Writer.byteorder_,
    e.CmpExpr: _Writer.cmp,
    e.ConnlimitExpr: _Writer.connlimit,
    e.CounterExpr: lambda writer, _: writer.word("counter"),
    e.CtExpr: _Writer.ct,
    e.CtSetExpr: _Writer.ct_set,
    e.DupExpr: _Writer.dup,
    e.DynsetExpr: _Writer.dynset,
    e.ExthdrExpr: _Writer.exthdr,
    e.ExthdrSetExpr: _Writer.exthdr_set,
    e.FibExpr: _Writer.fib,
    e.FlowOffloadExpr: lambda writer, expr: writer.word(f"flow add @{expr.table}"),
    e.FwdExpr: _Writer.fwd,
    e.HashExpr: _Writer.hash,
    e.ImmediateExpr: _Writer.immediate,
    e.LastExpr: lambda writer, _: writer.word("last"),
    e.LimitExpr: _Writer.limit,
    e.LogExpr: _Writer.log,
    e.LookupExpr: _Writer.lookup,
    e.MasqExpr: _Writer.masq,
    e.MetaExpr: _Writer.meta,
    e.MetaSetExpr: _Writer.meta_set,
    e.NatExpr: _Writer.nat,
    e.NotrackExpr: lambda writer, _: writer.word("notrack"),
    e.NumgenExpr: _Writer.numgen,
    e.ObjrefExpr: _Writer.objref,
    e.PayloadExpr: _Writer.payload,
    e.PayloadSetExpr: _Writer.payload_set,
    e.QueueExpr: _Writer.queue,
    e.QuotaExpr: _Writer.quota,
    e.RangeExpr: _Writer.range,
    e.RedirExpr: _Writer.redir,
    e.RejectExpr: _Writer.reject,
    e.RtExpr: _Writer.rt,
    e.SocketExpr: _Writer.socket,
}
