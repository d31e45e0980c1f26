"""
The rules that dockerd owes a host.

Lives here: DNAT and masquerade as the bridge driver writes them (libnetwork,
drivers/bridge/setup_ip_tables_linux.go and iptables/iptables.go of moby).  Where a rule that
does the same stands there in another form, that one is what is owed: it is nobody's mistake.
"""

from collections.abc import Callable, Iterator

from nettrace.model.addr import prefix_contains
from nettrace.model.links import Address
from nettrace.model.owed import Owed, OwedJump, OwedRule
from nettrace.model.packet import PortRange
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS, XtRule
from nettrace.model.xt_match import Addrtype, Negatable, Ports, Tcp, Udp
from nettrace.model.xt_target import Dnat, Jump, Masquerade, NatRange, Snat
from nettrace_plugins.docker.containers import (
    Container,
    Network,
    Published,
    has_proxy,
    running_containers,
)

__all__ = ["CHAIN", "OWNER", "bridge_of", "owed_by_docker"]

OWNER = "dockerd"
CHAIN = "DOCKER"

_LOCAL = Addrtype(dst_type=Negatable("LOCAL"))
_JUMPS = {
    "PREROUTING": XtRule(matches=(_LOCAL,), target=Jump(CHAIN)),
    "OUTPUT": XtRule(dst=Negatable("127.0.0.0/8", invert=True), matches=(_LOCAL,), target=Jump(CHAIN)),
}
#: Without the userland proxy 127.0.0.1 leads to containers too.
_UNPROXIED = {**_JUMPS, "OUTPUT": _JUMPS["PREROUTING"]}


def owed_by_docker(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield what dockerd owes *node* for its running containers."""
    state = snapshot.nodes.get(node)
    if state is None:
        return
    netns = state.netns
    masked: set[str] = set()
    jumps = False
    for container in running_containers(snapshot, node):
        for network in container.networks:
            bridge = bridge_of(snapshot, netns, network)
            if bridge is None:
                continue
            if network.prefix not in masked:
                masked.add(network.prefix)
                yield _masquerade(snapshot, netns, container, network, bridge)
        attached = next(((n, b) for n in container.networks if (b := bridge_of(snapshot, netns, n))), None)
        if attached is None:
            continue
        for port in container.published:
            proxied = has_proxy(snapshot, node)
            owed = _dnat(snapshot, netns, container, attached, port, proxied=proxied)
            jumps = jumps or owed.chain == CHAIN
            yield owed
    if jumps:
        for chain, rule in (_JUMPS if has_proxy(snapshot, node) else _UNPROXIED).items():
            yield _jump(snapshot, netns, chain, rule)


def bridge_of(snapshot: Snapshot, netns: str, network: Network) -> str | None:
    """Return the bridge that has the network's gateway; docker0 for Docker's own where that was not read."""
    section = snapshot.namespaces[netns].addresses if netns in snapshot.namespaces else None
    if not isinstance(section, Known):
        return "docker0" if network.name == "bridge" else None
    addresses: tuple[Address, ...] = section.value
    return next((own.device for own in addresses if own.address == network.gateway), None)


def _standing(
    snapshot: Snapshot, netns: str, chains: tuple[str, ...], does: Callable[[XtRule], bool]
) -> tuple[str, XtRule] | None:
    """Return (chain, rule) of the first rule of table nat that *does* the same."""
    for backend in BACKENDS:
        for name in chains:
            chain = snapshot.chain(netns, backend, "nat", name)
            for rule in chain.rules if chain is not None else ():
                if does(rule):
                    return name, rule
    return None


def _masquerade(
    snapshot: Snapshot, netns: str, container: Container, network: Network, bridge: str
) -> OwedRule:
    def does(rule: XtRule) -> bool:
        if not isinstance(rule.target, Masquerade | Snat) or rule.src is None or rule.src.invert:
            return False
        if not prefix_contains(rule.src.value, network.prefix) or rule.matches:
            return False
        return rule.out_device is None or rule.out_device.invert or rule.out_device.value != bridge

    found = _standing(snapshot, netns, ("POSTROUTING",), does)
    rule = XtRule(
        src=Negatable(network.prefix), out_device=Negatable(bridge, invert=True), target=Masquerade()
    )
    return OwedRule(
        netns=netns,
        owner=OWNER,
        source=container.source,
        about=f"masquerade of what leaves network {network.name} ({network.prefix})",
        table="nat",
        chain="POSTROUTING",
        rule=found[1] if found is not None else rule,
    )


def _dnat(
    snapshot: Snapshot,
    netns: str,
    container: Container,
    attached: tuple[Network, str],
    port: Published,
    *,
    proxied: bool,
) -> OwedRule:
    network, bridge = attached
    number = PortRange(port.host_port, port.host_port)
    to = NatRange(lo=network.address, ports=PortRange(port.port, port.port))

    def does(rule: XtRule) -> bool:
        if not isinstance(rule.target, Dnat) or (rule.target.to.lo, rule.target.to.ports) != (
            to.lo,
            to.ports,
        ):
            return False
        return any(
            isinstance(m, Tcp | Udp)
            and m.dport is not None
            and m.dport.range == number
            and not m.dport.invert
            for m in rule.matches
        )

    found = _standing(snapshot, netns, (CHAIN, "PREROUTING"), does)
    test = Tcp(dport=Ports(number)) if port.proto == "tcp" else Udp(dport=Ports(number), proto=port.proto)
    rule = XtRule(
        dst=Negatable(f"{port.host_ip}/32") if port.host_ip else None,
        in_device=Negatable(bridge, invert=True) if proxied else None,
        proto=Negatable(port.proto),
        matches=(test,),
        target=Dnat(to=to),
    )
    return OwedRule(
        netns=netns,
        owner=OWNER,
        source=container.source,
        about=f"container {container.name}, port {port.port}/{port.proto}",
        subject=f"container/{container.name}",
        table="nat",
        chain=found[0] if found is not None else CHAIN,
        rule=found[1] if found is not None else rule,
    )


def _jump(snapshot: Snapshot, netns: str, chain: str, rule: XtRule) -> OwedJump:
    def does(standing: XtRule) -> bool:
        return isinstance(standing.target, Jump) and standing.target.chain == CHAIN

    found = _standing(snapshot, netns, (chain,), does)
    return OwedJump(
        netns=netns,
        owner=OWNER,
        source="dockerd's start",
        about=f"jump to {CHAIN}, the published ports",
        table="nat",
        chain=chain,
        rule=found[1] if found is not None else rule,
    )
