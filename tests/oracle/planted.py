"""
Bugs for the oracle to find: each patches one mistake into the walk.

Lives here: the mistakes, each one that somebody writing a walk could make, and the list of all.
Not here: those in IPv6's own ways (planted6), in native nftables and bridges (planted_nft).
"""

from typing import Any

from msgspec.structs import replace

from nettrace.model.step import Verdict
from nettrace.walk.stages import Next
from tests.oracle.planted6 import PLANTED6
from tests.oracle.planted_nft import PLANTED_NFT
from tests.oracle.planting import Bug, bug, in_table

__all__ = ["PLANTED"]


def _swapped_order(order: Any) -> Any:
    prerouting = [(-150 if table == "nat" else priority, table) for priority, table in order["prerouting"]]
    prerouting = [(-100 if table == "mangle" else priority, table) for priority, table in prerouting]
    return {**order, "prerouting": tuple(sorted(prerouting))}


def _no_reroute(run_hook: Any) -> Any:
    def wrong(run: Any, skb: Any, point: Any, **options: Any) -> Any:
        options.pop("reroute", None)
        return run_hook(run, skb, point, **options)

    return wrong


def _nat_again(needs_rules: Any) -> Any:
    def wrong(skb: Any, manip: str) -> bool:
        if skb.conn is None or skb.packet.is_icmp_error:
            return False
        if manip == "src":
            skb.conn.src_done = False
        else:
            skb.conn.dst_done = False
        return True

    return wrong


def _policy_ignored(policy: Any) -> Any:
    return lambda *arguments, **options: None


def _smaller_of_both(real: Any) -> Any:
    def wrong(self: Any, device: str, what: str, **options: Any) -> tuple[int, str]:
        if what != "rp_filter":
            found: tuple[int, str] = real(self, device, what, **options)
            return found
        both: list[tuple[int, str]] = [
            self.conf("all", what, **options),
            self.conf(device, what, **options),
        ]
        return min(both, key=lambda one: one[0])

    return wrong


def _always_forwarding(real: Any) -> Any:
    def wrong(self: Any, device: str, what: str, **options: Any) -> tuple[int, str]:
        found: tuple[int, str] = real(self, device, what, **options)
        return (1, found[1]) if what == "forwarding" else found

    return wrong


def _mask_ignored(target: Any) -> Any:
    def wrong(run: Any, skb: Any, point: Any, place: Any, rule_target: Any) -> Any:
        return target(run, skb, point, place, replace(rule_target, mask=0xFFFFFFFF))

    return wrong


def _not_translated_back(translate: Any) -> Any:
    def wrong(run: Any, skb: Any, hook: str) -> None:
        if not skb.reply:
            translate(run, skb, hook)

    return wrong


def _ttl_kept(forward: Any) -> Any:
    def wrong(run: Any, skb: Any) -> Any:
        found = forward(run, skb)
        skb.packet = replace(skb.packet, ttl=skb.packet.ttl + 1)
        return found

    return wrong


def _no_martians(martian: Any) -> Any:
    return lambda *arguments, **options: None


def _shortest_prefix(tables: Any) -> Any:
    def wrong(routes: Any) -> Any:
        return {table: prefixes[::-1] for table, prefixes in tables(routes).items()}

    return wrong


def _marks_ignored(matches: Any) -> Any:
    def wrong(ns: Any, rule: Any, key: Any) -> Any:
        return matches(ns, replace(rule, fwmark=None), key)

    return wrong


def _always_new(track: Any) -> Any:
    def wrong(run: Any, skb: Any, hook: str) -> None:
        track(run, skb, hook)
        if skb.state == "ESTABLISHED":
            skb.state = "NEW"

    return wrong


def _first_address(select: Any) -> Any:
    def wrong(ns: Any, device: str, near: Any, *more: Any) -> Any:
        return next(
            (one.address for one in ns.addresses("lo" if device != "lo" else device)), None
        ) or select(ns, device, near, *more)

    return wrong


def _hairpin_always(allowed: Any) -> Any:
    return lambda ns, port, in_port, *more: port.up


def _no_br_netfilter(calls: Any) -> Any:
    return lambda *arguments, **options: False


def _not_inverted(matches: Any) -> Any:
    def wrong(skb: Any, point: Any, rule: Any) -> Any:
        src = replace(rule.src, invert=False) if rule.src is not None else None
        return matches(skb, point, replace(rule, src=src))

    return wrong


def _always_drawn(drawn: Any) -> Any:
    return lambda *arguments, **options: True


def _still_tracked(notrack: Any) -> Any:
    def wrong(run: Any, skb: Any, point: Any, place: Any, target: Any) -> Any:
        effect = notrack(run, skb, point, place, target)
        skb.state = ""
        return effect

    return wrong


def _strict_is_loose(real: Any) -> Any:
    def wrong(run: Any, ns: Any, skb: Any, device: str, *, out: Any) -> Any:
        found = real(run, ns, skb, device, out=out)
        return None if found is not None and found.verdict is Verdict.REVERSE_PATH_FILTERED else found

    return wrong


def _accept_goes_up(local_in: Any) -> Any:
    def wrong(run: Any, skb: Any) -> Any:
        return Next.DELIVER

    return wrong


def _established_both(fits: Any) -> Any:
    def wrong(skb: Any, states: Any, *, invert: bool) -> Any:
        return fits(skb, (*states, "RELATED") if "ESTABLISHED" in states else states, invert=invert)

    return wrong


def _no_confirm(confirm: Any) -> Any:
    return lambda run, skb: None


def _device_prefix(fits: Any) -> Any:
    return lambda device, wanted: device is not None and device.startswith(wanted.rstrip("+"))


PLANTED: tuple[Bug, ...] = (
    bug("mangle after nat", "hooks._ORDER", _swapped_order),
    bug("no second route after OUTPUT", "send.run_hook", _no_reroute),
    bug("nat rules see every packet", "hooks.needs_rules", _nat_again),
    bug("policies are ignored", "rules._policy", _policy_ignored),
    bug("rp_filter is the smaller of both", "namespace.Namespace.conf_max", _smaller_of_both, "two-ways"),
    bug("forwarding is always on", "namespace.Namespace.conf", _always_forwarding),
    bug("MARK ignores its mask", "targets._APPLY", lambda real: in_table(real, "MarkTarget", _mask_ignored)),
    bug("answers are not translated back", "hooks.translate", _not_translated_back),
    bug("the TTL stays", "leg._STAGES", lambda real: {**real, Next.FORWARD: _ttl_kept(real[Next.FORWARD])}),
    bug("nobody is a martian", "arrive._martian", _no_martians),
    bug("the shortest prefix wins", "routing._tables", _shortest_prefix),
    bug("policy rules do not look at marks", "fib._selectors_match", _marks_ignored),
    bug("every packet is NEW", "hooks.track", _always_new),
    bug("MASQUERADE takes the loopback's address", "targets.select_address", _first_address),
    bug("a bridge sends back where it came from", "bridge.allowed_out", _hairpin_always, "vxlan"),
    bug("br_netfilter is ignored", "bridge.calls_iptables", _no_br_netfilter, "pods"),
    bug("! -s is -s", "rules.header_matches", _not_inverted),
    bug("statistic always matches", "rules._drawn", _always_drawn),
    bug("NOTRACK is ignored", "targets._APPLY", lambda real: in_table(real, "Notrack", _still_tracked)),
    bug("strict reverse paths are loose", "arrive.reverse_path", _strict_is_loose, "two-ways"),
    bug("INPUT is not passed", "leg._STAGES", lambda real: {**real, Next.LOCAL_IN: _accept_goes_up(None)}),
    bug("ESTABLISHED is RELATED too", "matches._state_fits", _established_both),
    bug("connections are never confirmed", "hooks.confirm", _no_confirm),
    bug("a device's name is a prefix", "matches.device_fits", _device_prefix),
    *PLANTED6,
    *PLANTED_NFT,
)
