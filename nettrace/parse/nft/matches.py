"""
What an nft rule tests: loads into registers, changes of them and comparisons, as nft writes them.

Lives here: following registers from load to use, and the words of payload, meta, ct and the like.
Not here: statements (text), words for values (values), sets (sets).
"""

from typing import NamedTuple

from nettrace.model import nft_expr as e
from nettrace.model.nft import NftTable
from nettrace.parse.nft.sets import Part, set_text
from nettrace.parse.nft.values import CT_TYPES, FIELDS, META_TYPES, NUMBERED, constant, flag_words, number

__all__ = ["Matches", "Term", "Unreadable", "option_text"]


class Unreadable(Exception):
    """No pattern of nft's."""


class Term(NamedTuple):
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
_FAMILY = {"ip": "ip", "ip6": "ip6"}


class Matches:
    """
    The tests of one rule, in the order of its expressions: ``words`` is the text so far.

    A method raises Unreadable, KeyError or ValueError for what nft would not have written.
    """

    def __init__(self, table: NftTable, byteorder: str) -> None:
        self.table, self.byteorder = table, byteorder
        self.words: list[str] = []
        self.registers: dict[int, Term] = {}
        self.network = _FAMILY.get(table.family, "")
        self.transport = ""
        self.implied: dict[str, int] = {}  # layer -> index in words of the test that only says it
        self.lower: tuple[int, str] | None = None  # index of ``>= x`` that ``<= y`` may make a range

    # --- registers -----------------------------------------------------------------------

    @staticmethod
    def _at(register: int) -> int:
        return register * 4 if register < 8 else register - 4

    def put(self, register: int, term: Term) -> None:
        """Remember what lies in a register from now on."""
        self.registers[self._at(register)] = term
        self.lower = None

    def get(self, register: int) -> Term:
        """Return what lies in a register; Unreadable if nothing was put there."""
        term = self.registers.get(self._at(register))
        if term is None:
            raise Unreadable
        return term

    def parts(self, register: int, length: int) -> list[Term]:
        """The terms that lie one behind the other from a register on."""
        word, found = self._at(register), []
        left = length
        while left > 0:
            term = self.registers.get(word)
            if term is None:
                raise Unreadable
            found.append(term)
            words = (term.length + 3) // 4
            word, left = word + words, left - 4 * words
        return found

    def value(self, term: Term, kind: str) -> str:
        """A term as the right side of a statement."""
        if term.data is None:
            return self.computed(term, kind)
        return constant(term.data, kind, self.byteorder)

    def computed(self, term: Term, kind: str) -> str:
        """Return the words of a term with what was done to its bits."""
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
        """A header's field, or ``@nh,OFFSET,LENGTH`` in bits where it has no name."""
        header = {"link": "ether", "network": self.network, "transport": self.transport or "th"}.get(
            expr.base, ""
        )
        found = FIELDS.get((header, expr.offset, expr.length))
        if found is not None:
            self._drop_implied("link" if expr.base == "link" else expr.base)
            if header in ("icmp", "icmpv6"):
                self._drop_implied("network")
            self.put(expr.dreg, Term(f"{header} {found[0]}", expr.length, found[1]))
            return
        for size, name in ((4, "ipv4_addr"), (16, "ipv6_addr")):  # nft loads only what a prefix covers
            for (head, offset, length), (field, kind) in FIELDS.items():
                if (head, offset, length, kind) == (header, expr.offset, size, name) and expr.length < size:
                    self._drop_implied("network")
                    self.put(expr.dreg, Term(f"{header} {field}", expr.length, f"{name}/"))
                    return
        if expr.base == "transport" and (self.transport or "th") == "th" and expr.offset in (0, 2):
            raise Unreadable
        short = {"link": "ll", "network": "nh", "transport": "th", "inner": "ih"}[expr.base]
        text = f"@{short},{expr.offset * 8},{expr.length * 8}"
        self.put(expr.dreg, Term(text, expr.length, "raw"))

    def _drop_implied(self, layer: str) -> None:
        at = self.implied.pop(layer, None)
        if at is not None:
            self.words[at] = ""

    def meta(self, expr: e.MetaExpr) -> None:
        """The packet's metadata: ``iifname``, ``meta mark``."""
        length, kind = META_TYPES.get(expr.key, (4, "host"))
        bare = expr.key in ("iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup", "iiftype", "oiftype")
        self.put(expr.dreg, Term(expr.key if bare else f"meta {expr.key}", length, kind))

    def ct(self, expr: e.CtExpr) -> None:
        """The connection: ``ct state``, ``ct original ip saddr``."""
        length, kind = CT_TYPES[expr.key]
        words = ["ct", expr.direction or "", expr.key.replace("ip_", "ip ").replace("ip6_", "ip6 ")]
        self.put(expr.dreg, Term(" ".join(word for word in words if word), length, kind))

    def fib(self, expr: e.FibExpr) -> None:
        """A question to the routing table: ``fib daddr type``."""
        flags = " . ".join(name for name in ("saddr", "daddr", "mark", "iif", "oif") if name in expr.flags)
        kinds = {"type": (4, "fib_addrtype"), "oif": (4, "host"), "oifname": (16, "ifname")}
        length, kind = (1, "boolean") if "present" in expr.flags else kinds[expr.result]
        self.put(expr.dreg, Term(f"fib {flags} {expr.result}", length, kind))

    def rt(self, expr: e.RtExpr) -> None:
        """What the packet's own route says: ``rt ip nexthop``."""
        text, length, kind = {
            "nexthop4": ("rt ip nexthop", 4, "ipv4_addr"),
            "nexthop6": ("rt ip6 nexthop", 16, "ipv6_addr"),
            "tcpmss": ("rt mtu", 2, "host"),
            "classid": ("rt classid", 4, "host"),
            "ipsec": ("rt ipsec", 1, "boolean"),
        }[expr.key]
        self.put(expr.dreg, Term(text, length, kind))

    def socket(self, expr: e.SocketExpr) -> None:
        """The socket that is to have the packet: ``socket transparent``."""
        length, kind = {"mark": (4, "mark"), "cgroupv2": (8, "host")}.get(expr.key, (1, "host"))
        level = f" level {expr.level}" if expr.key == "cgroupv2" else ""
        self.put(expr.dreg, Term(f"socket {expr.key}{level}", length, kind))

    def exthdr(self, expr: e.ExthdrExpr) -> None:
        """A TCP option, its field or whether it is there."""
        name = option_text(expr.op, expr.option, expr.offset, expr.length)
        if expr.present:
            self.put(expr.dreg, Term(name.rsplit(" ", 1)[0] if "size" in name else name, 1, "boolean"))
        else:
            self.put(expr.dreg, Term(name, expr.length, "integer"))

    def numgen(self, expr: e.NumgenExpr) -> None:
        """Counted or random numbers: ``numgen random mod 2``."""
        offset = f" offset {expr.offset}" if expr.offset else ""
        self.put(expr.dreg, Term(f"numgen {expr.kind} mod {expr.modulus}{offset}", 4, "host"))

    def hash(self, expr: e.HashExpr) -> None:
        """A hash over loaded fields, or over the connection (symhash)."""
        offset = f" offset {expr.offset}" if expr.offset else ""
        if expr.kind == "symmetric" or expr.sreg is None:
            text = f"symhash mod {expr.modulus}{offset}"
        else:
            key = " . ".join(term.text for term in self.parts(expr.sreg, expr.length))
            seed = f" seed 0x{expr.seed:x}" if expr.seed is not None else ""
            text = f"jhash {key} mod {expr.modulus}{seed}{offset}"
        self.put(expr.dreg, Term(text, 4, "host"))

    # --- changes -------------------------------------------------------------------------

    def bitwise(self, expr: e.BitwiseExpr) -> None:
        """Bits masked or shifted; their words come with the comparison."""
        term = self.get(expr.sreg)
        if expr.op in ("lshift", "rshift"):
            by = int.from_bytes(bytes.fromhex(expr.data), self.byteorder)  # type: ignore[arg-type]
            self.put(
                expr.dreg, term._replace(text=f"{term.text} {'<<' if expr.op == 'lshift' else '>>'} {by}")
            )
            return
        if expr.op != "mask_xor" or term.mask is not None or term.data is not None:
            raise Unreadable
        mask, xor = bytes.fromhex(expr.mask), bytes.fromhex(expr.xor)
        self.put(expr.dreg, term._replace(mask=mask, xor=xor))

    def byteorder_(self, expr: e.ByteorderExpr) -> None:
        """Host to network order or back; it is not written."""
        term = self.get(expr.sreg)
        self.put(expr.dreg, term._replace(swapped=not term.swapped))

    # --- tests ---------------------------------------------------------------------------

    def cmp(self, expr: e.CmpExpr) -> None:
        """A comparison with one value; ``>= a`` and ``<= b`` become ``a-b``."""
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

    def _implies(self, term: Term, data: bytes) -> bool:
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

    def _shown(self, term: Term, data: bytes) -> str:
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

    def _masked(self, term: Term, op: str, data: bytes) -> str:
        mask = term.mask or b""
        if any(term.xor):
            raise Unreadable
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
        """A comparison with a range that is one expression (``!= a-b``)."""
        term = self.get(expr.sreg)
        low, high = (self._shown(term, bytes.fromhex(one)) for one in (expr.low, expr.high))
        self.words.append(f"{term.text} {_OPS[expr.op]}{low}-{high}")

    # --- sets ----------------------------------------------------------------------------

    def key_words(self, name: str, register: int) -> tuple[str, str]:
        """The words for the key, and for the set."""
        one = self.table.sets.get(name)
        if one is None:
            raise Unreadable
        terms = self.parts(register, one.key_len)
        text = " . ".join(self.computed(term, term.kind) for term in terms)
        kinds = [
            Part(term.length, "integer" if term.swapped and term.kind == "host" else term.kind)
            for term in terms
        ]
        return text, set_text(name, one, kinds, self.byteorder)

    def lookup(self, expr: e.LookupExpr) -> None:
        """A set, a verdict map, or a map whose value goes into a register."""
        key, shown = self.key_words(expr.set, expr.sreg)
        if key.startswith("meta l4proto") and " . " not in key:
            self.transport = ""
        if expr.dreg is None:
            self.words.append(f"{key} {'!= ' if expr.invert else ''}{shown}")
        elif expr.dreg == 0:
            self.words.append(f"{key} vmap {shown}")
        else:
            one = self.table.sets[expr.set]
            kind = NUMBERED.get(one.data_type, "integer")
            self.put(expr.dreg, Term(f"{key} map {shown}", one.data_len, kind, maps=one.data_type > 63))


def option_text(op: str, option: int, offset: int, length: int) -> str:
    """Return the words of a TCP option (``tcp option maxseg size``); Unreadable for one without a name."""
    names = {2: "maxseg", 3: "window", 4: "sack-perm", 5: "sack", 8: "timestamp"}
    if op != "tcpopt":
        raise Unreadable
    field = " size" if option == 2 and (offset, length) in ((2, 2), (0, 1), (0, 0)) else ""
    if option not in names or (not field and (offset, length) not in ((0, 1), (0, 0))):
        raise Unreadable
    return f"tcp option {names[option]}{field}"
