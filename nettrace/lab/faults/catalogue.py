"""
Which causes can be injected where.

Lives here: the table from a cause's id to the function that computes it.
"""

from collections.abc import Callable

from msgspec import Struct

from nettrace.lab.faults import kube_proxy, node
from nettrace.lab.faults.scene import Scene
from nettrace.model.change import Change
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord

__all__ = ["FAULTS", "Fault", "fault_of", "possible"]

_DOCKER = frozenset({"docker"})
_VXLAN = frozenset({"flannel-vxlan"})
_ROUTED = frozenset({"flannel-vxlan", "flannel-host-gw"})  # a route for each peer
_CLUSTER = frozenset({"flannel-vxlan", "flannel-host-gw", "flannel-udp"})


class Fault(Struct, frozen=True):
    """A cause: where it can be, what about it can be chosen, and the changes that make it."""

    changes: Callable[[Scene], list[Change]]
    topologies: frozenset[str]
    parameters: tuple[str, ...] = ("node",)


FAULTS: dict[str, Fault] = {
    "bridge-nf-off": Fault(node.bridge_nf_off, _CLUSTER),
    "docker-dnat-missing": Fault(node.docker_dnat_missing, _DOCKER),
    "flannel-fdb-missing": Fault(node.flannel_fdb_missing, _VXLAN, ("node", "peer")),
    "forward-policy-drop": Fault(node.forward_policy_drop, _DOCKER | _CLUSTER),
    "hairpin-off": Fault(node.hairpin_off, _CLUSTER, ("pod", "service")),
    "ip-forward-off": Fault(node.ip_forward_off, _DOCKER | _CLUSTER),
    "kube-postrouting-missing": Fault(kube_proxy.kube_postrouting_missing, _CLUSTER),
    "masquerade-missing": Fault(node.masquerade_missing, _DOCKER | _CLUSTER),
    "pod-route-missing": Fault(node.pod_route_missing, _ROUTED, ("node", "peer")),
    "rp-filter-strict": Fault(node.rp_filter_strict, _VXLAN, ("node", "peer")),
    "service-jump-missing": Fault(kube_proxy.service_jump_missing, _CLUSTER),
    "service-rules-absent": Fault(kube_proxy.service_rules_absent, _CLUSTER, ("node", "service")),
    "stale-endpoint-rule": Fault(kube_proxy.stale_endpoint_rule, _CLUSTER, ("node", "service")),
    "svc-wrong-targetport": Fault(kube_proxy.svc_wrong_targetport, _CLUSTER, ("node", "service", "port")),
}


def possible(topology: str) -> tuple[str, ...]:
    """The causes that a lab of this topology can have, sorted."""
    return tuple(sorted(cause for cause, fault in FAULTS.items() if topology in fault.topologies))


def fault_of(record: LabRecord, cause: str, parameters: set[str]) -> Fault:
    """Return the fault; UserError if this topology cannot have it or a parameter is none of its own."""
    names = possible(record.topology)
    if cause not in names:
        raise UserError(
            f"{cause!r} cannot be injected into a lab of topology {record.topology}",
            hint=f"possible are {', '.join(names)}",
        )
    fault = FAULTS[cause]
    if record.options.get("proxy") == "nftables" and fault.changes.__module__ == kube_proxy.__name__:
        raise UserError(
            f"{cause!r} is a fault of kube-proxy's iptables rules, and lab {record.name} has none",
            hint=f"lab up {record.topology} --proxy iptables has them",
        )
    unknown = sorted(parameters.difference(fault.parameters))
    if unknown:
        raise UserError(
            f"{cause} has no parameter {', '.join(unknown)}", hint=f"it has {', '.join(fault.parameters)}"
        )
    return fault
