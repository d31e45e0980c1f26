"""
An IP packet has come through PREROUTING: whose is it?

Lives here: martian addresses, the input route, rp_filter, the forwarding switch of the
device it came in by.
Not here: the hooks before (receive) and after (forward, deliver).
Sources: net/ipv4/route.c (ip_route_input_slow, __mkroute_input, ip_error),
net/ipv4/fib_frontend.c (fib_validate_source).
"""

from typing import NoReturn

from nettrace.model.addr import is_loopback, is_multicast
from nettrace.model.step import Stage, Verdict
from nettrace.walk.arrive6 import input_route6, refuse6
from nettrace.walk.context import Run, ended, undecided
from nettrace.walk.icmp import HOST_UNREACHABLE, NET_UNREACHABLE, PROHIBITED, send_error
from nettrace.walk.namespace import Namespace, namespace
from nettrace.walk.routing import Failed, Found, address_type, flow_key, has_custom_rules, lookup, select_hop
from nettrace.walk.skb import Decision, Refusal, Skb
from nettrace.walk.stages import Next

__all__ = ["Refusal", "input_route", "refuse", "reverse_path", "route_input"]

#: What ip_error answers for each errno of the lookup; others are silent.
_ANSWERS = {"EHOSTUNREACH": HOST_UNREACHABLE, "ENETUNREACH": NET_UNREACHABLE, "EACCES": PROHIBITED}


def route_input(run: Run, skb: Skb) -> Next:
    """
    Route a packet that came in, unless it brought its route along (loopback, br_netfilter).

    Ends the leg where the kernel drops; an ICMP error goes back where ip_error sends one.
    """
    decided = skb.route
    if skb.refused is not None:
        refuse(run, namespace(run, skb.netns), skb, skb.refused)
    if decided is None:
        ns = namespace(run, skb.netns)
        if skb.packet.family == 6:
            found6 = input_route6(run, ns, skb, skb.device)
            if isinstance(found6, Failed):
                refuse6(run, ns, skb, found6)
            found: Decision | Refusal = found6
        else:
            skb.iif = skb.device
            found = input_route(run, ns, skb, skb.device)
        if isinstance(found, Refusal):
            refuse(run, ns, skb, found)
        decided = skb.route = found
        run.step(
            skb,
            Stage.ROUTE,
            "local" if decided.kind == "local" else "forward",
            device=skb.device,
            ref=_ref(ns, decided),
            text=decided.text,
            note="" if decided.kind == "local" else f"leaves by {decided.device}",
        )
    elif decided.kind == "unicast" and not decided.came_in and skb.packet.family == 4:
        return _given_back(run, skb, decided)
    return Next.LOCAL_IN if decided.kind == "local" else Next.FORWARD


def _given_back(run: Run, skb: Skb, decided: Decision) -> Next:
    """
    Deliver what lo gave back, whatever its address is.

    A route that IPv4 makes for sending by lo delivers (__mkroute_output: RTCF_LOCAL); IPv6's forward as
    they would anywhere (ip6_rt_init_dst).
    """
    ns = namespace(run, skb.netns)
    run.step(
        skb,
        Stage.ROUTE,
        "local",
        device=skb.device,
        ref=_ref(ns, decided),
        text=decided.text,
        note=f"what is sent by {skb.device} is delivered, whatever its address is",
    )
    return Next.LOCAL_IN


def _ref(ns: Namespace, decided: Decision) -> str:
    return f"{ns.name}/routes/{decided.route.table}/{decided.route.dst}"


def input_route(run: Run, ns: Namespace, skb: Skb, device: str) -> Decision | Refusal:
    """Decide on the packet as it is now, *after* destination NAT, as if it came in by *device*."""
    packet = skb.packet
    src, dst = packet.src, packet.dst
    localnet = ns.conf_max(device, "route_localnet")
    martian = _martian(ns, src, dst, localnet)
    if martian is not None:
        return martian
    key = flow_key(packet, iif=device)
    found = lookup(run, ns, key)
    forwarding, switch = ns.conf(device, "forwarding")
    if isinstance(found, Failed):
        if not forwarding and not found.blackhole:
            return _not_forwarded(ns, dst, switch)
        verdict = Verdict.BLACKHOLED if found.blackhole else Verdict.NO_ROUTE
        return Refusal(verdict, found.text, found.ref, found.text, found.errno)
    route = found.route
    if route.type == "broadcast":
        undecided(f"{dst} is a broadcast address of {ns.name}, which is not walked", found.ref, found.text)
    if route.type == "local":
        refused = reverse_path(run, ns, skb, device, out=None)
        if refused is not None:
            return refused
        return Decision("local", "lo", None, route, found.hop, came_in=True)
    if not forwarding:
        return _not_forwarded(ns, dst, switch)
    if route.type != "unicast":
        return Refusal(Verdict.MARTIAN, f"{dst} has a {route.type} route", found.ref, found.text)
    hop = select_hop(run, ns, found, key)
    if hop is None or hop.device is None:
        undecided(f"route {found.text} names no device", found.ref, found.text)
    refused = reverse_path(run, ns, skb, device, out=hop.device)
    if refused is not None:
        return refused
    return Decision("unicast", hop.device, hop.via, route, hop, came_in=True)


def _not_forwarded(ns: Namespace, dst: str, switch: str) -> Refusal:
    return Refusal(
        Verdict.NOT_FORWARDED,
        f"{switch} is 0, and {dst} is not an address of {ns.name}",
        f"{ns.name}/sysctls/{switch}",
        f"{switch} = 0",
        "EHOSTUNREACH",
    )


def _martian(ns: Namespace, src: str, dst: str, localnet: tuple[int, str]) -> Refusal | None:
    """Addresses that no packet from outside may have."""
    if is_multicast(src) or src == "255.255.255.255":
        return Refusal(Verdict.MARTIAN, f"{src} is no source address", f"{ns.name}/addresses", src)
    if is_multicast(dst) or dst == "255.255.255.255":
        undecided(f"{dst} is not one host; such packets are not walked", f"{ns.name}/addresses", dst)
    for address in (src, dst):
        if address.startswith("0."):
            return Refusal(Verdict.MARTIAN, f"{address} is nobody's address", f"{ns.name}/addresses", address)
    value, name = localnet
    for address in (dst, src):
        if is_loopback(address) and not value:
            return Refusal(
                Verdict.MARTIAN,
                f"{address} may not come in from outside while {name} is 0",
                f"{ns.name}/sysctls/{name}",
                f"{name} = 0",
            )
    return None


def reverse_path(run: Run, ns: Namespace, skb: Skb, device: str, *, out: str | None) -> Refusal | None:
    """
    Would an answer to this source leave by *device*?  *out* is where the packet will leave, None: local.

    rp_filter is the larger of ``all`` and the device's.  Without it only a source that is an
    address of this namespace is refused.
    """
    packet = skb.packet
    strict, strict_name = ns.conf_max(device, "rp_filter")
    accept_local, accept_name = ns.conf_max(device, "accept_local")
    if not strict and (device != out or not ns.conf_max(device, "send_redirects")[0]):
        if accept_local:
            return None
        if not has_custom_rules(run, ns):
            return _own_source(ns, packet.src, accept_name) if ns.owns(packet.src) else None
    marked = ns.conf_max(device, "src_valid_mark")[0]
    key = flow_key(packet, iif=out or "lo", mark=None if marked else 0)._replace(
        dst=packet.src, src=packet.dst, sport=packet.dport, dport=packet.sport
    )
    found = lookup(run, ns, key)
    blocked = Refusal(
        Verdict.REVERSE_PATH_FILTERED,
        f"an answer to {packet.src} would not leave by {device}, and {strict_name} is {strict}",
        f"{ns.name}/sysctls/{strict_name}",
        f"{strict_name} = {strict}; {found.text}",
    )
    if isinstance(found, Failed):
        return blocked if strict else None
    if found.route.type != "unicast":
        if found.route.type != "local":
            return Refusal(
                Verdict.MARTIAN, f"{packet.src} has a {found.route.type} route", found.ref, found.text
            )
        if not accept_local:
            return _own_source(ns, packet.src, accept_name)
    if _uses(found, device) or (found.route.type == "local" and device == "lo"):
        return None
    if not ns.addresses(device):
        return blocked if strict else None
    if strict == 1:
        return blocked
    # loose, or no filter at all: any answer that could leave by this device will do, none too
    return None


def _own_source(ns: Namespace, src: str, accept_name: str) -> Refusal:
    return Refusal(
        Verdict.MARTIAN,
        f"{src} is an address of {ns.name} itself, and {accept_name} is 0",
        f"{ns.name}/addresses/{src}",
        f"{accept_name} = 0",
    )


def _uses(found: Found, device: str) -> bool:
    """fib_info_nh_uses_dev: does any next hop leave by *device*?"""
    return any(hop.device == device for hop in found.route.nexthops)


def refuse(run: Run, ns: Namespace, skb: Skb, refusal: Refusal) -> NoReturn:
    """Drop, and answer where ip_error does: only where forwarding is on."""
    run.step(
        skb,
        Stage.ROUTE,
        "drop",
        device=skb.device,
        ref=refusal.ref,
        text=refusal.text,
        note=refusal.reason,
        stops=True,
    )
    code = _ANSWERS.get(refusal.errno)
    if code is not None and ns.conf(skb.device, "forwarding")[0]:
        send_error(run, skb, 3, code, local=address_type(run, ns, skb.packet.dst) == "LOCAL")
    ended(refusal.verdict, refusal.reason)
