"""Cilium's plugin without a kernel: what it recognises, names, and makes of bytes."""

import pytest
from msgspec.structs import replace

from nettrace.app.plugins import load_plugins
from nettrace.model.bpf import BpfEntry, BpfMap, BpfProgram, BpfState
from nettrace.model.change import SysctlSet
from nettrace.model.kube import Kube, KubeNode, Pod
from nettrace.model.links import Link, Peer
from nettrace.model.owed import OwedRoute, OwedSysctl
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.service_table import ServiceTable
from nettrace.model.snapshot import Netns, NodeState, Process, Snapshot
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace_plugins.cilium import plugin
from nettrace_plugins.cilium.identities import identity_words
from nettrace_plugins.cilium.services import service_table
from tests.diagnose.asking import ALL_CAUSES, context
from tests.diagnose.guided import with_section
from tests.diagnose.worlds import World, cluster


def node(**more: object) -> Snapshot:
    """One node with Cilium's devices and programs, and whatever else."""
    links = (
        Link(index=1, name="lo", kind="loopback"),
        Link(index=2, name="cilium_net", kind="veth"),
        Link(index=3, name="cilium_host", kind="veth"),
        Link(index=4, name="cilium_vxlan", kind="vxlan"),
        Link(
            index=5,
            name="lxc0123456789ab",
            kind="veth",
            bpf=(BpfProgram(hook="tc ingress", id=42, name="cil_from_container"),),
        ),
        Link(index=6, name="lxcbr0", kind="bridge"),
    )
    connect = BpfProgram(hook="connect4", id=43, name="cil_sock4_conne", cgroup="/")
    space = Netns(name="n", node="n", role="node", links=Known(links), socket_programs=Known((connect,)))
    state = NodeState(name="n", netns="n", **more)  # type: ignore[arg-type]
    return Snapshot(nodes={"n": state}, namespaces={"n": space})


def test_what_it_is_recognised_by() -> None:
    """Devices, programs, the agent and its files; the mode from the tunnel and who answers for Services."""
    snapshot = node(
        processes=Known((Process(pid=7, name="cilium-agent", netns="n"),)),
        files=Known({"/etc/cni/net.d/05-cilium.conflist": "{}", "/etc/cni/net.d/10-other.conf": "{}"}),
    )
    found = plugin.nettrace_detect(snapshot)
    assert found is not None
    assert (found.name, found.mode, found.nodes) == ("cilium", "vxlan, Services by connect4", ("n",))
    assert [one.text for one in found.evidence] == [
        "cilium_net (veth)",
        "cilium_host (veth)",
        "cilium_vxlan (vxlan)",
        "lxc0123456789ab (veth)",
        "tc ingress cil_from_container (id 42)",
        "connect4 cil_sock4_conne (id 43)",
        "cilium-agent (7)",
        "/etc/cni/net.d/05-cilium.conflist",
    ]


def test_where_it_is_not() -> None:
    """A bridge of LXC is not Cilium's, nor are programs of others."""
    link = Link(index=2, name="lxcbr0", kind="bridge", bpf=(BpfProgram(hook="xdp driver", id=1, name="xdp"),))
    space = Netns(name="n", node="n", role="node", links=Known((link,)))
    snapshot = Snapshot(nodes={"n": NodeState(name="n", netns="n")}, namespaces={"n": space})
    assert plugin.nettrace_detect(snapshot) is None
    assert plugin.nettrace_service_table(snapshot, "n") is None
    assert list(plugin.nettrace_map_words(snapshot, "n")) == []


def test_names() -> None:
    """Devices and chains in words; what is not Cilium's has no name."""
    plugins = load_plugins()
    snapshot = node()

    def name(thing: str) -> str | None:
        return plugins.name(snapshot, "n", thing)

    assert name("links/cilium_net") == "the other end of cilium_host"
    assert name("links/lxc0123456789ab") == "Cilium's end of the veth of a pod"
    assert name("xt/nat/CILIUM_POST_nat") == "Cilium: masquerade of its pods"
    assert "of the agent before" in (name("xt/nat/OLD_CILIUM_POST_nat") or "")
    assert name("links/lxcbr0") is None
    assert name("xt/nat/PREROUTING") is None
    assert name("10.0.0.1") is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "identity 1 (host)"),
        (6, "identity 6 (remote-node)"),
        (100, "identity 100 (reserved)"),
        (4711, "identity 4711 (a set of labels)"),
        (16777217, "identity 16777217 (a CIDR, of this node's numbering)"),
        (33554433, "identity 33554433 (a remote node, of this node's numbering)"),
    ],
)
def test_identities(number: int, words: str) -> None:
    """Reserved ones by their names, others by their scope (pkg/identity)."""
    assert identity_words(number) == words


def test_a_machine_of_the_other_byte_order() -> None:
    """Addresses and ports are in network order, numbers in the machine's."""
    services = BpfMap(
        id=1,
        name="cilium_lb4_serv",
        type="hash",
        key_size=12,
        value_size=12,
        max_entries=8,
        entries=Known(
            (
                BpfEntry("0a60000a00350000" + "11000000", "00000000" + "0001" + "0007" + "00000000"),
                BpfEntry("0a60000a00350001" + "11000000", "00000102" + "0000" + "0007" + "00000000"),
            )
        ),
    )
    backends = BpfMap(
        id=2,
        name="cilium_lb4_back",
        type="hash",
        key_size=4,
        value_size=8,
        max_entries=8,
        entries=Known((BpfEntry("00000102", "0a000105" + "24a0" + "1100"),)),
    )
    table = service_table(BpfState(maps=(services, backends), byteorder="big"), "n")
    assert isinstance(table, ServiceTable)
    (entry,) = table.entries
    assert (entry.address, entry.port, entry.proto) == ("10.96.0.10", 53, "udp")
    assert [(one.address, one.port) for one in entry.backends] == [("10.0.1.5", 9376)]
    assert table.unknown == ()


def test_entries_that_were_not_read() -> None:
    """That is said, not shown as an empty table."""
    refused = Missing(MissingKind.DENIED, "operation not permitted: reading this needs root")
    one = BpfMap(
        id=9,
        name="cilium_lb4_serv",
        type="hash",
        key_size=12,
        value_size=12,
        max_entries=8,
        pinned="/sys/fs/bpf/tc/globals/cilium_lb4_services_v2",
        entries=refused,
    )
    table = service_table(BpfState(maps=(one,)), "n")
    assert table is not None
    assert table.entries == ()
    assert table.unknown == (
        "cilium_lb4_services_v2 (map 9): operation not permitted: reading this needs root",
    )


def chained(*names: str, table: str = "nat") -> Known[XtRuleset]:
    """A rule set with chains of these names."""
    chains = {name: Known(XtChain()) for name in names}
    return Known(XtRuleset({table: Known(XtTable(dict(chains)))}))


def with_chains(snapshot: Snapshot, *names: str) -> Snapshot:
    """The node with chains in table nat."""
    return snapshot.with_section(SectionKey("n", "xt/nft"), chained(*names))


def test_what_kube_proxy_left() -> None:
    """Its chains of Services beside a program that answers for them; not those of one that runs."""
    none = Known(())
    chains = ("KUBE-SERVICES", "KUBE-SVC-ABC", "KUBE-SEP-ABC", "KUBE-POSTROUTING", "CILIUM_POST_nat")
    found = plugin.nettrace_detect(with_chains(node(processes=none), *chains))
    assert found is not None
    (left,) = found.leftovers
    assert left.text == "3 chains of kube-proxy, which does not run: KUBE-SERVICES ..."
    assert left.note == "connect4 cil_sock4_conne (id 43) answers for Services"
    running = Known((Process(pid=9, name="kube-proxy", netns="n"),))
    for snapshot in (
        with_chains(node(processes=running), *chains),
        with_chains(node(), *chains),  # nobody looked whether it runs
        with_chains(node(processes=none), "KUBE-POSTROUTING", "KUBE-KUBELET-CANARY"),
    ):
        found = plugin.nettrace_detect(snapshot)
        assert found is not None
        assert found.leftovers == ()


def test_what_cilium_left() -> None:
    """Chains without anything else of it; an older agent's beside the present one's."""
    space = Netns(name="n", node="n", role="node", links=Known(()), socket_programs=Known(()))
    bare = Snapshot(nodes={"n": NodeState(name="n", netns="n")}, namespaces={"n": space})
    found = plugin.nettrace_detect(with_chains(bare, "CILIUM_POST_nat", "CILIUM_PRE_nat"))
    assert found is not None
    assert found.evidence == ()
    assert [one.text for one in found.leftovers] == [
        "2 chains of Cilium's, which is not here: CILIUM_POST_nat, CILIUM_PRE_nat ..."
    ]
    found = plugin.nettrace_detect(with_chains(node(), "OLD_CILIUM_POST_nat", "CILIUM_POST_nat"))
    assert found is not None
    assert [one.text for one in found.leftovers] == ["1 chains OLD_CILIUM_*"]


def test_the_routes_it_owes() -> None:
    """Through a tunnel all by the router; without one, and with no route that says so, nothing."""
    router, pods = "network.cilium.io/ipv4-cilium-host", "network.cilium.io/ipv4-pod-cidr"
    notes, other = ({router: f"10.0.{n}.1", pods: f"10.0.{n}.0/24"} for n in (1, 2))
    nodes = (
        KubeNode(name="n", internal_ips=("172.18.0.11",), annotations=notes),
        KubeNode(name="m", internal_ips=("172.18.0.12",), annotations=other),
        KubeNode(name="k", internal_ips=("172.18.0.13",), annotations={}),
    )
    snapshot = replace(node(), kube=Kube(nodes=Known(nodes)))
    (owed,) = [item for item in plugin.nettrace_owes(snapshot, "n") if isinstance(item, OwedRoute)]
    assert (owed.route.dst, owed.route.prefsrc) == ("10.0.2.0/24", "10.0.1.1")
    assert [(hop.device, hop.via) for hop in owed.route.nexthops] == [("cilium_host", "10.0.1.1")]
    links = snapshot.namespaces["n"].links
    assert isinstance(links, Known)
    native = tuple(link for link in links.value if link.kind != "vxlan")
    snapshot = snapshot.with_section(SectionKey("n", "links"), Known(native))
    snapshot = snapshot.with_section(SectionKey("n", "routes"), Known(()))
    assert not any(isinstance(item, OwedRoute) for item in plugin.nettrace_owes(snapshot, "n"))
    third = replace(nodes[2], annotations={**other, pods: "10.0.3.0/24"})
    snapshot = replace(snapshot, kube=Kube(nodes=Known((*nodes[:2], third))))
    hop = NextHop(device="eth0", via="172.18.0.12")
    snapshot = snapshot.with_section(
        SectionKey("n", "routes"), Known((Route(dst="10.0.2.0/24", nexthops=(hop,)),))
    )
    found = [item for item in plugin.nettrace_owes(snapshot, "n") if isinstance(item, OwedRoute)]
    assert [(o.route.dst, o.route.nexthops[0].via) for o in found] == [
        ("10.0.2.0/24", "172.18.0.12"),
        ("10.0.3.0/24", "172.18.0.13"),
    ]


def test_what_its_devices_have_to_be_like() -> None:
    """Each device of Cilium's own is owed to filter nothing by reverse path; nobody else's is."""
    owed = [item for item in plugin.nettrace_owes(node(), "n") if isinstance(item, OwedSysctl)]
    assert {(item.name, item.values) for item in owed} == {
        (f"net.ipv4.conf.{name}.rp_filter", ("0",))
        for name in ("cilium_net", "cilium_host", "cilium_vxlan", "lxc0123456789ab")
    }


def with_pods(*routes: Route) -> Snapshot:
    """The node with two pods, each behind a device of its own."""
    snapshot = node()
    links = snapshot.namespaces["n"].links
    assert isinstance(links, Known)
    ends = tuple(
        Link(index=10 + n, name=f"lxc00000000000{n}", kind="veth", peer=Peer(f"pod{n}", 2)) for n in (1, 2)
    )
    pods = tuple(
        Pod(namespace="default", name=f"pod{n}", netns=f"pod{n}", node_name="n", ips=(f"10.0.1.{n}",))
        for n in (1, 2)
    )
    snapshot = snapshot.with_section(SectionKey("n", "links"), Known((*links.value, *ends)))
    snapshot = snapshot.with_section(SectionKey("n", "routes"), Known(routes))
    return replace(snapshot, kube=Kube(pods=Known(pods)))


def test_the_routes_to_pods_it_owes() -> None:
    """Where one pod has a route of its own, each has; where none has, nothing says that they are wanted."""
    assert not any(isinstance(item, OwedRoute) for item in plugin.nettrace_owes(with_pods(), "n"))
    one = Route(dst="10.0.1.1/32", nexthops=(NextHop(device="lxc000000000001"),), scope="link")
    owed = [item for item in plugin.nettrace_owes(with_pods(one), "n") if isinstance(item, OwedRoute)]
    assert [(item.subject, item.route.dst, item.route.nexthops[0].device) for item in owed] == [
        ("pod/default/pod1", "10.0.1.1/32", "lxc000000000001"),
        ("pod/default/pod2", "10.0.1.2/32", "lxc000000000002"),
    ]


def replaced(*processes: str) -> World:
    """flannel's cluster, in which Cilium's program answers for Services on node-a."""
    world = cluster()
    connect = BpfProgram(hook="connect4", id=43, name="cil_sock4_conne", cgroup="/kubepods")
    found = Known(tuple(Process(pid=n, name=name, netns="node-a") for n, name in enumerate(processes, 1)))
    world = with_section(world, "node-a", "socket_programs", Known((connect,)))
    return with_section(world, "node:node-a", "processes", found)


def test_rules_that_kube_proxy_left_are_met() -> None:
    """A flow that they translate: said once, and nothing is offered; not while kube-proxy runs."""
    cause = next(cause for cause in ALL_CAUSES if cause.id == "kubeproxy-leftover-with-replacement")
    world = replaced("sleep")
    flow = ("pod/client-near", "svc/hostnames")
    # what makes it fail is beside the point: the endpoint's node forwards nothing
    change = SysctlSet(netns="node-a", name="net.ipv4.ip_forward", value="0")
    (found,) = list(cause.candidates(context(world.edited(change), *flow)))
    assert found.changes == ()
    assert found.message.startswith("rules that kube-proxy left on node-a still translate this")
    assert found.lasting.startswith("kube-proxy --cleanup on this node")
    running = replaced("kube-proxy").edited(change)
    assert list(cause.candidates(context(running, *flow))) == []
