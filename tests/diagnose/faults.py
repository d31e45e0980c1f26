"""
The fourteen faults as changes to the model, in the variants in which people meet them.

Lives here: what each breaks, and the flow that suffers.
"""

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.change import (
    ChainSet,
    Change,
    FdbDelete,
    LinkSet,
    PolicySet,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.links import FdbEntry
from nettrace.model.packet import PortRange
from nettrace.model.routes import NextHop, Route
from nettrace.model.section import Known
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Dnat, Jump, Masquerade
from tests.diagnose.worlds import World, cluster, docker_host

__all__ = ["FAULTS", "Fault", "delete", "rule_at"]


class Fault(NamedTuple):
    """One fault: its cause, how it is made, the flow it hurts, the namespace that is repaired."""

    cause: str
    breaks: Callable[[World], list[Change]]
    source: Callable[[World], str]
    target: Callable[[World], str]
    repaired: Callable[[World], str]
    world: Callable[..., World] = cluster
    without_objects: bool = False  # is it found from the kernel's state alone?


def rule_at(world: World, netns: str, chain: str, does: Callable[[XtRule], bool]) -> tuple[int, XtRule]:
    """Return (position, rule) of the first rule that *does*."""
    return next((n, rule) for n, rule in enumerate(world.rules_of(netns, chain), 1) if does(rule))


def delete(world: World, netns: str, chain: str, does: Callable[[XtRule], bool]) -> list[Change]:
    """``iptables -t nat -D CHAIN``."""
    position, rule = rule_at(world, netns, chain, does)
    return [RuleDelete(netns=netns, backend="nft", table="nat", chain=chain, position=position, rule=rule)]


def _jumps(to: str) -> Callable[[XtRule], bool]:
    return lambda rule: isinstance(rule.target, Jump) and rule.target.chain == to


def _near(world: World) -> str:
    return world.names.nodes[0]


def _far(world: World) -> str:
    return world.names.nodes[1]


def _client(world: World) -> str:
    return "pod/client-near"


def _service(world: World) -> str:
    return f"svc/{world.names.namespace}/{world.names.service}"


def _other_pod(world: World) -> str:
    return f"pod/{world.names.service}-1"


def _own_pod(world: World) -> str:
    return f"pod/{world.names.service}-0"


def _outside(world: World) -> str:
    return "internet"


def _outside_web(world: World) -> str:
    return "internet:80"


def _node_port(world: World) -> str:
    return f"node/{_near(world)}:{world.names.node_port}"


def _sysctl(netns: Callable[[World], str], name: str, value: str) -> Callable[[World], list[Change]]:
    return lambda world: [SysctlSet(netns=netns(world), name=name, value=value)]


def _masquerade_rule(world: World) -> list[Change]:
    def does(rule: XtRule) -> bool:
        return isinstance(rule.target, Masquerade) and rule.src is not None and not rule.src.invert

    return delete(world, _near(world), "FLANNEL-POSTRTG", does)


def _masquerade_jump(world: World) -> list[Change]:
    return delete(world, _near(world), "POSTROUTING", _jumps("FLANNEL-POSTRTG"))


def _docker_masquerade(world: World) -> list[Change]:
    return delete(world, "docker-host", "POSTROUTING", lambda rule: isinstance(rule.target, Masquerade))


def _docker_dnat(world: World) -> list[Change]:
    return delete(world, "docker-host", "DOCKER", lambda rule: isinstance(rule.target, Dnat))


def _policy(world: World) -> list[Change]:
    return [PolicySet(netns=_near(world), backend="nft", table="filter", chain="FORWARD", policy="DROP")]


def _hairpin(world: World) -> list[Change]:
    return [LinkSet(netns=_near(world), device="veth01", attribute="hairpin", value="off")]


def _flush_postrouting(world: World) -> list[Change]:
    return [ChainSet(netns=_near(world), backend="nft", table="nat", chain="KUBE-POSTROUTING", rules=())]


def _postrouting_jump(world: World) -> list[Change]:
    return delete(world, _near(world), "POSTROUTING", _jumps("KUBE-POSTROUTING"))


def _both_postrouting(world: World) -> list[Change]:
    return [*_flush_postrouting(world), *_postrouting_jump(world)]


def _prerouting_jump(world: World) -> list[Change]:
    return delete(world, _near(world), "PREROUTING", _jumps("KUBE-SERVICES"))


def _output_jump(world: World) -> list[Change]:
    return delete(world, _near(world), "OUTPUT", _jumps("KUBE-SERVICES"))


def _service_rule(world: World) -> list[Change]:
    return delete(
        world,
        _near(world),
        "KUBE-SERVICES",
        lambda rule: rule.dst is not None and rule.dst.value == f"{world.names.cluster_ip}/32",
    )


def _service_chain(world: World) -> list[Change]:
    """The rule, and the chain it led to emptied: a restore that broke off."""
    _, rule = rule_at(
        world,
        _near(world),
        "KUBE-SERVICES",
        lambda rule: rule.dst is not None and rule.dst.value == f"{world.names.cluster_ip}/32",
    )
    assert isinstance(rule.target, Jump)
    chain = rule.target.chain
    return [ChainSet(netns=_near(world), backend="nft", table="nat", chain=chain, rules=())]


def _endpoints(world: World, change: Callable[[Dnat], Dnat], *, every: bool) -> list[Change]:
    """``iptables -R KUBE-SEP-... 2`` of one endpoint of the Service, or of all."""
    near = _near(world)
    table = world.snapshot.namespaces[near].xt_nft
    assert isinstance(table, Known)
    nat = table.value.tables["nat"]
    assert isinstance(nat, Known)
    found: list[Change] = []
    for name in sorted(nat.value.chains):
        for position, rule in enumerate(world.rules_of(near, name), 1):
            target = rule.target
            port = target.to.ports.single if isinstance(target, Dnat) and target.to.ports else None
            if isinstance(target, Dnat) and port == world.names.target_port:
                found.append(
                    RuleReplace(
                        netns=near,
                        backend="nft",
                        table="nat",
                        chain=name,
                        position=position,
                        old=rule,
                        rule=replace(rule, target=change(target)),
                    )
                )
    return found if every else found[:1]


def _stale(world: World) -> list[Change]:
    def gone(target: Dnat) -> Dnat:
        lo = f"{(target.to.lo or '').rsplit('.', 1)[0]}.77"
        return replace(target, to=replace(target.to, lo=lo))

    return _endpoints(world, gone, every=False)


def _wrong_port(*, every: bool) -> Callable[[World], list[Change]]:
    def wrong(target: Dnat) -> Dnat:
        return replace(target, to=replace(target.to, ports=PortRange(9999, 9999)))

    return lambda world: _endpoints(world, wrong, every=every)


def _fdb(world: World) -> list[Change]:
    section = world.snapshot.namespaces[_near(world)].fdb
    assert isinstance(section, Known)
    entry: FdbEntry = next(e for e in section.value if e.device == "flannel.1")
    return [FdbDelete(netns=_near(world), entry=entry)]


def _peer_route(world: World) -> Route:
    section = world.snapshot.namespaces[_near(world)].routes
    assert isinstance(section, Known)
    found: Route = next(r for r in section.value if r.dst == f"{world.names.pods}.2.0/24")
    return found


def _route(world: World) -> list[Change]:
    return [RouteDelete(netns=_near(world), route=_peer_route(world))]


def _asymmetric(world: World) -> list[Change]:
    old = _peer_route(world)
    hop = NextHop(device="eth0", via=f"{world.names.outer}.12")
    return [
        SysctlSet(netns=_far(world), name="net.ipv4.conf.all.rp_filter", value="1"),
        RouteAdd(netns=_near(world), route=replace(old, nexthops=(hop,)), replaces=old),
    ]


def _docker(world: World) -> str:
    return "docker-host"


FAULTS: dict[str, Fault] = {
    "ip-forward-off": Fault(
        "ip-forward-off",
        _sysctl(_near, "net.ipv4.ip_forward", "0"),
        _client,
        _other_pod,
        _near,
        without_objects=True,
    ),
    "ip-forward-off to a Service": Fault(
        "ip-forward-off", _sysctl(_far, "net.ipv4.ip_forward", "0"), _client, _service, _far
    ),
    "masquerade-missing, its rule": Fault(
        "masquerade-missing", _masquerade_rule, _client, _outside_web, _near
    ),
    "masquerade-missing, its jump": Fault(
        "masquerade-missing", _masquerade_jump, _client, _outside_web, _near, without_objects=True
    ),
    "masquerade-missing, Docker's": Fault(
        "masquerade-missing",
        _docker_masquerade,
        lambda world: "container/web",
        _outside_web,
        _docker,
        docker_host,
        without_objects=True,
    ),
    "docker-dnat-missing": Fault(
        "docker-dnat-missing",
        _docker_dnat,
        _outside,
        lambda world: "node/docker-host:8088",
        _docker,
        docker_host,
    ),
    "forward-policy-drop": Fault(
        "forward-policy-drop", _policy, _client, _other_pod, _near, without_objects=True
    ),
    "forward-policy-drop to the outside": Fault(
        "forward-policy-drop", _policy, _client, _outside_web, _near, without_objects=True
    ),
    "bridge-nf-off": Fault(
        "bridge-nf-off",
        _sysctl(_near, "net.bridge.bridge-nf-call-iptables", "0"),
        _client,
        _service,
        _near,
        without_objects=True,
    ),
    "hairpin-off": Fault("hairpin-off", _hairpin, _own_pod, _service, _near, without_objects=True),
    "kube-postrouting-missing, flushed": Fault(
        "kube-postrouting-missing", _flush_postrouting, _outside, _node_port, _near, without_objects=True
    ),
    "kube-postrouting-missing, its jump": Fault(
        "kube-postrouting-missing", _postrouting_jump, _outside, _node_port, _near, without_objects=True
    ),
    "kube-postrouting-missing, both": Fault(
        "kube-postrouting-missing", _both_postrouting, _outside, _node_port, _near, without_objects=True
    ),
    "kube-postrouting-missing, own Service": Fault(
        "kube-postrouting-missing", _flush_postrouting, _own_pod, _service, _near
    ),
    "service-jump-missing": Fault(
        "service-jump-missing", _prerouting_jump, _client, _service, _near, without_objects=True
    ),
    "service-jump-missing, NodePort": Fault(
        "service-jump-missing", _prerouting_jump, _outside, _node_port, _near, without_objects=True
    ),
    "service-output-jump-missing": Fault(
        "service-output-jump-missing",
        _output_jump,
        lambda world: f"node/{_near(world)}",
        _service,
        _near,
        without_objects=True,
    ),
    "service-rules-absent": Fault("service-rules-absent", _service_rule, _client, _service, _near),
    "service-rules-absent, chain empty": Fault(
        "service-rules-absent", _service_chain, _client, _service, _near
    ),
    "stale-endpoint-rule": Fault(
        "stale-endpoint-rule", _stale, _client, _service, _near, without_objects=True
    ),
    "svc-wrong-targetport, every endpoint": Fault(
        "svc-wrong-targetport", _wrong_port(every=True), _client, _service, _near, without_objects=True
    ),
    "svc-wrong-targetport, one endpoint": Fault(
        "svc-wrong-targetport", _wrong_port(every=False), _client, _service, _near, without_objects=True
    ),
    "flannel-fdb-missing": Fault("flannel-fdb-missing", _fdb, _client, _other_pod, _near),
    "pod-route-missing": Fault("pod-route-missing", _route, _client, _other_pod, _near),
    "pod-route-missing, to a Service": Fault("pod-route-missing", _route, _client, _service, _near),
    "rp-filter-strict": Fault(
        "rp-filter-strict", _asymmetric, _client, _other_pod, _far, without_objects=True
    ),
}
