"""
How a node departs from what its network systems owe it, and what each difference means.

Lives here: from a difference to the cause whose name it has in the catalogue, and to a sentence.
Not here: kube-proxy, which is compared whole (departures, nft_departures, ipvs_departures), the comparison
itself (difference.py), whether a flow suffers from it (search.py).
"""

from collections.abc import Sequence

from nettrace.diagnose.causes.masquerade_missing import is_masquerade, masquerading_chains
from nettrace.diagnose.causes.pod_route_missing import route_cause
from nettrace.diagnose.departure import Departure
from nettrace.diagnose.difference import Difference, differences
from nettrace.diagnose.look import link_in
from nettrace.diagnose.making import owed_rules
from nettrace.model.addr import family_of
from nettrace.model.owed import (
    Owed,
    OwedAddress,
    OwedChain,
    OwedFdb,
    OwedIpset,
    OwedJump,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
    OwedSysctl,
    OwedVirtualServer,
)
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt_target import Dnat
from nettrace.parse.ipvs import end_text

__all__ = ["owed_departures"]

_NAMELESS = "owed-state-missing"

#: What a sysctl's cause is called, by its whole name or by its last word.
_SYSCTLS = {
    "net.ipv4.ip_forward": "ip-forward-off",
    "net.bridge.bridge-nf-call-iptables": "bridge-nf-off",
    "net.ipv4.vs.conntrack": "ipvs-conntrack-off",
    "forwarding": "iface-forwarding-off",
    "rp_filter": "rp-filter-strict",
    "route_localnet": "route-localnet-off",
}
#: What a device that is down is called, by its kind.
_DOWN = {
    "bridge": "bridge-down",
    "veth": "veth-host-down",
    "vxlan": "tunnel-link-down",
    "ipip": "tunnel-link-down",
    "tun": "tunnel-link-down",
}


def owed_departures(snapshot: Snapshot, owed: Sequence[Owed]) -> tuple[Departure, ...]:
    """Compare what was read; what was not differs from nothing."""
    leading = masquerading_chains(owed)
    return tuple(_departure(snapshot, one, leading) for one in differences(snapshot, owed))


def _departure(snapshot: Snapshot, one: Difference, leading: frozenset[tuple[str, str]]) -> Departure:
    owed, restored = one.owed, one.restored
    table, chain, family = _place(owed)
    cause, means = _meaning(snapshot, one, leading)
    words = one.about or restored.owed
    meaning = f"{means} {words}" if isinstance(owed, OwedRoute) else f"{words}: {means}"
    return Departure(
        kind="missing" if restored.absent else "differs",
        cause=cause,
        family=family,
        table=table,
        chain=chain,
        subject=one.subject,
        meaning=meaning,
        owed=restored.owed,
        found=restored.found,
        owner=owed.owner,
        source=one.source,
        netns=owed.netns,
        changes=restored.changes,
    )


def _place(owed: Owed) -> tuple[str, str, int]:
    """Return (table or tool, chain or name in it, family)."""
    match owed:
        case OwedChain() | OwedJump() | OwedRule():
            return owed.table, owed.chain, 4
        case OwedRoute(route=route):
            return "ip route", route.dst, family_of(route.dst)
        case OwedNeighbour(entry=entry):
            return "ip neigh", f"{entry.address} dev {entry.device}", family_of(entry.address)
        case OwedFdb(entry=entry):
            return "bridge fdb", f"{entry.mac} dev {entry.device}", 4
        case OwedSysctl():
            return "sysctl", owed.name, 4
        case OwedLink():
            return "ip link", owed.device, 4
        case OwedAddress(address=address):
            return "ip addr", address.device, family_of(address.address)
        case OwedIpset():
            return "ipset", owed.set.name, owed.set.family
        case OwedVirtualServer(server=server):
            return "ipvs", f"{server.proto} {end_text(server.address, server.port)}", 6 if server.six else 4


def _meaning(snapshot: Snapshot, one: Difference, leading: frozenset[tuple[str, str]]) -> tuple[str, str]:
    """Return the cause that it has in the catalogue, and what follows (of a route: before its name)."""
    owed, absent = one.owed, one.restored.absent
    match owed:
        case OwedRoute():
            return _route(snapshot, one, owed)
        case OwedNeighbour():
            return _NAMELESS, f"frames for {owed.entry.address} are {_sent(absent=absent)}"
        case OwedFdb():
            cause = _NAMELESS if absent else "fdb-stale-remote"
            return cause, f"the tunnel's packets for it are {_sent(absent=absent)}"
        case OwedSysctl():
            return _by_name(owed.name), f"the kernel does otherwise than {owed.owner} relies on"
        case OwedLink():
            return _link(snapshot, owed)
        case OwedAddress():
            link = link_in(snapshot, owed.netns, owed.address.device)
            bridge = link is not None and link.kind == "bridge"
            return (
                "bridge-address-missing" if bridge else _NAMELESS,
                "what is sent to this address is not for this node",
            )
        case OwedVirtualServer():
            return _server(one)
        case OwedIpset():
            return _NAMELESS, "rules that look into the set decide otherwise than they should"
        case OwedChain() | OwedJump() | OwedRule():
            return _rules(one, leading)


def _sent(*, absent: bool) -> str:
    return "not sent" if absent else "sent elsewhere"


def _route(snapshot: Snapshot, one: Difference, owed: OwedRoute) -> tuple[str, str]:
    if owed.route.type == "local":
        return "ipvs-vip-missing", "routed away, past IPVS, is what is for"
    if one.subject.startswith("pod/"):
        return _NAMELESS, "this node does not reach"
    cause, verb = route_cause(snapshot, owed, absent=one.restored.absent)
    return cause, f"this node {verb}"


def _by_name(sysctl: str) -> str:
    return _SYSCTLS.get(sysctl) or _SYSCTLS.get(sysctl.rpartition(".")[2], _NAMELESS)


def _link(snapshot: Snapshot, owed: OwedLink) -> tuple[str, str]:
    link = link_in(snapshot, owed.netns, owed.device)
    if link is None:
        return _NAMELESS, "the device is not there"
    if owed.attribute == "address" and link.vxlan is not None:
        return "vtep-mac-mismatch", "the other nodes address their frames to another MAC"
    if owed.attribute == "hairpin":
        return "hairpin-off", "who is behind this port does not reach itself through its Service"
    if owed.attribute == "up":
        return _DOWN.get(link.kind, _NAMELESS), "nothing passes the device"
    return _NAMELESS, f"its {owed.attribute} is another"


def _server(one: Difference) -> tuple[str, str]:
    if one.restored.absent and "no virtual server" in one.restored.found:
        return "service-rules-absent", "IPVS does not serve the address"
    if one.restored.absent:
        return _NAMELESS, "a server gets no connections"
    return _NAMELESS, "connections are sent otherwise"


def _rules(one: Difference, leading: frozenset[tuple[str, str]]) -> tuple[str, str]:
    if is_masquerade(one.owed, leading):
        return "masquerade-missing", "packets leave with a source that the outside cannot answer"
    if any(isinstance(rule.target, Dnat) for rule in owed_rules(one)):
        return _NAMELESS, "a published port leads nowhere, or elsewhere"
    return _NAMELESS, "packets take another way through the rules than it relies on"
