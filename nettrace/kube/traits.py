"""
What differs from one kube-proxy to the next: by version, and by feature gate.

Lives here: which layouts are derived, and when each trait came.
Not here: the rules.

Sources: pkg/proxy/iptables/proxier.go, pkg/proxy/topology.go and pkg/features of Kubernetes'
release branches; the dumps of 1.20 and 1.36 in fixtures/kube-proxy.
"""

import re
from typing import NamedTuple

from msgspec import Struct

from nettrace.model.errors import UserError
from nettrace.model.kube import KubeProxyConfig

__all__ = ["NEWEST", "OLDEST", "Traits", "is_derivable", "layout_version", "traits"]

#: The newest kube-proxy whose rules were compared.
NEWEST = "1.36"

Version = tuple[int, int]

#: The oldest that is derived, with KUBE-XLB chains; it changed piece by piece until 1.24.
OLDEST: Version = (1, 20)
#: Health check node ports are accepted; local traffic to external IPs is told by the detector.
_HEALTH_CHECKS: Version = (1, 21)
_MARKS_IN_SERVICE: Version = (1, 22)  # marking for masquerade stands in KUBE-SVC, not in KUBE-SERVICES
_ONE_BALANCING: Version = (1, 23)  # KUBE-XLB balances as KUBE-SVC does; one conntrack rule in KUBE-FORWARD
#: KUBE-EXT and KUBE-SVL chains.
_EXT: Version = (1, 24)

_DROP_IN_FILTER: Version = (1, 25)  # KUBE-PROXY-FIREWALL; before, kubelet's KUBE-MARK-DROP
_LOCALHOST_OPTION: Version = (1, 26)  # iptables.localhostNodePorts
_ANY_HINT_MODE: Version = (1, 27)  # annotation topology-mode, any value but "Disabled"
_NODE_PORTS_ALWAYS: Version = (1, 27)  # NodePorts are written though no address is served
_LOCALNET_COPY: Version = (1, 27)  # a copy of kubelet's rule; and a comment at the end of KUBE-FW
_OWN_FIREWALL: Version = (1, 28)  # kubelet keeps nothing but a copy of one rule in KUBE-FIREWALL
_PRIMARY_NODE_IP: Version = (1, 28)  # the node's address of its first family, else 0.0.0.0 or ::
_NODE_IPS: Version = (1, 29)  # those of both families
_HEEDS_LIBERAL: Version = (1, 29)  # no DROP of INVALID with nf_conntrack_tcp_be_liberal
_COUNTERS: Version = (1, 31)  # nfacct objects


class _Gate(NamedTuple):
    """A feature gate: the first version that knows it, and the first in which it is on by default."""

    known: Version
    default: Version


_GATES = {
    "EndpointSliceProxying": _Gate((1, 16), (1, 19)),
    "IPv6DualStack": _Gate((1, 16), (1, 21)),
    "LoadBalancerIPMode": _Gate((1, 29), (1, 30)),
    "PreferSameTrafficDistribution": _Gate((1, 33), (1, 34)),
    "ProxyTerminatingEndpoints": _Gate((1, 22), (1, 26)),
    "ServiceInternalTrafficPolicy": _Gate((1, 21), (1, 22)),
    "ServiceTrafficDistribution": _Gate((1, 30), (1, 31)),
    "TopologyAwareHints": _Gate((1, 21), (1, 24)),
}


class Traits(Struct, frozen=True, kw_only=True):
    """
    The traits of one kube-proxy.

    ``xlb``: the layout before KUBE-EXT; ``mark_drop``: what is to be dropped is marked for
    kubelet's rule, not dropped in table filter; ``localnet_copy``: it writes kubelet's rule that
    protects 127.0.0.0/8 itself, into KUBE-FIREWALL; ``localhost_option``: it has
    ``iptables.localhostNodePorts``, and tells NodePorts on loopback addresses from others;
    ``node_ports_need_address``: no NodePort is written where no address of the node is served;
    ``own_firewall``: KUBE-FIREWALL holds no rule that is kubelet's alone.

    Of the layouts before KUBE-EXT: ``health_checks``: it accepts health check node ports, and
    masquerades traffic to external IPs unless the detector calls it local; ``marks_in_service``:
    a port's traffic is marked for masquerading in its own chain; ``one_balancing``: KUBE-XLB is
    written by the code that writes KUBE-SVC, and KUBE-FORWARD has one rule for both directions.

    ``endpoint_slices`` False: it watches Endpoints.  ``terminating``: endpoints that terminate
    but serve stand in where none is ready.  ``node_ips``: the families whose node address it
    knows, "none", "primary" or "all"; for others it takes 0.0.0.0 or ::.

    ``annotated_hints``: zone hints count only for Services that ask for them, ``any_hint_mode``
    with any word but "Disabled".
    """

    version: Version
    xlb: bool
    mark_drop: bool
    health_checks: bool
    marks_in_service: bool
    one_balancing: bool
    localnet_copy: bool
    localhost_option: bool
    node_ports_need_address: bool
    own_firewall: bool
    heeds_liberal: bool
    counters: bool
    dual_stack: bool
    node_ips: str
    endpoint_slices: bool
    internal_policy: bool
    ip_mode: bool
    terminating: bool
    zone_hints: bool
    annotated_hints: bool
    any_hint_mode: bool
    node_hints: bool

    def hints_zones(self, annotations: dict[str, str]) -> bool:
        """Are zone hints of a Service with these annotations heeded?"""
        if not self.zone_hints or not self.annotated_hints:
            return self.zone_hints
        elder = annotations.get("service.kubernetes.io/topology-aware-hints")
        if not self.any_hint_mode:
            return elder in ("Auto", "auto")
        mode = elder if elder is not None else annotations.get("service.kubernetes.io/topology-mode", "")
        return mode not in ("", "disabled", "Disabled")


def layout_version(text: str) -> Version:
    """
    Return (major, minor) of ``1.36`` or ``v1.36.2``.

    Raises UserError for anything else.
    """
    found = re.match(r"v?(\d+)\.(\d+)(?:[.+-]|$)", text)
    if found is None:
        raise UserError(
            f"`{text}` is not a version of kube-proxy", hint="write it as major.minor, such as 1.36"
        )
    return int(found[1]), int(found[2])


def is_derivable(version: Version) -> bool:
    """Are the iptables rules of this kube-proxy derived?"""
    return version >= OLDEST


def traits(config: KubeProxyConfig) -> Traits:
    """Return the traits; UserError for a version whose layout is not derived."""
    version = layout_version(config.version)
    if not is_derivable(version):
        raise UserError(
            f"the rules of kube-proxy {config.version} are laid out differently from those that "
            "nettrace derives (1.20 and later)"
        )

    def gate(name: str) -> bool:
        known, default = _GATES[name]
        if version < known:
            return False
        return config.feature_gates.get(name, version >= default)

    return Traits(
        version=version,
        xlb=version < _EXT,
        mark_drop=version < _DROP_IN_FILTER,
        health_checks=version >= _HEALTH_CHECKS,
        marks_in_service=version >= _MARKS_IN_SERVICE,
        one_balancing=version >= _ONE_BALANCING,
        localnet_copy=version >= _LOCALNET_COPY,
        localhost_option=version >= _LOCALHOST_OPTION,
        node_ports_need_address=version < _NODE_PORTS_ALWAYS,
        own_firewall=version >= _OWN_FIREWALL,
        heeds_liberal=version >= _HEEDS_LIBERAL,
        counters=version >= _COUNTERS,
        dual_stack=gate("IPv6DualStack"),
        node_ips=_node_ips(version, dual_stack=gate("IPv6DualStack")),
        endpoint_slices=gate("EndpointSliceProxying"),
        internal_policy=gate("ServiceInternalTrafficPolicy"),
        ip_mode=gate("LoadBalancerIPMode"),
        terminating=gate("ProxyTerminatingEndpoints"),
        zone_hints=gate("TopologyAwareHints"),
        annotated_hints=not gate("ServiceTrafficDistribution"),
        any_hint_mode=version >= _ANY_HINT_MODE,
        node_hints=gate("PreferSameTrafficDistribution"),
    )


def _node_ips(version: Version, *, dual_stack: bool) -> str:
    if not dual_stack or version >= _NODE_IPS:
        return "all"
    return "primary" if version >= _PRIMARY_NODE_IP else "none"
