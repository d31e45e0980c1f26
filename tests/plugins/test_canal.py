"""Canal: recognised where both halves are."""

import json

import pytest

from nettrace.model.links import Link
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace_plugins.canal import plugin

CONF = "/etc/cni/net.d/10-canal.conflist"
BOTH = json.dumps({"plugins": [{"type": "calico", "ipam": {"type": "host-local"}}]})


def world(text: str, device: str) -> Snapshot:
    """A node with a CNI configuration and a device."""
    netns = Netns(name="a", node="a", role="node", links=Known((Link(name=device, index=2, kind="vxlan"),)))
    state = NodeState(name="a", netns="a", files=Known({CONF: text}))
    return Snapshot(nodes={"a": state}, namespaces={"a": netns})


def test_both_halves_are_the_evidence() -> None:
    """Calico's plugin with host-local's addresses, and flannel's device."""
    found = plugin.nettrace_detect(world(BOTH, "flannel.1"))
    assert found is not None
    assert [one.text for one in found.evidence] == [CONF, "flannel.1"]
    assert found.owners == ()


@pytest.mark.parametrize(
    ("text", "device"),
    [
        (BOTH, "vxlan.calico"),
        (BOTH.replace("host-local", "calico-ipam"), "flannel.1"),
        ("{no json", "flannel.1"),
        ("[]", "flannel.1"),
        ('{"plugins": {}}', "flannel.1"),
        ('{"plugins": [{"type": "calico"}]}', "flannel.1"),
    ],
)
def test_one_half_is_not_canal(text: str, device: str) -> None:
    """Calico alone, flannel alone, and what is no configuration."""
    assert plugin.nettrace_detect(world(text, device)) is None
