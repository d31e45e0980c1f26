"""
Which expressions of native nftables were evaluated, and how.

Lives here: noting, while the walk evaluates, what each rule loaded, what its tests of it said, what it did.
Not here: counting (coverage).
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["expected", "watching"]

#: What is loaded and tested, and what a verdict or a statement may be, as the rows of the table.
LOADS = (
    "payload network", "payload transport", "meta mark", "meta iifname", "meta oifname",
    "meta oif", "meta l4proto", "meta nfproto", "meta protocol", "ct state",
    "ct direction", "ct status", "ct mark", "ct protocol", "ct ip_daddr", "ct ip_saddr", "ct proto-dst",
    "fib type", "fib oif", "fib oifname", "hash jenkins", "numgen random", "exthdr tcpopt",
)  # fmt: skip
TESTS = ("cmp", "range", "lookup")
DEEDS = (
    "counter", "log", "meta mark set", "ct mark set", "payload set", "exthdr set", "notrack", "dynset",
    "nat dnat", "nat snat", "masq", "redir", "reject", "lookup verdict", "lookup data", "bitwise",
)  # fmt: skip
VERDICTS = ("accept", "drop", "jump", "goto", "return", "continue", "policy accept", "policy drop")
FAMILIES = ("ip", "ip6", "inet", "bridge", "netdev")


def expected() -> list[str]:
    """Return the rows of the table."""
    found = [f"nft {load} {answer}" for load in LOADS for answer in ("true", "false")]
    found += [f"nft test {test} {answer}" for test in ("cmp", "lookup") for answer in ("true", "false")]
    found += [f"nft {deed}" for deed in DEEDS]
    found += [f"nft verdict {verdict}" for verdict in VERDICTS]
    return found + [f"nft family {family}" for family in FAMILIES]


def _word(expr: Any) -> str:
    """Name an expression: its kind, and what of it there are several of."""
    kind = str(expr.__struct_config__.tag)
    for suffix in ("_set", "-set"):
        if kind.endswith(suffix):
            key = f" {expr.key}" if hasattr(expr, "key") else ""
            return f"{kind.removesuffix(suffix)}{key} set"
    for name in ("key", "base", "result", "kind", "op"):
        if kind in ("meta", "ct", "rt", "payload", "fib", "hash", "numgen", "exthdr") and hasattr(expr, name):
            return f"{kind} {getattr(expr, name)}"
    return f"nat {expr.kind}" if kind == "nat" else kind


@contextmanager
def watching(note: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, *note* gets a row for each expression that a walk evaluates and each verdict."""
    walk_rule: Any = importlib.import_module("nettrace.walk.nft_rule")
    walk_chain: Any = importlib.import_module("nettrace.walk.nft_chain")
    one, step = walk_rule._Rule._one, walk_chain._Walker._step
    loads, tests = set(walk_rule.LOADS), set(TESTS)

    def evaluated(rule: Any, expr: Any) -> Any:
        word = _word(expr)
        pending = rule.__dict__.setdefault("noted", [])
        unsure = rule.unsure
        try:
            outcome = one(rule, expr)
        except walk_rule._Broken:
            _tested(note, [*pending, word] if type(expr) in loads else pending, word, "false")
            raise
        if type(expr) in loads or word.startswith("hash "):
            pending.append(word)
        elif word in tests and rule.unsure is unsure:
            verdicts = word == "lookup" and expr.dreg is not None
            if verdicts:
                note(f"nft lookup {'verdict' if expr.dreg == 0 else 'data'}")
            _tested(note, pending, word, "true")
            pending.clear()
        else:
            note(f"nft {word}")
        return outcome

    def stepped(walker: Any, chain: str, number: int, word: str, **options: Any) -> None:
        note(f"nft verdict {word if word.startswith('policy') else word.split(maxsplit=1)[0]}")
        note(f"nft family {walker.base.table.family}")
        step(walker, chain, number, word, **options)

    walk_rule._Rule._one, walk_chain._Walker._step = evaluated, stepped
    try:
        yield
    finally:
        walk_rule._Rule._one, walk_chain._Walker._step = one, step


def _tested(note: Callable[[str], None], loaded: list[str], word: str, answer: str) -> None:
    for load in loaded:
        note(f"nft {load} {answer}")
    if word in TESTS:
        note(f"nft test {word} {answer}")
