"""
Targets that write marks: MARK and CONNMARK.

Lives here: a grammar and a writer for each.  iptables prints ``--set-xmark`` whatever was
typed; the other spellings are read as libxt_MARK.c and libxt_CONNMARK.c turn them into it.
"""

from collections.abc import Callable
from typing import Any

from nettrace.model.xt_target import ConnmarkTarget, MarkTarget, Target
from nettrace.parse.xt.options import Given, Grammar, Option, flag, value
from nettrace.parse.xt.values import mark, masked_mark, masked_mark_text, number

__all__ = ["GRAMMARS", "WRITERS"]

_SET = ("--set-xmark", "--set-mark", "--and-mark", "--or-mark", "--xor-mark")
_ALL = 0xFFFFFFFF


def _xmark(given: Given) -> tuple[int, int]:
    """Return VALUE and MASK of mark = (mark & ~MASK) ^ VALUE for the one option of _SET."""
    names = [name for name in _SET if name in given]
    if len(names) != 1:
        raise ValueError(f"one of {', '.join(_SET)} is needed")
    text = value(given, names[0]) or ""
    match names[0]:
        case "--set-xmark":
            return masked_mark(text)
        case "--set-mark":
            bits, mask = masked_mark(text)
            return bits, mask | bits
        case "--and-mark":
            return 0, ~mark(text) & _ALL
        case "--or-mark":
            return mark(text), mark(text)
        case _:
            return mark(text), 0


def _read_mark(given: Given) -> MarkTarget:
    return MarkTarget(*_xmark(given))


def _write_mark(target: MarkTarget) -> str:
    return f"MARK --set-xmark {masked_mark_text(target.value, target.mask)}"


def _read_connmark(given: Given) -> ConnmarkTarget:
    given = dict(given)
    shift = _shift(given)
    copies = [action for action in ("save", "restore") if flag(given, f"--{action}-mark")]
    if not copies:
        if not set(given) <= set(_SET):
            raise ValueError("masks belong to --save-mark and --restore-mark")
        bits, ctmask = _xmark(given)
        return ConnmarkTarget(action="set", value=bits, ctmask=ctmask, shift=shift)
    if len(copies) > 1 or set(given) & set(_SET):
        raise ValueError("CONNMARK takes one action")
    both = value(given, "--mask")
    if both is not None and ("--nfmask" in given or "--ctmask" in given):
        raise ValueError("--mask stands for both masks")
    nfmask, ctmask = (mark(both or value(given, name) or "0xffffffff") for name in ("--nfmask", "--ctmask"))
    return ConnmarkTarget(action=copies[0], nfmask=nfmask, ctmask=ctmask, shift=shift)


def _shift(given: dict[str, Option]) -> int:
    """Take the option that shifts the mark out of *given*."""
    found = 0
    for name, sign in (("--left-shift-mark", 1), ("--right-shift-mark", -1)):
        text = value(given, name)
        if text is None:
            continue
        if found:
            raise ValueError("CONNMARK shifts one way")
        found = sign * number(text, 31)
        del given[name]
    return found


def _write_connmark(target: ConnmarkTarget) -> str:
    side = "left" if target.shift > 0 else "right"
    shift = f" --{side}-shift-mark {abs(target.shift)}" if target.shift else ""
    if target.action == "set":
        return f"CONNMARK --set-xmark {masked_mark_text(target.value, target.ctmask)}{shift}"
    return f"CONNMARK --{target.action}-mark --nfmask {target.nfmask:#x} --ctmask {target.ctmask:#x}{shift}"


_COPY = {"--save-mark": 0, "--restore-mark": 0, "--mask": 1, "--nfmask": 1, "--ctmask": 1}
_SHIFTS = {"--left-shift-mark": 1, "--right-shift-mark": 1}

GRAMMARS: dict[str, Grammar[Target]] = {
    "MARK": Grammar(dict.fromkeys(_SET, 1), _read_mark),
    "CONNMARK": Grammar({**dict.fromkeys(_SET, 1), **_COPY, **_SHIFTS}, _read_connmark),
}

WRITERS: dict[type, Callable[[Any], str]] = {
    ConnmarkTarget: _write_connmark,
    MarkTarget: _write_mark,
}
