"""A checksum that a rule has written, on models: what devices' offloads decide, and what is open."""

import pytest

from nettrace.model import nft_expr as e
from nettrace.model import nft_statement as s
from nettrace.model.flow import Flow
from nettrace.model.offloads import DeviceOffloads
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Needs, Path
from nettrace.parse.snapshot_file import decode_snapshot, encode_snapshot
from nettrace.walk import walk
from tests.walk.native import base, one_chain
from tests.walk.worlds import TO_SERVER, UDP_TO_SERVER, World, flow, one_path, router

OFFSETS = {"tcp": 16, "udp": 6}


def writes(proto: str, value: int = 0x1234) -> tuple[e.Expression, ...]:
    """``meta l4proto PROTO, udp checksum set VALUE``."""
    return (
        e.MetaExpr(1, "l4proto"),
        e.CmpExpr(1, "eq", {"tcp": "06", "udp": "11"}[proto]),
        e.ImmediateExpr(dreg=1, data=f"{value:04x}"),
        s.PayloadSetExpr(1, "transport", OFFSETS[proto], 2),
    )


def spoiled(
    proto: str, *, at: str = "client", hook: str = "postrouting", value: int = 0x1234, **devices: bool
) -> Snapshot:
    """The router, with the rule in one namespace, and whether devices of *at* finish checksums; others do."""
    world = router()
    world[at].nft = one_chain(writes(proto, value), at=base(hook))
    snapshot = world.snapshot()
    for name, space in world.spaces.items():
        does = devices if name == at else dict.fromkeys(space.links, True)
        held = tuple(DeviceOffloads(device=device, tx_checksums=on) for device, on in does.items())
        snapshot = snapshot.with_section(SectionKey(name, "offloads"), Known(held))
    return snapshot


@pytest.mark.parametrize(("asked", "proto"), [(TO_SERVER, "tcp"), (UDP_TO_SERVER, "udp")])
@pytest.mark.parametrize(("on", "verdict"), [(True, Verdict.DELIVERED), (False, Verdict.BAD_CHECKSUM)])
def test_a_device_that_finishes_it_hides_it(asked: Flow, proto: str, on: bool, verdict: Verdict) -> None:
    """With the offload nobody looks; without it the sum is wrong for good, and the receiver drops."""
    path = one_path(spoiled(proto, eth0=on), asked)
    assert path.verdict is verdict
    if not on:
        last = path.request.last
        assert last is not None
        assert (last.netns, last.stage, last.stops) == ("server", Stage.DELIVER, True)
        assert f"its {proto.upper()} checksum is wrong" in path.reason


def test_a_zero_says_that_udp_has_no_checksum() -> None:
    """Written as zero it is not called wrong."""
    assert one_path(spoiled("udp", value=0, eth0=False), UDP_TO_SERVER).verdict is not Verdict.BAD_CHECKSUM


def test_the_rule_is_one_of_another_protocol() -> None:
    """Nothing is asked of devices where no checksum was written."""
    world = router()
    world["client"].nft = one_chain(writes("udp"), at=base("postrouting"))
    assert one_path(world, TO_SERVER).verdict is Verdict.DELIVERED


def open_path(snapshot: Snapshot) -> Path:
    """A walk of TCP that ends unknown."""
    path = one_path(snapshot, TO_SERVER)
    assert path.verdict is Verdict.UNKNOWN
    return path


def test_a_device_that_does_not_say() -> None:
    """Whether the sum is finished is not known, and the device is named."""
    path = open_path(spoiled("tcp"))
    assert "whether eth0 of client finishes those it sends is not known" in path.reason
    assert path.request.last is not None


def test_a_snapshot_that_does_not_hold_offloads() -> None:
    """Not read: they are asked for.  Absent from a file: unknown, with the file as the reason."""
    snapshot, key = spoiled("tcp", eth0=True), SectionKey("client", "offloads")
    answer = walk(snapshot.with_section(key, NOT_READ), TO_SERVER)
    assert isinstance(answer, Needs)
    assert key in answer.keys
    absent = Missing(MissingKind.FAILED, "file old.json does not hold it")
    path = open_path(snapshot.with_section(key, absent))
    assert path.reason == "client/offloads is not known: file old.json does not hold it"


def test_a_snapshot_keeps_them() -> None:
    """What devices do comes back from a file."""
    snapshot = spoiled("tcp", eth0=False, lo=True)
    assert decode_snapshot(encode_snapshot(snapshot), "x").namespaces == snapshot.namespaces


def test_what_others_sent_is_open() -> None:
    """How far the sum is of a packet that a router passes on is not told by the router's state."""
    path = open_path(spoiled("tcp", at="r", hook="forward", c=False, s=True))
    assert "whether anybody finds it wrong depends on who sent it" in path.reason


def test_connection_tracking_looks_too() -> None:
    """A router that tracks finds it wrong in PREROUTING: INVALID, which its rules may drop."""
    world = router()
    world["client"].nft = one_chain(writes("udp"), at=base("postrouting"))
    world["r"].filter("-A FORWARD -m conntrack --ctstate INVALID -j DROP")
    held = (DeviceOffloads(device="eth0", tx_checksums=False),)
    snapshot = world.snapshot().with_section(SectionKey("client", "offloads"), Known(held))
    assert one_path(snapshot, UDP_TO_SERVER).verdict is Verdict.DROPPED_BY_RULE
    world["r"].sysctl("net.netfilter.nf_conntrack_checksum", 0)
    snapshot = world.snapshot().with_section(SectionKey("client", "offloads"), Known(held))
    assert one_path(snapshot, UDP_TO_SERVER).verdict is Verdict.BAD_CHECKSUM


def test_what_goes_into_a_tunnel_is_not_followed() -> None:
    """A wrong sum inside VXLAN is somebody else's to find."""
    world = World()
    for name in ("one", "two"):
        world.netns(name)
    world.veth("one", "eth0", "two", "eth0")
    for number, name in enumerate(("one", "two"), 1):
        world[name].address("eth0", f"192.0.2.{number}/24")
        world.vxlan(name, "vx", f"192.0.2.{number}")
        world[name].address("vx", f"10.9.0.{number}/24")
    for name, other, number in (("one", "two", 2), ("two", "one", 1)):
        world[name].neighbour("vx", f"10.9.0.{number}", world.mac(other, "vx"))
        world[name].bridge_fdb("vx", world.mac(other, "vx"), f"192.0.2.{number}")
    world["two"].listen(80)
    world["one"].nft = one_chain(writes("tcp"), at=base("postrouting"))
    held = tuple(DeviceOffloads(device=name, tx_checksums=True) for name in ("eth0", "vx"))
    snapshot = world.snapshot().with_section(SectionKey("one", "offloads"), Known(held))
    path = one_path(snapshot, flow("one", "10.9.0.2", 80))
    assert path.verdict is Verdict.UNKNOWN
    assert "goes into a tunnel, which is not followed" in path.reason
