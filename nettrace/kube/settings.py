"""
What of kube-proxy's configuration and of its node shapes the rules of one address family.

Lives here: the layout's version, telling a local pod's traffic, where NodePorts are served.
Not here: Services and endpoints.
"""

import re
from collections.abc import Iterable

from msgspec import Struct

from nettrace.kube.names import masquerade_mark
from nettrace.kube.services import addresses_of_family, prefixes_of_family
from nettrace.model.addr import in_prefix, is_loopback, prefix_contains
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube, KubeNode, KubeProxyConfig
from nettrace.model.section import Known
from nettrace.model.xt import Negatable

__all__ = ["LOOPBACK", "OLDEST_LAYOUT", "LocalDetector", "Settings", "layout_version", "settings"]

#: The oldest kube-proxy whose iptables rules are derived here.  Before 1.28 kubelet owned
#: KUBE-MARK-DROP, before 1.24 there were no KUBE-EXT and KUBE-SVL chains.
OLDEST_LAYOUT = (1, 28)

#: kube-proxy counts dropped INVALID packets and localhost NodePorts with nfacct objects.
_NFACCT_SINCE = (1, 31)
#: Zone hints count without an annotation of the Service (trafficDistribution on by default).
_ZONE_HINTS_SINCE = (1, 31)
#: Node hints count (PreferSameTrafficDistribution on by default).
_NODE_HINTS_SINCE = (1, 34)

LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
_LOOPBACK_ADDRESS = {4: "127.0.0.1", 6: "::1"}


class LocalDetector(Struct, frozen=True, kw_only=True):
    """
    How kube-proxy tells traffic of this node's pods: by source prefix or by device, if at all.

    ``device`` may end in ``+``.
    """

    src: str | None = None
    device: str | None = None

    @property
    def implemented(self) -> bool:
        """Is there a way?  If not, the rules that would need it are not written."""
        return self.src is not None or self.device is not None

    def test(self, *, local: bool) -> tuple[Negatable | None, Negatable | None]:
        """Return the source and the device that a rule tests for local traffic, or for any other."""
        if self.src is not None:
            return Negatable(self.src, not local), None
        return None, Negatable(self.device or "", not local)


class Settings(Struct, frozen=True, kw_only=True):
    """
    Everything but the Services.

    ``node_port_ips`` None: NodePorts are served on every local address; otherwise on these.
    ``localhost_node_ports`` is whether 127.0.0.1 is meant to be among them.  ``be_liberal``:
    net.netfilter.nf_conntrack_tcp_be_liberal was not 0 when kube-proxy started.
    """

    family: int
    node: str
    node_ip: str
    zone: str
    mark: int
    masquerade_all: bool
    detector: LocalDetector
    localhost_node_ports: bool
    node_port_ips: tuple[str, ...] | None
    be_liberal: bool
    nfacct: bool
    node_hints: bool
    zone_hints_need_annotation: bool

    def hints_zones(self, annotations: dict[str, str]) -> bool:
        """Does kube-proxy heed zone hints of a Service with these annotations?"""
        if not self.zone_hints_need_annotation:
            return True
        mode = annotations.get("service.kubernetes.io/topology-mode") or annotations.get(
            "service.kubernetes.io/topology-aware-hints", ""
        )
        return mode not in ("", "disabled", "Disabled")


def layout_version(text: str) -> tuple[int, int]:
    """
    Return (major, minor) of ``1.36`` or ``v1.36.2``.

    Raises UserError for anything else.
    """
    found = re.match(r"v?(\d+)\.(\d+)(?:\.|$)", text)
    if found is None:
        raise UserError(
            f"`{text}` is not a version of kube-proxy", hint="write it as major.minor, such as 1.36"
        )
    return int(found[1]), int(found[2])


def settings(
    kube: Kube,
    node: str,
    *,
    family: int = 4,
    be_liberal: bool = False,
    addresses: Iterable[str] | None = None,
) -> Settings:
    """
    Gather the settings of the kube-proxy of *node*.

    *addresses* are those of the node's devices, for ``nodePortAddresses``; without them the
    Node's own addresses and the loopback address are taken.  Raises UserError if the Node or
    kube-proxy's configuration is not known, or if it is older than OLDEST_LAYOUT.
    """
    if not isinstance(kube.proxy, Known) or not isinstance(kube.nodes, Known):
        raise UserError(
            f"what kube-proxy writes on {node} depends on its configuration and on the Node, "
            "which were not read",
            hint="give the cluster's objects with --manifests or --kubeconfig",
        )
    config = kube.proxy.value
    this = next((n for n in kube.nodes.value if n.name == node), None)
    if this is None:
        names = ", ".join(sorted(n.name for n in kube.nodes.value)) or "none"
        raise UserError(f"no Node is called {node}", hint=f"known Nodes: {names}")
    version = layout_version(config.version)
    if version < OLDEST_LAYOUT:
        raise UserError(
            f"the rules of kube-proxy {config.version} are laid out differently from those that "
            f"nettrace derives ({OLDEST_LAYOUT[0]}.{OLDEST_LAYOUT[1]} and later)"
        )
    own = addresses_of_family((*this.internal_ips, *this.external_ips), family)
    node_ip = own[0] if own else _LOOPBACK_ADDRESS[family]
    prefixes = _node_port_prefixes(config, family, node_ip)
    matches_all = any(prefix.endswith("/0") for prefix in prefixes)
    # IPv6 never serves NodePorts on localhost: there is no route_localnet for it.
    localhost = (
        family == 4
        and config.localhost_node_ports
        and any(prefix_contains(p, "127.0.0.0/32") or is_loopback(p.partition("/")[0]) for p in prefixes)
    )
    here = (*own, _LOOPBACK_ADDRESS[family]) if addresses is None else addresses_of_family(addresses, family)
    served = tuple(
        address
        for address in dict.fromkeys(here)
        if any(in_prefix(address, p) for p in prefixes) and (localhost or not is_loopback(address))
    )
    return Settings(
        family=family,
        node=node,
        node_ip=node_ip,
        zone=this.labels.get("topology.kubernetes.io/zone", ""),
        mark=masquerade_mark(config.masquerade_bit),
        masquerade_all=config.masquerade_all,
        detector=_detector(config, this, family),
        localhost_node_ports=localhost,
        node_port_ips=None if matches_all else served,
        be_liberal=be_liberal,
        nfacct=version >= _NFACCT_SINCE,
        node_hints=version >= _NODE_HINTS_SINCE,
        zone_hints_need_annotation=version < _ZONE_HINTS_SINCE,
    )


def _node_port_prefixes(config: KubeProxyConfig, family: int, node_ip: str) -> tuple[str, ...]:
    """Return where NodePorts are served; without a prefix of the family that is everywhere."""
    if config.node_port_addresses == ("primary",):
        return prefixes_of_family((node_ip,), family)
    return prefixes_of_family(config.node_port_addresses, family) or (
        ("0.0.0.0/0",) if family == 4 else ("::/0",)
    )


def _detector(config: KubeProxyConfig, node: KubeNode, family: int) -> LocalDetector:
    match config.detect_local_mode:
        case "BridgeInterface":
            return LocalDetector(device=config.detect_local_bridge or None)
        case "InterfaceNamePrefix":
            prefix = config.detect_local_interface_prefix
            return LocalDetector(device=f"{prefix}+" if prefix else None)
        case "NodeCIDR":
            prefixes = prefixes_of_family(node.pod_cidrs, family)
        case _:
            prefixes = prefixes_of_family(config.cluster_cidrs, family)
    return LocalDetector(src=prefixes[0] if prefixes else None)
