"""
The plugin manager: checks what plugins offer against the hooks.

Lives here: registering, and refusing what fits no hook.
Not here: where plugins come from (nettrace.app.plugins).
"""

from collections.abc import Iterable

import pluggy

from nettrace.model.errors import UserError
from nettrace.plugin_api.hookspecs import PROJECT, HookSpecs

__all__ = ["hook_names", "make_manager"]


def hook_names() -> list[str]:
    """Return the names of all hooks."""
    return sorted(name for name in vars(HookSpecs) if name.startswith(f"{PROJECT}_"))


def make_manager(plugins: Iterable[tuple[str, object]]) -> pluggy.PluginManager:
    """
    Register (name, plugin) pairs.

    Raises UserError, with the plugin's name, for a hook that does not exist, a hook that asks
    for arguments it will not get, and a name that two plugins have.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    for name, plugin in plugins:
        unknown = sorted(
            found for found in dir(plugin) if found.startswith(f"{PROJECT}_") and found not in hook_names()
        )
        if unknown:
            raise UserError(
                f"plugin {name} implements hooks that do not exist: {', '.join(unknown)}",
                where=name,
                hint=f"the hooks are {', '.join(hook_names())}",
            )
        try:
            manager.register(plugin, name)
            # hooks that were named otherwise by their marker (specname=)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            words = str(error).splitlines()[-1].strip()
            raise UserError(
                f"plugin {name} does not fit this nettrace: {words}",
                where=name,
                hint="update the plugin, or uninstall it",
            ) from error
    return manager
