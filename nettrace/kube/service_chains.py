"""
The chains of one service port: traffic from outside, source ranges, endpoints.

Lives here: KUBE-EXT, KUBE-FW, KUBE-SVC, KUBE-SVL and KUBE-SEP, rule by rule.
Not here: what jumps to them (dispatch_rules).
"""

from collections.abc import Iterator, Sequence

from nettrace.kube.endpoints import Backend
from nettrace.kube.rules import Chain, Line, chance, comment, ports, rule
from nettrace.kube.serving import Serving
from nettrace.model.addr import in_prefix
from nettrace.model.packet import PortRange
from nettrace.model.xt_match import Addrtype, Match, Negatable, Recent
from nettrace.model.xt_target import Dnat, NatRange

__all__ = ["chains", "endpoint_chain", "recent"]

_MASQUERADE = "KUBE-MARK-MASQ"
_MARK_DROP = "KUBE-MARK-DROP"
_FULL_MASK = {4: "255.255.255.255", 6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
_SRC_LOCAL = Addrtype(src_type=Negatable("LOCAL"))


def chains(serving: Serving) -> Iterator[Chain]:
    """Yield the chains of one service port, those of its endpoints last."""
    port, choice = serving.port, serving.choice
    if choice.exists and port.externally_accessible:
        yield _chain(serving, "KUBE-EXT-", _from_outside(serving))
    if serving.firewalled:
        yield _chain(serving, "KUBE-FW-", _firewall(serving))
    # where what is to be dropped is marked, a chain without endpoints does it
    marks = serving.settings.traits.mark_drop and choice.exists
    if choice.cluster:
        yield _chain(serving, "KUBE-SVC-", _to_endpoints(serving, "KUBE-SVC-", choice.cluster))
    if choice.local or (marks and port.uses_local):
        yield _chain(serving, "KUBE-SVL-", _to_endpoints(serving, "KUBE-SVL-", choice.local))
    for backend in choice.reachable:
        yield endpoint_chain(serving, backend)


def endpoint_chain(serving: Serving, backend: Backend) -> Chain:
    """Return KUBE-SEP of one endpoint."""
    return Chain(
        table="nat",
        name=serving.port.endpoint_chain(backend.text),
        note=serving.endpoint_note(backend),
        lines=tuple(_endpoint(serving, backend)),
    )


def _chain(serving: Serving, prefix: str, lines: Iterator[Line]) -> Chain:
    note = serving.chain_note(prefix)
    return Chain(table="nat", name=serving.port.chain(prefix), note=note, lines=tuple(lines))


def _from_outside(serving: Serving) -> Iterator[Line]:
    """
    KUBE-EXT.

    Policy Cluster may send a packet to another node, so the answer has to come back by this
    one.  Policy Local keeps the client's address; pods and the node itself are no outside
    and get the endpoints of all nodes.
    """
    port, detector = serving.port, serving.settings.detector
    everywhere, name = port.chain("KUBE-SVC-"), f"{port.name} external destinations"
    note = serving.chain_note("KUBE-EXT-")
    if not port.external_local:
        yield Line(rule(_MASQUERADE, *comment(f"masquerade traffic for {name}")), note)
        yield Line(rule(everywhere), note)
        return
    if detector.implemented:
        words = comment(f"pod traffic for {name}")
        src, device = detector.test(local=True)
        yield Line(rule(everywhere, *words, src=src, in_device=device), note)
    yield Line(rule(_MASQUERADE, *comment(f"masquerade LOCAL traffic for {name}"), _SRC_LOCAL), note)
    yield Line(rule(everywhere, *comment(f"route LOCAL traffic for {name}"), _SRC_LOCAL), note)
    if serving.external:
        yield Line(rule(port.chain("KUBE-SVL-")), note)


def _firewall(serving: Serving) -> Iterator[Line]:
    """
    KUBE-FW.

    A node whose address is let through may also come from the load balancer's own address,
    which some load balancers put on the node.
    """
    port = serving.port
    note = serving.chain_note("KUBE-FW-")
    accepted, words = port.chain("KUBE-EXT-"), comment(f"{port.name} loadbalancer IP")
    for source in port.source_ranges:
        yield Line(rule(accepted, *words, src=source), note)
    if any(in_prefix(serving.settings.node_ip, source) for source in port.source_ranges):
        for address in port.load_balancer_ips:
            yield Line(rule(accepted, *words, src=address), note)
    if serving.settings.traits.mark_drop:
        yield Line(rule(_MARK_DROP, *words), note)
    if not serving.settings.traits.localnet_copy:
        return  # what comes here goes on, without a DNAT
    rest = comment(f"other traffic to {port.name} will be dropped by KUBE-PROXY-FIREWALL")
    yield Line(rule(None, *rest), note)


def _to_endpoints(serving: Serving, prefix: str, chosen: Sequence[Backend]) -> Iterator[Line]:
    """KUBE-SVC and KUBE-SVL: a client that is remembered goes back, others by lot."""
    port = serving.port
    if port.chain(prefix) == serving.internal_chain:
        yield from _masquerade(serving)
    if not chosen:
        words = comment(f"{port.name} has no local endpoints")
        yield Line(rule(_MARK_DROP, *words), serving.chain_note(prefix))
        return
    if port.service.session_affinity == "ClientIP":
        for backend in chosen:
            remembered = recent(serving, backend, "rcheck")
            yield _to_endpoint(serving, backend, remembered)
    for position, backend in enumerate(chosen):
        left = len(chosen) - position
        yield _to_endpoint(serving, backend, *([chance(left)] if left > 1 else []))


def _masquerade(serving: Serving) -> Iterator[Line]:
    """Off-cluster traffic to the cluster IP was routed here and has to come back by here."""
    port, settings = serving.port, serving.settings
    words = (*comment(f"{port.name} cluster IP"), *ports(port.proto, port.port.port))
    note = serving.note("masquerading of traffic that is not from a local pod")
    if settings.masquerade_all:
        src, device = None, None
    elif settings.detector.implemented:
        src, device = settings.detector.test(local=False)
    else:
        return
    made = rule(_MASQUERADE, *words, src=src, dst=port.cluster_ip, in_device=device, proto=port.proto)
    yield Line(made, note)


def _to_endpoint(serving: Serving, backend: Backend, *matches: Match) -> Line:
    words = comment(f"{serving.port.name} -> {backend.text}") if serving.commented else ()
    chain = serving.port.endpoint_chain(backend.text)
    return Line(rule(chain, *words, *matches), serving.endpoint_note(backend))


def recent(serving: Serving, backend: Backend, action: str) -> Recent:
    """Return the test or the note-taking of session affinity; the list is named like the chain."""
    return Recent(
        action=action,
        name=serving.port.endpoint_chain(backend.text),
        seconds=serving.port.service.session_affinity_timeout if action == "rcheck" else None,
        reap=action == "rcheck",
        mask=_FULL_MASK[serving.port.family],
    )


def _endpoint(serving: Serving, backend: Backend) -> Iterator[Line]:
    """KUBE-SEP: masquerade what comes back to its sender, then DNAT."""
    port = serving.port
    note = serving.endpoint_note(backend)
    words = comment(port.name) if serving.commented else ()
    yield Line(rule(_MASQUERADE, *words, src=backend.address), note)
    sticky = [recent(serving, backend, "set")] if port.service.session_affinity == "ClientIP" else []
    target = Dnat(to=NatRange(lo=backend.address, ports=PortRange(backend.port, backend.port)))
    yield Line(rule(target, *words, *sticky, *ports(port.proto), proto=port.proto), note)
