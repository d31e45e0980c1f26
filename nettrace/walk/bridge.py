"""
A frame in a bridge: which port, and the ip hooks that br_netfilter calls on the way.

Lives here: br_handle_frame, the forwarding database, hairpin, isolation, where br_netfilter stands.
Not here: its PREROUTING (bridge_nf), everybody on a segment (segment).
Sources: net/bridge/br_input.c, br_forward.c, br_netfilter_hooks.c.
"""

from collections.abc import Callable
from copy import copy

from nettrace.model.links import Link
from nettrace.model.step import Stage, Verdict
from nettrace.walk.bridge_nf import calls_iptables, is_own, prerouting, readdress
from nettrace.walk.context import Ended, Run, ended, undecided
from nettrace.walk.hooks import bridge_hook, netdev_hook, run_hook
from nettrace.walk.icmp6 import PACKET_TOO_BIG, send_error6
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.order import Party
from nettrace.walk.point import HookPoint
from nettrace.walk.segment import Bridged, admitted, allowed_out, behind
from nettrace.walk.skb import Skb, fragment_size
from nettrace.walk.stages import Next
from nettrace.walk.whereabouts import aside

__all__ = ["bridge_forward", "bridge_in", "bridge_out"]

_FORWARDING, _LEARNING = 3, 2
#: Where br_netfilter stands in the hooks of a bridge (NF_BR_PRI_BRNF; before Linux 6.7 one less in FORWARD).
_NF_PRIORITY = 0
_SLACK = 4  # is_skb_forwardable: room for a VLAN tag


def bridge_in(run: Run, skb: Skb) -> Next:
    """A frame came in by a port."""
    ns = namespace(run, skb.netns)
    port = ns.link(skb.device)
    bridge = ns.link(port.master or "")
    if bridge.bridge is not None and bridge.bridge.vlan_filtering:
        undecided(
            f"bridge {bridge.name} of {ns.name} filters VLANs, which is not walked yet",
            f"{ns.name}/links/{bridge.name}",
        )
    state = port.port.state if port.port is not None else _FORWARDING
    if state not in (_FORWARDING, _LEARNING) or not bridge.up:
        what = f"port state {state}" if bridge.up else f"{bridge.name} is down"
        _drop(run, ns, skb, port.name, what, f"{port.name} does not forward: {what}", f"links/{port.name}")
    skb.in_port, skb.device = port.name, bridge.name
    skb.physin = skb.physout = None
    point = HookPoint(ns, "prerouting", port.name, None)
    sought = ""

    def iptables() -> None:
        nonlocal sought
        skb.physin = port.name
        sought = prerouting(run, ns, skb, bridge)

    calls = calls_iptables(ns, bridge, skb.packet.family)
    bridge_hook(run, skb, point, beside=_br_netfilter(iptables) if calls else None)
    if sought:
        readdress(run, ns, skb, bridge, sought)
    _admit(run, ns, skb, bridge, port)
    if state == _LEARNING:
        text = f"port state {state}"
        _drop(run, ns, skb, port.name, text, f"{port.name} only learns: {text}", f"links/{port.name}")
    return Next.BRIDGE_FORWARD


def _br_netfilter(go: Callable[[], None]) -> Party:
    """Return what br_netfilter does at a hook, as one of those who stand there."""
    return Party(_NF_PRIORITY, "br_netfilter", "br_netfilter", go)


def _admit(run: Run, ns: Namespace, skb: Skb, bridge: Link, port: Link) -> None:
    """Learn where the sender is; a locked port lets in only who is known there (br_handle_frame_finish)."""
    if not admitted(ns, port, skb.source_mac):
        what = f"{port.name} locked on"
        reason = f"{port.name} is locked, and no entry says that {skb.source_mac} is behind it"
        _drop(run, ns, skb, port.name, what, reason, f"links/{port.name}")
    if skb.source_mac and (port.port is None or port.port.learning):
        run.learned_ports[(ns.name, bridge.name, skb.source_mac)] = port.name


def bridge_out(run: Run, skb: Skb) -> Next:
    """The host itself sends by the bridge's own device (br_dev_xmit); the ip hooks are behind it."""
    skb.in_port = None
    skb.physin = None
    conn = skb.conn
    if (
        skb.inner
        and conn is not None
        and (conn.src_nat or conn.dst_nat)
        and skb.inner[-1].packet.proto != "icmp"
    ):
        undecided(
            f"{skb.device} of {skb.netns} sends a tunnel's packet that was translated: whether its checksum "
            "is still right depends on which device computes the inner one",
            f"{skb.netns}/links/{skb.device}",
        )
    return Next.BRIDGE_FORWARD


def bridge_forward(run: Run, skb: Skb) -> Next:
    """Find the port for the frame's MAC address, or pass it up to the host."""
    ns = namespace(run, skb.netns)
    bridge = ns.link(skb.device)
    mac = skb.dest_mac
    if skb.in_port is not None and is_own(ns, bridge, mac):
        bridge_hook(run, skb, HookPoint(ns, "input", skb.in_port, None))
        run.step(
            skb,
            Stage.BRIDGE,
            "up",
            ref=f"{ns.name}/links/{bridge.name}",
            text=f"{mac} is {bridge.name} itself",
        )
        netdev_hook(run, skb, ns, bridge.name, "ingress")
        return Next.IP_RECEIVE
    port, known = _port_for(run, ns, skb, bridge, mac)
    if not allowed_out(ns, port, skb.in_port):
        _may_not_leave(run, ns, skb, bridge, port)
    run.step(
        skb,
        Stage.BRIDGE,
        "forward" if known else "flood",
        ref=f"{ns.name}/fdb/{port.name}/{mac}" if known else f"{ns.name}/links/{bridge.name}",
        text=f"{mac} is behind {port.name}",
        note="" if known else "not in the forwarding database: sent by every port",
    )
    inside = _to_port(run, skb, ns, bridge, port)
    bridge_hook(run, skb, HookPoint(ns, "postrouting", None, port.name))
    if inside:
        run_hook(run, skb, HookPoint(ns, "postrouting", None, bridge.name))
    _fit(run, ns, skb, bridge, port, inside=inside)
    skb.device = port.name
    return Next.TRANSMIT


def _to_port(run: Run, skb: Skb, ns: Namespace, bridge: Link, port: Link) -> bool:
    """Pass the hooks on the way to a port; return whether br_netfilter has the frame."""
    point = HookPoint(ns, "forward" if skb.in_port is not None else "output", skb.in_port, port.name)
    inside = skb.in_port is not None and skb.physin is not None

    def iptables() -> None:
        skb.physout = port.name
        run_hook(run, skb, HookPoint(ns, "forward", bridge.name, bridge.name))

    bridge_hook(run, skb, point, beside=_br_netfilter(iptables) if inside else None)
    return inside


def _copies(run: Run, skb: Skb, ns: Namespace, bridge: Link, followed: str | None) -> None:
    """
    See that no rule answers the other copies of a flooded frame, which pass the hooks once for each port.

    Undecided where one does: the sender hears of it, whatever becomes of the copy that is *followed*.
    """
    for port in ns.ports(bridge.name):
        if port.name == followed or not allowed_out(ns, port, skb.in_port):
            continue
        if port.port is not None and not port.port.flood:
            continue
        kept = run.answers, run.quiet
        run.answers, run.quiet = [], True
        try:
            _to_port(run, copy(skb), ns, bridge, port)
        except Ended:
            pass
        finally:
            answered = bool(run.answers)
            run.answers, run.quiet = kept
        if answered:
            undecided(
                f"{bridge.name} of {ns.name} floods the frame, and a rule answers the copy for {port.name}",
                f"{ns.name}/links/{port.name}",
            )


def _fit(run: Run, ns: Namespace, skb: Skb, bridge: Link, port: Link, *, inside: bool) -> None:
    """
    See whether the frame fits its port, which is asked last of all (br_dev_queue_push_xmit).

    Where br_netfilter is on, a packet of IPv4 that may be fragmented is, to the MTU of the bridge,
    and what may not is dropped; of IPv6 the sender is told (br_nf_dev_queue_xmit, ip6_fragment).
    """
    room = port.mtu
    if inside and skb.packet.size > port.mtu:
        if skb.packet.family == 4 and not skb.packet.df:
            skb.fragments = min(skb.largest, fragment_size(bridge.mtu))
            run.step(
                skb, Stage.BRIDGE, "fragment", device=port.name, ref=f"{ns.name}/links/{bridge.name}",
                text=f"mtu {bridge.mtu}", note=f"leaves in fragments of {bridge.mtu}",
            )  # fmt: skip
            room += _SLACK
        elif skb.packet.family == 6 and skb.largest > bridge.mtu:
            run.step(
                skb, Stage.BRIDGE, "drop", device=port.name, ref=f"{ns.name}/links/{bridge.name}",
                text=f"mtu {bridge.mtu}", note=f"{skb.largest} bytes: the host says so", stops=True,
            )  # fmt: skip
            send_error6(run, skb, PACKET_TOO_BIG, 0, mtu=bridge.mtu)
            ended(Verdict.TOO_BIG, f"{skb.largest} bytes do not fit {bridge.name}'s MTU {bridge.mtu}")
    elif not inside:
        room += _SLACK
    if skb.largest > room:
        run.step(
            skb, Stage.BRIDGE, "drop", device=port.name, ref=f"{ns.name}/links/{port.name}",
            text=f"mtu {port.mtu}", note=f"{skb.largest} bytes; a bridge tells nobody", stops=True,
        )  # fmt: skip
        ended(Verdict.TOO_BIG, f"{skb.largest} bytes do not fit port {port.name} of {bridge.name}")


def _port_for(run: Run, ns: Namespace, skb: Skb, bridge: Link, mac: str) -> tuple[Link, bool]:
    """
    Return the port towards *mac*, and whether the bridge knows it or floods.

    A flooded frame is followed to the one who takes it; where nobody does, every receiver
    drops it.
    """
    if skb.in_port is None:
        # br_dev_xmit asks nobody whether an entry is a local one: to the port it names, or to none
        local = next(
            (entry for entry in ns.fdb(mac) if entry.permanent and entry.master == bridge.name), None
        )
        if local is not None and local.device != bridge.name:
            return ns.link(local.device), True
        if local is not None or mac == bridge.mac.lower() or is_own(ns, bridge, mac):
            reason = f"{mac} is {bridge.name} itself, which does not send to itself"
            _drop(run, ns, skb, bridge.name, f"{bridge.name} has MAC {mac}", reason, f"links/{bridge.name}")
    learned = run.learned_ports.get((ns.name, bridge.name, mac))
    if learned is not None:
        return ns.link(learned), True
    for entry in ns.fdb(mac):
        if entry.master == bridge.name and not entry.permanent and not entry.vlan:
            return ns.link(entry.device), True
    around = behind(run, ns, bridge.name, skb.in_port, skb.source_mac, mac)
    takers = [
        station
        for station in around.stations
        if namespace(run, station.netns).link(station.device).mac.lower() == mac
    ]
    if len(takers) > 1:
        names = " and ".join(sorted(f"{one.netns} ({one.device})" for one in takers))
        undecided(f"{names} have the same MAC address {mac}, and both get the frame", f"{ns.name}/fdb")
    if takers:
        first = takers[0].way[0]
        port = ns.link(str(first.out_port if isinstance(first, Bridged) else None))
        _copies(run, skb, ns, bridge, port.name)
        return port, False
    _copies(run, skb, ns, bridge, None)
    if not around.edges:
        for port in ns.ports(bridge.name):
            if not _leads_to(run, port, mac):
                continue
            if allowed_out(ns, port, skb.in_port):
                text = f"{port.name} flood off"
                reason = f"{mac} is in no forwarding database, and {port.name} does not get what is flooded"
                _drop(run, ns, skb, port.name, text, reason, f"links/{port.name}")
            return port, False
        run.step(
            skb,
            Stage.BRIDGE,
            "drop",
            ref=f"{ns.name}/fdb",
            text=f"{mac} is in no forwarding database",
            note="flooded, and everybody who gets it finds it is for somebody else",
            stops=True,
        )
        ended(Verdict.OTHERHOST, f"nobody behind {bridge.name} of {ns.name} has MAC {mac}")
    edge = around.edges[0]
    if edge.outside:
        run.step(skb, Stage.BRIDGE, "leaves", ref=f"{edge.netns}/links/{edge.device}", text=edge.reason)
        whom = aside(run.snapshot, skb.packet.dst)
        ended(
            Verdict.LEFT_SNAPSHOT,
            f"the frame for {mac} is flooded out of the snapshot by {edge.reason}{whom}",
        )
    undecided(f"who is behind {edge.reason} cannot be told, and {mac} is flooded there", f"{ns.name}/fdb")


def _leads_to(run: Run, port: Link, mac: str) -> bool:
    """Does the other end of *port*'s veth have this MAC address?"""
    peer = port.peer
    if peer is None or peer.netns is None or peer.netns not in run.snapshot.namespaces:
        return False
    other = namespace(run, peer.netns).link_by_index(peer.ifindex)
    return other is not None and other.mac.lower() == mac


def _may_not_leave(run: Run, ns: Namespace, skb: Skb, bridge: Link, port: Link) -> None:
    """End the leg: should_deliver refuses."""
    attributes = port.port
    if port.name == skb.in_port and (attributes is None or not attributes.hairpin):
        text = f"{port.name} hairpin off"
        reason = f"the frame would leave by {port.name}, the port it came by, and hairpin is off there"
    elif not port.up or (attributes is not None and attributes.state != _FORWARDING):
        text = f"{port.name} state {attributes.state if attributes else 'down'}"
        reason = f"port {port.name} of {bridge.name} does not forward"
    elif port.name == skb.in_port:
        text = f"{port.name} isolated on"
        reason = f"the frame would leave by {port.name}, the port it came by, which is isolated"
    else:
        text = f"{skb.in_port} and {port.name} isolated on"
        reason = f"{skb.in_port} and {port.name} are isolated from each other"
    _drop(run, ns, skb, port.name, text, reason, f"links/{port.name}")


def _drop(run: Run, ns: Namespace, skb: Skb, device: str, text: str, reason: str, what: str) -> None:
    run.step(
        skb, Stage.BRIDGE, "drop", device=device, ref=f"{ns.name}/{what}", text=text, note=reason, stops=True
    )
    ended(Verdict.BRIDGE_DROPPED, reason)
