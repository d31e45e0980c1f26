"""
A dictionary whose values are parsed when they are looked at.

Lives here: the dictionary.  A node of 10,000 Services has 80,000 chains, of which a walk sees ten.
Not here: what parses the values (nettrace.parse.late_chains).
"""

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import Any, Self, TypeVar

import msgspec

__all__ = ["Late", "at_hand", "changed"]

V = TypeVar("V")


class Late(dict[str, V]):
    """
    Names to values, some of which are JSON until somebody asks for them.

    It behaves as the dictionary of the parsed values in everything; copies share what was parsed, so
    that a value is one object in all of them.  *parse* makes a value of a name and its JSON, and
    never fails: what cannot be parsed has a value that says so.
    """

    def __init__(
        self,
        values: dict[str, Any],
        parse: Callable[[str, msgspec.Raw], V],
        parsed: dict[str, V] | None = None,
    ) -> None:
        super().__init__(values)
        self._parse = parse
        self._parsed: dict[str, V] = {} if parsed is None else parsed

    def raw(self, name: str) -> msgspec.Raw | None:
        """Return the JSON of a value that nobody has looked at yet, None if it is there."""
        value: Any = super().__getitem__(name)
        return value if isinstance(value, msgspec.Raw) and name not in self._parsed else None

    def _value(self, name: str, value: Any) -> V:
        if not isinstance(value, msgspec.Raw):
            return value  # type: ignore[no-any-return]
        if name not in self._parsed:
            self._parsed[name] = self._parse(name, value)
        return self._parsed[name]

    def __getitem__(self, name: str) -> V:
        return self._value(name, super().__getitem__(name))

    def __iter__(self) -> Iterator[str]:  # with one of its own, {**x} and dict(x) ask for each value
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, *default* if there is none of that name."""
        return self[name] if name in self else default  # noqa: SIM401  (this is get)

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Return the names."""
        return KeysView(self)

    def values(self) -> ValuesView[V]:  # type: ignore[override]
        """Return the values, each parsed when its turn comes."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, V]:  # type: ignore[override]
        """Return names with values, each parsed when its turn comes."""
        return ItemsView(self)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a value and return it."""
        if name not in self and default:
            return default[0]
        value = self[name]
        del self[name]
        return value

    def copy(self) -> Self:
        """Return another one of the same values; nothing is parsed for that."""
        # super().items() would not do: the raw values are what is copied.
        return type(self)(dict(dict.items(self)), self._parse, self._parsed)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and dict(self) == dict(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


def at_hand(values: dict[str, V]) -> Iterator[tuple[str, V]]:
    """Yield names with values, those left out that are JSON still: whatever they hold, they were read."""
    raw = values.raw if isinstance(values, Late) else None
    for name in values:  # noqa: PLC0206  (items() would parse them all)
        if raw is None or raw(name) is None:
            yield name, values[name]


def changed(one: dict[str, V], other: dict[str, V]) -> dict[str, V]:
    """Return what of *one* is not the same object in *other*; only that is parsed."""
    return {name: one[name] for name in one if dict.__getitem__(one, name) is not dict.get(other, name)}
