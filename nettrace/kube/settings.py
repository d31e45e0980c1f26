"""
What of kube-proxy's configuration and of its node shapes the rules of one address family.

Lives here: the layout's version, telling a local pod's traffic, where NodePorts are served.
Not here: Services and endpoints.
"""

from collections.abc import Iterable

from msgspec import Struct

from nettrace.kube.names import masquerade_mark
from nettrace.kube.services import addresses_of_family, prefixes_of_family
from nettrace.kube.traits import Traits, traits
from nettrace.model.addr import family_of, in_prefix, is_loopback, prefix_contains
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube, KubeNode, KubeProxyConfig
from nettrace.model.section import Known
from nettrace.model.xt_match import Negatable

__all__ = ["LOOPBACK", "LocalDetector", "Settings", "local_detector", "settings"]

LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
_LOOPBACK_ADDRESS = {4: "127.0.0.1", 6: "::1"}
_ANY_ADDRESS = {4: "0.0.0.0", 6: "::"}


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
    ``localhost_node_ports`` is whether 127.0.0.1 is meant to be among them, ``route_localnet``
    whether kube-proxy sets the sysctl for it, ``guards_localhost`` whether it writes the rule
    that protects 127.0.0.0/8 then.  ``keeps_invalid``: packets that conntrack holds for INVALID
    are not dropped.
    """

    family: int
    node: str
    node_ip: str
    zone: str
    mark: int
    masquerade_all: bool
    detector: LocalDetector
    localhost_node_ports: bool
    route_localnet: bool
    guards_localhost: bool
    node_port_ips: tuple[str, ...] | None
    keeps_invalid: bool
    traits: Traits

    @property
    def serves_node_ports(self) -> bool:
        """Are rules of NodePorts written at all?"""
        return self.node_port_ips != () or not self.traits.node_ports_need_address


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
    kube-proxy's configuration is not known, if its layout is not derived, or if it serves the
    other family only.
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
    known = traits(config)
    own = addresses_of_family((*this.internal_ips, *this.external_ips), family)
    if not known.dual_stack and family != _first_family(config, this):
        raise UserError(
            f"kube-proxy {config.version} on {node} serves no IPv{family}: it is of one family "
            "unless its feature gate IPv6DualStack is on"
        )
    node_ip = _node_ip(config, this, family, known)
    prefixes = _node_port_prefixes(config, family, node_ip)
    matches_all = any(prefix.endswith("/0") for prefix in prefixes)
    loopback = family == 4 and any(
        prefix_contains(p, "127.0.0.0/32") or is_loopback(p.partition("/")[0]) for p in prefixes
    )
    # IPv6 never serves NodePorts on localhost: there is no route_localnet for it.
    localhost = loopback and (config.localhost_node_ports or not known.localhost_option)
    here = (*own, _LOOPBACK_ADDRESS[family]) if addresses is None else addresses_of_family(addresses, family)
    served = tuple(
        address
        for address in dict.fromkeys(here)
        if any(in_prefix(address, p) for p in prefixes)
        and (localhost or not known.localhost_option or not is_loopback(address))
    )
    return Settings(
        family=family,
        node=node,
        node_ip=node_ip,
        zone=this.labels.get("topology.kubernetes.io/zone", ""),
        mark=masquerade_mark(config.masquerade_bit),
        masquerade_all=config.masquerade_all,
        detector=local_detector(config, this, family),
        localhost_node_ports=localhost,
        route_localnet=localhost or known.xlb,
        guards_localhost=known.localnet_copy and localhost,
        node_port_ips=None if matches_all else served,
        keeps_invalid=known.heeds_liberal and (be_liberal or config.tcp_be_liberal),
        traits=known,
    )


def _node_ip(config: KubeProxyConfig, node: KubeNode, family: int, known: Traits) -> str:
    """Return what kube-proxy takes for its node's address, which is not always the node's."""
    bound = addresses_of_family((config.bind_address,), family)
    if bound:
        return bound[0]
    if known.node_ips == "none" or (known.node_ips == "primary" and family != _first_family(config, node)):
        return _ANY_ADDRESS[family]
    own = addresses_of_family((*node.internal_ips, *node.external_ips), family)
    return own[0] if own else _LOOPBACK_ADDRESS[family]


def _first_family(config: KubeProxyConfig, node: KubeNode) -> int:
    """Return the family of kube-proxy's own address, or else of its node's first."""
    own = (*([config.bind_address] if config.bind_address else ()), *node.internal_ips, *node.external_ips)
    return family_of(own[0]) if own else 4


def _node_port_prefixes(config: KubeProxyConfig, family: int, node_ip: str) -> tuple[str, ...]:
    """
    Return where NodePorts are served; without a prefix of the family that is everywhere.

    So it is for ``primary`` too, in a family in which the node has no address of its own (newProxyServer
    in cmd/kube-proxy/app/server.go leaves loopback out).
    """
    given = config.node_port_addresses
    if given == ("primary",):
        given = () if is_loopback(node_ip) else (node_ip,)
    return prefixes_of_family(given, family) or (("0.0.0.0/0",) if family == 4 else ("::/0",))


def local_detector(config: KubeProxyConfig, node: KubeNode, family: int) -> LocalDetector:
    """Return how the kube-proxy of *node* tells its pods' traffic in one family."""
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
