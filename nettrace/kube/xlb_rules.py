"""
The layout of kube-proxy 1.20 to 1.23: no KUBE-EXT and KUBE-SVL chains, but KUBE-XLB.

Lives here: what it writes for one service port where that differs from later layouts, that is
everything but the endpoints' own chains.  Every address of a load balancer has a KUBE-FW chain,
and what is to be dropped is marked for kubelet's rule.  Until 1.21 traffic is marked for
masquerading where all Services are dispatched, since 1.22 in the port's own KUBE-SVC chain.

Not here: which endpoints there are (elder_endpoints).

Facts are from the rules that kube-proxy 1.20 wrote (fixtures/kube-proxy) and from syncProxyRules in
pkg/proxy/iptables/proxier.go of the release branches.
"""

from collections.abc import Iterator, Sequence
from itertools import chain as chained

from nettrace.kube.dispatch_rules import Dispatch, health_check
from nettrace.kube.endpoints import Backend
from nettrace.kube.names import XLB_PREFIX, endpoint_text
from nettrace.kube.rules import Chain, Line, chance, comment, ports, rule
from nettrace.kube.service_chains import endpoint_chain, recent
from nettrace.kube.serving import Serving
from nettrace.kube.settings import LOOPBACK
from nettrace.model.addr import in_prefix
from nettrace.model.xt_match import Addrtype, Match, Negatable, Physdev
from nettrace.model.xt_target import Reject, Target

__all__ = ["xlb_chains", "xlb_dispatch"]

_MASQUERADE = "KUBE-MARK-MASQ"
_MARK_DROP = "KUBE-MARK-DROP"
_UNREACHABLE = {4: "icmp-port-unreachable", 6: "icmp6-port-unreachable"}
_DST_LOCAL = Addrtype(dst_type=Negatable("LOCAL"))
_SRC_LOCAL = Addrtype(src_type=Negatable("LOCAL"))
#: Neither over a bridge (from a pod) nor from this node.
_FROM_OUTSIDE: tuple[Match, ...] = (
    Physdev(is_in=False),
    Addrtype(src_type=Negatable("LOCAL", invert=True)),
)


def _given_up(serving: Serving) -> bool:
    """
    Is the port left halfway, since no address of the node serves its NodePort?

    So until 1.22; later nothing but the NodePort is left out.
    """
    known = serving.settings.traits
    return (
        bool(serving.port.port.node_port)
        and not serving.settings.serves_node_ports
        and not known.one_balancing
    )


def _served(serving: Serving) -> bool:
    """Does the port get its endpoints' rules?"""
    return serving.choice.exists and not _given_up(serving)


def xlb_dispatch(serving: Serving) -> Iterator[Dispatch]:
    """Yield the lines of one service port in the chains that all Services share."""
    port = serving.port
    yield from _cluster_ip(serving)
    for address in port.external_ips:
        yield from _external_ip(serving, address)
    for address in port.load_balancer_ips:
        yield from _load_balancer_ip(serving, address)
    if port.port.node_port and serving.settings.serves_node_ports:
        yield from _node_port(serving, port.port.node_port)
    if port.health_check_node_port and serving.settings.traits.health_checks and not _given_up(serving):
        yield health_check(serving, port.health_check_node_port)


def xlb_chains(serving: Serving) -> Iterator[Chain]:
    """Yield the chains of one service port, those of its endpoints last."""
    port, choice = serving.port, serving.choice
    if choice.exists:
        marks = _marks(serving) if serving.settings.traits.marks_in_service else ()
        balancing = _balancing(serving, choice.cluster) if _served(serving) else ()
        yield _chain(serving, "KUBE-SVC-", chained(marks, balancing))
    if port.node_local:
        yield _chain(serving, XLB_PREFIX, _from_outside(serving) if _served(serving) else iter(()))
    if choice.exists and port.load_balancer_ips:
        yield _chain(serving, "KUBE-FW-", _firewall(serving))
    if _served(serving):
        yield from (endpoint_chain(serving, backend) for backend in choice.reachable)


def _chain(serving: Serving, prefix: str, lines: Iterator[Line]) -> Chain:
    note = serving.chain_note(prefix)
    return Chain(table="nat", name=serving.port.chain(prefix), note=note, lines=tuple(lines))


# --- the chains of all Services --------------------------------------------------------


def _at(serving: Serving, kind: str, address: str) -> str:
    return f"{kind} {endpoint_text(address, serving.port.port.port)}/{serving.port.proto}"


def _line(
    serving: Serving,
    place: tuple[str, str],
    about: str,
    target: Target | str,
    *matches: Match,
    src: Negatable | str | None = None,
    dst: str | None = None,
    in_device: Negatable | None = None,
) -> Dispatch:
    made = rule(target, *matches, src=src, dst=dst, in_device=in_device, proto=serving.port.proto)
    return Dispatch(table=place[0], chain=place[1], line=Line(made, serving.note(about)))


def _refused(
    serving: Serving, chain: str, about: str, number: int, *matches: Match, dst: str | None
) -> Dispatch:
    """Return the refusal of what no endpoint takes."""
    words = comment(f"{serving.port.name} has no endpoints")
    test = ports(serving.port.proto, number)
    refusal = Reject(_UNREACHABLE[serving.port.family])
    return _line(serving, ("filter", chain), f"refusal at {about}", refusal, *words, *matches, *test, dst=dst)


def _cluster_ip(serving: Serving) -> Iterator[Dispatch]:
    port = serving.port
    about = _at(serving, "cluster IP", port.cluster_ip)
    if not serving.choice.exists:
        yield _refused(serving, "KUBE-SERVICES", about, port.port.port, dst=port.cluster_ip)
        return
    place = ("nat", "KUBE-SERVICES")
    yield from _marked_here(serving, place, _cluster_ip_marks(serving))
    test = (*comment(f"{port.name} cluster IP"), *ports(port.proto, port.port.port))
    yield _line(serving, place, about, port.chain("KUBE-SVC-"), *test, dst=port.cluster_ip)


def _external_ip(serving: Serving, address: str) -> Iterator[Dispatch]:
    """
    Traffic to an external IP.

    In 1.20 what comes over a bridge (from a pod) or from this node goes on to where that address
    really is, unless it is the node's own.
    """
    port = serving.port
    about = _at(serving, "external IP", address)
    if not serving.choice.exists:
        yield _refused(serving, "KUBE-EXTERNAL-SERVICES", about, port.port.port, dst=address)
        return
    test = (*comment(f"{port.name} external IP"), *ports(port.proto, port.port.port))
    place, to = ("nat", "KUBE-SERVICES"), _chosen(serving)
    yield from _marked_here(serving, place, _external_ip_marks(serving, address))
    if serving.settings.traits.health_checks:
        yield _line(serving, place, about, to, *test, dst=address)
        return
    yield _line(serving, place, about, to, *test, *_FROM_OUTSIDE, dst=address)
    yield _line(serving, place, f"{about} on this node", to, *test, _DST_LOCAL, dst=address)


def _load_balancer_ip(serving: Serving, address: str) -> Iterator[Dispatch]:
    port = serving.port
    about = _at(serving, "load balancer IP", address)
    if not serving.choice.exists:
        yield _refused(serving, "KUBE-EXTERNAL-SERVICES", about, port.port.port, dst=address)
        return
    test = (*comment(f"{port.name} loadbalancer IP"), *ports(port.proto, port.port.port))
    yield _line(serving, ("nat", "KUBE-SERVICES"), about, port.chain("KUBE-FW-"), *test, dst=address)


def _node_port(serving: Serving, number: int) -> Iterator[Dispatch]:
    port = serving.port
    about = f"NodePort {number}/{port.proto}"
    if not serving.choice.exists:
        yield _refused(serving, "KUBE-EXTERNAL-SERVICES", about, number, _DST_LOCAL, dst=None)
        return
    test = (*comment(port.name), *ports(port.proto, number))
    place = ("nat", "KUBE-NODEPORTS")
    if port.node_local:  # only the node itself, by its loopback address, cannot keep its source
        masquerading = f"masquerading at {about}"
        yield _line(serving, place, masquerading, _MASQUERADE, *test, src=LOOPBACK[port.family])
    yield from _marked_here(serving, place, _node_port_marks(serving))
    yield _line(serving, place, about, _chosen(serving), *test)


def _chosen(serving: Serving) -> str:
    """Return the chain for traffic from outside."""
    return serving.port.chain(XLB_PREFIX if serving.port.node_local else "KUBE-SVC-")


# --- marking for masquerade ------------------------------------------------------------


def _marked_here(serving: Serving, place: tuple[str, str], marks: Iterator[Line]) -> Iterator[Dispatch]:
    """Yield the marking where traffic is dispatched, if it does not stand in the port's own chain."""
    if not serving.settings.traits.marks_in_service:
        yield from (Dispatch(table=place[0], chain=place[1], line=mark) for mark in marks)


def _marks(serving: Serving) -> Iterator[Line]:
    """Yield all marking of one port; that for its balancer's addresses stands in KUBE-FW always."""
    yield from _cluster_ip_marks(serving)
    for address in serving.port.external_ips:
        yield from _external_ip_marks(serving, address)
    if serving.port.port.node_port and serving.settings.serves_node_ports:
        yield from _node_port_marks(serving)


def _mark(
    serving: Serving,
    about: str,
    *test: Match,
    dst: str | None = None,
    detected: bool = False,
) -> Line:
    """Return one marking; *detected*: not for what the detector calls local."""
    src, device = serving.settings.detector.test(local=False) if detected else (None, None)
    made = rule(_MASQUERADE, *test, src=src, dst=dst, in_device=device, proto=serving.port.proto)
    return Line(made, serving.note(f"masquerading at {about}"))


def _cluster_ip_marks(serving: Serving) -> Iterator[Line]:
    port, settings = serving.port, serving.settings
    if settings.masquerade_all or settings.detector.implemented:
        test = (*comment(f"{port.name} cluster IP"), *ports(port.proto, port.port.port))
        about = _at(serving, "cluster IP", port.cluster_ip)
        detected = not settings.masquerade_all
        yield _mark(serving, about, *test, dst=port.cluster_ip, detected=detected)


def _external_ip_marks(serving: Serving, address: str) -> Iterator[Line]:
    """Local traffic that can be told from other needs no masquerading, but 1.20 does not tell it."""
    port, settings = serving.port, serving.settings
    if not port.node_local:
        test = (*comment(f"{port.name} external IP"), *ports(port.proto, port.port.port))
        about = _at(serving, "external IP", address)
        detected = settings.traits.health_checks and settings.detector.implemented
        yield _mark(serving, about, *test, dst=address, detected=detected)


def _node_port_marks(serving: Serving) -> Iterator[Line]:
    port = serving.port
    if port.port.node_port and not port.node_local:
        test = (*comment(port.name), *ports(port.proto, port.port.node_port))
        yield _mark(serving, f"NodePort {port.port.node_port}/{port.proto}", *test)


# --- the port's own chains -------------------------------------------------------------


def _balancing(serving: Serving, chosen: Sequence[Backend]) -> Iterator[Line]:
    """KUBE-SVC; its comments do not name the endpoint."""
    port = serving.port
    words = comment(port.name) if serving.commented else ()
    if port.service.session_affinity == "ClientIP":
        for backend in chosen:
            yield _to_endpoint(serving, backend, *words, recent(serving, backend, "rcheck"))
    for position, backend in enumerate(chosen):
        left = len(chosen) - position
        yield _to_endpoint(serving, backend, *words, *([chance(left)] if left > 1 else []))


def _to_endpoint(serving: Serving, backend: Backend, *matches: Match) -> Line:
    chain = serving.port.endpoint_chain(backend.text)
    return Line(rule(chain, *matches), serving.endpoint_note(backend))


def _from_outside(serving: Serving) -> Iterator[Line]:
    """KUBE-XLB: pods and the node itself are no outside and get the endpoints of all nodes."""
    port, detector = serving.port, serving.settings.detector
    note, everywhere = serving.chain_note(XLB_PREFIX), port.chain("KUBE-SVC-")
    if detector.implemented:
        words = comment("Redirect pods trying to reach external loadbalancer VIP to clusterIP")
        src, device = detector.test(local=True)
        yield Line(rule(everywhere, *words, src=src, in_device=device), note)
    masquerade = comment(f"masquerade LOCAL traffic for {port.name} LB IP")
    yield Line(rule(_MASQUERADE, *masquerade, _SRC_LOCAL), note)
    route = comment(f"route LOCAL traffic for {port.name} LB IP to service chain")
    yield Line(rule(everywhere, *route, _SRC_LOCAL), note)
    local = serving.choice.local
    if not local:
        yield Line(rule(_MARK_DROP, *comment(f"{port.name} has no local endpoints")), note)
    elif serving.settings.traits.one_balancing:
        yield from _balancing(serving, local)
    else:
        yield from _numbered(serving, local)


def _numbered(serving: Serving, local: Sequence[Backend]) -> Iterator[Line]:
    """The balancing of KUBE-XLB until 1.22, whose comments stay however many endpoints there are."""
    port = serving.port
    if port.service.session_affinity == "ClientIP":
        for backend in local:
            yield _to_endpoint(serving, backend, *comment(port.name), recent(serving, backend, "rcheck"))
    for position, backend in enumerate(local):
        left = len(local) - position
        words = comment(f"Balancing rule {position} for {port.name}")
        yield _to_endpoint(serving, backend, *words, *([chance(left)] if left > 1 else []))


def _firewall(serving: Serving) -> Iterator[Line]:
    """KUBE-FW: the same rules over again for each address of the balancer."""
    port = serving.port
    note, words = serving.chain_note("KUBE-FW-"), comment(f"{port.name} loadbalancer IP")
    for address in port.load_balancer_ips:
        if not port.node_local:
            yield Line(rule(_MASQUERADE, *words), note)
        sources: list[str | None] = [*port.source_ranges]
        if any(in_prefix(serving.settings.node_ip, source) for source in port.source_ranges):
            sources.append(address)
        for source in sources or [None]:
            yield Line(rule(_chosen(serving), *words, src=source), note)
        yield Line(rule(_MARK_DROP, *words), note)
