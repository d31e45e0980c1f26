"""
Check files: YAML to expectations, strictly, with the line of every mistake.

Lives here: the fields of a check file, what each may hold, and errors that say so.
Not here: what the expectations come to (nettrace.diagnose.check).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from difflib import get_close_matches
from typing import NoReturn, TypeVar

import yaml

from nettrace.model.check import INVARIANTS, Checks, Expect, Expectation, Group, Side, Suppression, Via
from nettrace.model.errors import UserError
from nettrace.model.policy import Expression, LabelSelector
from nettrace.parse.target import PROTOCOLS, parse_target

__all__ = ["parse_checks"]

T = TypeVar("T")

_TOP = ("expectations", "invariants", "suppressions")
_EXPECTATION = (*("name", "from", "to", "port", "ports", "protocol", "expect", "endpoints", "source", "via"),)
_SUPPRESSION = ("name", "cause", "from", "to", "reason", "until")
_GROUPS = ("pods", "services", "nodes")
_GROUP = (*_GROUPS, "namespace")
_SOURCES = ("kept", "rewritten")
_ECHO = ("icmp", "icmpv6")

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_EQUALS = re.compile(rf"({_KEY})\s*(!=|==|=)\s*({_VALUE})")
_AMONG = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^)]*)\)")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_APART = re.compile(r",(?![^(]*\))")


def parse_checks(text: str, where: str) -> Checks:
    """
    Return the check file in *text*; *where* names it in errors.

    UserError, with file, line and field, for whatever is not understood: nothing is passed over.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise UserError(f"not YAML: {error.problem or error.context}", where=place, hint=_HINT) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = str(error).partition("\n")[0]
        raise UserError(f"not YAML: {what}", where=where, hint=_HINT) from None
    if root is None:
        raise UserError("the check file is empty", where=where, hint=_HINT)
    top = _Node(root, where, "").mapping(_TOP)
    if not top:
        raise UserError("the check file is empty", where=where, hint=_HINT)
    return Checks(
        file=where,
        expectations=tuple(
            _expectation(one, number) for number, one in enumerate(_list(top, "expectations"), 1)
        ),
        invariants=_invariants(top.get("invariants")),
        suppressions=tuple(_suppression(one) for one in _list(top, "suppressions")),
    )


_HINT = "docs/check.md has an example"


class _Node:
    """A place in the file: its line, and the path of fields that leads to it."""

    def __init__(self, node: yaml.Node, file: str, path: str) -> None:
        self.node = node
        self.file = file
        self.path = path

    @property
    def line(self) -> int:
        """The line on which it begins, from 1."""
        return int(self.node.start_mark.line) + 1

    def fail(self, what: str, hint: str = _HINT) -> NoReturn:
        """Raise a UserError about this place."""
        place = f"{self.file}:{self.line}"
        raise UserError(what, where=f"{place}: {self.path}" if self.path else place, hint=hint)

    def mapping(self, allowed: Sequence[str]) -> dict[str, "_Node"]:
        """Return the fields of a mapping; no other than *allowed*, and each once."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"expected fields ({', '.join(allowed)}), found {self.kind}")
        found: dict[str, _Node] = {}
        for key, value in self.node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            at = _Node(key, self.file, f"{self.path}.{name}" if self.path else name)
            if name not in allowed:
                near = get_close_matches(name, allowed, 1)
                guess = f"did you mean {near[0]}? " if near else ""
                at.fail(f"there is no field {name!r} here", f"{guess}allowed are {', '.join(allowed)}")
            if name in found:
                at.fail(f"{name} is given twice", "give it once; several values make a list")
            if not (isinstance(value, yaml.ScalarNode) and value.tag == "tag:yaml.org,2002:null"):
                found[name] = _Node(value, self.file, at.path)
            else:
                at.fail(f"{name} is empty", "give it a value, or leave it out")
        return found

    def labels(self) -> dict[str, str]:
        """Return a mapping of texts."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"expected labels, found {self.kind}")
        return {
            _Node(key, self.file, self.path).text(): _Node(value, self.file, self.path).text()
            for key, value in self.node.value
        }

    def items(self) -> list["_Node"]:
        """Return the items of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail(f"expected a list, found {self.kind}")
        return [
            _Node(value, self.file, f"{self.path}[{index}]") for index, value in enumerate(self.node.value)
        ]

    def one_or_more(self) -> list["_Node"]:
        """Return the items of a list, or the one thing that stands in its place."""
        if not isinstance(self.node, yaml.SequenceNode):
            return [self]
        return self.items() or self.fail("the list is empty", "give at least one, or leave it out")

    def text(self) -> str:
        """Return a text, as it was written: ``80`` and ``true`` too."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail(f"expected a text, found {self.kind}")
        return str(self.node.value).strip() or self.fail("the text is empty", "give it a value")

    def chosen(self, allowed: Iterable[str]) -> str:
        """Return a text that is one of *allowed*."""
        value, words = self.text(), list(allowed)
        if value not in words:
            near = get_close_matches(value, words, 1)
            guess = f"did you mean {near[0]}? " if near else ""
            self.fail(f"{value!r} is not known", f"{guess}allowed are {', '.join(words)}")
        return value

    @property
    def kind(self) -> str:
        """What stands here, in words."""
        if isinstance(self.node, yaml.MappingNode):
            return "fields"
        return "a list" if isinstance(self.node, yaml.SequenceNode) else f"the text {self.node.value!r}"

    def checked(self, read: Callable[[], T]) -> T:
        """Return what *read* returns; a UserError of its own gets this place."""
        try:
            return read()
        except UserError as error:
            self.fail(error.what, error.hint)


def _list(fields: dict[str, _Node], name: str) -> list[_Node]:
    return fields[name].items() if name in fields else []


# --- expectations ----------------------------------------------------------------------


def _expectation(node: _Node, number: int) -> Expectation:
    fields = node.mapping(_EXPECTATION)
    for name in ("from", "to"):
        if name not in fields:
            node.fail(f"{name} is missing", "an expectation has from and to; the rest may be left out")
    if "port" in fields and "ports" in fields:
        fields["ports"].fail("port and ports are the same", "give one of them")
    sources, targets = _sides(fields["from"]), _sides(fields["to"])
    ports = _ports(fields)
    if ports:
        for target in targets:
            if isinstance(target, str) and _names_port(target):
                fields["to"].fail(f"{target} names its port itself", "leave the port out here or there")
    expect = tuple(Expect(one.chosen(Expect)) for one in _more(fields, "expect")) or (Expect.OWED,)
    endpoints = tuple(_target(one) for one in _more(fields, "endpoints"))
    source = fields["source"].chosen(_SOURCES) if "source" in fields else ""
    for name in ("endpoints", "source"):
        if name in fields and not set(expect) & {Expect.OWED, Expect.CONNECTED}:
            fields[name].fail(f"{name} only means something where the flow connects", "expect: connected")
    name = fields["name"].text() if "name" in fields else ""
    return Expectation(
        name=name or f"expectation {number}",
        sources=sources,
        targets=targets,
        ports=ports,
        expect=expect,
        endpoints=endpoints,
        source=source,
        via=Via(fields["via"].chosen(Via)) if "via" in fields else Via.MODEL,
        line=node.line,
    )


def _more(fields: dict[str, _Node], name: str) -> list[_Node]:
    return fields[name].one_or_more() if name in fields else []


def _sides(node: _Node) -> tuple[Side, ...]:
    return tuple(_side(one) for one in node.one_or_more())


def _side(node: _Node) -> Side:
    if isinstance(node.node, yaml.ScalarNode):
        return _target(node)
    fields = node.mapping(_GROUP)
    kinds = [kind for kind in _GROUPS if kind in fields]
    if len(kinds) != 1:
        node.fail("a group is of one kind", f"give one of {', '.join(_GROUPS)}, with labels or all")
    if kinds == ["nodes"] and "namespace" in fields:
        fields["namespace"].fail("nodes are in no namespace", "leave it out")
    namespace = fields["namespace"].text() if "namespace" in fields else ""
    return Group(
        kind=kinds[0],
        selector=_selector(fields[kinds[0]]),
        namespace="" if namespace == "*" else namespace,
    )


def _target(node: _Node) -> str:
    text = node.text()
    node.checked(lambda: parse_target(text))
    return text


def _names_port(text: str) -> bool:
    target = parse_target(text)
    return target.port is not None or target.proto is not None


def _selector(node: _Node) -> LabelSelector:
    """Read ``all``, labels, or a selector as kubectl takes it: ``app=web,tier!=db,env in (a, b)``."""
    if not isinstance(node.node, yaml.ScalarNode):
        return LabelSelector(match_labels=node.labels())
    text = node.text()
    if text in ("all", "*"):
        return LabelSelector()
    return LabelSelector(match_expressions=tuple(_term(node, one.strip()) for one in _APART.split(text)))


def _term(node: _Node, text: str) -> Expression:
    if found := _EQUALS.fullmatch(text):
        operator = "NotIn" if found[2] == "!=" else "In"
        return Expression(key=found[1], operator=operator, values=(found[3],))
    if found := _AMONG.fullmatch(text):
        values = tuple(value.strip() for value in found[3].split(","))
        return Expression(key=found[1], operator="In" if found[2] == "in" else "NotIn", values=values)
    if found := _EXISTS.fullmatch(text):
        return Expression(key=found[2], operator="DoesNotExist" if found[1] else "Exists")
    node.fail(
        f"{text!r} is no label selector", "write all, {app: web}, or app=web,tier!=db,env in (a, b),!old"
    )


def _ports(fields: dict[str, _Node]) -> tuple[str, ...]:
    proto = fields.get("protocol")
    spoken = ""
    if proto is not None:
        value = proto.text().lower()
        if value not in PROTOCOLS:
            proto.chosen(PROTOCOLS)
        spoken = value
    given = [*_more(fields, "port"), *_more(fields, "ports")]
    if not given:
        if proto is not None and spoken not in _ECHO:
            proto.fail(f"{spoken} needs a port", "give port as well")
        return (spoken,) if spoken else ()
    return tuple(_port(one, spoken) for one in given)


def _port(node: _Node, spoken: str) -> str:
    text = node.text()
    if text in _ECHO:
        return text
    port = text if "/" in text or not spoken else f"{text}/{spoken}"
    if "/" in text and spoken and not text.endswith(f"/{spoken}"):
        node.fail(f"{text} and protocol {spoken} contradict each other", "say it once")
    node.checked(lambda: parse_target(f"svc/default/any:{port}"))
    return port


# --- invariants, suppressions ----------------------------------------------------------


def _invariants(node: _Node | None) -> tuple[str, ...]:
    if node is None:
        return ()
    names = [one.chosen((*INVARIANTS, "all")) for one in node.one_or_more()]
    return tuple(INVARIANTS) if "all" in names else tuple(dict.fromkeys(names))


def _suppression(node: _Node) -> Suppression:
    fields = node.mapping(_SUPPRESSION)
    if "reason" not in fields:
        node.fail("reason is missing", "say why this may fail: whoever reads the report wants to know")
    if not fields.keys() & {"name", "cause", "from", "to"}:
        node.fail("it would suppress everything", "give name, cause, from or to; * stands for anything")
    until = fields["until"].text() if "until" in fields else ""
    if until:
        try:
            date.fromisoformat(until)
        except ValueError:
            fields["until"].fail(f"{until!r} is no date", "write YYYY-MM-DD, the last day on which it holds")
    texts = {name: fields[name].text() for name in fields}
    return Suppression(
        reason=texts["reason"],
        name=texts.get("name", ""),
        cause=texts.get("cause", ""),
        source=texts.get("from", ""),
        target=texts.get("to", ""),
        until=until,
        line=node.line,
    )
