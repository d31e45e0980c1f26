"""
The one table of actions: keys, the command palette, the footer, help and docs/tui.md come from it.

Lives here: what can be done, by which keys, in which views.
Not here: doing it (nettrace.tui.app), keys of the user's own (nettrace.tui.keys).
"""

from collections.abc import Sequence
from typing import NamedTuple

from nettrace.render.page import Line, Span, Style, line

__all__ = ["ACTIONS", "HELP", "KEY_NAMES", "VIEWS", "Action", "footer", "help_lines", "markdown"]

#: Textual's names of keys that are shown otherwise.
KEY_NAMES = {
    "slash": "/",
    "colon": ":",
    "question_mark": "?",
    "backslash": "\\",
    "ampersand": "&",
    "escape": "esc",
}

#: The views, in the order of their number keys, and what each shows.
VIEWS = {
    "walk": "the packet's way, why it ends, and what mends it",
    "state": "what the node is: devices, routes, rules, connections ...",
    "probe": "what the kernel did, beside what was predicted",
    "watch": "what is being dropped right now",
    "repair": "the plan, what became of it, and all repairs so far",
    "lab": "a cluster to learn on: build, break, heal",
    "debug": "a Service or a pod's address, step by step, up to the first cause",
}


class Action(NamedTuple):
    """
    One thing that can be done.

    ``keys`` are textual's names of keys, the first one told in the footer as ``shown``.  ``views``
    are those it is for, () for all; ``footer`` those whose footer names it.
    """

    id: str
    keys: tuple[str, ...]
    shown: str
    label: str
    words: str
    views: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()


#: The view of the keys themselves: it has a footer, but no number.
HELP = "help"

_ALL = tuple(VIEWS)

ACTIONS: tuple[Action, ...] = (
    Action(
        "ask", ("a",), "a", "ask", "Ask: type FROM -> TO; up and down for earlier questions.", (), ("walk",)
    ),
    Action("source", ("f",), "f", "from", "Take the selected end as the source.", ("walk",), ("walk",)),
    Action("target", ("t",), "t", "to", "Take the selected end as the destination.", ("walk",), ("walk",)),
    Action("swap", ("x",), "x", "swap", "Swap source and destination, and ask again."),
    Action("reload", ("R",), "R", "read again", "Read the state anew and ask the same again."),
    Action("plan", ("r",), "r", "repair", "Plan the repair of the finding.", (), ("walk", "debug")),
    Action(
        "probe",
        ("p",),
        "p",
        "probe",
        "Send the real packet and compare; of a Service in the state, connect to its endpoints.",
        (),
        ("walk", "probe"),
    ),
    Action("problem", ("n",), "n", "next", "The next problem, or the next match.", (), ("walk", "state")),
    Action("back_problem", ("N",), "N", "previous", "The problem or match before."),
    Action(
        "branch", ("b",), "b", "branch", "The next branch of the walk, in order of what fails.", ("walk",)
    ),
    Action("why", ("w",), "w", "why", "All findings with their evidence.", ("walk",)),
    Action("wiring", ("v",), "v", "wiring", "The tree of ends, or the picture of the wiring.", ("walk",)),
    Action("fold", ("space",), "space", "fold", "Fold or unfold a namespace, a node, a chain."),
    Action(
        "enter",
        ("enter",),
        "enter",
        "open",
        "Open what is selected: a chain, a Service with its endpoints; in a lab, break it by the cause.",
        (),
        ("state", "lab"),
    ),
    Action(
        "apply",
        ("A",),
        "A",
        "apply",
        "Apply the plan; it is undone after 60 seconds unless kept.",
        ("repair",),
        ("repair",),
    ),
    Action("keep", ("c",), "c", "keep", "Keep the repair that waits for it.", (), ("repair",)),
    Action("undo", ("u",), "u", "undo", "Take the last repair back.", (), ("repair",)),
    Action(
        "debug",
        ("D",),
        "D",
        "debug",
        "Go through all that the selected Service, or pod's address, depends on, up to the first cause.",
        (),
        ("debug",),
    ),
    Action("history", ("H",), "H", "history", "All repairs in the journal.", (), ("repair",)),
    Action(
        "pcap", ("P",), "P", "save pcap", "Write the frames of the probe to a file.", ("probe",), ("probe",)
    ),
    Action(
        "filter",
        ("ampersand",),
        "&",
        "filter",
        "Show only lines with a text; nothing typed shows all again.",
        ("state",),
        ("state",),
    ),
    Action(
        "delete",
        ("d",),
        "d",
        "delete",
        "Plan the deletion of the selected connection.",
        ("state",),
        ("state",),
    ),
    Action("freeze", ("z",), "z", "freeze", "Stop the live view, or go on.", ("watch", "state"), ("watch",)),
    Action("quiz", ("Q",), "Q", "quiz me", "Break the lab by a cause that is not told.", ("lab",), ("lab",)),
    Action("heal", ("E",), "E", "heal", "Take back everything that broke the lab.", ("lab",), ("lab",)),
    *(
        Action(f"view_{name}", (str(number),), str(number), name, f"View {name}: {words}.")
        for number, (name, words) in enumerate(VIEWS.items(), 1)
    ),
    Action("down", ("j", "down"), "j", "down", "One line down.", (), (HELP,)),
    Action("up", ("k", "up"), "k", "up", "One line up."),
    Action("left", ("h", "left"), "h", "left", "To the left of long lines."),
    Action("right", ("l", "right"), "l", "right", "To the right of long lines."),
    Action("page_down", ("ctrl+f", "pagedown"), "ctrl+f", "page down", "One page down.", (), (HELP,)),
    Action("page_up", ("ctrl+b", "pageup"), "ctrl+b", "page up", "One page up."),
    Action("top", ("g", "home"), "g", "top", "To the first line."),
    Action("bottom", ("G", "end"), "G", "bottom", "To the last line."),
    Action("pane", ("tab",), "tab", "pane", "The next pane."),
    Action("maximise", ("backslash",), "\\", "maximise", "The pane on the whole screen, and back."),
    Action("find", ("slash",), "/", "find", "Find text in the pane; n and N go on.", (), (*_ALL, HELP)),
    Action("command", ("colon",), ":", "command", "Type a command, such as `:show routes` or `:quit`."),
    Action("copy", ("y",), "y", "copy", "Copy the command that gives this view on the command line."),
    Action("svg", ("s",), "s", "SVG", "Save the screen as an SVG picture."),
    Action("theme", ("T",), "T", "light/dark", "Light or dark."),
    Action("help", ("question_mark",), "?", "help", "These lines.", (), _ALL),
    Action("back", ("escape",), "esc", "back", "Cancel what runs; else one level back.", (), (HELP,)),
    Action("quit", ("q",), "q", "quit", "One level back; from the walk, leave.", (), (*_ALL, HELP)),
)


def footer(view: str, table: Sequence[Action] = ACTIONS) -> list[tuple[str, str]]:
    """Return the keys and labels that a view's footer names."""
    return [(action.shown, action.label) for action in table if view in action.footer and action.keys]


def help_lines(view: str, table: Sequence[Action] = ACTIONS) -> list[Line]:
    """Return what can be done, first in this view, then everywhere."""
    here = [action for action in table if view in action.views]
    anywhere = [action for action in table if not action.views]
    lines: list[Line] = []
    for title, actions in ((f"in the view {view}", here), ("everywhere", anywhere)):
        if actions:
            lines.extend(((), line(Span(title, Style.HEAD))))
        lines.extend(line(Span(f"  {_keys(action):<14}", Style.NAME), action.words) for action in actions)
    return lines[1:]


def markdown() -> str:
    """Return the table of docs/tui.md."""
    rows = [
        f"| `{_keys(action)}` | {', '.join(action.views) or 'all'} | {action.words} |" for action in ACTIONS
    ]
    return "\n".join(["| key | view | what it does |", "|---|---|---|", *rows])


def _keys(action: Action) -> str:
    return " ".join(KEY_NAMES.get(key, key) for key in action.keys)
