"""
One match: what stands after ``-m``.

Lives here: the table of all matches that nettrace knows, and the rest kept as text.
Not here: the single matches (matches_header, matches_state, matches_other, extensions).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nettrace.model.xt_match import Extension, Match, UnknownMatch
from nettrace.parse.xt import matches_header, matches_other, matches_state
from nettrace.parse.xt.extensions import EXTENSION_MATCHES, extension_options
from nettrace.parse.xt.options import Grammar, read_options
from nettrace.parse.xt.words import words

__all__ = ["MATCHES", "match_text", "parse_match"]

MATCHES: dict[str, Grammar[Match]] = {
    **matches_header.GRAMMARS,
    **matches_state.GRAMMARS,
    **matches_other.GRAMMARS,
    **EXTENSION_MATCHES,
}

_WRITERS: dict[type, Callable[[Any], str]] = {
    **matches_header.WRITERS,
    **matches_state.WRITERS,
    **matches_other.WRITERS,
}


# A node's dump repeats few matches very often, except for comments.
@lru_cache(maxsize=65536)
def parse_match(text: str) -> Match:
    """Return the match that stands after ``-m ``; one that cannot be held exactly is UnknownMatch."""
    name, _, rest = text.partition(" ")
    grammar = MATCHES.get(name)
    if grammar is not None:
        try:
            if name in EXTENSION_MATCHES:
                held = Extension(name, rest)
                extension_options(held)
                return held
            return grammar.read(read_options(grammar, words(rest)))
        except ValueError:
            pass
    return UnknownMatch(name, rest)


def match_text(match: Match) -> str:
    """Return what iptables 1.8.9 prints after ``-m ``."""
    if isinstance(match, Extension | UnknownMatch):
        return f"{match.name} {match.text}" if match.text else match.name
    return _WRITERS[type(match)](match)
