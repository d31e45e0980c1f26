"""
Specifications as people type them.

Lives here: sorting options that stand anywhere, under long names, with matches implied by
``-p``, into the order that iptables prints.  Tried only where the printed form was not
understood, so a dump never comes this way unless something in it is new.
Not here: the meaning of options (matches, targets).
"""

from typing import Any

from nettrace.parse.xt.matches import MATCHES
from nettrace.parse.xt.options import Grammar, option_name
from nettrace.parse.xt.targets import AS_TEXT, TARGETS
from nettrace.parse.xt.words import Part, join, words

__all__ = ["regroup"]

_BASE = {
    "--source": "-s",
    "--src": "-s",
    "--destination": "-d",
    "--dst": "-d",
    "--in-interface": "-i",
    "--out-interface": "-o",
    "--protocol": "-p",
    "--proto": "-p",
    "--fragment": "-f",
    **{option: option for option in ("-s", "-d", "-i", "-o", "-p", "-f")},
}
_PARTS = {"-m": "m", "--match": "m", "-j": "j", "--jump": "j", "-g": "g", "--goto": "g"}

#: Protocols (as -p takes them) -> the match that their options load by themselves.
_IMPLIED = {
    "tcp": "tcp",
    "6": "tcp",
    "udp": "udp",
    "17": "udp",
    "sctp": "sctp",
    "132": "sctp",
    "dccp": "dccp",
    "icmp": "icmp",
    "1": "icmp",
    "icmpv6": "icmp6",
    "ipv6-icmp": "icmp6",
    "58": "icmp6",
}


#: Verdicts and chains: what follows them belongs to something before them.
_NO_OPTIONS: Grammar[Any] = Grammar({}, lambda _given: None)


class _Group:
    """A match or target being put together; without a grammar it takes whatever comes."""

    def __init__(self, letter: str, name: str) -> None:
        self.letter = letter
        self.words = [name]
        self.grammar: Grammar[Any] | None
        if letter == "m":
            self.grammar = MATCHES.get(name)
        else:
            self.grammar = None if name in AS_TEXT else TARGETS.get(name, _NO_OPTIONS)


def regroup(text: str) -> tuple[str, list[Part]] | None:
    """Return base options and parts of a typed specification in printed order, None if it makes no sense."""
    base: list[str] = []
    groups: list[_Group] = []
    negation: list[str] = []
    implied: str | None = None
    rest = iter(words(text))
    for word in rest:
        current = groups[-1] if groups else None
        if word == "!" and (current is None or current.grammar is not None):
            if negation:
                return None
            negation = ["!"]
            continue
        if word in _PARTS:
            if negation:
                return None
            groups.append(_Group(_PARTS[word], next(rest, "")))
        elif current is not None and current.grammar is None:
            current.words.append(word)
        elif word in _BASE:
            value = [] if _BASE[word] == "-f" else [next(rest, "")]
            base += [*negation, _BASE[word], *value]
            if _BASE[word] == "-p" and not negation:
                implied = _IMPLIED.get(value[0].lower())
        elif word in ("-c", "--set-counters"):
            next(rest, "")
            next(rest, "")
        else:
            owner = _owner(groups, implied, word)
            if owner is None or owner.grammar is None:
                return None
            name = option_name(owner.grammar, word) or word
            owner.words += [*negation, name, *(next(rest, "") for _ in range(owner.grammar.options[name]))]
        negation = []
    if negation:
        return None
    groups.sort(key=lambda group: group.letter != "m")  # the target last, else as typed
    return join(base), [(group.letter, join(group.words)) for group in groups]


def _owner(groups: list[_Group], implied: str | None, word: str) -> _Group | None:
    """Return the group that an option belongs to: the last that knows it, else the *implied* match."""
    for group in reversed(groups):
        if group.grammar is not None and option_name(group.grammar, word):
            return group
    if implied is None or not option_name(MATCHES[implied], word):
        return None
    group = _Group("m", implied)
    groups.append(group)
    return group
