"""Docker: what follows from the records of its containers."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.diagnose.difference import differences
from nettrace.model.change import ChainDelete, ChainSet, RuleDelete, RuleInsert
from nettrace.model.owed import Owed, OwedJump, OwedRule
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.snapshot import NodeState, Process, Snapshot
from nettrace.model.xt_target import Dnat, Masquerade
from nettrace.parse.iptables import parse_rule, rule_text
from nettrace_plugins.docker import plugin
from nettrace_plugins.docker.containers import running_containers
from tests.diagnose.asking import diagnosed
from tests.diagnose.faults import delete
from tests.diagnose.worlds import World, docker_host

BASE = "/var/lib/docker/containers/abc"


def owes(snapshot: Snapshot) -> tuple[Owed, ...]:
    """What Docker owes the host."""
    return tuple(plugin.nettrace_owes(snapshot, "docker-host"))


def texts(items: tuple[Owed, ...]) -> list[str]:
    """The owed rules as iptables prints them."""
    return [f"{o.chain} {rule_text(o.rule)}" for o in items if isinstance(o, OwedRule | OwedJump)]


def with_records(config: Any, host: Any = None) -> Snapshot:
    """The Docker host with the record of one container instead of its own."""
    files = {f"{BASE}/config.v2.json": config if isinstance(config, str) else json.dumps(config)}
    if host is not None:
        files[f"{BASE}/hostconfig.json"] = json.dumps(host)
    snapshot = docker_host().snapshot
    node = replace(snapshot.nodes["docker-host"], files=Known(files))
    return replace(snapshot, nodes={"docker-host": node})


def record(ports: Any = None, *, running: bool = True, **network: Any) -> dict[str, Any]:
    """A container's record."""
    place = {"IPAddress": "192.168.0.2", "IPPrefixLen": 24, "Gateway": "192.168.0.1", **network}
    settings = {"Networks": {"bridge": place}, "Ports": ports or {}}
    return {"Name": "/web", "State": {"Running": running}, "NetworkSettings": settings}


def test_what_a_published_container_is_owed() -> None:
    """Masquerade for its network, DNAT for its port, and the jumps to the chain."""
    items = owes(docker_host().snapshot)
    assert texts(items) == [
        "POSTROUTING -s 192.168.0.0/24 ! -o docker0 -j MASQUERADE",
        "DOCKER ! -i docker0 -p tcp -m tcp --dport 8088 -j DNAT --to-destination 192.168.0.2:80",
        "PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
    ]
    assert differences(docker_host().snapshot, items) == ()
    assert {o.owner for o in items} == {"dockerd"}


def test_rules_that_are_gone_are_owed_in_dockers_form() -> None:
    """With an empty nat table the same is owed, as dockerd writes it; a host address and UDP count."""
    world = docker_host()
    items = owes(world.snapshot)
    bare = world.snapshot.with_netns(replace(world.snapshot.namespaces["docker-host"], xt_nft=NOT_READ))
    assert owes(bare) == items
    ports = {"53/udp": [{"HostIp": "172.18.0.11", "HostPort": "53"}]}
    to = "DNAT --to-destination 192.168.0.2:53"
    assert f"DOCKER -d 172.18.0.11/32 ! -i docker0 -p udp -m udp --dport 53 -j {to}" in texts(
        owes(with_records(record(ports)))
    )


def test_a_rule_that_does_the_same_is_nobodys_mistake() -> None:
    """Where masquerade, DNAT or jump stand in another form, that form is what is owed."""
    world = docker_host()
    for chain, old, new in (
        ("POSTROUTING", Masquerade, "-s 192.168.0.0/16 -o eth0 -j MASQUERADE"),
        ("DOCKER", Dnat, "-p tcp -m tcp --dport 8088 -j DNAT --to-destination 192.168.0.2:80"),
    ):
        (gone,) = delete(world, "docker-host", chain, lambda r, t=old: isinstance(r.target, t))  # type: ignore[misc]
        assert isinstance(gone, RuleDelete)
        put = RuleInsert(
            netns="docker-host", backend="nft", table="nat", chain=chain, position=1, rule=parse_rule(new)
        )
        other = world.edited(gone, put)
        assert differences(other.snapshot, owes(other.snapshot)) == ()
    for near in (
        "-s 192.168.0.0/24 -o docker0 -j MASQUERADE",
        "-s 10.0.0.0/8 -j MASQUERADE",
        "-s 192.168.0.0/24 -m mark --mark 0x1 -j MASQUERADE",
        "! -s 192.168.0.0/24 -j MASQUERADE",
        "-j MASQUERADE",
    ):
        (gone,) = delete(world, "docker-host", "POSTROUTING", lambda r: isinstance(r.target, Masquerade))
        put = RuleInsert(
            netns="docker-host",
            backend="nft",
            table="nat",
            chain="POSTROUTING",
            position=1,
            rule=parse_rule(near),
        )
        other = world.edited(gone, put)
        assert len(differences(other.snapshot, owes(other.snapshot))) == 1


def test_dnat_straight_in_prerouting_needs_no_jump() -> None:
    """A hand-made DNAT in PREROUTING is taken for the published port's."""
    world = docker_host()
    (gone,) = delete(world, "docker-host", "DOCKER", lambda r: isinstance(r.target, Dnat))
    rule = parse_rule("-p tcp -m tcp --dport 8088 -j DNAT --to-destination 192.168.0.2:80")
    put = RuleInsert(
        netns="docker-host", backend="nft", table="nat", chain="PREROUTING", position=1, rule=rule
    )
    items = owes(world.edited(gone, put).snapshot)
    assert not any(isinstance(o, OwedJump) for o in items)


@pytest.mark.parametrize(
    "config",
    [
        "{broken",
        "[]",
        record(running=False),
        {"State": {"Running": True}, "NetworkSettings": {"Networks": []}},
        record(IPAddress=""),
        record(IPAddress="fd00::2", Gateway="fd00::1"),
        record(IPPrefixLen=0),
        record(IPPrefixLen="24"),
        record(Gateway="192.168.77.1"),
    ],
)
def test_records_that_say_too_little_owe_nothing(config: Any) -> None:
    """A stopped container, a broken record, a network without an IPv4 bridge here: nothing is made up."""
    assert owes(with_records(config)) == ()


@pytest.mark.parametrize(
    "ports",
    [
        {"80/tcp": None},
        {"80/tcp": [{"HostIp": "::", "HostPort": "8088"}]},
        {"80/tcp": [{"HostIp": "everywhere", "HostPort": "8088"}]},
        {"80/tcp": [{"HostIp": "", "HostPort": ""}]},
        {"80/tcp": [{"HostIp": "", "HostPort": "0"}]},
        {"x/tcp": [{"HostIp": "", "HostPort": "8088"}]},
        {"80/tcp": ["odd"]},
        ["odd"],
    ],
)
def test_ports_that_are_not_published_over_ipv4_owe_no_rule(ports: Any) -> None:
    """Unpublished, IPv6-only and malformed ports give no DNAT."""
    items = owes(with_records(record(ports)))
    assert texts(items) == ["POSTROUTING -s 192.168.0.0/24 ! -o docker0 -j MASQUERADE"]


def test_ports_and_names_come_from_either_record() -> None:
    """Without ports in the state the wanted bindings count; a nameless container is called by its id."""
    config = record()
    del config["Name"]
    bindings = {"PortBindings": {"80": [{"HostIp": "0.0.0.0", "HostPort": "8088"}]}}
    (container,) = running_containers(with_records(config, bindings), "docker-host")
    assert container.name == "abc"
    assert [(p.proto, p.port, p.host_ip, p.host_port) for p in container.published] == [("tcp", 80, "", 8088)]


def test_the_bridge_before_addresses_are_read() -> None:
    """Docker's own network is taken to be docker0's until addresses tell; others are left out."""
    snapshot = docker_host().snapshot
    unread = snapshot.with_netns(replace(snapshot.namespaces["docker-host"], addresses=NOT_READ))
    assert len(owes(unread)) == 4
    config = record()
    config["NetworkSettings"]["Networks"] = {"custom": config["NetworkSettings"]["Networks"]["bridge"]}
    custom = with_records(config)
    custom = custom.with_netns(replace(custom.namespaces["docker-host"], addresses=NOT_READ))
    assert owes(custom) == ()
    assert plugin.nettrace_owes(snapshot, "nobody") == ()


def test_a_wiped_chain_comes_back_with_its_jump() -> None:
    """With chain DOCKER and its jumps gone, the published port's repair brings all of it."""
    world = docker_host()
    place = {"netns": "docker-host", "backend": "nft", "table": "nat"}
    for chain in ("PREROUTING", "OUTPUT"):
        world = world.edited(*delete(world, "docker-host", chain, lambda r: True))
    world = world.edited(ChainSet(**place, chain="DOCKER", rules=()), ChainDelete(**place, chain="DOCKER"))
    found = diagnosed(world, "internet", "node/docker-host:8088")
    assert found.findings[0].cause == "docker-dnat-missing"
    assert found.findings[0].repairs[0].effect == "with it: connected in 1 of 1 (walked)"


def test_a_port_that_is_not_the_asked_one_is_left_alone() -> None:
    """Another container's missing rule is no finding for this flow."""
    world = docker_host()
    broken = world.edited(*delete(world, "docker-host", "DOCKER", lambda r: isinstance(r.target, Dnat)))
    assert diagnosed(broken, "container/web", "internet:80").met is True


def test_detection_and_names() -> None:
    """Docker is recognised by records, process or bridge; it names its chains and containers."""
    world = docker_host()
    found = plugin.nettrace_detect(world.snapshot)
    assert found is not None
    assert (found.name, found.nodes) == ("docker", ("docker-host",))
    running = NodeState(
        name="n", netns="gone", processes=Known((Process(pid=7, name="dockerd"), Process(pid=8, name="sh")))
    )
    alone = plugin.nettrace_detect(Snapshot(nodes={"n": running}))
    assert alone is not None
    assert [piece.text for piece in alone.evidence] == ["dockerd (7)"]
    assert plugin.nettrace_detect(Snapshot(nodes={"n": replace(running, processes=Known(()))})) is None
    assert plugin.nettrace_name(world.snapshot, "docker-host", "xt/nat/DOCKER") == "Docker's published ports"
    assert plugin.nettrace_name(world.snapshot, "docker-host", "192.168.0.2") == "container web"
    assert plugin.nettrace_name(world.snapshot, "docker-host", "192.168.0.9") is None
    assert plugin.nettrace_name(world.snapshot, "internet", "192.168.0.2") is None
    assert SectionKey("node:docker-host", "files") in plugin.nettrace_sections(world.snapshot)


def test_worlds_are_docker() -> None:
    """The world of these tests is one in which Docker owes something."""
    assert isinstance(docker_host(), World)
    assert owes(docker_host().snapshot)
