"""
Options of a match or a target: ``--name value``, ``! --name value``, flags.

Lives here: reading words into options by a grammar, and getting typed values out of them.
Not here: which options there are (matches*, targets*).
"""

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from nettrace.model.xt_match import Negatable, Ports
from nettrace.parse.xt.values import port_range

__all__ = ["Given", "Grammar", "Option", "flag", "negatable", "option_name", "ports", "read_options", "value"]

T = TypeVar("T")


class Option(NamedTuple):
    """One option as given."""

    invert: bool
    values: tuple[str, ...]


Given = Mapping[str, Option]


class Grammar(NamedTuple, Generic[T]):
    """
    What a match or target may be given.

    ``options`` maps each option to the number of its values, ``aliases`` other names to those.
    ``read`` makes the type out of them; it raises ValueError for what the type cannot hold.
    """

    options: Mapping[str, int]
    read: Callable[[Given], T]
    aliases: Mapping[str, str] = {}


def option_name(grammar: Grammar[T], word: str) -> str | None:
    """Return the option that *word* names: itself, an alias, or, as getopt_long(3) has it, a beginning."""
    word = grammar.aliases.get(word, word)
    if word in grammar.options:
        return word
    longer = [name for name in grammar.options if word.startswith("--") and name.startswith(word)]
    return longer[0] if len(longer) == 1 else None


def read_options(grammar: Grammar[T], given: list[str]) -> dict[str, Option]:
    """Return the options in *given*; ValueError for one that is unknown, doubled or cut short."""
    options: dict[str, Option] = {}
    rest = iter(given)
    for first in rest:
        invert = first == "!"
        word = next(rest, "") if invert else first
        name = option_name(grammar, word)
        if name is None:
            raise ValueError(f"{word} is not known")
        if name in options:
            raise ValueError(f"{word} is given twice")
        values = tuple(next(rest, None) for _ in range(grammar.options[name]))
        if None in values:
            raise ValueError(f"{word} lacks its value")
        options[name] = Option(invert, tuple(value for value in values if value is not None))
    return options


def value(given: Given, name: str) -> str | None:
    """Return the value of an option that cannot be negated, None if it is not given."""
    option = given.get(name)
    if option is None:
        return None
    if option.invert:
        raise ValueError(f"! {name} is not possible")
    return option.values[0]


def flag(given: Given, name: str) -> bool:
    """Is the option, which has no value and cannot be negated, given?"""
    option = given.get(name)
    if option is not None and option.invert:
        raise ValueError(f"! {name} is not possible")
    return option is not None


def negatable(given: Given, name: str) -> Negatable | None:
    """Return an option's value and its negation."""
    option = given.get(name)
    return None if option is None else Negatable(option.values[0], option.invert)


def ports(given: Given, name: str) -> Ports | None:
    """Return an option's port range and its negation."""
    option = given.get(name)
    return None if option is None else Ports(port_range(option.values[0]), option.invert)
