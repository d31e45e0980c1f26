"""Snapshots of several nodes joined: who is next to whom, and who is not."""

import pytest
from msgspec.structs import replace

from nettrace.kube.resolve import resolve
from nettrace.model.errors import UserError
from nettrace.model.flow import Flow
from nettrace.model.kube import Kube, KubeNode
from nettrace.model.links import Neighbour, Peer
from nettrace.model.section import Known
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome, Walk
from nettrace.parse.snapshot_file import decode_snapshot, encode_snapshot
from nettrace.parse.snapshot_join import joined, narrowed
from nettrace.walk.walker import walk
from tests.diagnose.box import Box


def machine(number: int, name: str, address: str = "", *, kind: str = "device", length: int = 24) -> Snapshot:
    """A machine with one device that leads out; it listens on port 80."""
    box = Box(number, name, name, "node", net__ipv4__ip_forward="1")
    box.link("eth0", kind)
    box.address("eth0", address or f"192.0.2.{10 + number}", length)
    box.listen("tcp", 80)
    nodes = (KubeNode(name="c", internal_ips=("192.0.2.13",), pod_cidrs=("10.9.3.0/24",)),)
    return Snapshot(
        nodes={name: NodeState(name=name, netns=name)},
        namespaces={name: box.netns()},
        kube=Kube(nodes=Known(nodes), services=Known(()), pods=Known(())),
    )


def walked(snapshot: Snapshot, target: str) -> Walk:
    """Walk from node a."""
    flow = resolve(snapshot, "netns/a", target)
    assert isinstance(flow, Flow)
    found = walk(snapshot, flow)
    assert isinstance(found, Walk), found
    return found


def test_devices_on_one_network_are_joined() -> None:
    """Physical devices too: what leaves one machine arrives at the other, and the answer comes back."""
    snapshot = joined([machine(1, "a"), machine(2, "b")])
    assert set(snapshot.namespaces) == {"a", "b", "net-192.0.2.0-24"}
    assert walked(snapshot, "192.0.2.12:80").outcome is Outcome.CONNECTED
    assert decode_snapshot(encode_snapshot(snapshot), "x") == snapshot


def test_who_is_not_there_left_the_snapshot() -> None:
    """Somebody else on the network is named if the objects know him."""
    snapshot = joined([machine(1, "a"), machine(2, "b")])
    found = walked(snapshot, "192.0.2.13:80")
    assert found.verdict is Verdict.LEFT_SNAPSHOT
    assert "c (192.0.2.13)" in found.paths[0].reason
    assert walked(snapshot, "192.0.2.99:80").verdict is Verdict.LEFT_SNAPSHOT
    alone = walked(joined([machine(1, "a")]), "192.0.2.13:80")
    assert alone.verdict is Verdict.LEFT_SNAPSHOT
    assert "c (192.0.2.13)" in alone.paths[0].reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (machine(1, "a"), machine(2, "b", "198.51.100.12")),  # two networks
        (machine(1, "a", "10.0.2.15"), machine(2, "b", "10.0.2.15")),  # each its own, behind NAT
        (machine(1, "a", length=32), machine(2, "b", length=32)),
    ],
    ids=["networks", "twins", "host-addresses"],
)
def test_who_is_not_next_to_each_other(one: Snapshot, other: Snapshot) -> None:
    """Nothing is put between them."""
    assert set(joined([one, other]).namespaces) == {"a", "b"}


def test_a_neighbour_that_is_somebody_else() -> None:
    """Where a machine knows another MAC address for the other's address, these are two networks."""
    one = machine(1, "a")
    for mac, count in (("02:aa:aa:aa:aa:aa", 2), ("02:00:00:00:02:02", 3)):
        entry = Neighbour(device="eth0", address="192.0.2.12", mac=mac, state="reachable")
        known = one.with_netns(replace(one.namespaces["a"], neighbours=Known((entry,))))
        assert len(joined([known, machine(2, "b")]).namespaces) == count


def test_a_peer_of_another_file_is_not_taken_for_ours() -> None:
    """A veth whose other end was not taken along leads to no namespace of that name in another file."""
    one, other = machine(1, "a"), machine(2, "b", "198.51.100.12")
    netns = one.namespaces["a"]
    assert isinstance(netns.links, Known)
    links = tuple(
        replace(link, kind="veth", peer=Peer("b", 2)) if link.name == "eth0" else link
        for link in netns.links.value
    )
    snapshot = joined([one.with_netns(replace(netns, links=Known(links))), other])
    held = snapshot.namespaces["a"].links
    assert isinstance(held, Known)
    assert [link.peer.netns for link in held.value if link.peer is not None] == [None]


def test_what_one_node_knows() -> None:
    """Narrowing keeps a node's own namespaces; a node that is not there is an error."""
    snapshot = joined([machine(1, "a"), machine(2, "b")])
    found = narrowed(snapshot, "a")
    assert (set(found.namespaces), set(found.nodes)) == ({"a"}, {"a"})
    with pytest.raises(UserError, match="there is no node 'z'"):
        narrowed(snapshot, "z")
