"""
Mistakes in what IPv6 does otherwise than IPv4, for the oracle to find.

Lives here: mistakes that somebody makes who knows IPv4: discovery, forwarding, sizes, sources, errors.
Not here: the list of all (planted), native nftables (planted_nft).
"""

from typing import Any

from nettrace.model.addr import is_link_local, is_loopback
from nettrace.model.step import Verdict
from nettrace.walk.context import ended
from nettrace.walk.namespace import namespace
from tests.oracle.planting import Bug, bug

__all__ = ["PLANTED6"]


def _no_rules_for_discovery(trip: Any) -> Any:
    return lambda *arguments, **options: ""


def _forwarding_per_device(forward: Any) -> Any:
    def wrong(run: Any, skb: Any) -> Any:
        ns = namespace(run, skb.netns)
        if not ns.conf(skb.iif or skb.device, "forwarding", family=6)[0]:
            ended(Verdict.NOT_FORWARDED, "its device does not forward")
        return forward(run, skb)

    return wrong


def _fragmented_on_the_way(mtu: Any) -> Any:
    return lambda run, skb: 65535


def _first_of_the_device(source: Any) -> Any:
    def wrong(ns: Any, route: Any, hop: Any, dst: str) -> Any:
        device = hop.device if hop is not None else None
        mine = ns.addresses6(device) if device is not None else ()
        plain = [one.address for one in mine if not (is_link_local(one.address) or is_loopback(one.address))]
        return plain[-1] if plain else source(ns, route, hop, dst)

    return wrong


def _no_reroute(run_hook: Any) -> Any:
    def wrong(run: Any, skb: Any, point: Any, **options: Any) -> Any:
        options.pop("reroute", None)
        return run_hook(run, skb, point, **options)

    return wrong


def _codes_mixed_up(codes: Any) -> Any:
    swapped = {
        "icmp6-no-route": codes["icmp6-adm-prohibited"],
        "icmp6-adm-prohibited": codes["icmp6-no-route"],
    }
    return {**codes, **swapped}


def _errors_by_the_destination(is_mine: Any) -> Any:
    return lambda *arguments: True


def _unreachable_is_an_address(answers: Any) -> Any:
    return {**answers, "EHOSTUNREACH": 3}


def _own_sources_are_martians(take: Any) -> Any:
    def wrong(run: Any, ns: Any, skb: Any) -> None:
        take(run, ns, skb)
        if skb.device != "lo" and ns.owns(skb.packet.src):
            ended(Verdict.MARTIAN, f"{skb.packet.src} is an address of {ns.name}")

    return wrong


PLANTED6: tuple[Bug, ...] = (
    bug("IPv6: discovery meets no rules", "nd._trip", _no_rules_for_discovery, "router-6"),
    bug("IPv6: forwarding is per device", "leg.forward6", _forwarding_per_device, "router-6"),
    bug("IPv6: routers fragment", "forward6.mtu_of6", _fragmented_on_the_way, "router-6"),
    bug(
        "IPv6: the device's first address is the source",
        "output6.source_for6",
        _first_of_the_device,
        "router-6",
    ),
    bug("IPv6: no second route after OUTPUT", "send.run_hook", _no_reroute, "router-6"),
    bug("IPv6: REJECT's codes are mixed up", "targets.REJECT_CODES6", _codes_mixed_up, "router-6"),
    bug("IPv6: errors come from the destination", "icmp6._is_mine", _errors_by_the_destination, "router-6"),
    bug(
        "IPv6: an unreachable route answers as a neighbour",
        "arrive6._ANSWERS",
        _unreachable_is_an_address,
        "router-6",
    ),
    bug("IPv6: own sources are martians", "receive.take_frame6", _own_sources_are_martians, "router-6"),
)
