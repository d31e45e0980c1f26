"""
What can be built: the topologies of the plugins, and what they are put together from.

Lives here: finding a topology by its name.  Each is a function from (lab's name, lab's directory,
options) to a Blueprint; ``kubernetes`` makes one of a PodNetwork, ``bridged`` and ``wire`` hold what
several share.
Not here: a network system (plugins), building a Blueprint (nettrace.lab.build).
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

from nettrace.collect.plugins import load_manager
from nettrace.lab.blueprint import Blueprint, Options
from nettrace.model.errors import UserError
from nettrace.plugin_api.types import Topology

__all__ = ["Describe", "clusters", "describer", "topologies"]

#: Function of (lab's name, lab's directory, options); UserError for options that do not fit.
Describe = Callable[[str, Path, Options], Blueprint]


@cache
def topologies() -> dict[str, Topology]:
    """Return what can be built, by name; UserError where two plugins have the same name for it."""
    found: dict[str, Topology] = {}
    offered = [one for answer in load_manager().hook.nettrace_topologies() for one in answer]
    for one in sorted(offered, key=lambda one: one.name):
        if one.name in found:
            raise UserError(
                f"two topologies are called {one.name}",
                where=f"{found[one.name].builder}, {one.builder}",
                hint="uninstall one of the plugins",
            )
        found[one.name] = one
    return found


def clusters() -> tuple[str, ...]:
    """Return the names of those that are Kubernetes clusters."""
    return tuple(name for name, one in topologies().items() if one.cluster)


def describer(name: str) -> Describe:
    """Return the function behind a name; UserError if there is no such topology, or it cannot be loaded."""
    one = topologies().get(name)
    if one is None:
        raise UserError(f"there is no topology {name!r}", hint=f"topologies are {', '.join(topologies())}")
    module, _, function = one.builder.partition(":")
    try:
        found: Describe = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the topology {name} cannot be loaded: {error}",
            where=one.builder,
            hint="reinstall or uninstall the package that brings it",
        ) from error
    return found
