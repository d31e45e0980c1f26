"""
How traffic gets to a service port's chains: its rules in the chains of all Services.

Lives here: cluster IP, external IPs, load balancer and NodePort to the port's chains, and
the refusals where it has no endpoint.
Not here: the port's own chains (service_chains), the chains of all Services (frame).
"""

from collections.abc import Iterator

from msgspec import Struct

from nettrace.kube.names import endpoint_text
from nettrace.kube.rules import Line, comment, ports, rule
from nettrace.kube.serving import Serving
from nettrace.kube.settings import LOOPBACK
from nettrace.model.xt_match import Addrtype, Match, Negatable, Nfacct
from nettrace.model.xt_target import Accept, Drop, Reject, Target

__all__ = ["Dispatch", "dispatch", "health_check"]

#: nfacct objects, as kube-proxy's metrics call them (pkg/proxy/metrics).
_LOCALHOST_COUNTER = "localhost_nps_accepted_pkts"

_UNREACHABLE = {4: "icmp-port-unreachable", 6: "icmp6-port-unreachable"}
_DST_LOCAL = Addrtype(dst_type=Negatable("LOCAL"))


class Dispatch(Struct, frozen=True, kw_only=True):
    """One line and the chain that it stands in."""

    table: str
    chain: str
    line: Line


def dispatch(serving: Serving) -> Iterator[Dispatch]:
    """Yield the lines of one service port in the chains that all Services share."""
    port = serving.port
    yield _cluster_ip(serving)
    for address in port.external_ips:
        yield from _external(serving, "external IP", address, port.chain("KUBE-EXT-"))
    guarded = port.chain("KUBE-FW-" if serving.firewalled else "KUBE-EXT-")
    for address in port.load_balancer_ips:
        yield from _external(serving, "load balancer IP", address, guarded)
        if serving.firewalled and not serving.settings.traits.mark_drop:
            yield _unaccepted(serving, address)
    if port.port.node_port and serving.settings.serves_node_ports:
        yield from _node_port(serving, port.port.node_port)
    if port.health_check_node_port:
        yield health_check(serving, port.health_check_node_port)


def _line(
    serving: Serving,
    place: tuple[str, str],
    about: str,
    target: Target | str,
    *matches: Match,
    dst: str | None = None,
    proto: str | None = None,
) -> Dispatch:
    made = rule(target, *matches, dst=dst, proto=proto or serving.port.proto)
    return Dispatch(table=place[0], chain=place[1], line=Line(made, serving.note(about)))


def _refusal(serving: Serving) -> tuple[Target, str]:
    """Return what is done with traffic that no endpoint takes, and the comment that says why."""
    if serving.choice.exists:
        return Drop(), f"{serving.port.name} has no local endpoints"
    return Reject(_UNREACHABLE[serving.port.family]), f"{serving.port.name} has no endpoints"


def _at(serving: Serving, kind: str, address: str) -> str:
    return f"{kind} {endpoint_text(address, serving.port.port.port)}/{serving.port.proto}"


def _cluster_ip(serving: Serving) -> Dispatch:
    port = serving.port
    about = _at(serving, "cluster IP", port.cluster_ip)
    test = ports(port.proto, port.port.port)
    if serving.internal:
        place, target, text = ("nat", "KUBE-SERVICES"), serving.internal_chain, f"{port.name} cluster IP"
        return _line(serving, place, about, target, *comment(text), *test, dst=port.cluster_ip)
    refused, text = _refusal(serving)
    place = ("filter", "KUBE-SERVICES")
    return _line(serving, place, f"refusal at {about}", refused, *comment(text), *test, dst=port.cluster_ip)


def _external(serving: Serving, kind: str, address: str, chain: str) -> Iterator[Dispatch]:
    port = serving.port
    about = _at(serving, kind, address)
    test = ports(port.proto, port.port.port)
    if serving.choice.exists:
        # kube-proxy writes "loadbalancer" in comments
        words = comment(f"{port.name} {kind.replace('load balancer', 'loadbalancer')}")
        yield _line(serving, ("nat", "KUBE-SERVICES"), about, chain, *words, *test, dst=address)
    if not serving.external:
        refused, text = _refusal(serving)
        place = ("filter", "KUBE-EXTERNAL-SERVICES")
        yield _line(serving, place, f"refusal at {about}", refused, *comment(text), *test, dst=address)


def _unaccepted(serving: Serving, address: str) -> Dispatch:
    """Traffic to a load balancer IP that its firewall chain did not let through was not DNATed."""
    port = serving.port
    words = comment(f"{port.name} traffic not accepted by {port.chain('KUBE-FW-')}")
    about = f"source ranges at {_at(serving, 'load balancer IP', address)}"
    test = ports(port.proto, port.port.port)
    return _line(serving, ("filter", "KUBE-PROXY-FIREWALL"), about, Drop(), *words, *test, dst=address)


def _node_port(serving: Serving, number: int) -> Iterator[Dispatch]:
    port = serving.port
    about = f"NodePort {number}/{port.proto}"
    test = ports(port.proto, number)
    if serving.choice.exists:
        place, chain, words = ("nat", "KUBE-NODEPORTS"), port.chain("KUBE-EXT-"), comment(port.name)
        if serving.settings.localhost_node_ports and serving.settings.traits.counters:
            counted = (*words, *test, Nfacct(_LOCALHOST_COUNTER))
            loopback = LOOPBACK[port.family]
            yield _line(serving, place, f"{about} on localhost", chain, *counted, dst=loopback)
        yield _line(serving, place, about, chain, *words, *test)
    if not serving.external:
        refused, text = _refusal(serving)
        place = ("filter", "KUBE-EXTERNAL-SERVICES")
        yield _line(serving, place, f"refusal at {about}", refused, *comment(text), _DST_LOCAL, *test)


def health_check(serving: Serving, number: int) -> Dispatch:
    """Return the acceptance of a balancer's question for local endpoints."""
    words = comment(f"{serving.port.name} health check node port")
    place = ("filter", "KUBE-NODEPORTS")
    about = f"health check node port {number}"
    return _line(serving, place, about, Accept(), *words, *ports("tcp", number), proto="tcp")
