"""
Plugins: found by their entry points.

Lives here: loading from the group ``nettrace``.
Not here: what they are asked (nettrace.app.plugins, nettrace.lab.topologies), checking what they
offer (nettrace.plugin_api.manager).
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import pluggy

from nettrace.model.errors import UserError
from nettrace.plugin_api.hookspecs import PROJECT
from nettrace.plugin_api.manager import make_manager
from nettrace.plugin_api.types import ApiKind

__all__ = ["api_kinds", "load_manager"]


def load_manager(points: Iterable[EntryPoint] | None = None) -> pluggy.PluginManager:
    """
    Load the plugins that are installed, or those of *points*.

    Raises UserError for one that cannot be imported or does not fit the hooks.
    """
    chosen = entry_points(group=PROJECT) if points is None else points
    found = sorted(chosen, key=lambda point: point.name)
    return make_manager((point.name, _load(point)) for point in found)


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        # whatever a third party's module raises while it is imported
        raise UserError(
            f"plugin {point.name} cannot be loaded: {type(error).__name__}: {error}",
            where=point.value,
            hint="reinstall or uninstall the package that brings it",
        ) from error


def api_kinds() -> tuple[ApiKind, ...]:
    """Return the kinds of objects in the API that the installed plugins know."""
    return tuple(kind for kinds in load_manager().hook.nettrace_kinds() for kind in kinds)
