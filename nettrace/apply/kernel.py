"""
One change into the kernel.

Lives here: running the command of a change in its namespace, after a last look at what it is
about where the command itself does not say.
Not here: whether a change took effect (effect), several changes (repair).
"""

from nettrace.apply.present import chain_now, fdb_now, normal
from nettrace.apply.tool import Refused, run
from nettrace.model.change import Change, FdbDelete, RuleDelete, RuleReplace
from nettrace.parse.iptables import rule_text
from nettrace.render.command import argv, command

__all__ = ["apply_change"]


def apply_change(path: str, change: Change, *, keep: tuple[int, ...] = ()) -> None:
    """
    Make *change* in the network namespace at *path*.

    What is run is what nettrace.render.command prints.  A rule to be deleted or replaced is
    read right before, because the command names only its position.  *keep*: descriptors
    that the tool inherits (the journal's lock, which it then holds to its end).

    Raises Refused with the command and the tool's own words if nothing was changed;
    UserError if it is not known whether something was.
    """
    match change:
        case RuleDelete() | RuleReplace():
            _check_rule(path, change, keep)
        case FdbDelete():
            _check_entry(path, change)
    run(path, argv(change), command(change), keep=keep)


def _check_rule(path: str, change: RuleDelete | RuleReplace, keep: tuple[int, ...]) -> None:
    """Refused unless the rule that *change* names stands at its position."""
    chain = chain_now(path, change.backend, change.table, change.chain, keep)
    rules = chain.rules if chain is not None else ()
    expected = change.old if isinstance(change, RuleReplace) else change.rule
    there = 0 < change.position <= len(rules)
    if there and normal(rules[change.position - 1]) == normal(expected):
        return
    found = rule_text(rules[change.position - 1]) or "a rule that only counts" if there else "not there"
    raise Refused(
        f"rule {change.position} of chain {change.chain} is not the one expected: it is {found}",
        where=f"{path}: table {change.table} ({change.backend})",
        hint="somebody changed the chain; plan again",
    )


def _check_entry(path: str, change: FdbDelete) -> None:
    """Refused unless the entry is there: `bridge fdb del` of another far end succeeds and does nothing."""
    entry = change.entry
    key = (entry.device, entry.mac, entry.master, entry.vlan, entry.dst)
    if not any((e.device, e.mac, e.master, e.vlan, e.dst) == key for e in fdb_now(path)):
        raise Refused(f"`{command(change)}` was refused: there is no such entry", where=path)
