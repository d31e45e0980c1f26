"""
IPsec in a packet's way: where the kernel asks its policies, and what it does then.

Lives here: what leaves (xfrm_lookup), what is passed on or delivered (xfrm_policy_check), the flow that
each of them looks up.
Not here: which policy counts (xfrm_policy).  What IPsec makes of a packet is not walked: UNKNOWN.
Sources: net/xfrm/xfrm_policy.c, net/ipv4/route.c (ip_route_output_flow), ip_forward.c, tcp_ipv4.c
(tcp_v4_connect, tcp_v4_rcv), netfilter.c (ip_route_me_harder), net/netfilter/nf_nat_proto.c
(nf_nat_ipv4_out), nf_nat_core.c (__nf_nat_decode_session), and their IPv6 like.
"""

from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Verdict
from nettrace.model.xfrm import Xfrm
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.namespace import NEIGHBOURHOOD, Namespace
from nettrace.walk.skb import Decision, Skb, mirrored, tuple_of
from nettrace.walk.xfrm_policy import Effect, Met, XfrmFlow, met

__all__ = ["came_by_ipsec", "check_in", "check_out", "check_rewritten", "plain_or_undecided"]

_ICMP = ("icmp", "icmpv6")
_WITH_PORTS = ("tcp", "udp", "sctp")
_NO_PORT = PortRange(0, 0)


def _xfrm(run: Run, ns: Namespace) -> Xfrm | None:
    """Return the namespace's IPsec; None where it lets everything pass."""
    found: Xfrm = run.section(ns.name, "xfrm", along=NEIGHBOURHOOD)
    return found if found.policies or found.blocks else None


def _exempt(ns: Namespace, device: str, what: str, family: int = 4) -> bool:
    """Does the device's switch, or that of all, spare a packet the policies?  That of lo is on for IPv4."""
    name = f"net.ipv{family}.conf.{device}.{what}"
    if family == 4 and device == "lo" and name not in ns.sysctls:
        return True
    return bool(ns.conf_max(device, what, family=family)[0])


def _flow(skb: Skb, packet: Packet, device: str | None, *, wire: bool = False) -> XfrmFlow:
    """
    Return what a policy is looked up by; *wire*: as the packet came in, before it was translated.

    Of fragments only the first one has ports, unless conntrack has put them together.
    """
    src, dst, sport, dport = packet.src, packet.dst, packet.sport, packet.dport
    unsure = skb.fragments is not None and skb.conn is None
    conn = skb.conn
    if wire and conn is not None and (conn.src_nat or conn.dst_nat):
        tup = conn.reply if skb.reply else conn.original
        src, dst = tup.src, tup.dst
        if packet.sport is not None:
            sport, dport = tup.sport, tup.dport
        unsure = unsure or packet.is_icmp_error
    if packet.proto in _ICMP:
        kind, code = packet.icmp_type or 0, packet.icmp_code or 0
        sport, dport = PortRange(kind, kind), PortRange(code, code)
    return XfrmFlow(src, dst, packet.proto, sport, dport, device, packet.mark, unsure)


def _default(xfrm: Xfrm, direction: str) -> Effect:
    return Effect.BLOCK if direction in xfrm.blocks else Effect.PLAIN


# --- what leaves ---------------------------------------------------------------------------------


def check_out(
    run: Run, ns: Namespace, skb: Skb, decided: Decision, *, errno: str | None = None, forwards: bool = False
) -> None:
    """
    Ask the policies for what leaves (xfrm_lookup), with the route that it has.

    Ends the leg where one blocks it, with *errno* for the socket that sent it; undecided where IPsec would
    transform it.
    """
    xfrm = _xfrm(run, ns)
    packet = skb.packet
    if xfrm is None or (packet.family == 4 and _exempt(ns, decided.device, "disable_xfrm")):
        return
    default = Effect.PLAIN if decided.device == "lo" else _default(xfrm, "out")
    # an IPv6 socket's flow has the device that it is bound to, others that of the route
    device = None if packet.family == 6 and not forwards else decided.device
    flow = _flow(skb, packet, device)
    for one in _looked_up(run, skb, flow):
        found = met(xfrm, "out", one, default=default)
        if skb.own:
            found = _of_socket(xfrm, "socket out", one, found)
        if packet.is_icmp_error and any("icmp" in policy.flags for policy in xfrm.policies):
            found = found._replace(why="policies for errors by the packet that they are about are not walked")
        _act(run, ns, skb, "out", found, errno if skb.own else None)


def _looked_up(run: Run, skb: Skb, flow: XfrmFlow) -> list[XfrmFlow]:
    """
    Return the flows that a socket asks for: of TCP without its port, before the kernel has chosen one.

    IPv4 asks again when it has (ip_route_newports), IPv6 does not.
    """
    chosen = flow.sport is not None and flow.sport.single is None
    if not (skb.own and flow.proto == "tcp" and chosen and run.leg in ("request", "ack", "data")):
        return [flow]
    early = flow._replace(sport=_NO_PORT)
    return [early] if ":" in flow.dst else [early, flow]


def check_rewritten(run: Run, ns: Namespace, skb: Skb) -> None:
    """Ask for what leaves once its source has been translated (nf_xfrm_me_harder)."""
    if skb.route is not None:
        check_out(
            run, ns, skb, skb.route, forwards=True, errno=None if skb.packet.proto == "tcp" else "EPERM"
        )


# --- what came in --------------------------------------------------------------------------------


def check_in(run: Run, ns: Namespace, skb: Skb, direction: str) -> None:
    """
    Ask the policies for what is delivered (``in``) or passed on (``fwd``): xfrm_policy_check.

    Ends the leg where one blocks it, or wants it to have come by IPsec and it came in the clear.
    """
    xfrm = _xfrm(run, ns)
    if xfrm is None or skb.route is None:
        return
    packet = skb.packet
    by = skb.device
    if packet.family == 6 and direction == "in":
        # the switch is in the route to the address (addrconf_f6i_alloc)
        hops = skb.route.route.nexthops
        by = (hops[0].device if hops else None) or by
    if _exempt(ns, by, "disable_policy", packet.family):
        return
    flow = _flow(skb, packet, skb.route.device, wire=True)
    found = met(xfrm, direction, flow, default=_default(xfrm, direction))
    if direction == "in" and packet.proto in _WITH_PORTS:
        found = _of_socket(xfrm, "socket in", flow, found)
    if direction == "fwd" and packet.is_icmp_error and packet.inner is not None and found.policy is None:
        found = _by_offender(xfrm, skb, packet.inner, found)
    _act(run, ns, skb, direction, found, None)


def _by_offender(xfrm: Xfrm, skb: Skb, offender: Packet, found: Met) -> Met:
    """Kernels since 6.9 ask for an error also by the packet that it is about (xfrm_in_fwd_icmp)."""
    back = mirrored(tuple_of(offender))
    flow = XfrmFlow(
        back.src, back.dst, back.proto, back.sport, back.dport, None, skb.packet.mark, unsure=True
    )
    other = met(xfrm, "fwd", flow, default=found.effect)
    if other.effect is found.effect and not other.why:
        return found
    return Met(other.policy, other.effect, "whether the error is let pass depends on the kernel's version")


def came_by_ipsec(run: Run, ns: Namespace, skb: Skb) -> bool | None:
    """
    Did the packet come in by IPsec (skb_sec_path)?  None: it came from outside, and may have.

    What the walk has followed from its sender has come in the clear: what IPsec transforms is UNKNOWN.
    """
    if not _from_outside(run, skb):
        return False
    found: Xfrm = run.section(ns.name, "xfrm", along=NEIGHBOURHOOD)
    return None if found.states else False


def _from_outside(run: Run, skb: Skb) -> bool:
    """Is it a packet of a client that nobody has seen send, in the first namespace that it came to?"""
    origin = run.flow.origin
    return origin.device is not None and origin.netns == skb.netns and run.leg in ("request", "ack", "data")


# --- what follows --------------------------------------------------------------------------------


def _of_socket(xfrm: Xfrm, direction: str, flow: XfrmFlow, found: Met) -> Met:
    """A policy of a socket goes before the namespace's; whose socket it is on no dump tells."""
    other = met(xfrm, direction, flow, default=found.effect)
    if other.policy is None or (other.effect is found.effect and not other.why):
        return found
    words = f"a socket has a policy of its own ({other.policy}), and whether it is this flow's is not told"
    return found._replace(why=found.why or words)


def _act(run: Run, ns: Namespace, skb: Skb, direction: str, found: Met, errno: str | None) -> None:
    policy = found.policy
    ref = (
        f"{ns.name}/xfrm/{policy.direction}/{policy.src}-{policy.dst}"
        if policy is not None
        else f"{ns.name}/xfrm"
    )
    text = str(policy) if policy is not None else f"default policy {direction} block"
    words = f"IPsec policy of {ns.name} ({text})"
    if found.why:
        undecided(f"policies of IPsec in {ns.name} decide: {found.why}", ref, text)
    if found.effect is Effect.PLAIN:
        if policy is not None:
            run.step(skb, Stage.XFRM, "accept", ref=ref, text=text)
        return
    if found.effect is Effect.IPSEC and direction == "out":
        undecided(
            f"the {words} has {skb.packet.ends()} sent by IPsec, and what is made of it is not walked",
            ref,
            text,
        )
    if found.effect is Effect.IPSEC and _from_outside(run, skb):
        undecided(
            f"the {words} lets in only what comes by IPsec, and whether it does is not told",
            ref,
            text,
        )
    reason = f"blocked by the {words}"
    if found.effect is Effect.IPSEC:
        reason = f"the {words} lets in only what comes by IPsec, and the packet came in the clear"
    run.step(skb, Stage.XFRM, "drop", ref=ref, text=text, note=reason, stops=True)
    ended(Verdict.DROPPED_BY_XFRM, reason, errno)


def plain_or_undecided(run: Run, ns: Namespace, skb: Skb, direction: str, what: str) -> None:
    """Raise Undecided unless the policies let *skb* pass as it is; for packets whose check is not walked."""
    xfrm = _xfrm(run, ns)
    if xfrm is None:
        return
    found = met(xfrm, direction, _flow(skb, skb.packet, None), default=_default(xfrm, direction))
    if found.why or found.effect is not Effect.PLAIN:
        text = str(found.policy) if found.policy is not None else f"default policy {direction} block"
        undecided(f"a policy of IPsec in {ns.name} ({text}) is about {what}", f"{ns.name}/xfrm", text)
