"""Weave: recognised by what it leaves, what follows from its bridge, and how weave-npc writes policies."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.difference import differences
from nettrace.kube.policy_chains import refuses
from nettrace.model.change import RuleInsert
from nettrace.model.kube import ContainerPort, Kube, KubeNode, Pod, PodContainer
from nettrace.model.links import Address, Link, VxlanAttrs
from nettrace.model.owed import Owed, OwedChain, OwedFdb, OwedJump, OwedRule
from nettrace.model.policy import (
    Expression,
    IpBlock,
    LabelSelector,
    Namespace,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
)
from nettrace.model.section import NOT_READ, Known, Section
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule, rule_text
from nettrace_plugins.weave import plugin
from nettrace_plugins.weave.facts import cni_file, network
from nettrace_plugins.weave.names import set_name
from nettrace_plugins.weave.npc import BASE_CHAINS, made_for
from nettrace_plugins.weave.owes import forward_rules, masquerade_rules

CONF = "/etc/cni/net.d/10-weave.conflist"
CALLS = json.dumps({"name": "weave", "plugins": [{"type": "weave-net"}, {"type": "portmap"}]})
RANGE = "10.32.0.0/12"


def table(**chains: tuple[str, ...]) -> Section[XtTable]:
    """A table of these chains."""
    made: dict[str, Section[XtChain]] = {
        name.replace("_", "-"): Known(XtChain(rules=tuple(map(parse_rule, rules))))
        for name, rules in chains.items()
    }
    return Known(XtTable(made))


def rules(**changes: Section[XtTable]) -> Section[XtRuleset]:
    """The rules of a node with weave-npc, as they should be."""
    nat = table(WEAVE=masquerade_rules(RANGE, local=True), POSTROUTING=("-j WEAVE",))
    kept = {name.replace("-", "_"): specs for name, specs in BASE_CHAINS.items()}
    own = table(**kept, FORWARD=forward_rules(), INPUT=("-i weave -j WEAVE-NPC-EGRESS",))
    return Known(XtRuleset({"nat": nat, "filter": own, **changes}))


def world(**changes: Any) -> Snapshot:
    """Two nodes, one of them read: its bridge, its tunnel, its rules."""
    links = (
        Link(name="weave", index=2, kind="bridge"),
        Link(name="vethwe-bridge", index=3, kind="veth"),
        Link(name="datapath", index=4, kind="bridge"),
        Link(name="vxlan-6784", index=5, kind="vxlan", vxlan=VxlanAttrs(vni=0, port=6784)),
    )
    netns = Netns(
        name="node-a",
        node="node-a",
        role="node",
        links=Known(links),
        addresses=Known((Address(device="weave", address="10.32.0.1", prefixlen=12),)),
        xt_nft=rules(),
        fdb=Known(()),
    )
    state = NodeState(name="node-a", netns="node-a", files=Known({CONF: CALLS}))
    nodes = (
        KubeNode(name="node-a", internal_ips=("172.18.0.11",)),
        KubeNode(name="node-b", internal_ips=("172.18.0.12",)),
    )
    return Snapshot(
        nodes={"node-a": state},
        namespaces={"node-a": replace(netns, **changes)},
        kube=Kube(nodes=Known(nodes)),
    )


def owes(snapshot: Snapshot) -> tuple[Owed, ...]:
    """What Weave owes node-a."""
    return tuple(plugin.nettrace_owes(snapshot, "node-a"))


def test_it_is_recognised_by_what_it_leaves() -> None:
    """By the CNI configuration and by its bridge with its port; a bridge of that name alone is not it."""
    found = plugin.nettrace_detect(world())
    assert found is not None
    assert (found.mode, found.owners) == ("fastdp", ("weave", "weave-npc"))
    assert [one.text for one in found.evidence] == [
        CONF,
        "weave (bridge), port vethwe-bridge",
        "vxlan-6784 (vxlan)",
    ]
    bare = replace(world(), nodes={"node-a": NodeState(name="node-a", netns="node-a", files=Known({}))})
    assert plugin.nettrace_detect(bare) is not None
    alone = bare.with_netns(
        replace(bare.namespaces["node-a"], links=Known((Link(name="weave", index=2, kind="bridge"),)))
    )
    assert plugin.nettrace_detect(alone) is None
    assert owes(alone) == ()


@pytest.mark.parametrize("text", ["", "[]", "{no", '{"plugins": 7}', '{"type": "bridge"}'])
def test_another_cni_configuration_is_not_its(text: str) -> None:
    """Only one that calls its plugin counts."""
    state = replace(world().nodes["node-a"], files=Known({CONF: text}))
    assert cni_file(replace(world(), nodes={"node-a": state}), "node-a") is None


def test_a_capturing_router_is_sleeve() -> None:
    """Without a datapath, and with the end where frames are captured."""
    links = tuple(
        Link(name=name, index=index, kind="veth" if index > 2 else "bridge")
        for index, name in enumerate(("weave", "vethwe-bridge", "vethwe-pcap"), 2)
    )
    found = plugin.nettrace_detect(world(links=Known(links)))
    assert found is not None
    assert found.mode == "sleeve"
    (way,) = plugin.nettrace_transit(world(links=Known(links)), "node-a")
    assert (way.device, way.owner) == ("vethwe-pcap", "Weave's router")
    assert "(sleeve)" in way.unfollowed
    assert plugin.nettrace_transit(world(), "node-a") == ()
    assert not any(isinstance(item, OwedFdb) for item in owes(world(links=Known(links))))


def test_all_there_is_nothing_missing() -> None:
    """What it writes is what is owed, in the layout that is there."""
    items = [item for item in owes(world()) if not isinstance(item, OwedFdb)]
    assert {type(item) for item in items} == {OwedChain, OwedJump, OwedRule}
    assert differences(world(), items) == ()
    without = table(WEAVE=masquerade_rules(RANGE, local=False), POSTROUTING=("-j WEAVE",))
    older = world(xt_nft=rules(nat=without))
    assert differences(older, [o for o in owes(older) if not isinstance(o, OwedFdb)]) == ()


def test_without_its_controller_only_the_masquerade_is_owed() -> None:
    """No chain WEAVE-NPC: nothing of weave-npc; an address not read: no masquerade either."""
    plain = world(xt_nft=rules(filter=table(FORWARD=())))
    assert {item.owner for item in owes(plain) if not isinstance(item, OwedFdb)} == {"weave"}
    assert network(world(), "node-a") == RANGE
    unread = world(addresses=NOT_READ)
    assert not any(isinstance(o, OwedChain) and o.chain == "WEAVE" for o in owes(unread))


def test_a_lost_jump_goes_back_to_its_place() -> None:
    """Before the rule that drops what no chain let pass."""
    first, _, *rest = forward_rules()
    kept = {name.replace("-", "_"): specs for name, specs in BASE_CHAINS.items()}
    lost = table(**kept, FORWARD=(first, *rest), INPUT=("-i weave -j WEAVE-NPC-EGRESS",))
    snapshot = world(xt_nft=rules(filter=lost))
    (found,) = differences(snapshot, [o for o in owes(snapshot) if not isinstance(o, OwedFdb)])
    (change,) = found.restored.changes
    assert isinstance(change, RuleInsert)
    assert (change.chain, change.position) == ("FORWARD", 2)


def test_a_peer_is_owed_a_way() -> None:
    """Where the tunnel's own forwarding database says where frames go; not with a datapath of flows."""
    (way,) = [item for item in owes(world()) if isinstance(item, OwedFdb)]
    assert (way.entry.dst, way.entry.mac, way.source) == (
        "172.18.0.12",
        "00:00:00:00:00:00",
        "InternalIP of Node node-b",
    )
    section = world().namespaces["node-a"].links
    assert isinstance(section, Known)
    flows = tuple(
        replace(link, programs=("vxlan external",)) if link.vxlan else link for link in section.value
    )
    assert not any(isinstance(item, OwedFdb) for item in owes(world(links=Known(flows))))


def test_devices_and_chains_have_names() -> None:
    """Weave's own, and nobody else's."""
    for thing in ("links/weave", "links/vxlan-6784", "xt/nat/WEAVE", "xt/filter/WEAVE-NPC-INGRESS"):
        assert plugin.nettrace_name(world(), "node-a", thing) is not None
    assert plugin.nettrace_name(world(), "node-a", "links/cni0") is None


def test_a_set_is_named_as_weave_does() -> None:
    """The digits of a SHA-1 in 85 symbols, the last first; names that were seen on a node of Weave 2.8."""
    assert set_name("ingress-default-allow:kube-system") == "weave-P.B|!ZhkAr5q=XZ?3}tMBA+0"
    assert set_name("egress-default-allow:default") == "weave-s_+ChJId4Uy_$}G;WdH|~TK)I"


# --- policies --------------------------------------------------------------------------


def pod(namespace: str, name: str, address: str) -> Pod:
    """A pod that is labelled with its name."""
    ports = (ContainerPort(name="http", container_port=8080),)
    return Pod(
        namespace=namespace,
        name=name,
        ips=(address,),
        labels={"app": name},
        containers=(PodContainer(name="c", ports=ports),),
    )


PODS = (pod("shop", "web", "10.32.0.2"), pod("shop", "job", "10.32.0.3"), pod("db", "api", "10.44.0.2"))


def made(*policies: NetworkPolicy) -> Any:
    """What weave-npc makes of these policies."""
    return made_for(
        Kube(
            pods=Known(PODS),
            namespaces=Known((Namespace(name="shop", labels={"team": "a"}), Namespace(name="db"))),
            network_policies=Known(policies),
        )
    )


def test_without_policies_all_pods_are_let_be() -> None:
    """One rule a namespace for what comes in, two for what goes out; its set holds its pods."""
    found = made()
    assert (found.chains["WEAVE-NPC-INGRESS"], found.chains["WEAVE-NPC-EGRESS-CUSTOM"]) == ([], [])
    assert [len(found.chains[c]) for c in ("WEAVE-NPC-DEFAULT", "WEAVE-NPC-EGRESS-DEFAULT")] == [2, 4]
    kind, members = found.sets[set_name("ingress-default-allow:shop")]
    assert (kind, [*members]) == ("hash:ip", ["10.32.0.2", "10.32.0.3"])


def test_an_isolated_pod_leaves_the_set() -> None:
    """Of the direction that the policy is about, and of no other."""
    web = LabelSelector(match_labels={"app": "web"})
    found = made(NetworkPolicy(name="p", namespace="shop", pod_selector=web))
    assert [*found.sets[set_name("ingress-default-allow:shop")][1]] == ["10.32.0.3"]
    assert len(found.sets[set_name("egress-default-allow:shop")][1]) == 2


def test_peers_become_sets() -> None:
    """Namespaces a set of sets, pods a set of addresses, a block its prefix without what is left out."""
    team = LabelSelector(match_expressions=(Expression(key="team", operator="Exists"),))
    web = LabelSelector(match_labels={"app": "web"})
    peers = (
        PolicyPeer(namespace_selector=team),
        PolicyPeer(namespace_selector=team, pod_selector=web),
        PolicyPeer(pod_selector=web),
        PolicyPeer(ip_block=IpBlock(cidr="10.0.0.0/8", excepted=("10.9.0.0/16",))),
        PolicyPeer(ip_block=IpBlock(cidr="192.0.2.0/24")),
    )
    rule = PolicyRule(peers=peers, ports=(PolicyPort(port=8080), PolicyPort(protocol="UDP")))
    found = made(NetworkPolicy(name="p", namespace="db", ingress=(rule,)))
    chain = found.chains["WEAVE-NPC-INGRESS"]
    assert len(chain) == 10
    assert found.sets[set_name(":team")] == ("list:set", {set_name("shop:"): "namespace: shop"})
    assert [*found.sets[set_name("pods: app=web, namespaces: team")][1]] == ["10.32.0.2"]
    assert found.sets[set_name("db:app=web")] == ("hash:ip", {})
    assert found.sets[set_name("ipblock-except:10.9.0.0/16")][0] == "hash:net"
    written = [rule_text(parse_rule(spec)) for spec in chain]
    assert sum("--dport 8080 " in line for line in written) == 5
    assert sum("-p udp" in line and "dport" not in line for line in written) == 5
    assert any(line.startswith("-s 192.0.2.0/24 -p tcp") for line in written)
    assert any("! --match-set" in line for line in written)


def test_what_goes_out_is_marked_and_returns() -> None:
    """Two rules for each, as the other pod's chains are to be asked too; one of two policies stands once."""
    policies = [
        NetworkPolicy(name=name, namespace="shop", types=("Egress",), egress=(PolicyRule(),)) for name in "pq"
    ]
    chain = made(*policies).chains["WEAVE-NPC-EGRESS-CUSTOM"]
    assert [spec.rsplit(" ", 1)[1] for spec in chain] == ["WEAVE-NPC-EGRESS-ACCEPT", "RETURN"]


def test_a_named_port_is_not_taken() -> None:
    """The whole policy is left out, and its pods are let be."""
    rule = PolicyRule(ports=(PolicyPort(port="http"),))
    found = made(NetworkPolicy(name="p", namespace="db", ingress=(rule,)))
    assert found.chains["WEAVE-NPC-INGRESS"] == []
    assert len(found.sets[set_name("ingress-default-allow:db")][1]) == 1


def test_its_refusals_are_told_from_others() -> None:
    """In its chain for what pods send, and behind the one for what comes to them."""
    assert refuses("WEAVE-NPC-EGRESS", [])
    assert refuses("FORWARD", ["FORWARD", "WEAVE-NPC"])
    assert not refuses("FORWARD", ["FORWARD"])
    assert not refuses("WEAVE-NPC", ["WEAVE-NPC"])
    assert refuses("cali-tw-cali0123456789a", [])
    assert not refuses("cali-FORWARD", ["cali-FORWARD"])
