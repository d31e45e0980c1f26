"""
Planting a bug in the walk and taking it out again.

Lives here: what a bug is, how functions are replaced.
Not here: the bugs (planted, planted6, planted_nft).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["Bug", "bug", "holder", "in_table", "planted"]

Patches = dict[str, Any]


class Bug(NamedTuple):
    """
    A mistake.

    ``make`` gets the modules' real functions by ``module.name`` and returns what takes their place;
    ``topology`` is where the stage that it sits in is found.
    """

    name: str
    patched: tuple[str, ...]
    make: Callable[[Patches], Patches]
    topology: str = "router"


def holder(path: str) -> tuple[Any, str]:
    """Return the module or class that *path* (``module[.Class].name``) is in, and the name."""
    module, *inside, name = path.split(".")
    found: Any = import_module(f"nettrace.walk.{module}")
    for part in inside:
        found = getattr(found, part)
    return found, name


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """While it lasts the walk makes the mistake."""
    holders = [holder(path) for path in bug.patched]
    real = {path: getattr(place, name) for path, (place, name) in zip(bug.patched, holders, strict=True)}
    wrong = bug.make(real)
    for path, (place, name) in zip(bug.patched, holders, strict=True):
        setattr(place, name, wrong[path])
    try:
        yield
    finally:
        for path, (place, name) in zip(bug.patched, holders, strict=True):
            setattr(place, name, real[path])


def _one(path: str, make: Callable[[Any], Any]) -> Callable[[Patches], Patches]:
    return lambda real: {path: make(real[path])}


def bug(name: str, path: str, make: Callable[[Any], Any], topology: str = "router") -> Bug:
    """Return a bug in one function, table or method: *make* gets it and returns what takes its place."""
    return Bug(name, (path,), _one(path, make), topology)


def in_table(real: Any, name: str, make: Callable[[Any], Any]) -> Any:
    """Return a table of functions by type, with the one of the type *name* replaced."""
    return {kind: make(apply) if kind.__name__ == name else apply for kind, apply in real.items()}
