"""Who hears of another MAC address, and who keeps the old one."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from nettrace.model.announce import announced
from nettrace.model.links import Address, Link, Neighbour
from nettrace.model.section import NOT_READ, Known
from nettrace.model.snapshot import Netns, Snapshot

OLD, NEW, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
LINK = Link(index=2, name="eth0", kind="veth", mac=OLD)
ADDRESSES = (
    Address(device="eth0", address="192.0.2.1", prefixlen=24),
    Address(device="eth0", address="2001:db8::1", prefixlen=64),
    Address(device="eth1", address="198.51.100.1", prefixlen=24),
)


def entry(address: str, mac: str = OLD, state: str = "stale") -> Neighbour:
    """What another namespace holds."""
    return Neighbour(device="up0", address=address, mac=mac, state=state)


HELD = entry("192.0.2.1")
ON = {"all": "1"}


def world(sysctls: Mapping[str, str], held: tuple[Neighbour, ...] = (HELD,)) -> Snapshot:
    """The sender with arp_notify as in *sysctls*, one who holds *held*, and one of whom nothing was read."""
    told = {f"net.ipv4.conf.{name}.arp_notify": value for name, value in sysctls.items()}
    sender = Netns(name="a", node="a", sysctls=Known(told), addresses=Known(ADDRESSES))
    hearer = Netns(name="b", node="b", neighbours=Known(held))
    return Snapshot(namespaces={"a": sender, "b": hearer, "c": Netns(name="c", node="c")})


def heard(before: Snapshot, link: Link = LINK) -> tuple[Neighbour, ...]:
    """What the other one holds after the announcement; the rest stays as it was."""
    after = announced(before, before.namespaces["a"], link, NEW)
    found = after.namespaces["b"].neighbours
    assert isinstance(found, Known)
    assert after.namespaces["a"] == before.namespaces["a"]
    assert after.namespaces["c"].neighbours == NOT_READ
    return found.value


@pytest.mark.parametrize("name", ["all", "eth0"])
def test_either_switch_announces(name: str) -> None:
    """arp_notify of all devices or of this one: who holds the old address takes the new one."""
    assert heard(world({name: "1"})) == (replace(HELD, mac=NEW),)


@pytest.mark.parametrize("sysctls", [{}, {"all": "0", "eth0": "0"}, {"eth1": "1"}])
def test_nothing_is_said_unasked(sysctls: dict[str, str]) -> None:
    """Without the switch, or with another device's, nobody hears of it."""
    assert heard(world(sysctls)) == (HELD,)


def test_a_device_that_is_down_says_nothing() -> None:
    """inetdev_event announces for devices that are up."""
    assert heard(world(ON), replace(LINK, up=False)) == (HELD,)


def test_addresses_that_were_not_read_announce_nothing() -> None:
    """What is announced is not known."""
    before = world(ON)
    assert heard(before.with_netns(replace(before.namespaces["a"], addresses=NOT_READ))) == (HELD,)


@pytest.mark.parametrize(
    "held",
    [
        entry("192.0.2.1", state="permanent"),
        entry("192.0.2.1", mac=OTHER),
        entry("192.0.2.9"),
        entry("198.51.100.1"),
        entry("2001:db8::1"),
    ],
    ids=["permanent", "of another MAC", "of another host", "of another device", "IPv6"],
)
def test_entries_that_stay(held: Neighbour) -> None:
    """A permanent entry, another's, another device's and IPv6's are not the announcement's."""
    assert heard(world(ON, (held, HELD))) == (held, replace(HELD, mac=NEW))
