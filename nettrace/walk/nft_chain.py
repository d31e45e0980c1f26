"""
Walking a base chain of native nftables to its verdict.

Lives here: jump, goto, return, policy, the steps.
Not here: one rule (nft_rule), which chains a hook has (native).
Source: net/netfilter/nf_tables_core.c (nft_do_chain).
"""

from typing import NamedTuple

from nettrace.model.nft import NftRule, NftTable, nft_path
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Verdict
from nettrace.parse.nft import rule_text
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.nft_read import native_rules, native_ruleset
from nettrace.walk.nft_rule import evaluate
from nettrace.walk.nft_scene import Scene
from nettrace.walk.nft_value import Registers
from nettrace.walk.point import HookPoint
from nettrace.walk.rules import dropped
from nettrace.walk.skb import Skb
from nettrace.walk.targets import Place

__all__ = ["BACKEND", "NativeChain", "walk_native"]

#: What steps call rules that nft itself made.
BACKEND = "nftables"

#: NFT_JUMP_STACK_SIZE; the kernel refuses rule sets that need more.
_DEEPEST = 16


class NativeChain(NamedTuple):
    """A base chain that a hook has."""

    table: NftTable
    name: str
    type: str
    priority: int
    policy: str

    @property
    def title(self) -> str:
        """``inet filter``."""
        return f"{self.table.family} {self.table.name}"


def walk_native(run: Run, skb: Skb, point: HookPoint, chain: NativeChain, *, pf: int) -> None:
    """
    Walk the base chain; returns when the packet may go on to the next one.

    *pf* is the protocol family of the hook: 2 or 10, 7 in a bridge, 5 at a device.  Ends the leg
    at drop and reject; undecided where a test is and something hangs on it.
    """
    _Walker(run, skb, point, chain, pf).walk()


class _Walker:
    """One packet in one base chain."""

    def __init__(self, run: Run, skb: Skb, point: HookPoint, base: NativeChain, pf: int) -> None:
        self.run, self.skb, self.point, self.base, self.pf = run, skb, point, base, pf
        self.netns = point.ns.name
        self.byteorder = native_ruleset(run, self.netns).byteorder
        self.registers = Registers()

    def walk(self) -> None:
        table, name = self.base.table, self.base.name
        rules = native_rules(self.run, self.netns, table, name)
        stack: list[tuple[str, tuple[NftRule, ...], int]] = []
        start = 0
        while True:
            went = self._rules(name, rules, start)
            if went is None:
                if not stack:
                    break
                name, rules, start = stack.pop()
                continue
            if went.code == "accept":
                return
            if went.code in ("jump", "goto"):
                if went.code == "jump":
                    stack.append((name, rules, went.number))
                if len(stack) > _DEEPEST:
                    undecided(f"chains of table {self.base.title} jump into each other")
                rules = native_rules(self.run, self.netns, table, went.chain, rules)
                name, start = went.chain, 0
        self._policy()

    def _rules(self, name: str, rules: tuple[NftRule, ...], start: int) -> "_Went | None":
        """Go on in a chain: to a verdict, or None where it returns."""
        for number in range(start, len(rules)):
            self.run.rules += 1
            if self.run.rules > self.run.limits.rules:
                undecided(f"more than {self.run.limits.rules} rules were tested")
            place = Place(BACKEND, self.base.title, name, number + 1)
            scene = Scene(
                self.run,
                self.skb,
                self.point,
                self.pf,
                self.byteorder,
                f"rule {number + 1} of {name} in {self.base.title}",
            )
            before = self.skb.packet
            outcome = evaluate(scene, self.base.table, rules, place, self.registers)
            rule = rules[number]
            if outcome.verdict is None:
                if outcome.unsure is not None:
                    self._step(name, number + 1, outcome.word, rule=rule, note=outcome.note)
                continue
            code = outcome.verdict.code
            stops = code == "drop"
            self._step(
                name, number + 1, outcome.word, rule=rule, before=before, note=outcome.note, stops=stops
            )
            if code == "continue":
                continue
            if code == "return":
                return None
            if code == "drop":
                self._drop(outcome.ends, f"rule {number + 1} of {name} in {self.base.title}", outcome.note)
            if code == "queue":
                undecided(f"{scene.where} hands the packet to a program of user space, which decides")
            return _Went(code, outcome.verdict.chain, number + 1)
        return None

    def _drop(self, ends: Verdict | None, where: str, note: str) -> None:
        if self.pf in (2, 10):
            if ends in (None, Verdict.DROPPED_BY_RULE):
                dropped(self.run, self.skb, self.point, f"{where} drops it")
            own = self.skb.own and self.run.leg == "request" and self.point.hook in ("output", "postrouting")
            ended(ends or Verdict.REJECTED, f"{where}: {note}", "EPERM" if own else None)
        ended(ends or Verdict.DROPPED_BY_RULE, f"{where} drops it")

    def _policy(self) -> None:
        policy = self.base.policy
        drops = policy == "drop"
        self._step(self.base.name, 0, f"policy {policy}", stops=drops)
        if drops:
            self._drop(None, f"the policy of {self.base.name} in {self.base.title}", "")

    def _step(
        self,
        chain: str,
        number: int,
        word: str,
        *,
        rule: NftRule | None = None,
        before: Packet | None = None,
        note: str = "",
        stops: bool = False,
    ) -> None:
        text = word if rule is None else rule_text(rule, self.base.table, self.byteorder)
        self.run.step(
            self.skb,
            Stage.HOOK,
            word,
            device=self.point.device,
            hook=self.point.hook,
            backend=BACKEND,
            table=self.base.title,
            chain=chain,
            rule=number,
            before=before,
            ref=f"{self.netns}/{nft_path(self.base.table, chain)}/{number}",
            text=text,
            note=note,
            stops=stops,
        )


class _Went(NamedTuple):
    """Where a rule sent the packet; ``number`` is that of the rule."""

    code: str
    chain: str
    number: int
