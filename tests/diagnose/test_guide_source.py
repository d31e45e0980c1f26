"""The check of the caller's address: kept, rewritten by a setting, or nobody's to keep."""

from msgspec.structs import replace

from nettrace.diagnose.causes.taken_for_pods import is_no_pod
from nettrace.model.change import RuleReplace
from nettrace.model.guide import CheckState
from nettrace.model.section import Known
from nettrace.parse.iptables import parse_rule
from tests.diagnose.guided import case, check, with_kube
from tests.diagnose.worlds import World, cluster


def marking(text: str) -> World:
    """The cluster with another rule of the Service that asks for masquerading."""
    world = cluster()
    chains = world.snapshot.namespaces["node-a"].xt_nft
    assert isinstance(chains, Known)
    nat = chains.value.tables["nat"]
    assert isinstance(nat, Known)
    assert nat.value is not None
    for name, chain in nat.value.chains.items():
        if not name.startswith("KUBE-SVC-") or not isinstance(chain, Known):
            continue
        rule = chain.value.rules[0]
        if rule.target != parse_rule("-j KUBE-MARK-MASQ").target or "hostnames" not in rule.comment:
            continue
        new = parse_rule(text)
        return world.edited(
            RuleReplace(
                netns="node-a", backend="nft", table="nat", chain=name, position=1, old=rule, rule=new
            )
        )
    raise AssertionError("no such rule")


def test_a_pod_arrives_as_itself() -> None:
    """In a healthy cluster the pods see the pod that calls."""
    found = check("source")
    assert found.state is CheckState.PASSED
    assert found.conclusion == "10.244.1.10 arrives as it was sent"


def test_masquerading_without_a_condition() -> None:
    """A rule that marks everything is masquerade-all, and only a person may change that."""
    found = check("source", marking("-j KUBE-MARK-MASQ"))
    assert (found.state, found.cause) == (CheckState.PROBLEM, "masquerade-all")
    assert not found.findings[0].repairs[0].changes


def test_another_network_than_the_pods() -> None:
    """A prefix that the client is not in is clustercidr-wrong, with the rule and both objects as evidence."""
    found = check("source", marking("! -s 10.99.0.0/16 -j KUBE-MARK-MASQ"))
    assert (found.state, found.cause) == (CheckState.PROBLEM, "clustercidr-wrong")
    assert "10.99.0.0/16" in found.conclusion
    assert {e.ref for e in found.findings[0].evidence} >= {"kube/proxy", "kube/nodes"}


def test_a_node_and_the_outside_are_not_asked() -> None:
    """Only pods are promised that their own address is kept."""
    assert check("source", given=case(external=True)).state is CheckState.SKIPPED
    node = replace(case(), client="node/node-a", netns="node-a", client_pod=None)
    assert check("source", given=node).state is CheckState.SKIPPED


_NODE = replace(case(), client="node/node-a", netns="node-a", client_pod=None)


def test_a_node_that_passes_for_a_pod() -> None:
    """A network that holds the nodes has them pass for pods: the rule and both objects are evidence."""
    found = check("source", marking("! -s 172.18.0.0/16 -j KUBE-MARK-MASQ"), _NODE)
    assert (found.state, found.cause) == (CheckState.PROBLEM, "clustercidr-wrong")
    assert "172.18.0.0/16" in found.conclusion
    assert {e.ref for e in found.findings[0].evidence} >= {"kube/proxy", "kube/nodes"}
    narrow = check("source", marking("! -s 10.244.0.0/16 -j KUBE-MARK-MASQ"), _NODE)
    assert narrow.state is CheckState.SKIPPED


def test_where_the_podcidrs_do_not_hold_the_pods_nobody_is_called_no_pod() -> None:
    """A cloud's network gives pods and nodes addresses of one range: its prefix is no mistake."""
    world = marking("! -s 172.18.0.0/16 -j KUBE-MARK-MASQ")
    pods = world.snapshot.kube.pods
    assert isinstance(pods, Known)
    elsewhere = tuple(replace(pod, ips=("172.18.7.7",)) for pod in pods.value)
    for changed in (with_kube(world, pods=Known(elsewhere)), with_kube(world, pods=Known(()))):
        assert not is_no_pod(changed.snapshot, "172.18.0.11")
    assert is_no_pod(world.snapshot, "172.18.0.11")
    assert not is_no_pod(world.snapshot, "10.244.1.200"), "a pod may get that address"


def test_a_pod_of_its_node_s_network_is_asked_as_its_node() -> None:
    """Its address is no pod's: that it is rewritten is as it should be."""
    host = replace(case(), netns="node-a")
    assert check("source", given=host).state is CheckState.SKIPPED


def test_a_service_that_is_not_known() -> None:
    """Without the Service nothing is called healthy."""
    world = with_kube(cluster(), services=Known(()))
    assert check("source", world).state is CheckState.UNKNOWN
