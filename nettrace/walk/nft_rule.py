"""
One rule of native nftables, expression after expression.

Lives here: tests, lookups, draws; what follows when a test cannot be told.
Not here: going from rule to rule (nft_chain), loading (nft_load), doing (nft_do).
Source: net/netfilter/nf_tables_core.c (nft_do_chain), and the file of each expression.
"""

from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import Any, NamedTuple

from nettrace.model import nft_expr as e
from nettrace.model import nft_statement as s
from nettrace.model.nft import NftElement, NftRule, NftTable
from nettrace.model.step import Verdict
from nettrace.walk.context import undecided
from nettrace.walk.nft_do import DEEDS, harmless, object_is_harmless
from nettrace.walk.nft_load import LOADS, hash_value
from nettrace.walk.nft_read import read_set
from nettrace.walk.nft_scene import Scene
from nettrace.walk.nft_set import find
from nettrace.walk.nft_value import Registers, Value, bitwise, compared, in_range, shifted, swapped, unknown
from nettrace.walk.point import Answered, Unsure
from nettrace.walk.targets import Place

__all__ = ["Outcome", "evaluate"]

#: A hash of more than this many values is not drawn at once.
_FEW = 64


class Outcome(NamedTuple):
    """
    What a rule came to.

    ``verdict`` None: it was not met to its end.  ``unsure``: it may have been, and changes nothing.
    """

    verdict: e.NftVerdict | None
    word: str = "continue"
    note: str = ""
    ends: Verdict | None = None
    unsure: Unsure | None = None


_CONTINUE = e.NftVerdict("continue")
_ACCEPT = e.NftVerdict("accept")
_BROKEN = Outcome(None)


class _Broken(Exception):
    """NFT_BREAK: the rule is not met."""


def evaluate(
    scene: Scene, table: NftTable, rules: tuple[NftRule, ...], place: Place, registers: Registers
) -> Outcome:
    """Evaluate the rule at *place*; undecided where a test cannot be told and something hangs on it."""
    return _Rule(scene, table, rules, place, registers).run()


class _Rule:
    """One evaluation."""

    def __init__(
        self, scene: Scene, table: NftTable, rules: tuple[NftRule, ...], place: Place, registers: Registers
    ) -> None:
        self.scene, self.table, self.rules, self.place = scene, table, rules, place
        self.rule = rules[place.rule - 1]
        self.registers = registers
        self.unsure: Unsure | None = None
        self.notes: list[str] = []

    def run(self) -> Outcome:
        try:
            for expression in self.rule.expressions:
                outcome = self._one(expression)
                if outcome is not None:
                    return outcome
        except _Broken:
            return _BROKEN
        if self.unsure is not None:
            return Outcome(None, note=f"if it matches: {self.unsure.reason}", unsure=self.unsure)
        return Outcome(_CONTINUE, note=self._note())

    def _note(self) -> str:
        return ", ".join(self.notes)

    def _one(self, expr: Any) -> Outcome | None:
        load = LOADS.get(type(expr))
        if load is not None:
            value = load(self.scene, expr)
            if value is None:
                raise _Broken
            self.registers.store(expr.dreg, value)
            return None
        step = _STEPS.get(type(expr))
        if step is not None:
            return step(self, expr)
        return self._deed(expr)

    # --- tests ---------------------------------------------------------------------------

    def _answer(self, answer: Answered) -> None:
        if answer is False:
            raise _Broken
        if isinstance(answer, Unsure):
            self.unsure = self.unsure or answer

    def _sure(self) -> None:
        """Something hangs on the rule now."""
        if self.unsure is not None:
            undecided(
                f"{self.scene.where} may match or not: {self.unsure.reason}",
                f"{self.scene.ns.name}/nft/{self.table.family}/{self.table.name}/{self.place.chain}",
            )

    def _test(self, sreg: int, length: int, test: Callable[[Value], Answered]) -> None:
        value = self._drawn(sreg, self.registers.load(sreg, length), test)
        self._answer(test(value))

    def _drawn(self, sreg: int, value: Value, sort: Callable[[Value], Hashable]) -> Value:
        """Where a value is drawn and it matters: draw, as far as it matters, and keep what is left."""
        draw = value.draw
        if draw is None:
            return value
        groups: dict[Hashable, list[bytes]] = {}
        for option in draw.options:
            groups.setdefault(sort(value.taking(draw, (option,))), []).append(option)
        if len(groups) > 1:
            run = self.scene.run
            total = len(draw.options)
            words = f"{self.scene.where}: {draw.reason}"
            shares = [
                (Fraction(len(options), total), f"{words}, {len(options)}/{total} ({number + 1})")
                for number, options in enumerate(groups.values())
            ]
            before = len(run.taken)
            chosen = run.choose(shares, f"{self.scene.ns.name} {self.scene.point.hook} {self.place}")
            if len(run.taken) > before:
                run.drawn_in.add(self.scene.ns.name)
            value = value.taking(draw, tuple(list(groups.values())[chosen]))
            self.registers.store(sreg, value)
        return value

    def on_cmp(self, expr: e.CmpExpr) -> None:
        wanted = bytes.fromhex(expr.data)
        self._test(expr.sreg, len(wanted), lambda value: compared(value, expr.op, wanted))

    def on_range(self, expr: e.RangeExpr) -> None:
        low, high = bytes.fromhex(expr.low), bytes.fromhex(expr.high)

        def test(value: Value) -> Answered:
            answer = in_range(value, low, high)
            return answer if isinstance(answer, Unsure) else answer == (expr.op == "eq")

        self._test(expr.sreg, len(low), test)

    def on_bitwise(self, expr: e.BitwiseExpr) -> None:
        value = self.registers.load(expr.sreg, expr.length)
        order = self.scene.byteorder
        if expr.op in ("lshift", "rshift"):
            by = int.from_bytes(bytes.fromhex(expr.data), order)  # type: ignore[arg-type]
            value = shifted(value, expr.op, by, order)
        elif expr.op == "mask_xor":
            value = bitwise(value, expr.op, bytes.fromhex(expr.mask), bytes.fromhex(expr.xor))
        else:
            other = (
                self.registers.load(expr.sreg2, expr.length)
                if expr.sreg2 is not None
                else Value(bytes.fromhex(expr.data))
            )
            if other.softs:
                value = unknown(expr.length, other.reason)
            else:
                value = bitwise(value, expr.op, other.data, b"")
        self.registers.store(expr.dreg, value)

    def on_byteorder(self, expr: e.ByteorderExpr) -> None:
        value = self.registers.load(expr.sreg, expr.length)
        self.registers.store(expr.dreg, swapped(value, expr.size, self.scene.byteorder))

    def on_hash(self, expr: e.HashExpr) -> None:
        key = self.registers.load(expr.sreg, expr.length) if expr.sreg is not None else Value(b"")
        value = hash_value(self.scene, expr, key)
        draw = value.draw
        if draw is not None and len(draw.options) <= _FEW:
            value = self._same_flow(value, key)
        self.registers.store(expr.dreg, value)

    def _same_flow(self, value: Value, key: Value) -> Value:
        """Draw a hash once for a flow: the kernel's secret makes it the same for each packet of it."""
        draw = value.draw
        packet = self.scene.skb.packet
        ends = frozenset(((packet.src, packet.sport), (packet.dst, packet.dport)))
        same = ("hash", self.scene.where, key if key.data else ends)
        run = self.scene.run
        if draw is None:
            return value
        if same not in run.remembered:
            count = len(draw.options)
            shares = [(Fraction(1, count), f"{self.scene.where}: {draw.reason} is {n}") for n in range(count)]
            run.remembered[same] = run.choose(shares, f"{self.scene.ns.name} {self.place} hash")
        return value.taking(draw, (draw.options[run.remembered[same]],))

    # --- sets ----------------------------------------------------------------------------

    def _found(self, name: str, sreg: int) -> NftElement | Unsure | None:
        netns = self.scene.ns.name
        held = read_set(self.scene.run, netns, self.table, name, self.rules)
        if held is None:
            undecided(f"{self.scene.where} asks set {name}, which is not in the snapshot")
        own = self.scene.run.elements.get((netns, f"{self.table.family} {self.table.name}", name), {})

        def look(key: Value) -> NftElement | Unsure | None:
            if not key.softs and key.data in own:
                element: NftElement | None = own[key.data]
                return element
            found = find(held.inside, key)
            if found is None and (b"" in own or (key.softs and own)):
                return Unsure(f"what the packets before put into set {name} decides")
            return found

        def sort(key: Value) -> Hashable:
            found = look(key)
            if isinstance(found, NftElement) and held.set.data_len == 0 and found.verdict is None:
                return True  # of a set it does not matter which element it is
            return found.key + str(found.key_end) if isinstance(found, NftElement) else found

        key = self._drawn(sreg, self.registers.load(sreg, held.set.key_len), sort)
        return look(key._replace(softs=tuple(soft._replace(options=()) for soft in key.softs)))

    def on_lookup(self, expr: e.LookupExpr) -> Outcome | None:
        found = self._found(expr.set, expr.sreg)
        if isinstance(found, NftElement) and {"limit", "quota", "connlimit"} & set(found.stateful):
            found = Unsure(
                f"how much of {found.stateful[0]} of the element is used up is not in the snapshot"
            )
        if isinstance(found, Unsure):
            self._answer(found)
            if expr.dreg == 0:
                self._sure()
            if expr.dreg is not None:
                length = self.table.sets[expr.set].data_len
                self.registers.store(expr.dreg, unknown(length, found.reason))
            return None
        if (found is None) != expr.invert:
            raise _Broken
        if expr.dreg is None or found is None:
            return None
        if found.verdict is not None:
            return self._verdict(found.verdict)
        self.registers.store(expr.dreg, Value(bytes.fromhex(found.data or "")))
        return None

    def on_dynset(self, expr: e.DynsetExpr) -> None:
        """nft_dynset_eval; whether a set is full is not asked."""
        one = self.table.sets.get(expr.set)
        if one is None:
            undecided(f"{self.scene.where} fills set {expr.set}, which is not in the snapshot")
        key = self.registers.load(expr.sreg_key, one.key_len)
        place = (self.scene.ns.name, f"{self.table.family} {self.table.name}", expr.set)
        own = self.scene.run.elements.setdefault(place, {})
        data = None
        if expr.sreg_data is not None:
            value = self.registers.load(expr.sreg_data, one.data_len)
            data = value.data.hex() if not value.softs else None
        if key.softs or self.unsure is not None or (expr.sreg_data is not None and data is None):
            own[b""] = None
        elif expr.op == "delete":
            own[key.data] = None
        else:
            own[key.data] = NftElement(key=key.data.hex(), data=data)
        limiting = {"limit", "quota", "connlimit"} & set(expr.stateful)
        if limiting:
            word = min(limiting)
            self._answer(Unsure(f"how much of {word} is used up for this key is not in the snapshot"))
        elif expr.invert:
            raise _Broken

    def on_objref(self, expr: s.ObjrefExpr) -> None:
        kind = expr.kind
        if expr.sreg is not None:
            found = self._found(expr.set, expr.sreg)
            if found is None:
                raise _Broken
            if isinstance(found, Unsure):
                self._answer(found)
            kind = self.table.sets[expr.set].object_type
        if object_is_harmless(kind):
            return
        if kind in (2, 4, 5):
            self._answer(
                Unsure(f"how much of object {expr.name or expr.set} is used up is not in the snapshot")
            )
            return
        self._sure()
        undecided(f"{self.scene.where} uses an object of type {kind}, which is not followed")

    # --- state that no snapshot holds ------------------------------------------------------

    def on_limit(self, expr: e.LimitExpr) -> None:
        self._answer(Unsure(f"how much of limit {expr.rate} {expr.kind} is used up is not in the snapshot"))

    def on_quota(self, expr: e.QuotaExpr) -> None:
        over = expr.consumed + self.scene.skb.packet.size > expr.bytes
        self._answer(over == expr.invert)

    def on_connlimit(self, expr: e.ConnlimitExpr) -> None:
        self._answer(Unsure("how many connections ct count has seen is not in the snapshot"))

    def on_xt_match(self, expr: e.XtMatchExpr) -> None:
        if expr.name != "comment":
            self._answer(Unsure(f"iptables' match {expr.name} is not understood in a rule of nftables"))

    # --- doing ---------------------------------------------------------------------------

    def on_immediate(self, expr: e.ImmediateExpr) -> Outcome | None:
        if expr.verdict is not None:
            return self._verdict(expr.verdict)
        self.registers.store(expr.dreg, Value(bytes.fromhex(expr.data)))
        return None

    def _verdict(self, verdict: e.NftVerdict) -> Outcome | None:
        if verdict.code == "continue":
            return None
        if verdict.code == "break":
            raise _Broken
        self._sure()
        word = f"{verdict.code} {verdict.chain}".rstrip()
        return Outcome(verdict, word, self._note())

    def _deed(self, expr: Any) -> Outcome | None:
        if harmless(expr):
            return None
        self._sure()
        deed = DEEDS[type(expr)](self.scene, self.registers, expr, self.place)
        if deed.breaks:
            raise _Broken
        if deed.note:
            self.notes.append(deed.note)
        if deed.ends is not None:
            return Outcome(e.NftVerdict("drop"), deed.word, self._note(), deed.ends)
        if deed.accepts:
            return Outcome(_ACCEPT, deed.word, self._note())
        return None


_STEPS: dict[type, Callable[[_Rule, Any], Outcome | None]] = {
    e.BitwiseExpr: _Rule.on_bitwise,
    e.ByteorderExpr: _Rule.on_byteorder,
    e.CmpExpr: _Rule.on_cmp,
    e.ConnlimitExpr: _Rule.on_connlimit,
    e.DynsetExpr: _Rule.on_dynset,
    e.HashExpr: _Rule.on_hash,
    e.ImmediateExpr: _Rule.on_immediate,
    e.LimitExpr: _Rule.on_limit,
    e.LookupExpr: _Rule.on_lookup,
    s.ObjrefExpr: _Rule.on_objref,
    e.QuotaExpr: _Rule.on_quota,
    e.RangeExpr: _Rule.on_range,
    e.XtMatchExpr: _Rule.on_xt_match,
}
