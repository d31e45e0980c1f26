"""
Which sets, chains and jumps kube-proxy in ipvs mode has, version by version.

Lives here: the layouts as tables.  Not here: the rules that need more than a set (ipvs_rules), the sets'
entries (ipvs_sets).

Source: pkg/proxy/ipvs/proxier.go of Kubernetes (iptablesJumpChain, iptablesChains, ipsetInfo,
ipsetWithIptablesChain, NewProxier and syncEndpoint) of the release branches; the dump of 1.36.
"""

from msgspec import Struct

from nettrace.model.xt_target import Jump, Masquerade, Return, Target

__all__ = ["OUT_FILTER", "BySet", "IpvsLayout", "ipvs_layout"]

Version = tuple[int, int]

#: Its rules stand in the order of a map of Go.
OUT_FILTER = "KUBE-IPVS-OUT-FILTER"

_HEALTH_CHECKS: Version = (1, 21)  # KUBE-NODE-PORT in table filter
_NO_LOOPBACK: Version = (1, 22)  # NodePorts are not served on 127.0.0.1; SCTP of policy Local goes first
_FALLS_BACK: Version = (1, 24)  # policy Local without an endpoint here takes those of all nodes
_DROPS: Version = (1, 25)  # KUBE-PROXY-FIREWALL; before, KUBE-FIRE-WALL and kubelet's KUBE-MARK-DROP
_ACCESS: Version = (1, 26)  # KUBE-IPVS-FILTER and the set KUBE-IPVS-IPS
_BINDS_OWN: Version = (1, 27)  # an address that another device has is not bound; localhost is left alone
_OUT: Version = (1, 29)  # KUBE-IPVS-OUT-FILTER; external IPs of policy Local pass KUBE-IPVS-FILTER


class BySet(Struct, frozen=True):
    """A rule that needs no more than the set ``name`` to have entries."""

    name: str
    table: str
    chain: str
    target: Target
    proto: str | None = None


class IpvsLayout(Struct, frozen=True, kw_only=True):
    """
    What differs between versions.

    ``health_checks``: health check node ports are accepted; ``loopback``: NodePorts are served on the
    loopback address too, and the node's 127.0.0.0/8 is opened to them; ``falls_back``: policy Local
    without an endpoint here takes those of all nodes; ``drops``: what source ranges shut out is dropped
    in table filter, not marked for kubelet; ``access``: a VIP's other ports are refused; ``binds_own``:
    an address of another device is not bound to kube-ipvs0; ``out``: a node that source ranges leave out
    is kept from balancers' addresses.
    """

    health_checks: bool
    loopback: bool
    falls_back: bool
    drops: bool
    access: bool
    binds_own: bool
    out: bool

    @property
    def by_set(self) -> tuple[BySet, ...]:
        """The rules that need no more than a set, in kube-proxy's order."""
        return (*_HEAD, *(() if self.drops else _FIRE_WALL), _LOCAL, *self._node_ports, *self._firewall)

    @property
    def _node_ports(self) -> tuple[BySet, ...]:
        """Return before marking, but for SCTP in the versions that had it the other way round."""
        found: list[BySet] = []
        for kind in ("TCP", "UDP", "SCTP-HASH"):
            pair = [_node_port(f"NODE-PORT-LOCAL-{kind}"), _node_port(f"NODE-PORT-{kind}")]
            found += reversed(pair) if self.loopback and kind == "SCTP-HASH" else pair
        return tuple(found)

    @property
    def _firewall(self) -> tuple[BySet, ...]:
        return _PROXY_FIREWALL if self.drops else ()

    @property
    def chains(self) -> dict[str, tuple[str, ...]]:
        """Table -> its chains."""
        filters = ["KUBE-FORWARD"]
        filters += ["KUBE-NODE-PORT"] if self.health_checks else []
        filters += ["KUBE-PROXY-FIREWALL", "KUBE-SOURCE-RANGES-FIREWALL"] if self.drops else []
        filters += ["KUBE-IPVS-FILTER"] if self.access else []
        filters += [OUT_FILTER] if self.out else []
        return {
            "nat": _NAT if self.drops else (*_NAT, "KUBE-FIRE-WALL", "KUBE-MARK-DROP"),
            "filter": tuple(filters),
        }

    @property
    def jumps(self) -> tuple[tuple[str, str, str, str], ...]:
        """(table, built-in chain, chain, comment), in the order in which they stand there."""
        has = self.chains
        return tuple(jump for jump in _JUMPS if jump[2] in has[jump[0]])


def ipvs_layout(version: Version) -> IpvsLayout:
    """Return the layout of (major, minor), 1.20 or later."""
    return IpvsLayout(
        health_checks=version >= _HEALTH_CHECKS,
        loopback=version < _NO_LOOPBACK,
        falls_back=version >= _FALLS_BACK,
        drops=version >= _DROPS,
        access=version >= _ACCESS,
        binds_own=version >= _BINDS_OWN,
        out=version >= _OUT,
    )


def _node_port(name: str) -> BySet:
    target: Target = Return() if "LOCAL" in name else Jump("KUBE-MARK-MASQ")
    proto = next(p for p in ("tcp", "udp", "sctp") if p.upper() in name)
    return BySet(name, "nat", "KUBE-NODE-PORT", target, proto)


_HEAD = (
    BySet("LOOP-BACK", "nat", "KUBE-POSTROUTING", Masquerade()),
    BySet("LOAD-BALANCER", "nat", "KUBE-SERVICES", Jump("KUBE-LOAD-BALANCER")),
)
_LOCAL = BySet("LOAD-BALANCER-LOCAL", "nat", "KUBE-LOAD-BALANCER", Return())
_FIRE_WALL = (
    BySet("LOAD-BALANCER-FW", "nat", "KUBE-LOAD-BALANCER", Jump("KUBE-FIRE-WALL")),
    BySet("LOAD-BALANCER-SOURCE-CIDR", "nat", "KUBE-FIRE-WALL", Return()),
    BySet("LOAD-BALANCER-SOURCE-IP", "nat", "KUBE-FIRE-WALL", Return()),
)
_PROXY_FIREWALL = (
    BySet("LOAD-BALANCER-FW", "filter", "KUBE-PROXY-FIREWALL", Jump("KUBE-SOURCE-RANGES-FIREWALL")),
    BySet("LOAD-BALANCER-SOURCE-CIDR", "filter", "KUBE-SOURCE-RANGES-FIREWALL", Return()),
    BySet("LOAD-BALANCER-SOURCE-IP", "filter", "KUBE-SOURCE-RANGES-FIREWALL", Return()),
)

_NAT = ("KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-MARK-MASQ")

_JUMPS = (
    ("filter", "INPUT", "KUBE-IPVS-FILTER", "kubernetes ipvs access filter"),
    ("filter", "INPUT", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
    ("filter", "INPUT", "KUBE-NODE-PORT", "kubernetes health check rules"),
    ("filter", "FORWARD", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
    ("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
    ("filter", "OUTPUT", OUT_FILTER, "kubernetes ipvs access filter"),
    ("nat", "PREROUTING", "KUBE-SERVICES", "kubernetes service portals"),
    ("nat", "OUTPUT", "KUBE-SERVICES", "kubernetes service portals"),
    ("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
)
