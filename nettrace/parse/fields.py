"""
A place in a document of dictionaries and lists, read with its types checked.

Lives here: getting typed values out, and errors that name file, document and field.
Not here: which fields an object has (manifest_*).
"""

from collections.abc import Collection, Iterator
from ipaddress import ip_address
from typing import Any, NoReturn, TypeVar

from nettrace.model.errors import UserError

__all__ = ["Fields"]

T = TypeVar("T")

_WORDS: dict[type, str] = {
    bool: "true or false",
    dict: "an object",
    float: "a fraction",
    int: "a number",
    list: "a list",
    str: "a text",
}


def _word(value: Any) -> str:
    return next((word for kind, word in _WORDS.items() if type(value) is kind), type(value).__name__)


class Fields:
    """
    An object inside a document.

    ``where`` names the document (``svc.yaml, document 2``), ``path`` the object in it
    (``spec.ports[0]``).  A field that is null counts as absent, as for the API server.
    """

    def __init__(self, value: Any, where: str, path: str = "") -> None:
        self.where = where
        self.path = path
        if not isinstance(value, dict):
            self.fail(f"expected an object, found {_word(value)}")
        self.value = value

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def fail(self, what: str, name: str = "") -> NoReturn:
        """Raise a UserError about a field of this object."""
        place = self._at(name) if name else self.path
        raise UserError(
            what,
            where=f"{self.where}: {place}" if place else self.where,
            hint="see what the API server makes of it: kubectl apply --dry-run=server -f FILE",
        )

    def _typed(self, name: str, kind: type[T]) -> T | None:
        value = self.value.get(name)
        if value is None:
            return None
        if type(value) is not kind and not (isinstance(value, kind) and not isinstance(value, bool)):
            self.fail(f"expected {_WORDS[kind]}, found {_word(value)}", name)
        return value

    def text(self, name: str, default: str = "") -> str:
        """Return a text, *default* if it is absent or empty."""
        return self._typed(name, str) or default

    def required(self, name: str) -> str:
        """Return a text that must be there."""
        value = self._typed(name, str)
        if not value:
            self.fail(f"{name} is missing", name)
        return value

    def chosen(self, name: str, allowed: Collection[str], default: str) -> str:
        """Return one of the texts in *allowed*."""
        value = self.text(name, default)
        if value not in allowed:
            self.fail(f"`{value}` is none of {', '.join(allowed)}", name)
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self._typed(name, bool)
        return default if value is None else value

    def number(self, name: str, least: int, most: int) -> int | None:
        """Return a number from *least* to *most*, None if it is absent."""
        value = self._typed(name, int)
        if value is not None and not least <= value <= most:
            self.fail(f"{value} is not from {least} to {most}", name)
        return value

    def port(self, name: str) -> int | None:
        """Return a port; None if it is absent or 0, which is how the API writes unset."""
        return self.number(name, 0, 65535) or None

    def inside(self, name: str) -> "Fields":
        """Return the object in a field; an empty one if it is absent."""
        return Fields(self._typed(name, dict) or {}, self.where, self._at(name))

    def objects(self, name: str) -> Iterator["Fields"]:
        """Return the objects of a list."""
        for index, value in enumerate(self._typed(name, list) or ()):
            yield Fields(value, self.where, f"{self._at(name)}[{index}]")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self._typed(name, list) or []
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.fail(f"expected a text, found {_word(value)}", f"{name}[{index}]")
        return tuple(values)

    def mapping(self, name: str) -> dict[str, str]:
        """Return a dictionary of texts, such as labels."""
        values = self._typed(name, dict) or {}
        for key, value in values.items():
            if not isinstance(key, str) or not isinstance(value, str):
                self.fail(f"expected a text in quotes, found {_word(value)}", f"{name}[{key}]")
        return dict(values)

    def flags(self) -> dict[str, bool]:
        """Return this object as a dictionary of true and false, such as feature gates."""
        return {str(name): self.flag(name) for name in self.value}

    def address(self, name: str) -> str:
        """Return an IP address; "" if it is absent."""
        value = self.text(name)
        if value:
            self._check_address(value, name)
        return value

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return a list of IP addresses."""
        values = self.texts(name)
        for index, value in enumerate(values):
            self._check_address(value, f"{name}[{index}]")
        return values

    def _check_address(self, value: str, name: str) -> None:
        try:
            ip_address(value)
        except ValueError:
            self.fail(f"`{value}` is not an IP address", name)
