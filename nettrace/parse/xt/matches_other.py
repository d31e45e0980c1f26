"""
Matches that test no field: comment, statistic, limit, recent, set, nfacct.

Lives here: a grammar and a writer for each.
"""

import re
from collections.abc import Callable
from typing import Any

from nettrace.model.xt_match import Comment, Limit, Match, Nfacct, Recent, SetMatch, Statistic
from nettrace.parse.xt.options import Given, Grammar, flag, negatable, value
from nettrace.parse.xt.values import negated, number
from nettrace.parse.xt.words import quote

__all__ = ["GRAMMARS", "WRITERS"]

#: The kernel draws 31-bit numbers (net/netfilter/xt_statistic.c).
_DRAW = 1 << 31

_RATE = re.compile(r"([0-9]+)(?:/(?:(s)(?:econd|ec)?|(m)(?:inute|in)?|(h)(?:our)?|(d)(?:ay)?))?")

#: Units by their first letter, longest first, each with its length in the kernel's clock
#: (XT_LIMIT_SCALE: 1/10000 of a second).
_UNITS = {"d": ("day", 864_000_000), "h": ("hour", 36_000_000), "m": ("min", 600_000), "s": ("sec", 10_000)}


def _required(given: Given, name: str) -> str:
    found = value(given, name)
    if found is None:
        raise ValueError(f"{name} is missing")
    return found


def _read_comment(given: Given) -> Comment:
    return Comment(_required(given, "--comment"))


def _write_comment(match: Comment) -> str:
    return f"comment --comment {quote(match.text)}"


def _read_statistic(given: Given) -> Statistic:
    mode = _required(given, "--mode")
    probability = negatable(given, "--probability")
    every = negatable(given, "--every")
    packet = value(given, "--packet")
    if mode == "random" and probability is not None and every is None and packet is None:
        chance = float(probability.value)
        if not 0 <= chance <= 1:
            raise ValueError(f"{probability.value} is not a probability")
        return Statistic(mode=mode, probability=round(chance * _DRAW), invert=probability.invert)
    if mode == "nth" and every is not None and probability is None:
        offset = None if packet is None else number(packet)
        return Statistic(mode=mode, every=number(every.value), packet=offset, invert=every.invert)
    raise ValueError(f"--mode {mode} with other options than its own")


def _write_statistic(match: Statistic) -> str:
    text = f"statistic --mode {match.mode}"
    if match.probability is not None:
        return f"{text} {negated(match.invert)}--probability {match.probability / _DRAW:.11f}"
    packet = "" if match.packet is None else f" --packet {match.packet}"
    return f"{text} {negated(match.invert)}--every {match.every}{packet}"


def _read_limit(given: Given) -> Limit:
    rate = value(given, "--limit") or "3/hour"  # XT_LIMIT_AVG and XT_LIMIT_BURST of libxt_limit.c
    return Limit(_rate(rate), number(value(given, "--limit-burst") or "5"))


def _rate(text: str) -> str:
    """Return a rate as iptables prints it back: 60/min is 1/sec (parse_rate() and print_rate())."""
    found = _RATE.fullmatch(text)
    times = number(found[1]) if found else 0
    if found is None or not times:
        raise ValueError(f"{text} is not a rate")
    period = _UNITS[next((letter for letter in found.groups()[1:] if letter), "s")][1] // times
    if not period:
        raise ValueError(f"{text} is too fast")
    units = list(_UNITS.values())
    best = units[0]
    for unit in units[1:]:
        length = unit[1]
        if period > length or length // period < length % period:
            break
        best = unit
    return f"{best[1] // period}/{best[0]}"


def _write_limit(match: Limit) -> str:
    return f"limit --limit {match.rate}" + ("" if match.burst == 5 else f" --limit-burst {match.burst}")


_ACTIONS = ("--set", "--rcheck", "--update", "--remove")


def _optional_number(given: Given, name: str) -> int | None:
    text = value(given, name)
    return None if text is None else number(text)


def _read_recent(given: Given) -> Recent:
    actions = [name for name in _ACTIONS if name in given]
    if len(actions) != 1:
        raise ValueError("recent takes one of --set, --rcheck, --update, --remove")
    if flag(given, "--rsource") and flag(given, "--rdest"):
        raise ValueError("--rsource and --rdest exclude each other")
    return Recent(
        action=actions[0].removeprefix("--"),
        name=value(given, "--name") or "DEFAULT",
        side="rdest" if "--rdest" in given else "rsource",
        seconds=_optional_number(given, "--seconds"),
        hitcount=_optional_number(given, "--hitcount"),
        reap=flag(given, "--reap"),
        rttl=flag(given, "--rttl"),
        mask=value(given, "--mask"),
        invert=given[actions[0]].invert,
    )


def _write_recent(match: Recent) -> str:
    """Return the options in the order of recent_save(), libxt_recent.c; the name is never quoted."""
    return (
        f"recent {negated(match.invert)}--{match.action}"
        + ("" if match.seconds is None else f" --seconds {match.seconds}")
        + (" --reap" if match.reap else "")
        + ("" if match.hitcount is None else f" --hitcount {match.hitcount}")
        + (" --rttl" if match.rttl else "")
        + f" --name {match.name}"
        + ("" if match.mask is None else f" --mask {match.mask}")
        + f" --{match.side}"
    )


_SET_FLAGS = ("--return-nomatch", "--update-counters", "--update-subcounters")
_SET_COUNTS = tuple(f"--{what}-{test}" for what in ("packets", "bytes") for test in ("eq", "lt", "gt"))


def _read_set(given: Given) -> SetMatch:
    wanted = given.get("--match-set")
    if wanted is None:
        raise ValueError("--match-set is missing")
    name, directions = wanted.values
    options = tuple(
        word
        for option, (invert, values) in given.items()
        if option != "--match-set"
        for word in (*(("!",) if invert else ()), option, *values)
    )
    return SetMatch(name=name, directions=tuple(directions.split(",")), invert=wanted.invert, options=options)


def _write_set(match: SetMatch) -> str:
    head = f"set {negated(match.invert)}--match-set {match.name} {','.join(match.directions)}"
    return " ".join([head, *match.options])


def _read_nfacct(given: Given) -> Nfacct:
    return Nfacct(_required(given, "--nfacct-name"))


def _write_nfacct(match: Nfacct) -> str:
    return f"nfacct --nfacct-name  {match.name}"  # both blanks are 1.8.9's: nfacct_print_name() adds one


GRAMMARS: dict[str, Grammar[Match]] = {
    "comment": Grammar({"--comment": 1}, _read_comment),
    "statistic": Grammar({"--mode": 1, "--probability": 1, "--every": 1, "--packet": 1}, _read_statistic),
    "limit": Grammar({"--limit": 1, "--limit-burst": 1}, _read_limit),
    "recent": Grammar(
        {
            **dict.fromkeys((*_ACTIONS, "--rsource", "--rdest", "--reap", "--rttl"), 0),
            **dict.fromkeys(("--name", "--seconds", "--hitcount", "--mask"), 1),
        },
        _read_recent,
    ),
    "set": Grammar(
        {"--match-set": 2, **dict.fromkeys(_SET_FLAGS, 0), **dict.fromkeys(_SET_COUNTS, 1)}, _read_set
    ),
    "nfacct": Grammar({"--nfacct-name": 1}, _read_nfacct),
}

WRITERS: dict[type, Callable[[Any], str]] = {
    Comment: _write_comment,
    Limit: _write_limit,
    Nfacct: _write_nfacct,
    Recent: _write_recent,
    SetMatch: _write_set,
    Statistic: _write_statistic,
}
