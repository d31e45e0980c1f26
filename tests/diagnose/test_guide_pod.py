"""The guided pod flow on states that no namespace is needed for: every other way that it can end."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from nettrace.app.plugins import load_plugins
from nettrace.diagnose.guide import Ask, Delegate
from nettrace.diagnose.guide.pod import POD_CHECKS, PodCase
from nettrace.model.guide import Check, CheckState
from nettrace.model.kube import Kube, KubeNode, Pod
from nettrace.model.links import Address, Link
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.walk import Needs

FLANNEL = json.dumps(
    {"name": "cbr0", "plugins": [{"type": "flannel", "delegate": {"isDefaultGateway": True}}]}
)
CONF = "/etc/cni/net.d/10-flannel.conflist"
ENV = "/run/flannel/subnet.env"
SUBNET = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/29\n"
WEB = Pod(name="web", node_name="node-a", ips=("10.244.1.2",), netns="web", uid="u1")
DENIED = Missing(MissingKind.DENIED, "needs root")


def netns(name: str, node: str, *addresses: str, device: str = "eth0", **more: Any) -> Netns:
    """A namespace with these addresses on one device."""
    return Netns(
        name=name,
        node=node,
        role="pod",
        addresses=Known(tuple(Address(device=device, address=a, prefixlen=29) for a in addresses)),
        links=Known((Link(index=2, name=device, kind="veth"),)),
        **more,
    )


def world(
    files: Mapping[str, str] | Missing | None = None,
    *,
    pods: Sequence[Pod] = (WEB,),
    nodes: Sequence[KubeNode] = (KubeNode(name="node-a", pod_cidrs=("10.244.1.0/29",)),),
    spaces: Sequence[Netns] = (),
) -> Snapshot:
    """Node node-a with flannel's files, pod web in its namespace."""
    given = {CONF: FLANNEL, ENV: SUBNET, "/var/lib/cni/networks/cbr0/10.244.1.2": "c1\neth0"}
    held = given if files is None else files
    own = netns("node-a", "node-a", "10.244.1.1", device="cni0")
    return Snapshot(
        nodes={
            "node-a": NodeState(
                name="node-a", netns="node-a", files=held if isinstance(held, Missing) else Known(dict(held))
            )
        },
        namespaces={
            one.name: one for one in (own, netns("web", "node-a", "10.244.1.2", containers=("c1",)), *spaces)
        },
        kube=Kube(pods=Known(tuple(pods)), nodes=Known(tuple(nodes))),
    )


def run(snapshot: Snapshot, id: str, pod: Pod = WEB) -> Check:
    """Drive one check to its end; every section that it asks for has to be there."""
    case = PodCase(pod=pod, node=pod.node_name or "")
    making = next(one for one in POD_CHECKS if one.id == id).run(case)
    answer: Any = None
    plugins = load_plugins()
    while True:
        try:
            request = making.send(answer)
        except StopIteration as end:
            found: Check = end.value
            return found
        if isinstance(request, Ask):
            answer = request.question(snapshot)
            assert not isinstance(answer, Needs), answer
        else:
            assert isinstance(request, Delegate)
            answer = plugins.delegate(snapshot, request.node, request.plugin)


def test_flannels_delegate() -> None:
    """flannel's plugin hands on to bridge and host-local with the subnet that flanneld wrote."""
    found = run(world(), "conf")
    assert found.state is CheckState.PASSED
    assert "10.244.1.0/29" in found.conclusion
    assert ENV in found.conclusion
    assert run(world(), "bridge").state is CheckState.PASSED
    assert run(world(), "lease").state is CheckState.PASSED


def test_flanneld_has_written_nothing() -> None:
    """Without its file flannel's plugin makes no pod: no podCIDR, or an agent that did not run."""
    without = run(world({CONF: FLANNEL}, nodes=(KubeNode(name="node-a"),)), "conf")
    assert without.cause == "podcidr-missing"
    assert "no podCIDR" in without.findings[0].evidence[1].text
    with_one = run(world({CONF: FLANNEL}), "conf")
    assert with_one.cause == "podcidr-missing"
    assert "restart the agent of flannel" in with_one.findings[0].repairs[0].lasting


def test_two_nodes_with_one_podcidr() -> None:
    """Equal or overlapping podCIDRs are named with both nodes."""
    nodes = (
        KubeNode(name="node-a", pod_cidrs=("10.244.1.0/29",)),
        KubeNode(name="node-b", pod_cidrs=("10.244.0.0/16",)),
    )
    found = run(world(nodes=nodes), "podcidr")
    assert found.cause == "podcidr-duplicate"
    assert "node-b" in found.conclusion


def test_a_pod_on_no_node_on_the_hosts_network_or_ended() -> None:
    """These have no address of their own to ask for."""
    assert run(world(), "pod", Pod(name="x")).cause == "pod-unscheduled"
    host = run(world(), "pod", Pod(name="x", node_name="node-a", host_network=True))
    assert "hostNetwork" in host.conclusion
    ended = run(world(), "pod", Pod(name="x", node_name="node-a", phase="Succeeded"))
    assert "ended" in ended.conclusion


def test_a_node_that_was_not_read() -> None:
    """It is unknown, and named."""
    found = run(world(), "pod", Pod(name="x", node_name="node-z"))
    assert found.state is CheckState.UNKNOWN
    assert "node-z" in found.conclusion


def test_files_that_may_not_be_read() -> None:
    """No configuration is said to be missing where nobody could look."""
    for check in ("conf", "bridge", "lease"):
        found = run(world(DENIED), check)
        assert found.state is CheckState.UNKNOWN
        assert "needs root" in found.conclusion


def test_a_pool_of_another_system() -> None:
    """Leases that are not host-local's are not looked for in files."""
    calico = json.dumps({"name": "k8s", "plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"}}]})
    found = run(world({CONF: calico}), "lease")
    assert found.state is CheckState.SKIPPED
    assert "calico-ipam" in found.conclusion


def test_full_of_leases_of_which_nobody_knows() -> None:
    """Where a namespace of the node was not read, a lease may be its: no leak is claimed."""
    late = Pod(name="late", node_name="node-a", phase="Pending", uid="u2")
    files = {CONF: FLANNEL, ENV: SUBNET} | {
        f"/var/lib/cni/networks/cbr0/10.244.1.{last}": f"c{last}\neth0" for last in range(2, 7)
    }
    unread = Netns(name="other", node="node-a", role="pod", addresses=DENIED)
    found = run(world(files, pods=(WEB, late), spaces=(unread,)), "lease", late)
    assert found.state is CheckState.UNKNOWN
    sure = run(world(files, pods=(WEB, late)), "lease", late)
    assert sure.cause == "ipam-leaked-ips"
    assert "10.244.1.2" not in sure.conclusion  # web's


def test_the_same_address_on_another_node() -> None:
    """A namespace of any node that was read counts."""
    far = netns("far", "node-b", "10.244.1.2")
    found = run(world(spaces=(far,)), "sandbox")
    assert found.cause == "duplicate-ip"
    assert "far" in found.conclusion


def test_two_statuses_with_one_address() -> None:
    """By the objects alone: the younger pod is the one to go."""
    old = Pod(name="old", node_name="node-b", ips=("10.244.1.2",), created="2026-01-01T00:00:00Z")
    web = replace(WEB, created="2026-02-01T00:00:00Z")
    found = run(world(pods=(web, old)), "status", web)
    assert found.cause == "duplicate-ip"
    assert "delete pod web" in found.findings[0].repairs[0].lasting


def test_nothing_says_which_namespace_is_the_pods() -> None:
    """Without a control group, a cache and an object that says it, no pod is said to have no namespace."""
    nowhere = Pod(name="web", node_name="node-a", ips=("10.244.1.9",))
    found = run(world(pods=(nowhere,)), "sandbox", nowhere)
    assert found.state is CheckState.UNKNOWN
    told = run(world(), "sandbox", Pod(name="x", node_name="node-a", uid="u9"))
    assert told.cause == "pod-sandbox-missing"


def test_host_ports_need_somebody_who_calls() -> None:
    """A node alone cannot be called from elsewhere."""
    assert run(world(), "hostports").state is CheckState.SKIPPED
