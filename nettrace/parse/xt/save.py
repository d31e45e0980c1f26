"""
A whole dump: iptables-save text to XtRuleset and back.

Lives here: table blocks, chain lines, counters, and what is wrong with a broken dump.
Not here: the rules themselves (rule).
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from nettrace.model.errors import UserError
from nettrace.model.section import Known, Missing, MissingKind, Section
from nettrace.model.xt import BUILTIN_CHAINS, TABLES, Counters, XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_target import ExtensionTarget, Jump, UnknownTarget
from nettrace.parse.xt.chain import whole_lines
from nettrace.parse.xt.rule import read_rule, rule_text

__all__ = ["parse_save", "save_text"]

T = TypeVar("T")

_RULE = re.compile(r"(?:\[([0-9]+):([0-9]+)\] )?-A ([^ ]+)(?: |$)")
_CHAIN = re.compile(r":([^ ]+) ([A-Z]+|-)(?: \[([0-9]+):([0-9]+)\])?")

# xtables-save.c and nft.c of 1.8.9: said instead of the table, or before what can be shown of it
_INCOMPATIBLE = re.compile(
    r"# Table `(.+)' (is incompatible|contains incompatible base-chains),? use 'nft' tool.*"
)

_AGAIN = "take the dump again, whole: iptables-save > FILE"


class _OpenChain(Struct):
    policy: str | None
    policy_counters: Counters | None
    rules: list[XtRule]
    counters: list[Counters | None]

    def closed(self, counted: bool) -> XtChain:
        return XtChain(
            policy=self.policy,
            rules=tuple(self.rules),
            counters=tuple(count or Counters(0, 0) for count in self.counters) if counted else None,
            policy_counters=self.policy_counters,
        )


class _Dump(Struct):
    """What was read so far; ``table`` is the name of the open block."""

    where: str
    tables: dict[str, Section[XtTable]]
    incompatible: dict[str, str]
    table: str | None = None
    chains: dict[str, _OpenChain] = {}
    counted: bool = False


def parse_save(text: str, where: str = "") -> XtRuleset:
    """
    Return the tables of an iptables-save dump of one family and one back end.

    *where* names the dump in errors.  A table that iptables says it cannot show is
    Missing(UNSUPPORTED).  UserError, with the line, for a dump that is cut off or broken.
    """
    dump = _Dump(where=where, tables={}, incompatible={})
    line_number = 1
    for line_number, line in whole_lines(text):
        rule = _RULE.match(line)
        try:
            if rule is not None:
                _read_rule(dump, rule, line)
            elif line.startswith(":"):
                _read_chain(dump, line)
            elif line.startswith("*"):
                _open_table(dump, line[1:])
            elif line == "COMMIT":
                _close_table(dump)
            elif line.startswith("#"):
                incompatible = _INCOMPATIBLE.fullmatch(line)
                if incompatible is not None:
                    dump.incompatible[incompatible[1]] = line.removeprefix("# ")
            elif line:
                raise ValueError(f"`{line[:60]}` is not a line of iptables-save")
        except ValueError as error:
            raise _broken(dump, line_number, str(error)) from None
    if dump.table is not None:
        raise _broken(dump, line_number, f"table {dump.table} has no COMMIT: the dump is cut off")
    unshown = {name: Missing(MissingKind.UNSUPPORTED, reason) for name, reason in dump.incompatible.items()}
    return XtRuleset({**dump.tables, **unshown})


def _broken(dump: _Dump, line_number: int, what: str) -> UserError:
    place = f"{dump.where}:{line_number}" if dump.where else f"line {line_number}"
    return UserError(what, where=place, hint=_AGAIN)


def _open_table(dump: _Dump, name: str) -> None:
    if dump.table is not None:
        raise ValueError(f"table {dump.table} has no COMMIT before table {name} begins")
    if name not in TABLES:
        raise ValueError(f"unknown table {name}, expected one of {', '.join(TABLES)}")
    if name in dump.tables:
        raise ValueError(f"table {name} is here twice: a dump of two back ends or two families?")
    dump.table, dump.chains, dump.counted = name, {}, False


def _close_table(dump: _Dump) -> None:
    if dump.table is None:
        raise ValueError("COMMIT without a table")
    chains: dict[str, Section[XtChain]] = {
        name: Known(chain.closed(dump.counted)) for name, chain in dump.chains.items()
    }
    dump.tables[dump.table] = Known(XtTable(chains))
    dump.table = None


def _read_chain(dump: _Dump, line: str) -> None:
    found = _CHAIN.fullmatch(line)
    if found is None:
        raise ValueError(f"`{line[:60]}` is not a chain's line")
    name, policy, packets, size = found.groups()
    if dump.table is None:
        raise ValueError(f"chain {name} stands outside of a table")
    if name in dump.chains:
        raise ValueError(f"chain {name} is declared twice")
    builtin = name in BUILTIN_CHAINS[dump.table]
    if builtin != (policy != "-"):
        raise ValueError(
            f"built-in chain {name} has no policy" if builtin else f"chain {name} cannot have a policy"
        )
    counters = Counters(int(packets), int(size)) if builtin and packets is not None else None
    dump.chains[name] = _OpenChain(policy if builtin else None, counters, [], [])


def _read_rule(dump: _Dump, found: re.Match[str], line: str) -> None:
    packets, size, name = found.groups()
    chain = dump.chains.get(name)
    if dump.table is None:
        raise ValueError(f"a rule of chain {name} stands outside of a table")
    if chain is None:
        raise ValueError(f"a rule of chain {name}, which table {dump.table} does not declare")
    chain.rules.append(_with_chains(read_rule(line[found.end() :]), dump.chains))
    if packets is None:
        chain.counters.append(None)
    else:
        chain.counters.append(Counters(int(packets), int(size)))
        dump.counted = True


def _with_chains(rule: XtRule, chains: Mapping[str, _OpenChain]) -> XtRule:
    """Tell a jump from a target without options by the chains that the table has."""
    target = rule.target
    if isinstance(target, Jump) and target.chain not in chains:
        if target.goto:
            raise ValueError(f"goto chain {target.chain}, which the table does not declare")
        return replace(rule, target=UnknownTarget(target.chain, ""))
    if isinstance(target, ExtensionTarget | UnknownTarget) and not target.text and target.name in chains:
        return replace(rule, target=Jump(target.name))
    return rule


def save_text(ruleset: XtRuleset, counters: bool = False) -> str:
    """
    Return the rule set as iptables-save prints it, less its dated comments.

    With *counters* each rule has its own, zeros where they were not read.  UserError for a
    rule set of which a table or a chain was not read: iptables-restore would delete it.
    """
    lines: list[str] = []
    for table, section in ruleset.tables.items():
        lines.append(f"*{table}")
        chains = {
            name: _read(chain, f"{table}/{name}") for name, chain in _read(section, table).chains.items()
        }
        for name, chain in chains.items():
            total = chain.policy_counters or Counters(0, 0)
            lines.append(f":{name} {chain.policy or '-'} [{total.packets}:{total.bytes}]")
        for name, chain in chains.items():
            lines += _rule_lines(name, chain, counters)
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def _read(section: Section[T], name: str) -> T:
    if isinstance(section, Missing):
        raise UserError(
            f"{name} was not read: {section.reason or section.kind}",
            hint="read the whole rule set before printing it",
        )
    return section.value


def _rule_lines(name: str, chain: XtChain, counters: bool) -> list[str]:
    lines = [f"-A {name} {rule_text(rule)}".rstrip(" ") for rule in chain.rules]
    if not counters:
        return lines
    counts = chain.counters or (Counters(0, 0),) * len(lines)
    return [f"[{count.packets}:{count.bytes}] {line}" for count, line in zip(counts, lines, strict=True)]
