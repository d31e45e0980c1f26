"""The lab's policy controller: names, order, and what it leaves alone."""

from ipaddress import IPv4Network

from nettrace.kube.policy_chains import is_policy_chain, pod_chain, policies_run, refusing_rule
from nettrace.lab.cluster.policies import policed
from nettrace.model.section import Known
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import rule_text
from nettrace.parse.manifests import kube_from_documents
from tests.kube.policy_reading import Object
from tests.kube.policy_worlds import cluster, policy

SERVICES = IPv4Network("10.96.0.0/16")
EMPTY = XtRuleset(
    {"filter": Known(XtTable({name: Known(XtChain(policy="ACCEPT")) for name in BUILTIN_CHAINS["filter"]}))}
)


def _chains(*policies: Object) -> tuple[dict[str, XtChain], str]:
    made = policed(EMPTY, kube_from_documents([*cluster(), *policies], "the test"), "node-a", SERVICES)
    table = made.rules.tables["filter"]
    assert isinstance(table, Known)
    return {n: c.value for n, c in table.value.chains.items() if isinstance(c, Known)}, made.sets


def test_the_jumps_carry_the_controllers_hashes() -> None:
    """The comments of the three jumps end as on every node that runs kube-router or k3s."""
    chains, _ = _chains(policy("shop", {"podSelector": {}}))
    ends = {name: rule_text(chains[name].rules[0]) for name in ("INPUT", "FORWARD", "OUTPUT")}
    for name, hashed in {"INPUT": "4IA2OSFRMVNDXBVV", "FORWARD": "TEMCG2JMHZYE7H7T"}.items():
        assert f'"kube-router netpol - {hashed}" -j KUBE-ROUTER-{name}' in ends[name]
    assert "VEAAIY32XVBHCSCY" in ends["OUTPUT"]


def test_pods_have_a_chain_each_and_run_through_their_policies() -> None:
    """A pod's chain names the policies that isolate it, for its own direction; others go by the default."""
    both = {"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress", "Egress"]}
    chains, _ = _chains(policy("shop", both, "both"), policy("shop", {"podSelector": {}}, "in"))
    api = chains[pod_chain("shop", "api", "1")]
    assert [name for name, _ in policies_run(api)] == ["both", "in", "both"]
    assert len({chain for _, chain in policies_run(api)}) == 3
    text = [rule_text(rule) for rule in api.rules]
    position = refusing_rule(api)
    assert position is not None
    assert "NFLOG" in text[position - 1]
    assert "REJECT" in text[position]
    other = chains[pod_chain("db", "web", "1")]
    assert policies_run(other) == ()
    assert sum("KUBE-NWPLCY-DEFAULT" in rule_text(rule) for rule in other.rules) == 2
    assert refusing_rule(XtChain()) is None


def test_nothing_is_written_without_policies() -> None:
    """Where there is no NetworkPolicy the rules are as kube-proxy and flannel left them; there is no set."""
    chains, sets = _chains()
    assert not any(is_policy_chain(name) for name in chains)
    assert sets == ""


def test_blocks_become_sets_of_networks() -> None:
    """The network of all addresses is two halves, exceptions are nomatch, and IPv6 is left to ip6tables."""
    blocks: list[Object] = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}},
        {"ipBlock": {"cidr": "10.1.0.0/16"}},
        {"ipBlock": {"cidr": "2001:db8::/32"}},
    ]
    _, sets = _chains(policy("shop", {"podSelector": {}, "ingress": [{"from": blocks}]}))
    added = [
        line.split(maxsplit=2)[2] for line in sets.splitlines() if line.startswith("add ") and "/" in line
    ]
    assert added == [
        "0.0.0.0/1 timeout 0",
        "128.0.0.0/1 timeout 0",
        "10.0.0.0/8 timeout 0 nomatch",
        "10.1.0.0/16 timeout 0",
    ]
    assert sum(line.startswith("create ") and "hash:net" in line for line in sets.splitlines()) == 2
