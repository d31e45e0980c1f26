"""
From a disagreement to a small one, and to a test.

Lives here: leaving out what is not needed, as long as walk and kernel still differ.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from msgspec.structs import replace

from tests.oracle.case import Case, Probe

__all__ = ["as_test", "shrink"]

T = TypeVar("T")


def shrink(case: Case, differs: Callable[[Case], bool], *, most: int = 150) -> Case:
    """Return a smaller case for which *differs* still holds; *most* cases are tried."""
    tried = 0
    progress = True
    while progress and tried < most:
        progress = False
        for smaller in _smaller(case):
            tried += 1
            if differs(smaller):
                case, progress = smaller, True
                break
            if tried >= most:
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Cases with something left out, the most first."""
    state = case.state
    for rules in _without_one(state.rules):
        yield replace(case, state=replace(state, rules=rules))
    for commands in _without_one(state.commands):
        yield replace(case, state=replace(state, commands=commands))
    for sysctls in _without_one(state.sysctls):
        yield replace(case, state=replace(state, sysctls=sysctls))
    for index, (label, loader, text) in enumerate(state.rules):
        for shorter in _texts(text):
            rules = (*state.rules[:index], (label, loader, shorter), *state.rules[index + 1 :])
            yield replace(case, state=replace(state, rules=rules))
    for probe in _probes(case.probe):
        yield replace(case, probe=probe)


def _without_one(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    for index in range(len(items)):
        yield (*items[:index], *items[index + 1 :])


def _texts(text: str) -> Iterator[str]:
    """A rule set without half of its rules, a quarter ... and without single ones; and shorter rules."""
    lines = text.splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith(("-A ", "add rule "))]
    size = len(rules) // 2
    while size >= 1:
        for start in range(0, len(rules), size):
            gone = set(rules[start : start + size])
            yield "".join(f"{line}\n" for index, line in enumerate(lines) if index not in gone)
        size //= 2
    for index in rules:
        head, found, tail = lines[index].partition(" -m ")
        while found:
            rest = tail.partition(" -m ") if " -m " in tail else tail.partition(" -j ")
            shorter = f"{head}{rest[1]}{rest[2]}"
            yield "".join(f"{shorter if at == index else line}\n" for at, line in enumerate(lines))
            more, found, tail = tail.partition(" -m ")
            head = f"{head} -m {more}"


def _probes(probe: Probe) -> Iterator[Probe]:
    plain = Probe(source=probe.source, dst=probe.dst, proto=probe.proto)
    for name in ("stale", "talk", "tos", "mark", "size", "ttl", "df", "src"):
        if name == "src" and probe.device is not None:
            continue
        if getattr(probe, name) != getattr(plain, name):
            yield replace(probe, **{name: getattr(plain, name)})


def as_test(case: Case) -> str:
    """Return a test that fails while walk and kernel differ on *case*."""
    return f'''from tests.oracle.case import Case, Probe, State
from tests.oracle.run import assert_agrees


def test_found_by_the_oracle() -> None:
    """The walk and the kernel agree on this case."""
    assert_agrees(
        Case(
            state=State(
                topology={case.state.topology!r},
                rules=({"".join(_rules_literal(*one) for one in case.state.rules)}),
                sysctls={case.state.sysctls!r},
                commands={case.state.commands!r},
            ),
            probe={_literal(case.probe)},
        )
    )
'''


def _literal(probe: Probe) -> str:
    plain = Probe(source="", dst="", proto="")
    fields = [
        f"{name}={getattr(probe, name)!r}"
        for name in Probe.__struct_fields__
        if getattr(probe, name) != getattr(plain, name)
    ]
    return f"Probe({', '.join(fields)})"


def _rules_literal(label: str, loader: str, text: str) -> str:
    lines = "".join(f"\n                        {line + chr(10)!r}" for line in text.splitlines())
    return (
        f"\n                    ({label!r}, {loader!r}, ({lines}\n                    )),\n                "
    )
