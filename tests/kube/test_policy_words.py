"""Policies in words, as lists show them."""

import pytest

from nettrace.kube.policy_words import admin_peer_words, admin_rule_words, rule_words, selector_words
from nettrace.model.policy import AdminPolicy, LabelSelector, NetworkPolicy
from nettrace.model.section import Known
from nettrace.parse.manifests import kube_from_documents
from tests.kube.policy_reading import Object
from tests.kube.policy_worlds import admin, policy


def _policy(spec: Object) -> NetworkPolicy:
    found = kube_from_documents([policy("shop", spec)], "the test").network_policies
    assert isinstance(found, Known)
    return found.value[0]


def _admin(spec: Object) -> AdminPolicy:
    found = kube_from_documents([admin(spec, 1, "a")], "the test").admin_policies
    assert isinstance(found, Known)
    return found.value[0]


RULES: dict[str, Object] = {
    "from anybody": {},
    "from all pods of its namespace": {"from": [{"podSelector": {}}]},
    "from pods app=api of namespaces team=a on TCP http": {
        "from": [
            {
                "podSelector": {"matchLabels": {"app": "api"}},
                "namespaceSelector": {"matchLabels": {"team": "a"}},
            }
        ],
        "ports": [{"port": "http"}],
    },
    "from all pods of any namespace or 10.0.0.0/8 without 10.1.0.0/16": {
        "from": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]
    },
    "from anybody on UDP, TCP 80-90": {"ports": [{"protocol": "UDP"}, {"port": 80, "endPort": 90}]},
}


@pytest.mark.parametrize("words", RULES)
def test_rules(words: str) -> None:
    """A rule says whom it lets in, and on which ports if it names any."""
    assert rule_words(_policy({"ingress": [RULES[words]]}).ingress[0], "from") == words


def test_selectors() -> None:
    """Selectors are written as kubectl writes them."""
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    selector = _policy(
        {"podSelector": {"matchLabels": {"x": "y"}, "matchExpressions": expressions}}
    ).pod_selector
    assert selector_words(selector, "all") == "x=y,a in (1,2),b notin (3),c,!d"
    assert selector_words(LabelSelector(), "all pods") == "all pods"
    assert LabelSelector().empty
    assert not selector.empty


def test_policies_of_the_administrator() -> None:
    """Their rules begin with what they do; peers are pods, nodes, networks, or what is not evaluated."""
    spec: Object = {
        "subject": {"pods": {"podSelector": {"matchLabels": {"app": "x"}}}},
        "egress": [
            {
                "action": "Deny",
                "to": [{"nodes": {"matchLabels": {"zone": "b"}}}, {"networks": ["10.0.0.0/8"]}],
                "ports": [
                    {"portNumber": {"port": 80}},
                    {"portRange": {"protocol": "UDP", "start": 1, "end": 9}},
                    {"namedPort": "http"},
                ],
            },
            {"action": "Pass", "to": [{"domainNames": ["example.org"]}, {"namespaces": {}}]},
        ],
    }
    made = _admin(spec)
    assert admin_peer_words(made.subject) == "pods app=x of any namespace"
    assert [admin_rule_words(rule, "to") for rule in made.egress] == [
        "Deny to nodes zone=b or 10.0.0.0/8 on TCP 80, UDP 1-9, http",
        "Pass to domainNames or all pods of any namespace",
    ]
