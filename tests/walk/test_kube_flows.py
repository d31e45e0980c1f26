"""The walk against 330 real flows through the real kube-proxy's rules (fixtures/kube-proxy-flows)."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome, Walk
from nettrace.model.xt import XtTable
from nettrace.model.xt_target import Dnat
from nettrace.parse.iptables import parse_save
from tests.walk.worlds import World, flow, walked

FIXTURE = Path(__file__).parents[2] / "fixtures" / "kube-proxy-flows"
FLOWS: list[dict[str, Any]] = json.loads((FIXTURE / "flows.json").read_text())
ORIGINS = {
    "pod 10.244.1.10 on this node": "pod-10.244.1.10",
    "this node itself": "node-a",
    "outside 192.168.50.10": "near",
    "outside 198.51.100.5": "far",
}


def backends() -> dict[str, set[tuple[str, int]]]:
    """Address -> (protocol, port) of every endpoint that the rules send to."""
    found: dict[str, set[tuple[str, int]]] = {}
    table = parse_save((FIXTURE / "iptables-save-c.txt").read_text()).tables["nat"]
    assert isinstance(table, Known)
    assert isinstance(table.value, XtTable)
    for chain in table.value.chains.values():
        assert isinstance(chain, Known)
        for rule in chain.value.rules:
            if isinstance(rule.target, Dnat) and rule.target.to.lo and rule.target.to.ports:
                proto = rule.proto.value if rule.proto else "tcp"
                found.setdefault(rule.target.to.lo, set()).add((proto, rule.target.to.ports.lo))
    return found


@lru_cache(maxsize=1)
def cluster() -> Snapshot:
    """node-a with its pods, node-b with the other pods, a router with somebody far behind it."""
    world = World()
    world.netns("node-a", "node-a", "node")
    world.netns("wire", "wire", "wire")
    for name in ("node-b", "router", "near"):
        world.netns(name)
    ports = []
    for name, host in (("node-a", 11), ("node-b", 12), ("router", 1), ("near", 10)):
        world.veth(name, "eth0", "wire", f"to-{name}")
        ports.append(f"to-{name}")
        world[name].address("eth0", f"192.168.50.{host}/24")
    world.bridge("wire", "br0", *ports)
    world.netns("far")
    world.veth("router", "eth1", "far", "eth0")
    world["router"].address("eth1", "198.51.100.1/24")
    world["far"].address("eth0", "198.51.100.5/24")
    world["far"].route("default", "eth0", "198.51.100.1")
    # everything that is no route of the node's own goes by the node, as the flows were sent
    for name, via in (("near", "192.168.50.11"), ("router", "192.168.50.11"), ("node-b", "192.168.50.1")):
        world[name].route("default", "eth0", via)
    # external IPs of these subnets belong to nobody but the rules
    for external in ("192.168.50.200", "198.51.100.200", "198.51.100.201"):
        world["near"].route(f"{external}/32", "eth0", "192.168.50.11")
        world["router"].route(f"{external}/32", "eth0", "192.168.50.11")
        world["far"].route(f"{external}/32", "eth0", "198.51.100.1")
    local = []
    for address, listening in backends().items():
        if address.startswith("10.244.1."):
            name = f"pod-{address}"
            world.netns(name, "node-a", "pod")
            local.append(name)
            world.veth("node-a", f"v{len(local)}", name, "eth0")
            world[name].address("eth0", f"{address}/24")
            world[name].route("default", "eth0", "10.244.1.1")
        elif address.startswith("10.244.2."):
            name = "node-b"
            world[name].address("lo", f"{address}/32")
        else:
            continue
        for proto, port in listening:
            world[name].listen(port, proto, address)
    world.bridge("node-a", "cni0", *(f"v{number}" for number in range(1, len(local) + 1)))
    for number in range(1, len(local) + 1):
        world["node-a"].port(f"v{number}", hairpin=True)
    world["near"].listen(6443)  # the endpoint of default/kubernetes
    node = world["node-a"]
    node.address("cni0", "10.244.1.1/24")
    node.route("default", "eth0", "192.168.50.1")
    node.route("10.244.2.0/24", "eth0", "192.168.50.12")
    node.sysctl("net.ipv4.ip_forward", 1)
    world["router"].sysctl("net.ipv4.ip_forward", 1)
    world["node-b"].route("10.244.1.0/24", "eth0", "192.168.50.11")
    for line in (FIXTURE / "sysctl-net.txt").read_text().splitlines():
        name, _, value = line.partition(" = ")
        if name in ("net.ipv4.conf.all.route_localnet", "net.ipv4.ip_forward"):
            node.sysctl(name, value)
    node.xt((FIXTURE / "iptables-save-c.txt").read_text())
    return world.snapshot()


def answer(real: dict[str, Any]) -> Walk:
    """Walk one of the flows."""
    source = "" if real["vantage"] == "this node itself" else real["saddr"]
    return walked(
        cluster(),
        flow(ORIGINS[real["vantage"]], real["ip"], real["port"], real["proto"], src=source),
    )


def name(real: dict[str, Any]) -> str:
    """A test's name for a flow."""
    who = ORIGINS[real["vantage"]].split("-")[0]
    return f"{who}-{real['service'].split('/')[-1]}-{real['kind']}-{real['ip']}:{real['port']}"


@pytest.mark.parametrize("real", FLOWS, ids=name)
def test_a_real_flow(real: dict[str, Any]) -> None:
    """What the real client got, and where conntrack sent it, is one of the walk's branches."""
    found = answer(real)
    outcomes = {path.outcome for path in found.paths}
    reasons = [(path.outcome, path.reason) for path in found.paths]
    assert Outcome.UNKNOWN not in outcomes, reasons
    if real["result"] == "CONNECTED" and "backend" not in real:
        assert outcomes == {Outcome.CONNECTED}, reasons
    elif real["result"] == "CONNECTED":
        address, _, port = real["backend"].rpartition(":")
        ends = {
            (path.endpoint.address, path.endpoint.port, path.endpoint.source)
            for path in found.paths
            if path.outcome is Outcome.CONNECTED and path.endpoint is not None
        }
        assert (address, int(port), real["client_seen_by_backend"]) in ends, reasons
    elif real["result"] == "ECONNREFUSED":
        # the node's own send() has failed with EPERM before the ICMP error is read
        own_udp = real["proto"] == "udp" and real["vantage"] == "this node itself"
        assert outcomes == {Outcome.DENIED if own_udp else Outcome.REFUSED}, reasons
    elif real["conntrack"] is None:
        dropped = Verdict.DENIED if real["vantage"] == "this node itself" else Verdict.DROPPED_BY_RULE
        assert {path.verdict for path in found.paths} == {dropped}, reasons
    else:
        assert real["proto"] == "udp" or outcomes <= {Outcome.TIMEOUT, Outcome.UNREACHABLE}, reasons
    if real["conntrack"] is not None:
        assert (real["conntrack"]["dnat_to"], real["conntrack"]["snat_to"]) in translations(found, real)


def translations(found: Walk, real: dict[str, Any]) -> set[tuple[str | None, str | None]]:
    """(destination, source) as each branch translated them on the node, None where it did not."""
    result: set[tuple[str | None, str | None]] = set()
    for path in found.paths:
        entry = next((one for one in path.learned if one.original.dst == real["ip"]), None)
        if entry is None:
            result.add((None, None))
            continue
        dnat = f"{entry.reply.src}:{entry.reply.sport}" if entry.reply.src != entry.original.dst else None
        snat = entry.reply.dst if entry.reply.dst != entry.original.src else None
        result.add((dnat, snat))
    return result
