"""
The fourteen faults, as the shell commands that make them.

Lives here: for each cause the commands (found by looking at the node with iptables, ip and
bridge, never through nettrace), the flow that they hurt, and what a client then sees.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from tests.acceptance.bench import Bench

__all__ = ["FAULTS", "Fault", "Scene", "veth_of"]


class Scene(NamedTuple):
    """Names and addresses of one lab, read from its record and manifests."""

    bench: Bench
    service: str  # namespace/name of the Service under test
    cluster_ip: str
    port: int
    node_port: int
    target_port: int
    endpoints: dict[str, str]  # pod's namespace/name -> address
    node_of: dict[str, str]  # pod's namespace/name -> node
    client: dict[str, str]  # node -> a pod on it that is no endpoint
    pod_cidr: dict[str, str]  # node -> its pod CIDR
    node_ip: dict[str, str]
    outside_ip: str


class Fault(NamedTuple):
    """One cause: how it is made, whom it hurts."""

    cause: str
    topology: str
    inject: Callable[[Scene], list[tuple[str, str]]]  # (member, shell command)
    flow: Callable[[Scene], tuple[str, str]]  # what is traced
    real: Callable[[Scene], tuple[str, str, int]]  # member, address, port of the real connection
    outcomes: frozenset[str]  # what the broken connections may look like; "connected" where only some fail


def _other(scene: Scene, node: str) -> str:
    return next(n for n in scene.node_of.values() if n != node)


def _nodes(scene: Scene) -> tuple[str, str]:
    """A node with one endpoint (the near one) and the node with the most (the far one)."""
    nodes = sorted(set(scene.node_of.values()), key=lambda n: list(scene.node_of.values()).count(n))
    return nodes[0], nodes[-1]


def _pod_on(scene: Scene, node: str) -> str:
    return next(pod for pod, where in scene.node_of.items() if where == node)


def _rules(scene: Scene, node: str, table: str = "nat") -> list[str]:
    return scene.bench.shell(node, f"iptables -t {table} -S").splitlines()


def _delete(table: str, rule: str) -> str:
    return f"iptables -t {table} " + rule.replace("-A ", "-D ", 1)


def veth_of(scene: Scene, node: str, pod: str) -> str:
    """The bridge port that leads to a pod, by the peer's index."""
    inside = json.loads(scene.bench.shell(pod, "ip -j link show eth0"))[0]
    peer = int(inside["link_index"])
    for link in json.loads(scene.bench.shell(node, "ip -j link")):
        if link["ifindex"] == peer:
            return str(link["ifname"])
    raise AssertionError(f"no port for {pod} on {node}")


# --- what is asked ---------------------------------------------------------------------


def _pod_to_service(scene: Scene) -> tuple[str, str]:
    near, _ = _nodes(scene)
    return f"pod/{scene.client[near]}", f"svc/{scene.service}:{scene.port}"


def _real_pod_to_service(scene: Scene) -> tuple[str, str, int]:
    near, _ = _nodes(scene)
    return scene.client[near], scene.cluster_ip, scene.port


def _pod_to_other_node(scene: Scene) -> tuple[str, str]:
    near, far = _nodes(scene)
    return f"pod/{scene.client[near]}", f"pod/{_pod_on(scene, far)}:{scene.target_port}"


def _real_pod_to_other_node(scene: Scene) -> tuple[str, str, int]:
    near, far = _nodes(scene)
    return scene.client[near], scene.endpoints[_pod_on(scene, far)], scene.target_port


def _outside_to_node_port(scene: Scene) -> tuple[str, str]:
    near, _ = _nodes(scene)
    return "internet", f"node/{near}:{scene.node_port}"


def _real_outside_to_node_port(scene: Scene) -> tuple[str, str, int]:
    near, _ = _nodes(scene)
    return "internet", scene.node_ip[near], scene.node_port


def _pod_to_outside(scene: Scene) -> tuple[str, str]:
    near, _ = _nodes(scene)
    return f"pod/{scene.client[near]}", "internet:80"


def _real_pod_to_outside(scene: Scene) -> tuple[str, str, int]:
    near, _ = _nodes(scene)
    return scene.client[near], scene.outside_ip, 80


def _pod_to_itself(scene: Scene) -> tuple[str, str]:
    near, _ = _nodes(scene)
    return f"pod/{_pod_on(scene, near)}", f"svc/{scene.service}:{scene.port}"


def _real_pod_to_itself(scene: Scene) -> tuple[str, str, int]:
    near, _ = _nodes(scene)
    return _pod_on(scene, near), scene.cluster_ip, scene.port


def _docker_in(scene: Scene) -> tuple[str, str]:
    return "internet", "node/docker-host:8088"


def _real_docker_in(scene: Scene) -> tuple[str, str, int]:
    return "internet", scene.node_ip["docker-host"], 8088


# --- what is broken --------------------------------------------------------------------


def ip_forward_off(scene: Scene) -> list[tuple[str, str]]:
    """Sysctl net.ipv4.ip_forward=0 in the sender's node."""
    return [(_nodes(scene)[0], "sysctl -qw net.ipv4.ip_forward=0")]


def masquerade_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the rule that masquerades what leaves the pod network."""
    near, _ = _nodes(scene)
    rule = next(
        r
        for r in _rules(scene, near)
        if "MASQUERADE" in r and "KUBE" not in r and re.search(r"(^|[^!] )-s ", r)
    )
    return [(near, _delete("nat", rule))]


def docker_dnat_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the DNAT of the published port in chain DOCKER."""
    rule = next(r for r in _rules(scene, "docker-host") if "--dport 8088" in r)
    return [("docker-host", _delete("nat", rule))]


def forward_policy_drop(scene: Scene) -> list[tuple[str, str]]:
    """Policy DROP in FORWARD of the sender's node."""
    return [(_nodes(scene)[0], "iptables -P FORWARD DROP")]


def bridge_nf_off(scene: Scene) -> list[tuple[str, str]]:
    """Sysctl bridge-nf-call-iptables=0 on the client's node."""
    return [(_nodes(scene)[0], "sysctl -qw net.bridge.bridge-nf-call-iptables=0")]


def hairpin_off(scene: Scene) -> list[tuple[str, str]]:
    """Hairpin off on the port of the pod that calls its own Service."""
    near, _ = _nodes(scene)
    return [(near, f"bridge link set dev {veth_of(scene, near, _pod_on(scene, near))} hairpin off")]


def kube_postrouting_missing(scene: Scene) -> list[tuple[str, str]]:
    """Flush KUBE-POSTROUTING on the node that is called."""
    return [(_nodes(scene)[0], "iptables -t nat -F KUBE-POSTROUTING")]


def service_jump_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the jump from PREROUTING to KUBE-SERVICES."""
    near, _ = _nodes(scene)
    rule = next(r for r in _rules(scene, near) if r.startswith("-A PREROUTING") and "KUBE-SERVICES" in r)
    return [(near, _delete("nat", rule))]


def service_rules_absent(scene: Scene) -> list[tuple[str, str]]:
    """Delete the rule of the Service's cluster IP in KUBE-SERVICES."""
    near, _ = _nodes(scene)
    rule = next(
        r
        for r in _rules(scene, near)
        if r.startswith("-A KUBE-SERVICES")
        and f"-d {scene.cluster_ip}/32" in r
        and f"--dport {scene.port} " in r
    )
    return [(near, _delete("nat", rule))]


def _redirect_endpoint(
    scene: Scene, node: str, change: Callable[[str], str], *, all_of_them: bool
) -> list[tuple[str, str]]:
    """Replace the DNAT rules of the Service's endpoint chains by what *change* makes of them."""
    commands = []
    for rule in _rules(scene, node):
        to = re.search(r"--to-destination (\S+)", rule)
        if to is None or to[1].split(":")[0] not in scene.endpoints.values():
            continue
        if f":{scene.target_port}" not in to[1]:
            continue
        chain = rule.split()[1]
        body = rule.split(" ", 2)[2].replace(to[1], change(to[1]))
        commands.append((node, f"iptables -t nat -R {chain} 2 {body}"))
    assert commands
    return commands if all_of_them else commands[:1]


def stale_endpoint_rule(scene: Scene) -> list[tuple[str, str]]:
    """One endpoint's DNAT leads to an address that no pod has any more."""
    near, _ = _nodes(scene)

    def gone(to: str) -> str:
        address, port = to.split(":")
        return f"{address.rsplit('.', 1)[0]}.77:{port}"

    return _redirect_endpoint(scene, near, gone, all_of_them=False)


def svc_wrong_targetport(scene: Scene) -> list[tuple[str, str]]:
    """Every endpoint's DNAT leads to port 9999, on which nobody listens."""
    near, _ = _nodes(scene)
    return _redirect_endpoint(scene, near, lambda to: to.split(":")[0] + ":9999", all_of_them=True)


def flannel_fdb_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the FDB entry of the peer's VTEP."""
    near, far = _nodes(scene)
    for entry in json.loads(scene.bench.shell(near, "bridge -j fdb show dev flannel.1")):
        if entry.get("dst") == scene.node_ip[far]:
            return [(near, f"bridge fdb del {entry['mac']} dev flannel.1 dst {entry['dst']} self")]
    raise AssertionError("no FDB entry for the peer")


def pod_route_missing(scene: Scene) -> list[tuple[str, str]]:
    """Delete the route to the peer's pod CIDR."""
    near, far = _nodes(scene)
    return [(near, f"ip route del {scene.pod_cidr[far]}")]


def rp_filter_strict(scene: Scene) -> list[tuple[str, str]]:
    """Strict rp_filter on the far node, and a path there that is not the way back."""
    near, far = _nodes(scene)
    return [
        (far, "sysctl -qw net.ipv4.conf.all.rp_filter=1"),
        (near, f"ip route replace {scene.pod_cidr[far]} via {scene.node_ip[far]} dev eth0"),
    ]


def _fault(
    cause: str,
    inject: Callable[[Scene], list[tuple[str, str]]],
    flow: Callable[[Scene], tuple[str, str]],
    real: Callable[[Scene], tuple[str, str, int]],
    outcomes: set[str],
    topology: str = "flannel-vxlan",
) -> Fault:
    return Fault(cause, topology, inject, flow, real, frozenset(outcomes))


FAULTS: dict[str, Fault] = {
    fault.cause: fault
    for fault in (
        _fault("ip-forward-off", ip_forward_off, _pod_to_other_node, _real_pod_to_other_node, {"timeout"}),
        _fault("masquerade-missing", masquerade_missing, _pod_to_outside, _real_pod_to_outside, {"timeout"}),
        _fault(
            "docker-dnat-missing", docker_dnat_missing, _docker_in, _real_docker_in, {"refused"}, "docker"
        ),
        _fault(
            "forward-policy-drop",
            forward_policy_drop,
            _pod_to_other_node,
            _real_pod_to_other_node,
            {"timeout"},
        ),
        _fault(
            "bridge-nf-off", bridge_nf_off, _pod_to_service, _real_pod_to_service, {"timeout", "connected"}
        ),
        _fault("hairpin-off", hairpin_off, _pod_to_itself, _real_pod_to_itself, {"timeout", "connected"}),
        _fault(
            "kube-postrouting-missing",
            kube_postrouting_missing,
            _outside_to_node_port,
            _real_outside_to_node_port,
            {"timeout", "connected"},
        ),
        _fault(
            "service-jump-missing",
            service_jump_missing,
            _pod_to_service,
            _real_pod_to_service,
            {"timeout", "unreachable"},
        ),
        _fault(
            "service-rules-absent",
            service_rules_absent,
            _pod_to_service,
            _real_pod_to_service,
            {"timeout", "unreachable"},
        ),
        _fault(
            "stale-endpoint-rule",
            stale_endpoint_rule,
            _pod_to_service,
            _real_pod_to_service,
            {"unreachable", "timeout", "connected"},
        ),
        _fault(
            "svc-wrong-targetport", svc_wrong_targetport, _pod_to_service, _real_pod_to_service, {"refused"}
        ),
        _fault(
            "flannel-fdb-missing",
            flannel_fdb_missing,
            _pod_to_other_node,
            _real_pod_to_other_node,
            {"timeout"},
        ),
        _fault(
            "pod-route-missing",
            pod_route_missing,
            _pod_to_other_node,
            _real_pod_to_other_node,
            {"timeout", "unreachable"},
        ),
        _fault(
            "rp-filter-strict", rp_filter_strict, _pod_to_other_node, _real_pod_to_other_node, {"timeout"}
        ),
    )
}
