"""
Where and why the kernel dropped a packet, beside what the walk says of it.

Lives here: the reasons that the kernel may give for each verdict, and holding the drops of one
attempt against the branch that it took.
Not here: watching drops (nettrace.observe.drops), rules and stages (nettrace.align.steps).
Sources: include/net/dropreason-core.h, and the functions named below; docs/verdicts.md has the
same table for people.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.model.observation import Attempt, Comparison, Drop, Parting
from nettrace.model.step import STOPPING, Stage, Step, Verdict
from nettrace.model.walk import Leg, Outcome, Path

__all__ = ["REASONS", "Kernel", "accepts", "drop_text", "is_in_the_socket", "is_noise", "with_drops"]

#: Given for anything: only the function tells what it was.
_UNSAID = "NOT_SPECIFIED"


class Kernel(NamedTuple):
    """
    How the kernel shows a verdict.

    ``reasons`` are those that speak for themselves; NOT_SPECIFIED counts only in one of
    ``functions``.  ``surely``: it does not happen without a drop that can be seen.
    """

    reasons: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    surely: bool = False


def _kernel(*reasons: str, at: Sequence[str] = (), surely: bool = False) -> Kernel:
    return Kernel(frozenset(reasons), frozenset(at), surely)


#: A frame that the far end of a pair, or a port, does not take (is_skb_forwardable).
_FORWARDABLE = ("__dev_forward_skb2", "__dev_forward_skb", "dev_forward_skb", "veth_xmit")

REASONS: Mapping[Verdict, Kernel] = {
    Verdict.DELIVERED: _kernel(),
    Verdict.NOT_LISTENING: _kernel("NO_SOCKET", "IP_NOPROTO", at=("icmpv6_rcv", "tcp_v6_conn_request")),
    Verdict.BAD_CHECKSUM: _kernel("UDP_CSUM", "TCP_CSUM", surely=True),
    Verdict.UNEXPECTED: _kernel("NO_SOCKET", "TCP_FLAGS", "TCP_RESET", at=("icmpv6_rcv",)),
    Verdict.REJECTED: _kernel("NETFILTER_DROP", surely=True),
    Verdict.DROPPED_BY_RULE: _kernel("NETFILTER_DROP", surely=True),
    # the reason is that of the lookup for what is for no socket or protocol, and netfilter's after NAT
    Verdict.DROPPED_BY_XFRM: _kernel(
        "XFRM_POLICY", "NO_SOCKET", "IP_NOPROTO", "NETFILTER_DROP", at=("ip6_forward", "__udp4_lib_rcv")
    ),
    Verdict.DENIED: _kernel("NETFILTER_DROP"),
    Verdict.INVALID: _kernel("NETFILTER_DROP"),
    Verdict.NO_ROUTE: _kernel(
        "IP_INNOROUTES",
        "IP_OUTNOROUTES",
        at=(
            "ip_error",
            "ip6_pkt_drop",
            "ip6_pkt_discard",
            "nf_send_reset",
            "nf_send_reset6",
            "br_nf_pre_routing_finish_ipv6",
        ),
    ),
    # ip_route_input_slow calls a blackhole unreachable where forwarding is off
    Verdict.BLACKHOLED: _kernel(
        "IP_INADDRERRORS",
        at=("ip_error", "dst_discard", "dst_discard_out", "ip6_pkt_drop", "br_nf_pre_routing_finish_ipv6"),
    ),
    Verdict.NOT_FORWARDED: _kernel("IP_INADDRERRORS", at=("ip_error", "ip6_forward"), surely=True),
    Verdict.REVERSE_PATH_FILTERED: _kernel("IP_RPFILTER", surely=True),
    Verdict.MARTIAN: _kernel(
        "IP_LOCAL_SOURCE",
        "IP_LOCALNET",
        "IP_INVALID_SOURCE",
        "IP_INVALID_DEST",
        "IP_INHDR",
        at=("ip_rcv_finish_core", "ip6_rcv_core", "ip_error"),
    ),
    Verdict.NEIGHBOUR_FAILED: _kernel(
        "NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_DEAD", at=("neigh_invalidate", "ndisc_error_report")
    ),
    Verdict.NO_TUNNEL_DESTINATION: _kernel("NO_TX_TARGET", "VXLAN_VNI_NOT_FOUND"),
    Verdict.BRIDGE_DROPPED: _kernel(
        "NO_TX_TARGET",
        "BRIDGE_INGRESS_STP_STATE",
        at=(
            "br_handle_frame",
            "br_handle_frame_finish",
            "br_forward",
            "br_flood",
            "br_dev_xmit",
            "br_allowed_ingress",
            "br_handle_vlan",
            "br_pass_frame_up",
        ),
    ),
    Verdict.OTHERHOST: _kernel("OTHERHOST"),
    Verdict.LINK_DOWN: _kernel(
        "DEV_READY", "QDISC_DROP", at=(*_FORWARDABLE, "__dev_queue_xmit", "noop_enqueue")
    ),
    Verdict.TOO_BIG: _kernel(
        "PKT_TOO_BIG",
        at=(
            *_FORWARDABLE,
            "br_dev_queue_push_xmit",
            "br_nf_dev_queue_xmit",
            "br_ip6_fragment",
            "ip_fragment",
            "ip6_forward",
            "ip6_fragment",
        ),
    ),
    Verdict.TTL_EXCEEDED: _kernel("IP_INHDR", at=("ip6_forward",)),
    Verdict.LOOP: _kernel("IP_INHDR", at=("ip6_forward",)),
    Verdict.REFUSED: _kernel(),
    Verdict.LEFT_SNAPSHOT: _kernel(),
    Verdict.UNKNOWN: _kernel(),
}

#: Copies for sockets that listen to devices, and what a socket held when it was closed.
_NOT_ON_THE_WAY = frozenset({"PACKET_SOCK_ERROR", "SOCKET_CLOSE", "QUEUE_PURGE", "TCP_CLOSE"})
_ROUTED_AGAIN = frozenset({Verdict.NO_ROUTE, Verdict.BLACKHOLED, Verdict.MARTIAN})
#: A socket was found and did not want it: beyond the end of the walk.
_IN_THE_SOCKET = ("SOCKET_", "TCP_", "UDP_", "PROTO_MEM")


def accepts(verdict: Verdict, reason: str, function: str = "") -> bool:
    """May the kernel give this reason, in this function, where the walk says *verdict*?"""
    kernel = REASONS[verdict]
    if reason == _UNSAID:
        return bool(kernel.functions) and (not function or function.split(".", 1)[0] in kernel.functions)
    return reason in kernel.reasons


def is_noise(reason: str, function: str) -> bool:
    """
    Is this a drop that nobody misses?

    A copy for a socket that listens to devices, what a socket held when it was closed, and an echo's
    answer, which raw sockets have got by then and for which there is no other.
    """
    return reason in _NOT_ON_THE_WAY or (reason == "NO_SOCKET" and function.startswith("ping_rcv"))


def is_in_the_socket(reason: str, function: str) -> bool:
    """
    Was a socket found that did not want it?

    A SYN that comes again while its answer is lost tcp_v4_rcv() frees without a word.
    """
    return reason.startswith(_IN_THE_SOCKET) or (reason == _UNSAID and function.startswith("tcp_"))


def drop_text(drop: Drop) -> str:
    """``dropped it in node-a: NETFILTER_DROP (nft_do_chain)``."""
    where = f" ({drop.function})" if drop.function else ""
    device = f" at {drop.device}" if drop.device else ""
    place = f" in {drop.netns}" if drop.netns else ""
    return f"dropped it{place}{device}: {drop.reason}{where}"


def with_drops(comparison: Comparison, path: Path, attempt: Attempt, *, watched: bool) -> Comparison:
    """
    Hold the drops of an attempt against the branch that it was compared with.

    *watched*: had there been one it would have been seen.  A leg is looked at until the first
    parting.
    """
    for leg in path.legs:
        if comparison.parted is not None:
            break
        if leg.steps and leg.kind in ("request", "reply", "ack", "error"):
            comparison = _with_leg(comparison, leg, path, attempt, watched=watched)
    return comparison


def _with_leg(comparison: Comparison, leg: Leg, path: Path, attempt: Attempt, *, watched: bool) -> Comparison:
    seen = [drop for drop in attempt.drops if drop.leg == leg.kind]
    counting = [drop for drop in seen if not _is_beside(drop, leg, path, attempt)]
    if leg.verdict in STOPPING:
        stop = next((index for index in reversed(range(len(leg.steps))) if leg.steps[index].stops), None)
        if stop is None:
            return comparison
        step = leg.steps[stop]
        if any(drop.netns in ("", step.netns) and _fits(leg, stop, drop) for drop in seen):
            return _marked(comparison, leg, stop, agrees=True)
        if counting:
            said = f"{leg.verdict.value} in {step.netns}"
            return _parted(comparison, leg, stop, said, drop_text(counting[0]))
        if watched and leg.kind == "request" and REASONS[leg.verdict].surely:
            return _parted(comparison, leg, stop, leg.verdict.value, "dropped nothing there")
        return comparison
    if leg.verdict is Verdict.DELIVERED and counting:
        drop = counting[0]
        inside = [index for index, step in enumerate(leg.steps) if step.netns == drop.netns]
        at = inside[-1] if inside else len(leg.steps) - 1
        return _parted(comparison, leg, at, f"{leg.verdict.value} in {leg.steps[-1].netns}", drop_text(drop))
    return comparison


def _fits(leg: Leg, stop: int, drop: Drop) -> bool:
    if accepts(leg.verdict, drop.reason, drop.function):
        return True
    # A rule of OUTPUT that changes the packet has it routed again, and netfilter drops it where
    # that fails (nf_ip_route, NF_DROP_ERR).
    again = leg.verdict in _ROUTED_AGAIN and drop.reason == "NETFILTER_DROP"
    return again and _was_sent_here(leg.steps, stop)


def _was_sent_here(steps: Sequence[Step], stop: int) -> bool:
    return any(step.stage is Stage.SEND and step.netns == steps[stop].netns for step in steps[:stop])


def _is_beside(drop: Drop, leg: Leg, path: Path, attempt: Attempt) -> bool:
    """Is this a drop that says nothing about the packet's way?"""
    if is_noise(drop.reason, drop.function):
        return True
    if leg.verdict is Verdict.DELIVERED:
        if is_in_the_socket(drop.reason, drop.function):
            return drop.netns in ("", leg.steps[-1].netns)
        if drop.reason == "NO_SOCKET" and leg.kind != "request":
            # Whoever asked has gone.
            return drop.netns in ("", leg.steps[-1].netns) and attempt.outcome is Outcome.CONNECTED
    # Where a bridge does not know the MAC everybody gets a copy.
    return drop.reason == "OTHERHOST" and attempt.outcome is path.outcome


def _marked(comparison: Comparison, leg: Leg, index: int, *, agrees: bool) -> Comparison:
    marks = list(comparison.checked.get(leg.kind) or [None] * len(leg.steps))
    marks[index] = agrees
    return replace(comparison, checked={**comparison.checked, leg.kind: tuple(marks)})


def _parted(comparison: Comparison, leg: Leg, index: int, predicted: str, observed: str) -> Comparison:
    marked = _marked(comparison, leg, index, agrees=False)
    parting = Parting(
        leg=leg.kind,
        step=index,
        netns=leg.steps[index].netns,
        predicted=predicted,
        observed=observed,
    )
    return replace(marked, parted=parting)
