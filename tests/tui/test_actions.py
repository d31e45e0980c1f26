"""The table of actions: keys, footer, documentation, completion."""

import ast

import pytest

from nettrace.tui.actions import ACTIONS, HELP, VIEWS, footer
from nettrace.tui.app import NettraceApp
from nettrace.tui.complete import complete, words_of
from tests.tui.driving import (
    ROOT,
    snapshot,
)


def test_every_action_has_a_key_of_its_own_and_is_done() -> None:
    """No key means two things, and each action of the table has its method or view."""
    keys = [key for action in ACTIONS for key in action.keys]
    assert len(keys) == len(set(keys))
    for action in ACTIONS:
        view = action.id.removeprefix("view_")
        assert (
            view in VIEWS
            if action.id.startswith("view_")
            else callable(getattr(NettraceApp, f"do_{action.id}"))
        )


def test_every_method_is_in_the_table() -> None:
    """Nothing can be done that keys, palette, help and documentation do not tell of."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "nettrace/tui").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    methods = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    assert {m.removeprefix("do_") for m in methods if m.startswith("do_")} <= {a.id for a in ACTIONS}


@pytest.mark.parametrize("view", [*VIEWS, HELP])
def test_the_footer_fits(view: str) -> None:
    """The keys of a view stand in 80 columns."""
    assert sum(len(key) + len(label) + 3 for key, label in footer(view)) < 78


def test_the_documentation_has_the_table() -> None:
    """docs/tui.md tells of each key what the application does at it."""
    from nettrace.tui.actions import markdown

    assert markdown() in (ROOT / "docs/tui.md").read_text()


def test_targets_are_completed() -> None:
    """Pods, Services with ports, nodes and addresses are completed on either side of the arrow."""
    known = words_of(snapshot())
    assert {
        "internet",
        "node/node-a",
        "svc/default/hostnames:80",
        "10.96.1.0:80",
        "node/node-b:30080",
    } <= set(known)
    assert complete("inter", known) == "internet"
    assert complete("internet -> svc/default/ho", known) == "internet -> svc/default/hostnames:80"
    assert complete("client-a", known) == "pod/default/client-a"
    assert complete("internet -> zzz", known) is None
    assert complete("", known) is None
