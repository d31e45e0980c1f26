"""
Label selectors, in a logic of three values.

Lives here: does a selector choose these labels, and what if the labels are not known in full.
Sources: k8s.io/apimachinery labels.Requirement.Matches; a key that is not there satisfies NotIn
and DoesNotExist.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from msgspec import Struct

from nettrace.model.policy import Expression, LabelSelector

__all__ = ["Labels", "Truth", "Unsure", "all_of", "any_of", "selects"]


class Unsure(Struct, frozen=True):
    """It cannot be told; ``why`` says what is needed."""

    why: str


Truth: TypeAlias = bool | Unsure


class Labels(Struct, frozen=True, kw_only=True):
    """Labels of an object.  ``unread``: not all of them are known, and why; "" if they are."""

    known: Mapping[str, str]
    unread: str = ""


def all_of(truths: Iterable[Truth]) -> Truth:
    """Return False if one is, else the first Unsure, else True."""
    unsure: Unsure | None = None
    for truth in truths:
        if truth is False:
            return False
        if isinstance(truth, Unsure):
            unsure = unsure or truth
    return unsure if unsure is not None else True


def any_of(truths: Iterable[Truth]) -> Truth:
    """Return True if one is, else the first Unsure, else False."""
    unsure: Unsure | None = None
    for truth in truths:
        if truth is True:
            return True
        if isinstance(truth, Unsure):
            unsure = unsure or truth
    return unsure if unsure is not None else False


def selects(selector: LabelSelector, labels: Labels) -> Truth:
    """Does *selector* choose an object with *labels*?"""
    wanted = [Expression(key=k, operator="In", values=(v,)) for k, v in selector.match_labels.items()]
    return all_of(_holds(one, labels) for one in (*wanted, *selector.match_expressions))


def _holds(expression: Expression, labels: Labels) -> Truth:
    value = labels.known.get(expression.key)
    if value is None and labels.unread:
        return Unsure(f"the label {expression.key}: {labels.unread}")
    match expression.operator:
        case "In":
            return value is not None and value in expression.values
        case "NotIn":
            return value is None or value not in expression.values
        case "Exists":
            return value is not None
        case _:
            return value is None
