"""
One change into the kernel.

Lives here: running the command of a change in its namespace, with what must hold right before
it, and the tool's refusal as an error.
Not here: whether a change took effect (effect), several changes (repair).
"""

import os
import subprocess

from nettrace.collect.failure import CollectError
from nettrace.collect.netns import in_netns
from nettrace.model.change import Change, RuleDelete, RuleReplace
from nettrace.model.errors import UserError
from nettrace.model.xt import XtChain, XtRule
from nettrace.parse.iptables import parse_chain, parse_rule, rule_text
from nettrace.render.command import Argv, argv, command

__all__ = ["Refused", "apply_change", "chain_of", "normal", "run"]

#: Seconds.  Longer than the tools wait for their own lock; a netlink request takes milliseconds.
TIMEOUT = 30.0

#: iptables 1.8: EXIT code 1 with these words, for a chain as for a target.
_NO_CHAIN = "No chain/target/match by that name"


class Refused(UserError):
    """The change was refused as a whole: the kernel is as it was before it."""


def apply_change(path: str, change: Change, *, keep: tuple[int, ...] = ()) -> None:
    """
    Make *change* in the network namespace at *path*.

    What is run is what nettrace.render.command prints.  A rule to be deleted or replaced is
    read right before, because the command names only its position.  *keep*: descriptors
    that the tool inherits (the journal's lock, which it then holds to its end).

    Raises Refused with the command and the tool's own words if nothing was changed;
    UserError if it is not known whether something was.
    """
    if isinstance(change, RuleDelete | RuleReplace):
        _check_standing(path, change, keep)
    run(path, argv(change), command(change), keep=keep)


def run(path: str, argv: Argv, shown: str, *, keep: tuple[int, ...] = ()) -> str:
    """Run a tool inside the namespace at *path* and return its output; errors as apply_change."""
    environment = {**os.environ, "LC_ALL": "C"}
    environment["PATH"] = f"{environment.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"

    def inside() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv.args,
            input=argv.stdin,
            stdin=subprocess.DEVNULL if argv.stdin is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=TIMEOUT,
            env=environment,
            pass_fds=keep,
            check=False,
        )

    try:
        done = in_netns(path, inside)
    except CollectError as error:
        raise Refused(error.what, where=path, hint=error.hint) from error
    except FileNotFoundError as error:
        raise Refused(
            f"there is no `{argv.args[0]}` on this machine", where=shown, hint=_package(argv.args[0])
        ) from error
    except OSError as error:
        raise Refused(
            f"cannot run `{argv.args[0]}`: {(error.strerror or '').lower()}", where=shown
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"`{argv.args[0]}` did not end within {TIMEOUT:.0f} s", where=shown) from error
    if done.returncode:
        raise Refused(f"`{shown}` was refused: {_words(done)}", where=path)
    return done.stdout


def _words(done: subprocess.CompletedProcess[str]) -> str:
    """Return what the tool said, on one line."""
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return "; ".join(said[:4]) if said else f"exit code {done.returncode}"


def _package(tool: str) -> str:
    """Return how to get a tool on Debian."""
    packages = {"ip": "iproute2", "bridge": "iproute2", "sysctl": "procps", "conntrack": "conntrack"}
    return f"apt install {packages.get(tool, 'iptables')}"


# --- rules -----------------------------------------------------------------------------


def chain_of(
    path: str, backend: str, table: str, chain: str, *, keep: tuple[int, ...] = ()
) -> XtChain | None:
    """Return a chain as it is now, without counters; None if it is not there."""
    call = Argv(
        (f"iptables-{backend}", *(("-w", "10") if backend == "legacy" else ()), "-t", table, "-S", chain)
    )
    try:
        text = run(path, call, " ".join(call.args), keep=keep)
    except Refused as error:
        if _NO_CHAIN in error.what:
            return None
        raise
    return parse_chain(text, chain)


def normal(rule: XtRule) -> XtRule:
    """Return *rule* as it is read back from its own text, so that two spellings compare equal."""
    return parse_rule(rule_text(rule))


def _check_standing(path: str, change: RuleDelete | RuleReplace, keep: tuple[int, ...]) -> None:
    """Refused unless the rule that *change* names stands at its position."""
    chain = chain_of(path, change.backend, change.table, change.chain, keep=keep)
    rules = chain.rules if chain is not None else ()
    expected = change.old if isinstance(change, RuleReplace) else change.rule
    if change.position <= len(rules) and normal(rules[change.position - 1]) == normal(expected):
        return
    found = rule_text(rules[change.position - 1]) if 0 < change.position <= len(rules) else "no rule"
    raise Refused(
        f"rule {change.position} of chain {change.chain} is not the one expected: {found or 'an empty rule'}",
        where=f"{path}: table {change.table} ({change.backend})",
        hint="somebody changed the chain; plan again",
    )
