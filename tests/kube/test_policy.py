"""What network policies leave open, and what cannot be told."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.kube.policy import decide
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube
from nettrace.model.policy_verdict import Decision, PolicyFlow, PolicyVerdict
from nettrace.model.section import NOT_READ, Known, Missing
from nettrace.parse.manifests import kube_from_documents
from tests.kube.policy_reading import Object
from tests.kube.policy_worlds import NODES, OUTSIDE, admin, cluster, policy

BASE = cluster()
API, WEB, DB = (
    "10.244.1.2",
    "10.244.2.3",
    "10.244.2.5",
)  # shop/api on node-a, shop/web on node-b, db/api on node-b
DENY = policy("shop", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}, "deny")


def _kube(*policies: Object, without: str = "") -> Kube:
    return kube_from_documents([o for o in [*BASE, *policies] if o["kind"] != without], "the test")


def _said(
    kube: Kube, src: str, dst: str, proto: str = "tcp", port: int | None = 80, **more: Any
) -> PolicyVerdict:
    return decide(kube, PolicyFlow(src=src, dst=dst, proto=proto, port=port), **more)


@pytest.mark.parametrize("section", ["pods", "network_policies", "admin_policies"])
def test_missing_sections_are_no_allowance(section: str) -> None:
    """Where pods or policies were not read nothing is allowed or denied; the verdict says what is needed."""
    said = _said(replace(_kube(DENY), **{section: NOT_READ}), API, WEB)
    assert said.decision is Decision.UNKNOWN
    assert len(said.needs) == 1
    assert said.needs[0] in said.words()


def test_manifests_without_policies_and_namespaces_do_not_say_that_there_are_none() -> None:
    """Objects as `kubectl get svc,pods` prints them leave the policies Missing, with what to ask for."""
    kube = kube_from_documents([o for o in BASE if o["kind"] == "Pod"], "the test")
    assert isinstance(kube.network_policies, Missing)
    assert "netpol" in kube.network_policies.reason
    assert _said(kube, API, WEB).decision is Decision.UNKNOWN
    assert isinstance(_kube().network_policies, Known)


def test_a_namespace_whose_labels_are_not_known() -> None:
    """A selector on such labels is undecided; on the name it is not, nor where a pod selector fails."""
    peers = [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]
    by_label = policy("db", {"podSelector": {}, "ingress": [{"from": peers}]})
    kube = _kube(by_label, without="Namespace")
    said = _said(kube, API, DB)
    assert said.decision is Decision.UNKNOWN
    assert "Namespace shop" in said.words()
    assert _said(replace(kube, namespaces=NOT_READ), API, DB).decision is Decision.UNKNOWN
    named = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    by_name = policy("db", {"podSelector": {}, "ingress": [{"from": [named]}]})
    assert _said(_kube(by_name, without="Namespace"), API, DB).decision is Decision.ALLOWED
    peers[0]["podSelector"] = {"matchLabels": {"app": "web"}}
    assert _said(_kube(by_label, without="Namespace"), API, DB).decision is Decision.DENIED


def test_other_protocols() -> None:
    """What is not TCP, UDP or SCTP is allowed where nothing isolates a pod, else the plugin's to say."""
    assert _said(_kube(), API, WEB, "icmp", None).decision is Decision.ALLOWED
    said = _said(_kube(DENY), API, WEB, "icmp", None)
    assert said.decision is Decision.UNKNOWN
    assert "plugin" in said.words()
    rule = {"action": "Deny", "from": [{"namespaces": {}}]}
    above = admin({"subject": {"namespaces": {}}, "ingress": [rule]}, 1, "no")
    assert _said(_kube(above), API, WEB, "icmp", None).decision is Decision.DENIED


def test_an_open_port() -> None:
    """A flow whose port is not known is decided where no port matters, and only there."""
    some = policy("shop", {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]})
    assert _said(_kube(some), API, WEB, port=None).decision is Decision.UNKNOWN
    every = policy("shop", {"podSelector": {}, "ingress": [{"ports": [{"protocol": "TCP"}]}]})
    assert _said(_kube(every), API, WEB, port=None).decision is Decision.ALLOWED


def test_a_node_and_its_pods() -> None:
    """A pod's own node always gets through, by any of its addresses; pods of its network are that node."""
    kube = _kube(DENY)
    assert _said(kube, NODES["node-a"], API).decision is Decision.ALLOWED
    assert _said(kube, NODES["node-b"], API).decision is Decision.DENIED
    bridge = {"10.244.1.1": "node-a"}
    assert _said(kube, "10.244.1.1", API).decision is Decision.DENIED
    assert _said(kube, "10.244.1.1", API, node_addresses=bridge).decision is Decision.ALLOWED
    only_agent = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "agent"}}}
    agent = policy("shop", {"podSelector": {}, "ingress": [{"from": [only_agent]}]})
    assert _said(_kube(agent), NODES["node-b"], API).decision is Decision.DENIED  # mon/agent is node-b


def test_blocks_are_said_to_be_the_plugins() -> None:
    """Where an address block decides, the verdict says what the specification leaves open about it."""
    block = policy("shop", {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]})
    assert "before or after NAT" in _said(_kube(block), OUTSIDE[0], API).ingress.notes[0]
    assert "outside" in _said(_kube(block), WEB, API).ingress.notes[0]


def test_the_words_name_the_policies() -> None:
    """A denial names every policy that isolates the pod, an allowance the one rule that allows."""
    said = _said(_kube(DENY), API, DB)
    assert said.words() == (
        "denied: egress: NetworkPolicy shop/deny isolates pod shop/api, "
        "and no rule allows tcp port 80 to pod db/api"
    )
    web = {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}
    assert (
        _said(_kube(policy("db", web)), API, DB).words()
        == "allowed: ingress: NetworkPolicy db/p, rule 1 allows it"
    )
    assert not _said(_kube(), API, DB).is_judged
    assert "no policy isolates" in _said(_kube(), API, DB).words()


def test_equal_priorities() -> None:
    """Two admin policies of one priority that disagree leave it open; where they agree it is decided."""
    subject: Object = {"subject": {"namespaces": {}}}

    def one(action: str, name: str) -> Object:
        return admin({**subject, "ingress": [{"action": action, "from": [{"namespaces": {}}]}]}, 7, name)

    said = _said(_kube(one("Allow", "x"), one("Deny", "y")), API, DB)
    assert said.decision is Decision.UNKNOWN
    assert "same priority" in said.words()
    assert _said(_kube(one("Deny", "x"), one("Deny", "y")), API, DB).decision is Decision.DENIED


def test_peers_that_are_not_evaluated() -> None:
    """A rule on domain names is undecided, unless all that could follow comes to the same."""
    names = {"action": "Allow", "to": [{"domainNames": ["example.org"]}]}
    deny = {"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}
    subject: Object = {"subject": {"namespaces": {}}}
    open_ = _said(_kube(admin({**subject, "egress": [names, deny]}, 1, "n")), API, OUTSIDE[0])
    assert open_.decision is Decision.UNKNOWN
    assert "domainNames" in open_.words()
    assert (
        _said(_kube(admin({**subject, "egress": [names]}, 1, "n")), API, OUTSIDE[0]).decision
        is Decision.ALLOWED
    )
    nodes = {"action": "Deny", "to": [{"nodes": {}}]}
    kube = _kube(admin({**subject, "egress": [nodes]}, 1, "n"))
    bridge = {"10.9.9.9": "node-z"}
    assert _said(kube, API, "10.9.9.9", node_addresses=bridge).decision is Decision.UNKNOWN


WRONG: dict[str, Object] = {
    "names nobody": {"ingress": [{"from": [{}]}]},
    "stands alone": {"ingress": [{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
    "no part of": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]},
    "not a prefix": {"ingress": [{"from": [{"ipBlock": {"cidr": "everything"}}]}]},
    "endPort needs": {"ingress": [{"ports": [{"port": "http", "endPort": 90}]}]},
    "is none of Ingress, Egress": {"policyTypes": ["Both"]},
    "takes values": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
    "takes no values": {
        "podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}
    },
    "expected a number": {"ingress": [{"ports": [{"port": 1.5}]}]},
}


@pytest.mark.parametrize("what", WRONG)
def test_malformed_policies(what: str) -> None:
    """What no API server would take is refused with the field it is in."""
    with pytest.raises(UserError, match=what) as caught:
        _kube(policy("shop", WRONG[what]))
    assert "spec" in str(caught.value.where)


WRONG_ADMIN: dict[str, Object] = {
    "priority is missing": {"subject": {"namespaces": {}}},
    "at least one peer": {"subject": {"namespaces": {}}, "priority": 1, "ingress": [{"action": "Deny"}]},
    "the peer names nobody": {"subject": {}, "priority": 1},
    "is none of Allow": {
        "subject": {"namespaces": {}},
        "priority": 1,
        "egress": [{"action": "Maybe", "to": [{"namespaces": {}}]}],
    },
    "start and end": {
        "subject": {"namespaces": {}},
        "priority": 1,
        "egress": [
            {"action": "Deny", "to": [{"namespaces": {}}], "ports": [{"portRange": {"start": 9, "end": 8}}]}
        ],
    },
    "port is missing": {
        "subject": {"namespaces": {}},
        "priority": 1,
        "egress": [{"action": "Deny", "to": [{"namespaces": {}}], "ports": [{}]}],
    },
}


@pytest.mark.parametrize("what", WRONG_ADMIN)
def test_malformed_admin_policies(what: str) -> None:
    """The same holds for the administrator's policies."""
    document = {**admin({}, 1, "a"), "spec": WRONG_ADMIN[what]}
    with pytest.raises(UserError, match=what):
        _kube(document)
