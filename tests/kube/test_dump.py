"""The derived rules beside those that the real kube-proxy wrote for the same objects."""

from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from nettrace.kube.iptables import describe_chain, owed_kube_proxy, ruleset
from nettrace.kube.names import service_chain
from nettrace.model.kube import Kube
from nettrace.model.owed import OwedChain
from nettrace.model.section import Known
from nettrace.model.xt import XtChain, XtRuleset
from nettrace.model.xt_target import Jump
from nettrace.parse.iptables import parse_save, rule_text, save_text
from nettrace.parse.manifests import kube_from_documents, parse_documents

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-proxy"
OBJECTS = (
    "inputs/stored-services.json",
    "inputs/stored-endpointslices.json",
    "inputs/stored-nodes.json",
    "iptables-1.36/kube-proxy-config.json",
)
DUMPS = {4: "iptables-1.36/iptables-save-c.txt", 6: "iptables-1.36/ip6tables-save-c.txt"}
#: The order of Services in these is random at every sync.
DISPATCH = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL")
CHAINS = {4: 176, 6: 39}
RULES = {4: 487, 6: 64}
OBJECTS_1_20 = (
    "inputs/stored-services.json",
    "inputs/endpoints-for-1.20.json",
    "inputs/stored-endpoints.json",
    "inputs/stored-nodes.json",
    "iptables-1.20/kube-proxy-config.json",
)
DUMP_1_20 = "iptables-1.20/iptables-save-c.txt"


@pytest.fixture(scope="module")
def kube() -> Kube:
    """The cluster's objects as the API server returned them, for kube-proxy 1.36."""
    return objects(OBJECTS, "1.36")


@pytest.fixture(scope="module")
def kube_1_20() -> Kube:
    """What kube-proxy 1.20 was given: Endpoints, whose order it keeps."""
    return objects(OBJECTS_1_20, "1.20")


def objects(names: tuple[str, ...], version: str) -> Kube:
    """The cluster that these files describe."""
    documents = [doc for name in names for doc in parse_documents((FIXTURES / name).read_text(), name)]
    found = kube_from_documents(documents, "fixtures")
    assert isinstance(found.proxy, Known)
    return replace(found, proxy=Known(replace(found.proxy.value, version=version)))


def dump(family: int) -> XtRuleset:
    """What the real kube-proxy wrote, without counters."""
    text = (FIXTURES / DUMPS[family]).read_text()
    return parse_save(text, DUMPS[family])


def chains(rules: XtRuleset) -> dict[tuple[str, str], XtChain]:
    """All chains of all tables, without counters."""
    found = {}
    for table, section in rules.tables.items():
        assert isinstance(section, Known)
        for name, chain in section.value.chains.items():
            assert isinstance(chain, Known)
            found[table, name] = replace(chain.value, counters=None, policy_counters=None)
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_the_rules_are_those_of_the_real_kube_proxy(kube: Kube, family: int) -> None:
    """Every chain has the same rules, in the same order where order means something."""
    wanted, derived = chains(dump(family)), chains(ruleset(kube, "node-a", family=family))
    assert len(wanted) == CHAINS[family]
    assert sum(len(chain.rules) for chain in wanted.values()) == RULES[family]
    assert_same(derived, wanted)


def assert_same(derived: dict[tuple[str, str], XtChain], wanted: dict[tuple[str, str], XtChain]) -> None:
    """Every chain of *wanted* is in *derived* with its rules, and there are no others."""
    assert set(derived) == set(wanted)
    for (table, name), chain in wanted.items():
        made = derived[table, name]
        assert made.policy == chain.policy
        if name in DISPATCH:
            assert Counter(map(rule_text, made.rules)) == Counter(map(rule_text, chain.rules))
        else:
            assert list(map(rule_text, made.rules)) == list(map(rule_text, chain.rules))
        assert Counter(made.rules) == Counter(chain.rules)
    assert derived["nat", "KUBE-SERVICES"].rules[-1] == wanted["nat", "KUBE-SERVICES"].rules[-1]


def test_the_rules_are_those_of_kube_proxy_1_20(kube_1_20: Kube) -> None:
    """The layout with KUBE-XLB and KUBE-MARK-DROP; a Service's marking comes before its jump."""
    wanted = chains(parse_save((FIXTURES / DUMP_1_20).read_text(), DUMP_1_20))
    derived = chains(ruleset(kube_1_20, "node-a"))
    assert (len(wanted), sum(len(chain.rules) for chain in wanted.values())) == (164, 477)
    assert_same(derived, wanted)
    for key in (("nat", "KUBE-SERVICES"), ("nat", "KUBE-NODEPORTS")):
        assert by_service(derived[key]) == by_service(wanted[key])
    names = {name for _, name in wanted if name.startswith("KUBE-")}
    assert {name for name in names if describe_chain(kube_1_20, name) is None} == set()


def by_service(chain: XtChain) -> dict[str, list[str]]:
    """The rules of a dispatch chain by the Service port that their comment names, each in order."""
    found: dict[str, list[str]] = {}
    for rule in chain.rules:
        found.setdefault(rule.comment.split(" ", 1)[0], []).append(rule_text(rule))
    return found


def test_kube_proxy_1_20_with_slices_sorts_endpoints(kube: Kube, kube_1_20: Kube) -> None:
    """With EndpointSlices, its default, the rules are the same but for the order of endpoints."""
    assert isinstance(kube_1_20.proxy, Known)
    config = replace(kube_1_20.proxy.value, feature_gates={})
    sliced = chains(ruleset(replace(kube, proxy=Known(config)), "node-a"))
    given = chains(ruleset(kube_1_20, "node-a"))
    assert set(sliced) == set(given)
    big = service_chain("KUBE-SVC-", "default/big20:http", "tcp")
    jumps = [[rule.target for rule in made["nat", big].rules] for made in (sliced, given)]
    assert jumps[0] != jumps[1]
    assert Counter(map(repr, jumps[0])) == Counter(map(repr, jumps[1]))


@pytest.mark.parametrize("family", [4, 6])
def test_the_text_is_that_of_iptables_save(kube: Kube, family: int) -> None:
    """Table by table, chains stand in iptables-save's order, and each rule reads the same."""
    derived, wanted = save_text(ruleset(kube, "node-a", family=family)), save_text(dump(family))

    def by_table(text: str) -> dict[str, list[str]]:
        return {part.split("\n", 1)[0]: part.split("\n") for part in text.split("*")[1:]}

    found, expected = by_table(derived), by_table(wanted)
    assert set(found) == set(expected)
    for table, rows in expected.items():
        names = [row.split(" ", 1)[0] for row in rows if row.startswith(":")]
        assert [row.split(" ", 1)[0] for row in found[table] if row.startswith(":")] == names
        assert Counter(row for row in found[table] if row.startswith("-A")) == Counter(
            row for row in rows if row.startswith("-A")
        )


@pytest.mark.parametrize("family", [4, 6])
def test_every_chain_that_was_written_has_words(kube: Kube, family: int) -> None:
    """No chain of kube-proxy's is a mystery."""
    names = {name for _, name in chains(dump(family)) if name.startswith("KUBE-")}
    assert len(names) > 10
    assert {name for name in names if describe_chain(kube, name) is None} == set()


@pytest.mark.parametrize("family", [4, 6])
def test_owed_rules_name_the_service_that_their_comment_names(kube: Kube, family: int) -> None:
    """The subject of a rule in a chain of many is the Service that kube-proxy's comment speaks of."""
    told = 0
    for item in owed_kube_proxy(kube, "node-a", "node-a", family=family):
        if not isinstance(item, OwedChain) or item.ordered:
            continue
        for rule, note in zip(item.rules, item.notes or [], strict=bool(item.notes)):
            if rule in item.last:
                assert note.subject == ""
            else:
                service = rule.comment.split(" ", 1)[0].split(":", 1)[0]
                assert note.subject == f"svc/{service}"
                assert note.about.endswith(f" of Service {service}")
                told += 1
    dispatched = [len(chain.rules) for (_, name), chain in chains(dump(family)).items() if name in DISPATCH]
    assert told == sum(dispatched) - 1


@pytest.mark.parametrize("family", [4, 6])
def test_no_owed_chain_is_left_unreached(kube: Kube, family: int) -> None:
    """From the built-in chains every chain of kube-proxy's is jumped to, but its canaries."""
    derived = chains(ruleset(kube, "node-a", family=family))
    reached = {key for key, chain in derived.items() if chain.policy is not None}
    while True:
        more = {
            (table, rule.target.chain)
            for table, name in reached
            for rule in derived[table, name].rules
            if isinstance(rule.target, Jump)
        }
        if more <= reached:
            break
        reached |= more
    assert {name for _, name in set(derived) - reached} == {"KUBE-PROXY-CANARY"}


def test_the_other_node_uses_its_own_endpoints(kube: Kube) -> None:
    """On node-b the Services with policy Local that node-a drops are served, and the other way round."""
    here, there = chains(ruleset(kube, "node-a")), chains(ruleset(kube, "node-b"))

    def refused(derived: dict[tuple[str, str], XtChain]) -> set[str]:
        rules = derived["filter", "KUBE-EXTERNAL-SERVICES"].rules
        return {rule.comment.split(":")[0] for rule in rules if "no local endpoints" in rule.comment}

    assert "default/np-local-remote" in refused(here) - refused(there)
    assert ("nat", "KUBE-SVL-QZ6FALEGDXW7RG6F") in there
