"""
One chain's listing: ``iptables -t TABLE -S CHAIN``, with counters if ``-v`` was given.

Lives here: the ``-P``, ``-N`` and ``-A`` lines.
Not here: iptables-save's blocks (save).
"""

from nettrace.model.errors import UserError
from nettrace.model.xt import Counters, XtChain, XtRule
from nettrace.parse.xt.rule import read_rule
from nettrace.parse.xt.words import split_counters

__all__ = ["parse_chain", "whole_lines"]

#: A comment holds at most 255 characters, so an open quote closes within a few lines or never.
_LONGEST_RULE = 16384


def parse_chain(text: str, chain: str) -> XtChain | None:
    """
    Return *chain* out of what ``iptables -S`` printed, None if it is not in there.

    *text* may hold other chains too.  Counters are there if ``-v`` was given.  UserError
    names the line that cannot be read.
    """
    policy: str | None = None
    policy_counters: Counters | None = None
    declared = False
    rules: list[XtRule] = []
    counters: list[Counters] = []
    for line_number, line in whole_lines(text):
        command, _, rest = line.partition(" ")
        name, _, spec = rest.partition(" ")
        if command not in ("-P", "-N", "-A"):
            if not line or line.startswith("#"):
                continue
            raise _unreadable(f"`{line[:60]}` is not a line of iptables -S", line_number, chain)
        if name != chain:
            continue
        if command == "-A" and not declared:
            raise _unreadable(f"a rule of {chain} stands before the chain", line_number, chain)
        declared = True
        try:
            bare, counted = split_counters(spec)
            if command == "-P":
                policy, policy_counters = bare, None if counted is None else Counters(*counted)
            elif command == "-A":
                rules.append(read_rule(bare))
                counters += [] if counted is None else [Counters(*counted)]
        except ValueError as error:
            raise _unreadable(str(error), line_number, chain) from None
    if not declared:
        return None
    return XtChain(
        policy=policy,
        rules=tuple(rules),
        counters=tuple(counters) if counters and len(counters) == len(rules) else None,
        policy_counters=policy_counters,
    )


def whole_lines(text: str) -> list[tuple[int, str]]:
    r"""
    Return the lines of *text*, numbered from 1; a new line inside quotes does not end one.

    Only ``\n`` ends a line: a comment may hold any other character that Unicode calls a break.
    """
    lines: list[tuple[int, str]] = []
    pending = ""
    started = 0
    for line_number, line in enumerate(text.split("\n"), 1):
        if pending:
            pending = f"{pending}\n{line}"
        elif '"' in line and _open_quote(line):
            pending, started = line, line_number
        else:
            lines.append((line_number, line))
            continue
        if not _open_quote(pending) or len(pending) > _LONGEST_RULE:
            lines.append((started, pending))
            pending = ""
    if pending:
        lines.append((started, pending))
    return lines


def _open_quote(line: str) -> bool:
    """Does *line* end inside a quoted string?"""
    if "\\" not in line:
        return line.count('"') % 2 == 1
    inside = escaped = False
    for character in line:
        if escaped:
            escaped = False
        elif character == '"':
            inside = not inside
        else:
            escaped = inside and character == "\\"
    return inside


def _unreadable(what: str, line_number: int, chain: str) -> UserError:
    return UserError(what, where=f"iptables -S {chain}, line {line_number}", hint="list the chain again")
