"""
Which causes can be injected, and where (a plugin says so of each topology).

Lives here: the table from a cause's id to the function that computes it.
"""

from collections.abc import Callable

from msgspec import Struct

from nettrace.lab.faults import kube_proxy, node
from nettrace.lab.faults.scene import Scene
from nettrace.lab.topologies import topologies
from nettrace.model.change import Change
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord

__all__ = ["FAULTS", "Fault", "fault_of", "possible"]


class Fault(Struct, frozen=True):
    """A cause: the changes that make it, and what about it can be chosen."""

    changes: Callable[[Scene], list[Change]]
    parameters: tuple[str, ...] = ("node",)


FAULTS: dict[str, Fault] = {
    "bridge-nf-off": Fault(node.bridge_nf_off),
    "docker-dnat-missing": Fault(node.docker_dnat_missing),
    "flannel-fdb-missing": Fault(node.flannel_fdb_missing, ("node", "peer")),
    "forward-policy-drop": Fault(node.forward_policy_drop),
    "hairpin-off": Fault(node.hairpin_off, ("pod", "service")),
    "ip-forward-off": Fault(node.ip_forward_off),
    "kube-postrouting-missing": Fault(kube_proxy.kube_postrouting_missing),
    "masquerade-missing": Fault(node.masquerade_missing),
    "pod-route-missing": Fault(node.pod_route_missing, ("node", "peer")),
    "rp-filter-strict": Fault(node.rp_filter_strict, ("node", "peer")),
    "service-jump-missing": Fault(kube_proxy.service_jump_missing),
    "service-rules-absent": Fault(kube_proxy.service_rules_absent, ("node", "service")),
    "stale-endpoint-rule": Fault(kube_proxy.stale_endpoint_rule, ("node", "service")),
    "svc-wrong-targetport": Fault(kube_proxy.svc_wrong_targetport, ("node", "service", "port")),
}


def possible(topology: str) -> tuple[str, ...]:
    """The causes that a lab of this topology can have, sorted."""
    found = topologies().get(topology)
    return tuple(sorted(FAULTS.keys() & found.faults)) if found is not None else ()


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
