"""
To which MAC address?

Lives here: the neighbour table, and ARP and ND played through among those whom the snapshot knows.
Not here: ND's messages (nd), following a broadcast (segment), sending the frame (leave).
Sources: net/core/neighbour.c, net/ipv4/arp.c (arp_solicit, arp_process, arp_ignore).
"""

from typing import NamedTuple, NoReturn

from nettrace.model.addr import family_of
from nettrace.model.links import Link, Neighbour
from nettrace.model.packet import Packet
from nettrace.model.step import Stage, Verdict
from nettrace.walk.arp import End, answer_lost, request_lost
from nettrace.walk.arrive import input_route
from nettrace.walk.context import Run, Undecided, ended, undecided
from nettrace.walk.icmp import HOST_UNREACHABLE, send_error
from nettrace.walk.icmp6 import ADDRESS_UNREACHABLE, UNREACHABLE, send_error6
from nettrace.walk.macvlan import macvlans
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.nd import asking_address6, discover
from nettrace.walk.routing import Failed, FlowKey, address_type, lookup
from nettrace.walk.segment import (
    Asked,
    Bridged,
    Segment,
    Station,
    Tunnelled,
    Way,
    admitted,
    allowed_out,
    segment,
)
from nettrace.walk.skb import Refusal, Skb
from nettrace.walk.source import select_address
from nettrace.walk.stages import Next
from nettrace.walk.vtep import carried, far_ends
from nettrace.walk.whereabouts import named

__all__ = ["ARP_PATIENCE", "CONNECTED", "find_mac", "resolve"]

#: Seconds until the kernel gives up: three tries, one a second (neigh/default/mcast_solicit,
#: retrans_time_ms; measured 3.06).
ARP_PATIENCE = 3.07

#: States in which an entry's MAC address is used (NUD_VALID).
_USABLE = frozenset({"permanent", "noarp", "reachable", "probe", "stale", "delay"})
#: Of these, those that nothing is to confirm (NUD_CONNECTED).
CONNECTED = frozenset({"permanent", "noarp", "reachable"})
_KEPT = frozenset({"permanent", "noarp"})

#: Kinds that carry packets without MAC addresses.
_WITHOUT_MAC = frozenset({"tun", "ipip", "sit", "gre", "wireguard", "none"})


class _Resolved(NamedTuple):
    mac: str
    word: str
    ref: str
    text: str


def resolve(run: Run, skb: Skb) -> Next:
    """Give the frame its MAC addresses, or end where nobody answers."""
    ns = namespace(run, skb.netns)
    link = ns.link(skb.device)
    if link.kind == "loopback" or link.kind in _WITHOUT_MAC:
        return Next.TRANSMIT
    route = skb.route
    address = (route.gateway if route is not None else None) or skb.packet.dst
    skb.source_mac = link.mac.lower()
    found = find_mac(run, ns, skb, link, address)
    skb.dest_mac = found.mac.lower()
    run.step(
        skb, Stage.NEIGHBOUR, found.word, ref=found.ref, text=found.text, note=f"{address} is at {found.mac}"
    )
    return Next.TRANSMIT


def find_mac(run: Run, ns: Namespace, skb: Skb, link: Link, address: str) -> _Resolved:
    """Return the MAC address of *address* on *link*; ends the leg where there is none."""
    ref = f"{ns.name}/neighbours/{link.name}/{address}"
    if link.noarp:
        return _Resolved(link.mac, "noarp", f"{ns.name}/links/{link.name}", f"{link.name} does not use ARP")
    learned = run.neighbours.get((ns.name, link.name, address))
    if learned is not None:
        return _Resolved(learned, "known", ref, f"{address} lladdr {learned}")
    entry = ns.neighbour(link.name, address)
    if entry is not None and entry.state in _USABLE and entry.mac:
        return _Resolved(entry.mac, "known", ref, f"{address} lladdr {entry.mac} {entry.state.upper()}")
    return _ask(run, ns, skb, link, address, entry)


def _ask(run: Run, ns: Namespace, skb: Skb, link: Link, address: str, entry: Neighbour | None) -> _Resolved:
    """Play ARP or ND through: whoever on the segment would answer is the neighbour."""
    ref = f"{ns.name}/neighbours/{link.name}/{address}"
    how = _how(address)
    sender = _asking_address(run, ns, skb, link, address)
    if not sender:
        _nobody(run, ns, skb, link, address, entry, f"{link.name} has no address to ask from")
    around = segment(run, ns.name, link.name, Asked(sender, address, link.mac.lower()))
    heard = _answers(run, ns, link, around, address, sender)
    answers, unsure = heard.stations, heard.unsure
    taken = any(one.macvlan and one.macvlan.mode == "passthru" for _, one in macvlans(run, ns, link))
    own = link.mac.lower()
    answers = [one for one in answers if not taken and _comes_back(run, one.way, own, _mac_of(run, one))]
    proxies = [one for one in around.proxies if not taken and _comes_back(run, one.way, own, one.mac)]
    macs = {_mac_of(run, one) for one in answers}
    macs |= {one.mac for one in proxies}
    if len(macs) > 1:
        where = " and ".join(
            sorted(
                [f"{one.netns} ({one.device})" for one in answers]
                + [f"{one.netns} ({one.bridge})" for one in proxies]
            )
        )
        undecided(f"{where} both answer {how} for {address}; who is faster decides", ref)
    if not answers and proxies:
        by = proxies[0]
        run.neighbours[(ns.name, link.name, address)] = by.mac
        _bridges_learn(run, by.way, link.mac.lower(), by.mac)
        return _Resolved(
            by.mac,
            "resolved",
            f"{by.netns}/neighbours/{by.bridge}/{address}",
            f"bridge {by.bridge} of {by.netns} answers {how} for {address} itself",
        )
    if answers:
        mac = macs.pop()
        _learn(run, ns, link, sender, address, answers[0], mac)
        return _Resolved(
            mac,
            "resolved",
            f"{answers[0].netns}/links/{answers[0].device}",
            f"{answers[0].netns} answers {how} for {address} at {answers[0].device}",
        )
    if unsure:
        undecided(f"whether anybody answers {how} for {address} is open: {unsure}", ref)
    inside = [edge for edge in around.edges if not edge.outside]
    if inside:
        undecided(
            f"nobody in the snapshot answers {how} for {address} on {link.name}; "
            f"what is behind {inside[0].reason} cannot be told",
            ref,
        )
    if around.edges:
        text = (
            f"{named(run.snapshot, address)} is not in the snapshot; {around.edges[0].reason} leads out of it"
        )
        run.step(skb, Stage.NEIGHBOUR, "leaves", ref=ref, text=text)
        ended(Verdict.LEFT_SNAPSHOT, f"the next hop {text}")
    _nobody(run, ns, skb, link, address, entry, heard.lost)


def _how(address: str) -> str:
    return "ND" if family_of(address) == 6 else "ARP"


def _nobody(
    run: Run, ns: Namespace, skb: Skb, link: Link, address: str, entry: Neighbour | None, why: str
) -> NoReturn:
    """End the leg at a neighbour that does not answer; *why* says what lost a message."""
    ref = f"{ns.name}/neighbours/{link.name}/{address}"
    how = _how(address)
    state = f"{address} {entry.state.upper()}" if entry is not None else f"no entry for {address}"
    run.step(
        skb,
        Stage.NEIGHBOUR,
        "drop",
        ref=ref,
        text=state,
        note=why or f"nobody answers {how} for {address}",
        stops=True,
    )
    if skb.packet.family == 6:
        send_error6(run, skb, UNREACHABLE, ADDRESS_UNREACHABLE, delay=ARP_PATIENCE)
    else:
        local = address_type(run, ns, skb.packet.dst) == "LOCAL"
        send_error(run, skb, 3, HOST_UNREACHABLE, local=local, delay=ARP_PATIENCE)
    reason = f"nobody on {link.name} of {ns.name} answers {how} for {address}"
    ended(Verdict.NEIGHBOUR_FAILED, f"{reason}: {why}" if why else reason)


def _mac_of(run: Run, station: Station) -> str:
    return namespace(run, station.netns).link(station.device).mac.lower()


def _asking_address(run: Run, ns: Namespace, skb: Skb, link: Link, address: str) -> str:
    """
    Return the sender's address in the request; "" where IPv6 has none and asks nobody.

    arp_solicit, with arp_announce 0 and 2; ndisc_solicit.
    """
    if family_of(address) == 6:
        return asking_address6(ns, link, skb.packet.src) or ""
    announce = ns.conf_max(link.name, "arp_announce")[0]
    if announce == 0 and address_type(run, ns, skb.packet.src) == "LOCAL":
        return skb.packet.src
    return select_address(ns, link.name, address, 253) or "0.0.0.0"


class _Heard(NamedTuple):
    """Who answers, what is open about others, and what is in the way of an answer."""

    stations: list[Station]
    unsure: str
    lost: str


def _answers(run: Run, ns: Namespace, link: Link, around: Segment, address: str, sender: str) -> _Heard:
    found: list[Station] = []
    unsure = lost = ""
    for station in around.stations:
        try:
            if family_of(address) == 6:
                silent = discover(run, ns, link, station, address, sender)
                lost = lost or silent or ""
                if silent is None:
                    found.append(station)
            elif _would_answer(run, station, address, sender):
                asker = End(ns, link.name, link.mac.lower(), sender)
                end = End(namespace(run, station.netns), station.device, _mac_of(run, station), address)
                silent = request_lost(run, asker, end, station.way)
                if not silent:
                    silent = answer_lost(run, asker, end, station.way)
                    if silent:
                        _know_asker(run, link, sender, station)
                lost = lost or silent
                if not silent:
                    found.append(station)
        except Undecided as open_question:
            unsure = unsure or open_question.reason
    return _Heard(found, unsure, lost)


def _would_answer(run: Run, station: Station, address: str, sender: str) -> bool:
    """arp_process: is *address* local there and may it say so, or does it answer for others?"""
    ns = namespace(run, station.netns)
    device = station.device
    link = ns.link(device)
    if link.noarp or link.kind in _WITHOUT_MAC:
        return False
    proxy = ns.conf_max(device, "proxy_arp")[0] or (
        ns.conf(device, "forwarding")[0] and ns.proxies(device, address)
    )
    if not proxy and not ns.owns(address) and address_type(run, ns, address) != "LOCAL":
        return False
    asked = Skb(Packet(src=sender, dst=address, proto="arp"), ns.name, device)
    decided = input_route(run, ns, asked, device)
    if isinstance(decided, Refusal):
        return False
    if decided.kind == "local":
        return not _keeps_silent(run, ns, device, address, sender)
    return bool(proxy and decided.device != device)


def _keeps_silent(run: Run, ns: Namespace, device: str, address: str, sender: str) -> bool:
    """arp_ignore and arp_filter."""
    ignore, name = ns.conf_max(device, "arp_ignore")
    here = [one for one in ns.addresses(device) if one.address == address]
    if ignore == 1 and not here:
        return True
    if ignore == 8:
        return True
    if ignore not in (0, 1):
        undecided(f"{name} of {ns.name} is {ignore}, which is not evaluated", f"{ns.name}/sysctls/{name}")
    if ns.conf_max(device, "arp_filter")[0]:
        back = lookup(run, ns, FlowKey(dst=sender, src=address))
        return isinstance(back, Failed) or back.hop is None or back.hop.device != device
    return False


def _learn(
    run: Run, ns: Namespace, link: Link, sender: str, address: str, station: Station, mac: str
) -> None:
    """
    Keep what the exchange taught: both ends know each other, the bridges know their ports.

    An entry that somebody made permanent is not overwritten (neigh_update).
    """
    run.neighbours[(ns.name, link.name, address)] = mac
    _know_asker(run, link, sender, station)
    _bridges_learn(run, station.way, link.mac.lower(), mac)


def _know_asker(run: Run, link: Link, sender: str, station: Station) -> None:
    """Whoever is asked knows who asks, also where the answer is lost (arp_process)."""
    far = namespace(run, station.netns)
    held = far.neighbour(station.device, sender)
    if held is None or held.state not in _KEPT:
        run.neighbours[(station.netns, station.device, sender)] = link.mac.lower()


def _bridges_learn(run: Run, way: Way, asker: str, answerer: str) -> None:
    """What the bridges on the way learn; tunnels learned while the frames were followed."""
    for hop in way:
        if isinstance(hop, Tunnelled):
            continue
        for port, mac in ((hop.in_port, asker), (hop.out_port, answerer)):
            if port is None:
                continue
            attributes = namespace(run, hop.netns).link(port).port
            if attributes is None or attributes.learning:
                run.learned_ports[(hop.netns, hop.bridge, mac)] = port


def _comes_back(run: Run, way: Way, mac: str, answerer: str) -> bool:
    """Does the ARP answer find its way back, as a frame for the MAC of who asked?"""
    for hop in reversed(way):
        back = _through_tunnel if isinstance(hop, Tunnelled) else _through_bridge
        if not back(run, hop, mac, answerer):  # type: ignore[arg-type]
            return False
    return True


def _through_tunnel(run: Run, hop: Tunnelled, mac: str, answerer: str) -> bool:
    """Send the answer by what the far end knows or has just learned."""
    ns = namespace(run, hop.far_netns)
    link = ns.link(hop.far_device)
    if link.vxlan is None:
        return False
    for far in far_ends(run, ns, link, link.vxlan, mac):
        there = carried(run, ns, link, far, source=answerer, dest=mac)
        if there.leaves:
            undecided(f"the ARP answer leaves the snapshot: {there.leaves}", far.ref)
        if (there.netns, there.device) == (hop.netns, hop.device):
            return True
    return False


def _through_bridge(run: Run, hop: Bridged, mac: str, answerer: str) -> bool:
    """
    Pass a bridge backwards.

    One that learned nothing from the request sends the answer by what its database says, or
    floods it by the ports that take such frames.
    """
    ns = namespace(run, hop.netns)
    if hop.out_port is not None and not admitted(ns, ns.link(hop.out_port), answerer):
        return False
    if hop.in_port is None:
        return True  # it is for the bridge's own device
    port = ns.link(hop.in_port)
    if not allowed_out(ns, port, hop.out_port):
        return False
    if port.port is None or port.port.learning:
        return True
    known = run.learned_ports.get((ns.name, hop.bridge, mac)) or next(
        (entry.device for entry in ns.fdb(mac) if entry.master == hop.bridge), None
    )
    if known is None:
        return port.port.flood and not port.port.proxy_arp
    return known == hop.in_port
