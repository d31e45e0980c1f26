"""Docker's two layouts: told by their chains, and what each owes the filter table."""

import json

import pytest

from nettrace.diagnose.difference import differences
from nettrace.lab.blueprint import Options
from nettrace.lab.topologies import describer
from nettrace.model.errors import UserError
from nettrace.model.links import Address
from nettrace.model.owed import OwedJump, OwedRule
from nettrace.model.section import NOT_READ, Known
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.parse.iptables import parse_save, rule_text
from nettrace_plugins.docker import plugin
from nettrace_plugins.docker.containers import has_proxy
from nettrace_plugins.docker.filtering import layout_of
from nettrace_plugins.docker.layout import BEFORE_28, SINCE_28, DockerNetwork, PublishedPort, rules_text
from tests.lab.test_blueprints import ROOT, describe

ACCEPT = "-A DOCKER -d 192.168.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT"
WEB = PublishedPort(host_port=8088, address="192.168.0.2", port=80)
NETWORKS = (
    DockerNetwork(
        bridge="docker0", prefix="192.168.0.0/24", containers=("192.168.0.2", "192.168.0.3"), published=(WEB,)
    ),
    DockerNetwork(bridge="br-vault", prefix="192.168.2.0/24", containers=("192.168.2.2",), internal=True),
)


def world(layout: str, *, lost: str = "") -> Snapshot:
    """A host with these networks, one published container, and one rule lost."""
    text = "".join(f"{line}\n" for line in rules_text(layout, NETWORKS).splitlines() if line != lost)
    record = {
        "Name": "/web",
        "State": {"Running": True},
        "NetworkSettings": {
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8088"}]},
            "Networks": {"bridge": {"IPAddress": "192.168.0.2", "IPPrefixLen": 24, "Gateway": "192.168.0.1"}},
        },
    }
    files = {
        "/var/lib/docker/containers/abc/config.v2.json": json.dumps(record),
        "/etc/docker/daemon.json": '{"userland-proxy": false}',
    }
    netns = Netns(
        name="host",
        node="host",
        role="node",
        addresses=Known((Address(device="docker0", address="192.168.0.1", prefixlen=24),)),
        xt_nft=Known(parse_save(text, "host")),
    )
    state = NodeState(name="host", netns="host", files=Known(files))
    return Snapshot(nodes={"host": state}, namespaces={"host": netns})


@pytest.mark.parametrize("layout", [BEFORE_28, SINCE_28])
def test_all_there_is_nothing_missing(layout: str) -> None:
    """The layout is told, and what it owes is what it writes."""
    snapshot = world(layout)
    assert layout_of(snapshot, "host") == layout
    found = plugin.nettrace_detect(snapshot)
    assert found is not None
    assert found.version == layout
    owed = plugin.nettrace_owes(snapshot, "host")
    assert any(isinstance(one, OwedRule) and one.table == "filter" for one in owed)
    assert differences(snapshot, owed) == ()


@pytest.mark.parametrize(
    ("layout", "lost"),
    [
        (layout, lost)
        for layout, own in (
            (BEFORE_28, "-A FORWARD -o docker0 -j DOCKER"),
            (SINCE_28, "-A FORWARD -j DOCKER-FORWARD"),
            (SINCE_28, "-A DOCKER-BRIDGE -o docker0 -j DOCKER"),
        )
        for lost in (
            own,
            "-A DOCKER -d 192.168.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT",
        )
    ],
)
def test_what_is_lost_is_owed(layout: str, lost: str) -> None:
    """The accept of a published port, and the way to it, in each layout."""
    snapshot = world(layout, lost=lost)
    (found,) = differences(snapshot, plugin.nettrace_owes(snapshot, "host"))
    assert isinstance(found.owed, OwedRule | OwedJump)
    assert f"-A {found.owed.chain} {rule_text(found.owed.rule)}" == lost


def test_a_host_without_its_filter_chains_is_owed_none() -> None:
    """No chain DOCKER in table filter, or the table not read: the layout is not known."""
    snapshot = world(SINCE_28)
    for rules in (NOT_READ, Known(parse_save("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n", "host"))):
        netns = snapshot.namespaces["host"]
        other = snapshot.with_netns(Netns(name="host", node="host", addresses=netns.addresses, xt_nft=rules))
        assert layout_of(other, "host") == ""
        assert not any(getattr(o, "table", "") == "filter" for o in plugin.nettrace_owes(other, "host"))


def test_the_proxy_runs_unless_it_is_told_not_to() -> None:
    """By daemon.json; without it, and with one that is broken, it does."""
    assert not has_proxy(world(SINCE_28), "host")
    assert has_proxy(Snapshot(), "host")
    state = NodeState(name="host", netns="host", files=Known({"/etc/docker/daemon.json": "{no"}))
    assert has_proxy(Snapshot(nodes={"host": state}), "host")


def test_an_internal_network_has_no_way_out() -> None:
    """No masquerade, no way to published ports; what is not of its prefix is dropped both ways."""
    for layout in (BEFORE_28, SINCE_28):
        lines = [line for line in rules_text(layout, NETWORKS).splitlines() if "br-vault" in line]
        assert "-A DOCKER-ISOLATION-STAGE-1 ! -d 192.168.2.0/24 -i br-vault -j DROP" in lines
        assert not any("MASQUERADE" in line or line.endswith("-j DOCKER") for line in lines)


def test_its_labs_have_three_networks() -> None:
    """Side by side behind the first one, and a port behind the published one."""
    made = describe("docker-28", Options(docker_net="10.50.0.0/24", publish=9000))
    (rules,) = made.rules.values()
    assert "--dport 9001 -j DNAT --to-destination 10.50.1.2:8080" in rules
    assert "-A PREROUTING -d 10.50.1.3/32 ! -i br-" in rules
    for options, words in (
        (Options(publish=65535), "no port"),
        (Options(docker_net="172.17.255.0/24", node_net="172.18.0.0/24"), "overlap"),
    ):
        with pytest.raises(UserError, match=words):
            describer("docker-27")("x", ROOT, options)
