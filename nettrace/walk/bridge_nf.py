"""
br_netfilter's PREROUTING inside a bridge, and what becomes of a frame whose destination it changed.

Lives here: whether the ip hooks are called, routing in the bridge, the new neighbour's MAC address.
Not here: the frame's way through the bridge (bridge), the hooks themselves (hooks).
Sources: net/bridge/br_netfilter_hooks.c, br_netfilter_ipv6.c.
"""

from nettrace.model.links import Link
from nettrace.model.step import Stage
from nettrace.walk.arrive import input_route, refuse
from nettrace.walk.arrive6 import input_route6, refuse6
from nettrace.walk.context import Run, undecided
from nettrace.walk.fib import Failed
from nettrace.walk.hooks import netdev_hook, run_hook
from nettrace.walk.namespace import Namespace
from nettrace.walk.native import native_chains
from nettrace.walk.nd import calls_ip6tables
from nettrace.walk.neighbour import CONNECTED, find_mac
from nettrace.walk.point import HookPoint
from nettrace.walk.programs import on_device
from nettrace.walk.skb import Refusal, Skb

__all__ = ["calls_iptables", "is_own", "prerouting", "readdress"]


def is_own(ns: Namespace, bridge: Link, mac: str) -> bool:
    """Is this a local entry: the bridge's own MAC address, or one of its ports'?"""
    if not mac or mac == bridge.mac.lower() or any(port.mac.lower() == mac for port in ns.ports(bridge.name)):
        return True
    return any(entry.permanent and bridge.name in (entry.master, entry.device) for entry in ns.fdb(mac))


def calls_iptables(ns: Namespace, bridge: Link, family: int) -> bool:
    """Does br_netfilter pass frames of this bridge to the ip hooks?"""
    if family == 6:
        return calls_ip6tables(ns, bridge)
    if ns.number("net.bridge.bridge-nf-call-iptables"):
        return True
    return bridge.bridge is not None and bridge.bridge.nf_call_iptables


def prerouting(run: Run, ns: Namespace, skb: Skb, bridge: Link) -> str:
    """
    PREROUTING inside the bridge (br_nf_pre_routing).

    A packet whose destination it changed is routed here and now: to a neighbour on the
    same bridge, whose address is returned, it stays bridged; otherwise it goes up to the host, also
    with a route that is an error (blackhole, none): ip_error() ends it there.
    The input route asks for forwarding like any other: the exception that a comment in
    br_nf_pre_routing_finish speaks of is never reached, since ip_route_input reports no error.
    """
    dst = skb.packet.dst
    run_hook(run, skb, HookPoint(ns, "prerouting", bridge.name, None))
    skb.prerouted = True
    if skb.packet.dst == dst:
        return ""
    if skb.packet.family == 6:
        return _changed6(run, ns, skb, bridge)
    decided = input_route(run, ns, skb, bridge.name)
    if isinstance(decided, Refusal):
        if not decided.errno:
            refuse(run, ns, skb, decided)
        skb.refused = decided
        skb.dest_mac = bridge.mac.lower()
        return ""
    where = f"{ns.name}/routes/{decided.route.table}/{decided.route.dst}"
    if decided.kind == "unicast" and decided.device == bridge.name:
        run.step(
            skb, Stage.ROUTE, "bridged", ref=where, text=decided.text,
            note=f"its new destination is on {bridge.name} too: it stays in the bridge",
        )  # fmt: skip
        return decided.gateway or skb.packet.dst
    run.step(
        skb,
        Stage.ROUTE,
        "local" if decided.kind == "local" else "forward",
        ref=where,
        text=decided.text,
    )
    skb.route = decided
    skb.dest_mac = bridge.mac.lower()
    return ""


def readdress(run: Run, ns: Namespace, skb: Skb, bridge: Link, neighbour: str) -> None:
    """
    Give a translated frame its new neighbour's MAC (br_nf_pre_routing_finish_bridge).

    The hooks of the bridge behind br_netfilter are passed first.
    """
    told = len(run.answers)
    try:
        found = find_mac(run, ns, skb, bridge, neighbour)
    finally:
        if not is_own(ns, bridge, skb.dest_mac):
            del run.answers[told:]  # a frame for another host is answered by no error (icmp_send, icmp6_send)
    skb.dest_mac = found.mac.lower()
    _by_the_bridge_itself(run, ns, skb, bridge, neighbour, found.word)


def _by_the_bridge_itself(run: Run, ns: Namespace, skb: Skb, bridge: Link, neighbour: str, word: str) -> None:
    """
    Pass what hangs on the bridge's own device, where the frame takes the neighbour's way (neigh->output).

    The device gives it back to the bridge (br_dev_xmit, br_nf_pre_routing_finish_bridge_slow).  A neighbour
    that is connected has the header at hand once the host itself has sent to it, and then the frame goes on
    in the bridge at once; no dump tells whether it has (hh_len).
    """
    if not bridge.programs and not native_chains(run, ns, ("netdev", "inet"), "egress", bridge.name):
        return
    entry = ns.neighbour(bridge.name, neighbour)
    if word != "resolved" and (entry is None or entry.state in CONNECTED):
        undecided(
            f"whether {bridge.name} of {ns.name} has sent to {neighbour} before is not told: its egress "
            "is passed by what was translated in the bridge only where it has not",
            f"{ns.name}/neighbours/{bridge.name}/{neighbour}",
        )
    kept, skb.source_mac = skb.source_mac, bridge.mac.lower()
    on_device(ns, bridge)
    netdev_hook(run, skb, ns, bridge.name, "egress")
    skb.source_mac = kept


def _changed6(run: Run, ns: Namespace, skb: Skb, bridge: Link) -> str:
    """
    Route a bridged IPv6 packet whose destination PREROUTING changed (br_nf_pre_routing_finish_ipv6).

    Without a route it is gone without a word.  To a neighbour on the bridge it stays bridged, also
    where forwarding is off; otherwise it goes up to the host with the route that was found.
    """
    decided = input_route6(run, ns, skb, bridge.name)
    if isinstance(decided, Failed):
        refuse6(run, ns, skb, decided, silent=True)
    where = f"{ns.name}/routes/{decided.route.table}/{decided.route.dst}"
    bridged = decided.kind == "unicast" and decided.device == bridge.name
    run.step(
        skb,
        Stage.ROUTE,
        "bridged" if bridged else "local" if decided.kind == "local" else "forward",
        ref=where,
        text=decided.text,
        note=f"its new destination is on {bridge.name} too: it stays in the bridge" if bridged else "",
    )
    if bridged:
        return decided.gateway or skb.packet.dst
    skb.route = decided
    skb.routed_by = decided.device if decided.kind == "unicast" else None
    skb.dest_mac = bridge.mac.lower()
    return ""
