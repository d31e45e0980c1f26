"""Check files: what is read, and that nothing is passed over."""

import pytest

from nettrace.model.check import INVARIANTS, Expect, Group, Via
from nettrace.model.errors import UserError
from nettrace.model.policy import Expression, LabelSelector
from nettrace.parse.checks import parse_checks

WHOLE = """\
expectations:
  - name: api
    from: {pods: {app: web}, namespace: shop}
    to: [svc/shop/api, {services: all}]
    ports: [80, 53/udp, http]
    expect: [connected, refused]
    endpoints: [pod/shop/api-0, 10.0.0.1:80]
    source: kept
    via: both
  - from: {nodes: "role=edge,zone!=b,env in (x, y),tier notin (z),!old,new"}
    to: 10.0.0.9
    port: icmp
  - from: internet
    to: {pods: "*", namespace: "*"}
    port: 443
    protocol: UDP
invariants: [node-health, pod-to-pod]
suppressions:
  - {cause: "hairpin-*", reason: known, until: 2026-12-31}
"""


def test_a_whole_file() -> None:
    """Every field is read, with the line that it stands on."""
    checks = parse_checks(WHOLE, "c.yaml")
    first, second, third = checks.expectations
    assert (first.name, first.line) == ("api", 2)
    assert first.sources == (
        Group(kind="pods", namespace="shop", selector=LabelSelector(match_labels={"app": "web"})),
    )
    assert first.targets == ("svc/shop/api", Group(kind="services"))
    assert first.ports == ("80", "53/udp", "http")
    assert first.expect == (Expect.CONNECTED, Expect.REFUSED)
    assert first.endpoints == ("pod/shop/api-0", "10.0.0.1:80")
    assert (first.source, first.via) == ("kept", Via.BOTH)
    (group,) = second.sources
    assert isinstance(group, Group)
    assert group.selector.match_expressions == (
        Expression(key="role", operator="In", values=("edge",)),
        Expression(key="zone", operator="NotIn", values=("b",)),
        Expression(key="env", operator="In", values=("x", "y")),
        Expression(key="tier", operator="NotIn", values=("z",)),
        Expression(key="old", operator="DoesNotExist"),
        Expression(key="new", operator="Exists"),
    )
    assert (second.name, second.ports, second.expect, second.line) == (
        *("expectation 2", ("icmp",), (Expect.OWED,)),
        10,
    )
    assert third.ports == ("443/udp",)
    assert third.targets == (Group(kind="pods"),)
    assert checks.invariants == ("node-health", "pod-to-pod")
    (suppression,) = checks.suppressions
    assert (suppression.cause, suppression.until, suppression.line) == ("hairpin-*", "2026-12-31", 19)


def test_all_invariants() -> None:
    """The word `all` stands for every invariant."""
    assert parse_checks("invariants: all", "c").invariants == tuple(INVARIANTS)


ONE = "expectations:\n  - from: pod/a/b\n    to: pod/a/c\n"

#: text, place, what is said, what the hint has
BAD = [
    ("", "c.yaml", "is empty", "docs/check.md"),
    ("# nothing\n", "c.yaml", "is empty", ""),
    ("{}", "c.yaml", "is empty", ""),
    ("- a\n", "c.yaml:1", "found a list", ""),
    ("a: [\n", "c.yaml:2:1", "not YAML", ""),
    ("a: \x00", "c.yaml", "not YAML", ""),
    ("expectation: []", "c.yaml:1: expectation", "no field 'expectation'", "did you mean expectations?"),
    ("expectations:\n", "c.yaml:1: expectations", "is empty", ""),
    ("expectations: x", "c.yaml:1: expectations", "expected a list, found the text 'x'", ""),
    ("expectations:\n  - to: pod/a/b", "c.yaml:2: expectations[0]", "from is missing", ""),
    ("expectations:\n  - from: pod/a/b", "c.yaml:2: expectations[0]", "to is missing", ""),
    (ONE + "    prt: 80", "c.yaml:4: expectations[0].prt", "no field 'prt'", "did you mean port?"),
    (ONE + "    to: pod/a/d", "c.yaml:4: expectations[0].to", "given twice", "list"),
    (ONE + "    port: 80\n    ports: [81]", "c.yaml:5: expectations[0].ports", "the same", ""),
    (ONE + "    port: 99999", "c.yaml:4: expectations[0].port", "99999", ""),
    (ONE + "    ports: []", "c.yaml:4: expectations[0].ports", "the list is empty", ""),
    (ONE + "    ports: [80, {a: b}]", "c.yaml:4: expectations[0].ports[1]", "expected a text", ""),
    (ONE + "    protocol: tpc\n    port: 1", "c.yaml:4: expectations[0].protocol", "'tpc'", "mean tcp?"),
    (ONE + "    protocol: udp", "c.yaml:4: expectations[0].protocol", "needs a port", ""),
    (ONE + "    protocol: udp\n    port: 1/tcp", "c.yaml:5: expectations[0].port", "contradict", ""),
    (ONE + "    expect: conected", "c.yaml:4: expectations[0].expect", "'conected'", "mean connected?"),
    (ONE + "    via: wire", "c.yaml:4: expectations[0].via", "'wire'", "model, probe, both"),
    (ONE + "    source: lost", "c.yaml:4: expectations[0].source", "'lost'", "kept, rewritten"),
    (ONE + "    expect: refused\n    source: kept", "c.yaml:5: expectations[0].source", "connects", ""),
    (ONE + "    name: ''", "c.yaml:4: expectations[0].name", "the text is empty", ""),
    (ONE + "    endpoints: ['a b']", "c.yaml:4: expectations[0].endpoints[0]", "not a name", ""),
    ("expectations:\n- {from: '[', to: a}", "c.yaml:2: expectations[0].from", "", "svc/"),
    ("expectations:\n- {from: a, to: 'b:80', port: 1}", "c.yaml:2: expectations[0].to", "itself", ""),
    ("expectations:\n- {from: {}, to: a}", "c.yaml:2: expectations[0].from", "of one kind", ""),
    ("expectations:\n- {from: {pods: a, nodes: b}, to: a}", "c.yaml:2: expectations[0].from", "one kind", ""),
    (
        "expectations:\n- {from: {nodes: all, namespace: x}, to: a}",
        *("c.yaml:2: expectations[0].from.namespace", "in no namespace", ""),
    ),
    ("expectations:\n- {from: {pods: 'a b'}, to: a}", "c.yaml:2: expectations[0].from.pods", "selector", ""),
    ("expectations:\n- {from: {pods: [a]}, to: a}", "c.yaml:2: expectations[0].from.pods", "labels", ""),
    ("invariants: [pod-to-pot]", "c.yaml:1: invariants[0]", "'pod-to-pot'", "mean pod-to-pod?"),
    ("suppressions:\n- {name: a}", "c.yaml:2: suppressions[0]", "reason is missing", ""),
    ("suppressions:\n- {reason: a}", "c.yaml:2: suppressions[0]", "suppress everything", ""),
    (
        "suppressions:\n- {name: a, reason: b, until: soon}",
        *("c.yaml:2: suppressions[0].until", "no date", "YYYY"),
    ),
]


@pytest.mark.parametrize(("text", "place", "what", "hint"), BAD, ids=range(len(BAD)))
def test_mistakes_are_named(text: str, place: str, what: str, hint: str) -> None:
    """Every mistake is an error of exit code 2 with file, line and field, and what is allowed."""
    with pytest.raises(UserError) as error:
        parse_checks(text, "c.yaml")
    assert error.value.where == place
    assert what in error.value.what
    assert hint in error.value.hint
    assert error.value.code == 2
