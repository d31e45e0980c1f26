"""
A rule as ``nft list ruleset`` prints it.

Lives here: statements (verdicts, NAT, limit, log, changes of fields), for the patterns that nft writes.
Not here: what a rule tests (matches), words for values (values), sets (sets); rules of other
patterns, which are printed expression by expression (netlink).
"""

from collections.abc import Callable
from typing import Any

from nettrace.model import nft_expr as e
from nettrace.model import nft_statement as s
from nettrace.model.nft import NftRule, NftTable
from nettrace.parse.nft.matches import Matches, Term, Unreadable, option_text
from nettrace.parse.nft.netlink import expression_text, verdict_text
from nettrace.parse.nft.values import CT_TYPES, FIELDS, META_TYPES, NUMBERED, constant

__all__ = ["rule_text"]


def rule_text(rule: NftRule, table: NftTable, byteorder: str = "little") -> str:
    """
    Return the rule's text, without its comment.

    A rule that holds what nft would not have written so comes out in the style of
    ``--debug=netlink``.
    """
    try:
        return _Writer(table, byteorder).write(rule)
    except (Unreadable, IndexError, KeyError, ValueError):
        return " ".join(expression_text(one) for one in rule.expressions)


_REJECTS = {0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable"}
_REJECTS |= {9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"}
_REJECTS6 = {0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable"}
_REJECTSX = ("no-route", "port-unreachable", "host-unreachable", "admin-prohibited")


class _Writer(Matches):
    """One rule."""

    def write(self, rule: NftRule) -> str:
        for expression in rule.expressions:
            write = _WRITE.get(type(expression))
            if write is None:
                raise Unreadable
            write(self, expression)
        return " ".join(word for word in self.words if word)

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

    def objref(self, expr: s.ObjrefExpr) -> None:
        kinds = {1: "counter", 2: "quota", 3: "ct helper set", 4: "limit", 7: "ct timeout set"}
        kinds |= {8: "meta secmark set", 9: "ct expectation set", 10: "synproxy"}
        if expr.sreg is not None:
            key, shown = self.key_words(expr.set, expr.sreg)
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
        self.put(expr.dreg, Term("", len(data), "", data))

    def meta_set(self, expr: s.MetaSetExpr) -> None:
        kind = META_TYPES.get(expr.key, (4, "host"))[1]
        self.words.append(f"meta {expr.key} set {self.value(self.get(expr.sreg), kind)}")

    def ct_set(self, expr: s.CtSetExpr) -> None:
        kind = CT_TYPES.get(expr.key, (4, "host"))[1]
        words = ["ct", expr.direction or "", expr.key, "set", self.value(self.get(expr.sreg), kind)]
        self.words.append(" ".join(word for word in words if word))

    def payload_set(self, expr: s.PayloadSetExpr) -> None:
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

    def _field_set(self, header: str, offset: int, term: Term) -> str:
        """A field of one byte is written as two, for the checksum's sake; of tos six bits are the dscp."""
        mask = term.mask or b""
        (index,) = (at for at, byte in enumerate(mask) if byte != 0xFF)
        name, kind = FIELDS[header, offset + index, 1]
        value = term.xor[index]
        if mask[index] == 0x03 and kind == "tos":
            value, kind = value >> 2, "dscp"
        elif mask[index]:
            raise Unreadable
        self._drop_implied("network")
        return f"{header} {name} set {constant(bytes((value,)), kind, self.byteorder)}"

    def exthdr_set(self, expr: s.ExthdrSetExpr) -> None:
        name = option_text(expr.op, expr.option, expr.offset, expr.length)
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

    def log(self, expr: s.LogExpr) -> None:
        words = ["log"]
        words += [f'prefix "{expr.prefix}"'] if expr.prefix else []
        words += [f"group {expr.group}"] if expr.group is not None else []
        self.words.append(" ".join(words))

    def nat(self, expr: s.NatExpr) -> None:
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

    def masq(self, expr: s.MasqExpr) -> None:
        port = self._range(expr.port_min, expr.port_max, "inet_service")
        self.words.append(self._nat_words(["masquerade", f"to :{port}" if port else ""], expr.flags))

    def redir(self, expr: s.RedirExpr) -> None:
        port = self._range(expr.port_min, expr.port_max, "inet_service")
        self.words.append(self._nat_words(["redirect", f"to :{port}" if port else ""], expr.flags))

    def reject(self, expr: s.RejectExpr) -> None:
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

    def queue(self, expr: s.QueueExpr) -> None:
        flags = ",".join(name for name, on in (("bypass", expr.bypass), ("fanout", expr.fanout)) if on)
        to = (
            f" to {expr.number}" + (f"-{expr.number + expr.total - 1}" if expr.total > 1 else "")
            if expr.number is not None
            else ""
        )
        self.words.append(f"queue{f' flags {flags}' if flags else ''}{to}")

    def dup(self, expr: s.DupExpr) -> None:
        where = [
            self.value(self.get(one), kind)
            for one, kind in ((expr.addr, "ipv4_addr"), (expr.device, "host"))
            if one
        ]
        self.words.append("dup to " + " device ".join(where))

    def fwd(self, expr: s.FwdExpr) -> None:
        if expr.device is None:
            raise Unreadable
        self.words.append(f"fwd to {self.value(self.get(expr.device), 'host')}")

    def word(self, text: str) -> None:
        self.words.append(text)


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
    s.CounterExpr: lambda writer, _: writer.word("counter"),
    e.CtExpr: _Writer.ct,
    s.CtSetExpr: _Writer.ct_set,
    s.DupExpr: _Writer.dup,
    e.DynsetExpr: _Writer.dynset,
    e.ExthdrExpr: _Writer.exthdr,
    s.ExthdrSetExpr: _Writer.exthdr_set,
    e.FibExpr: _Writer.fib,
    s.FlowOffloadExpr: lambda writer, expr: writer.word(f"flow add @{expr.table}"),
    s.FwdExpr: _Writer.fwd,
    e.HashExpr: _Writer.hash,
    e.ImmediateExpr: _Writer.immediate,
    s.LastExpr: lambda writer, _: writer.word("last"),
    e.LimitExpr: _Writer.limit,
    s.LogExpr: _Writer.log,
    e.LookupExpr: _Writer.lookup,
    s.MasqExpr: _Writer.masq,
    e.MetaExpr: _Writer.meta,
    s.MetaSetExpr: _Writer.meta_set,
    s.NatExpr: _Writer.nat,
    s.NotrackExpr: lambda writer, _: writer.word("notrack"),
    e.NumgenExpr: _Writer.numgen,
    s.ObjrefExpr: _Writer.objref,
    e.PayloadExpr: _Writer.payload,
    s.PayloadSetExpr: _Writer.payload_set,
    s.QueueExpr: _Writer.queue,
    e.QuotaExpr: _Writer.quota,
    e.RangeExpr: _Writer.range,
    s.RedirExpr: _Writer.redir,
    s.RejectExpr: _Writer.reject,
    e.RtExpr: _Writer.rt,
    e.SocketExpr: _Writer.socket,
}
