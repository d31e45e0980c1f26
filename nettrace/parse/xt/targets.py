"""
One target: what stands after ``-j`` or ``-g``.

Lives here: the table of all targets that nettrace knows, their readers and writers, and the
rest kept as text.
Not here: the NAT and mark targets' own text (targets_nat, targets_mark).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nettrace.model.xt_target import (
    Accept,
    Ct,
    Drop,
    ExtensionTarget,
    Jump,
    Log,
    Nflog,
    Notrack,
    PassThrough,
    Reject,
    Return,
    Target,
    Tcpmss,
    UnknownTarget,
)
from nettrace.parse.xt import targets_mark, targets_nat
from nettrace.parse.xt.extensions import EXTENSION_TARGETS, extension_options
from nettrace.parse.xt.options import Given, Grammar, flag, read_options, value
from nettrace.parse.xt.values import number
from nettrace.parse.xt.words import words

__all__ = ["AS_TEXT", "TARGETS", "parse_target", "target_text"]

#: Names of targets that no kernel has any more.  Without this list one that is written without
#: options (``-j QUEUE``) would be taken for a jump to a chain.
_GONE = frozenset({"MIRROR", "QUEUE"})

_VERDICTS: dict[str, Target] = {"ACCEPT": Accept(), "DROP": Drop(), "RETURN": Return()}
_TEXT_TYPES: dict[str, Callable[[str], Target]] = {"LOG": Log, "NFLOG": Nflog}

#: Targets whose options are not taken apart.
AS_TEXT = _GONE | set(_TEXT_TYPES) | {"CT"}


def _read_reject(given: Given) -> Reject:
    return Reject(value(given, "--reject-with") or Reject().with_)


def _write_reject(target: Reject) -> str:
    return f"REJECT --reject-with {target.with_}"


def _read_tcpmss(given: Given) -> Tcpmss:
    mss = value(given, "--set-mss")
    if (mss is None) != flag(given, "--clamp-mss-to-pmtu"):
        raise ValueError("TCPMSS takes one of --set-mss and --clamp-mss-to-pmtu")
    return Tcpmss(None if mss is None else number(mss, 65535))


def _write_tcpmss(target: Tcpmss) -> str:
    return "TCPMSS --clamp-mss-to-pmtu" if target.mss is None else f"TCPMSS --set-mss {target.mss}"


def _write_jump(target: Jump) -> str:
    return target.chain


def _write_notrack(target: Notrack) -> str:
    return "NOTRACK" if target.old else "CT --notrack"


def _write_as_text(name: str) -> Callable[[Any], str]:
    def write(target: Ct | Log | Nflog) -> str:
        return f"{name} {target.text}" if target.text else name

    return write


def _constant(name: str) -> Callable[[Any], str]:
    return lambda _target: name


TARGETS: dict[str, Grammar[Target]] = {
    "REJECT": Grammar({"--reject-with": 1}, _read_reject),
    "TCPMSS": Grammar({"--set-mss": 1, "--clamp-mss-to-pmtu": 0}, _read_tcpmss),
    **targets_nat.GRAMMARS,
    **targets_mark.GRAMMARS,
    **EXTENSION_TARGETS,
}

_WRITERS: dict[type, Callable[[Any], str]] = {
    Accept: _constant("ACCEPT"),
    Ct: _write_as_text("CT"),
    Drop: _constant("DROP"),
    Jump: _write_jump,
    Log: _write_as_text("LOG"),
    Nflog: _write_as_text("NFLOG"),
    Notrack: _write_notrack,
    Reject: _write_reject,
    Return: _constant("RETURN"),
    Tcpmss: _write_tcpmss,
    **targets_nat.WRITERS,
    **targets_mark.WRITERS,
}


def _parse_ct(rest: str) -> Target:
    options = words(rest)
    if options == ["--notrack"]:
        return Notrack()
    if "--notrack" in options:
        return UnknownTarget("CT", rest)  # Ct would hide that the packet goes untracked
    return Ct(rest)


@lru_cache(maxsize=65536)
def parse_target(text: str, goto: bool = False) -> Target:
    """
    Return the target that stands after ``-j `` (or ``-g ``).

    One that cannot be held exactly is UnknownTarget.  A name that is no target of the kernel
    is a chain's, if nothing follows it.  ValueError for options after ``-g CHAIN``.
    """
    name, separator, rest = text.partition(" ")
    if goto:
        if separator:
            raise ValueError(f"-g {name} takes no options")
        return Jump(name, goto=True)
    if not separator and name in _VERDICTS:
        return _VERDICTS[name]
    if name in _TEXT_TYPES:
        return _TEXT_TYPES[name](rest)
    if name == "NOTRACK" and not separator:
        return Notrack(old=True)
    if name == "CT":
        return _parse_ct(rest)
    if name in TARGETS:
        grammar = TARGETS[name]
        try:
            if name in EXTENSION_TARGETS:
                held = ExtensionTarget(name, rest)
                extension_options(held)
                return held
            return grammar.read(read_options(grammar, words(rest)))
        except ValueError:
            return UnknownTarget(name, rest)
    if separator or name in _GONE or name in _VERDICTS:
        return UnknownTarget(name, rest)
    return Jump(name)


def target_text(target: Target) -> str:
    """Return `` -j ...`` or `` -g ...`` as iptables 1.8.9 prints it, blank first; "" if there is none."""
    if isinstance(target, PassThrough):
        return ""
    if isinstance(target, ExtensionTarget | UnknownTarget):
        return f" -j {target.name} {target.text}" if target.text else f" -j {target.name}"
    letter = "g" if isinstance(target, Jump) and target.goto else "j"
    return f" -{letter} {_WRITERS[type(target)](target)}"
