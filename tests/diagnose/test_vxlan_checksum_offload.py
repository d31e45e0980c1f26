"""vxlan-checksum-offload as a cause: who wrote the sum, who finished it, who drops it; and only said."""

from nettrace.model import nft_expr as e
from nettrace.model import nft_statement as s
from nettrace.model.finding import Safety
from nettrace.model.offloads import DeviceOffloads
from nettrace.model.section import Known, Missing, MissingKind
from nettrace.model.walk import Outcome
from tests.diagnose.asking import diagnosed, walked
from tests.diagnose.guided import with_section
from tests.diagnose.worlds import World, cluster
from tests.walk.native import base, one_chain

CLIENT, FAR = "pod/client-near", "pod/hostnames-1"
#: ``udp dport 8472 udp checksum set 0x1234``
WRITES = (
    e.MetaExpr(1, "l4proto"),
    e.CmpExpr(1, "eq", "11"),
    e.PayloadExpr(1, "transport", 2, 2),
    e.CmpExpr(1, "eq", "2118"),
    e.ImmediateExpr(dreg=1, data="1234"),
    s.PayloadSetExpr(1, "transport", 6, 2),
)


def spoiling(*offloads: tuple[str, bool]) -> World:
    """The cluster, with the rule on node-a, and what its devices do; those of others finish checksums."""
    world = with_section(cluster(), "node-a", "nft", Known(one_chain(WRITES, at=base("postrouting"))))
    for name, netns in world.snapshot.namespaces.items():
        assert isinstance(netns.links, Known)
        does = tuple(DeviceOffloads(device=link.name, tx_checksums=True) for link in netns.links.value)
        world = with_section(world, name, "offloads", Known(does))
    held = tuple(DeviceOffloads(device=name, tx_checksums=on) for name, on in offloads)
    return with_section(world, "node-a", "offloads", Known(held))


def test_the_rule_and_the_device_are_the_evidence() -> None:
    """Named first, on the sending node, with the rule, the device that finished the sum, and the drop."""
    world = spoiling(("eth0", False), ("flannel.1", False))
    found = diagnosed(world, CLIENT, FAR).findings[0]
    assert (found.cause, found.where) == ("vxlan-checksum-offload", "node-a")
    assert "tunnel packets of flannel.1 on node-a arrive at node-b with a wrong UDP checksum" in found.message
    assert "table inet fw has written" in found.message
    notes = [one.note or "" for one in found.evidence]
    assert notes[0] == "writes the checksum on node-a"
    assert "node-a finishes the sum from what the rule left in it" in notes
    assert notes[-1] == "node-b drops it, and tells nobody"
    assert any(one.text == "eth0 tx-checksumming: off" for one in found.evidence)
    [repair] = found.repairs
    assert (repair.safety, repair.changes) == (Safety.ADVICE, ())
    assert "take the rule out" in repair.lasting


def test_a_device_that_finishes_it_is_no_cause() -> None:
    """With the offload the packet arrives."""
    world = spoiling(("eth0", True), ("flannel.1", True))
    assert walked(world, CLIENT, FAR).outcome is Outcome.CONNECTED


def test_what_no_tunnel_carries_is_untouched() -> None:
    """On the same node the rule meets nothing."""
    world = spoiling(("eth0", False))
    assert walked(world, "pod/hostnames-0", CLIENT).outcome is Outcome.CONNECTED


def test_a_snapshot_without_offloads_is_unknown() -> None:
    """No wrong cause is told: the walk is unknown, and says what it lacks."""
    absent = Missing(MissingKind.FAILED, "file old.json does not hold it")
    world = with_section(spoiling(), "node-a", "offloads", absent)
    answer = walked(world, CLIENT, FAR)
    assert answer.outcome is Outcome.UNKNOWN
    assert "node-a/offloads is not known" in answer.paths[0].reason
    assert all(one.cause != "vxlan-checksum-offload" for one in diagnosed(world, CLIENT, FAR).findings)
