"""Addresses in the model: what goes and comes with them, and what is refused."""

import pytest

from nettrace.model.change import AddressAdd, AddressDelete, Exact, LinkSet
from nettrace.model.edit import edit
from nettrace.model.links import Address
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.undo import undo_of
from nettrace.render.command import command
from tests.diagnose.worlds import cluster

GATEWAY = Address(device="cni0", address="10.244.1.1", prefixlen=24)


def routes(snapshot: Snapshot, netns: str) -> set[str]:
    """The destinations of a namespace's routes."""
    section = snapshot.namespaces[netns].routes
    assert isinstance(section, Known)
    return {route.dst for route in section.value}


def test_an_address_goes_with_its_routes_and_comes_back() -> None:
    """The connected network, the address itself and the broadcast go; the undo is exact."""
    snapshot = cluster().snapshot
    change = AddressDelete(netns="node-a", address=GATEWAY)
    assert command(change) == "ip addr del 10.244.1.1/24 dev cni0"
    broken = edit(snapshot, change)
    assert routes(snapshot, "node-a") - routes(broken, "node-a") >= {"10.244.1.0/24", "10.244.1.1/32"}
    assert "10.244.2.0/24" in routes(broken, "node-a")
    undo = undo_of(snapshot, change)
    assert isinstance(undo, Exact)
    assert undo.changes[0] == AddressAdd(netns="node-a", address=GATEWAY)
    assert command(undo.changes[0]) == "ip addr add 10.244.1.1/24 dev cni0"


def test_the_last_address_takes_the_default_route_with_it() -> None:
    """A pod that loses its only address loses all routes by that device; the undo brings them back."""
    snapshot = cluster().snapshot
    section = snapshot.namespaces["client-near"].addresses
    assert isinstance(section, Known)
    own = next(one for one in section.value if one.device == "eth0")
    change = AddressDelete(netns="client-near", address=own)
    assert "0.0.0.0/0" not in routes(edit(snapshot, change), "client-near")
    undo = undo_of(snapshot, change)
    assert isinstance(undo, Exact)
    assert any("default via" in command(one) for one in undo.changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (AddressAdd(netns="node-a", address=GATEWAY), "already has"),
        (
            AddressAdd(netns="node-a", address=Address(device="cni0", address="10.244.1.9", prefixlen=24)),
            "secondary",
        ),
        (
            AddressAdd(netns="node-a", address=Address(device="cni0", address="fd00::1", prefixlen=64)),
            "of a kind that is not changed",
        ),
        (
            AddressAdd(netns="node-a", address=Address(device="no0", address="10.9.9.9", prefixlen=24)),
            "no device no0",
        ),
        (
            AddressDelete(netns="node-a", address=Address(device="cni0", address="10.9.9.9", prefixlen=24)),
            "cni0 has no 10.9.9.9/24",
        ),
        (LinkSet(netns="node-a", device="flannel.1", attribute="address", value="x"), "no MAC address"),
        (
            LinkSet(netns="node-a", device="cni0", attribute="address", value="02:00:00:00:00:01"),
            "is not followed",
        ),
    ],
)
def test_what_the_model_does_not_follow_is_refused(change: AddressAdd, words: str) -> None:
    """What is there already, not there, or of a kind that is not modelled is an error that says so."""
    with pytest.raises(ValueError, match=words):
        edit(cluster().snapshot, change)


def test_another_mac_loses_the_neighbours() -> None:
    """The neighbours of a device go with its MAC address, permanent ones too, and the undo restores both."""
    snapshot = cluster().snapshot
    change = LinkSet(netns="node-a", device="flannel.1", attribute="address", value="02:00:00:00:00:99")
    section = edit(snapshot, change).namespaces["node-a"].neighbours
    assert isinstance(section, Known)
    assert not any(entry.device == "flannel.1" for entry in section.value)
    undo = undo_of(snapshot, change)
    assert isinstance(undo, Exact)
    assert len(undo.changes) == 2
