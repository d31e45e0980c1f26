"""
Keys of the user's own: the section ``[keys]`` of the configuration file.

    [keys]
    plan = "f2"
    down = ["j", "ctrl+n"]

Lives here: where the file is, what may stand in it, the table of actions with these keys.
Not here: the table as it is delivered (nettrace.tui.actions), doing what a key means (nettrace.tui.app).
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.binding import Binding
from textual.keys import Keys

from nettrace.model.errors import UserError
from nettrace.tui.actions import ACTIONS, KEY_NAMES, Action

__all__ = ["actions_of_user", "config_file", "with_keys"]

#: Names that people use for keys, and textual's.
_NAMES = {shown: name for name, shown in KEY_NAMES.items()} | {
    ",": "comma",
    "pgup": "pageup",
    "pgdn": "pagedown",
}
_KNOWN = {key.value for key in Keys} | set(_NAMES.values())
_EXAMPLE = 'for example: plan = "f2", down = ["j", "ctrl+n"]'
_MODIFIERS = re.compile(r"(?:(?:ctrl|alt|shift|super)\+)+")


def config_file() -> Path:
    """Return where the file is looked for: ``$XDG_CONFIG_HOME/nettrace/config.toml`` (XDG)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "nettrace", "config.toml")


def actions_of_user() -> tuple[Action, ...]:
    """Return the table with the keys of the configuration file, if there is one; UserError for a bad one."""
    path = config_file()
    try:
        known = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ACTIONS
    except OSError as error:
        raise UserError(f"cannot read the configuration: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"the configuration is no TOML: {error}", where=str(path)) from error
    keys = known.get("keys", {})
    if not isinstance(keys, dict):
        raise UserError("[keys] is a table of actions and their keys", where=str(path), hint=_EXAMPLE)
    return with_keys(keys, str(path))


def with_keys(keys: Mapping[str, Any], where: str) -> tuple[Action, ...]:
    """
    Return the table in which the actions named in *keys* have these keys and no others.

    A key that another action has by itself goes over to the one that is named; an action that is left
    without any is reached by the palette and by ``:``.  UserError, about *where*, for an action that
    there is not, for what is no key, and for a key that is given to two actions.
    """
    wanted: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    named = {action.id for action in ACTIONS}
    for identity, value in keys.items():
        if identity not in named:
            hint = f"actions are {', '.join(sorted(named))}"
            raise UserError(f"there is no action {identity!r} to give a key to", where=where, hint=hint)
        wanted[identity] = tuple(_key(key, identity, where) for key in _texts(value, identity, where))
        for key in wanted[identity]:
            if owner.setdefault(key, identity) != identity:
                what = f"the key {key!r} is given to {owner[key]!r} and to {identity!r}"
                raise UserError(what, where=where, hint="a key means one thing")
    return tuple(_changed(action, wanted, owner) for action in ACTIONS)


def _changed(action: Action, wanted: Mapping[str, tuple[str, ...]], owner: Mapping[str, str]) -> Action:
    own = wanted.get(action.id)
    if own is None:
        own = tuple(key for key in action.keys if key not in owner)
    return action._replace(keys=own, shown=KEY_NAMES.get(own[0], own[0]) if own else "")


def _texts(value: Any, identity: str, where: str) -> Sequence[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise UserError(f"the keys of {identity!r} are a text or a list of texts", where=where, hint=_EXAMPLE)
    return texts


def _key(text: str, identity: str, where: str) -> str:
    """Return textual's name of a key; UserError if it is none."""
    if len(text) == 1 and text.isprintable() and text not in _NAMES:
        return "space" if text == " " else next(iter(Binding.make_bindings([Binding(text, "")]))).key
    head = _MODIFIERS.match(text.lower())
    lead = head.group() if head else ""
    rest = text[len(lead) :]
    name = _NAMES.get(rest, rest if len(rest) == 1 else rest.lower())
    if (len(name) == 1 and name.isprintable() and lead) or name in _KNOWN or lead + name in _KNOWN:
        return lead + name
    hint = "keys are called as `?` shows them: x, X, /, esc, space, tab, f2, ctrl+f, pageup"
    raise UserError(f"{text!r}, for {identity!r}, is no key", where=where, hint=hint)
