"""svc-wrong-targetport: the Service leads to a port on which its pods do not listen."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.dnats import Translation, translations
from nettrace.diagnose.difference_xt import shown
from nettrace.diagnose.look import listeners, where
from nettrace.diagnose.services import entrance, index_services
from nettrace.kube.services import ProxiedPort
from nettrace.model.addr import family_of, is_loopback
from nettrace.model.change import RuleReplace
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedChain
from nettrace.model.packet import PortRange
from nettrace.model.section import Known
from nettrace.model.step import Verdict
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Dnat

__all__ = ["SVC_WRONG_TARGETPORT"]


class _Right(Struct, frozen=True, kw_only=True):
    """A better port for one rule, and who says so."""

    translation: Translation
    port: int
    rule: XtRule
    evidence: Evidence
    owed: bool


def _candidates(context: Context) -> Iterator[Candidate]:
    found: dict[str, list[_Right]] = {}
    for translation in translations(context):
        step = translation.failure.step
        if translation.failure.verdict not in (Verdict.NOT_LISTENING, Verdict.REFUSED) or step is None:
            continue
        if translation.target.to.lo is None or translation.target.to.ports is None:
            continue
        right = _owed(context, translation) or _listening(context, translation, step.netns)
        if right is not None:
            found.setdefault(translation.netns, []).append(right)
        else:
            yield _advice(context, translation, step.netns)
    for netns, rights in found.items():
        yield _candidate(context, netns, rights)


def _proto(context: Context) -> str:
    return context.walk.flow.packet.proto


def _with_port(rule: XtRule, target: Dnat, port: int) -> XtRule:
    return replace(rule, target=replace(target, to=replace(target.to, ports=PortRange(port, port))))


def _owed(context: Context, wrong: Translation) -> _Right | None:
    """Return the port that the endpoint's owed chain has for the same address."""
    for item in context.owed:
        if not isinstance(item, OwedChain) or (item.netns, item.chain) != (wrong.netns, wrong.chain):
            continue
        for rule in item.rules:
            target = rule.target
            if not isinstance(target, Dnat) or target.to.ports is None or target.to.lo != wrong.target.to.lo:
                continue
            if target.to.ports.single is None or target.to.ports == wrong.target.to.ports:
                continue
            return _Right(
                translation=wrong,
                port=target.to.ports.lo,
                rule=rule,
                evidence=Evidence(
                    ref="", text=shown(item.chain, rule), note=f"owed by {item.owner}: {item.source}"
                ),
                owed=True,
            )
    return None


def _listening(context: Context, wrong: Translation, pod: str) -> _Right | None:
    """
    Return the port on which the endpoint listens instead.

    The pod's declared ports that somebody listens on come first; without them, the only one.
    """
    waiting = listeners(context.snapshot, pod, _proto(context)) or ()
    open_ports = {
        s.port
        for s in waiting
        if s.address in ("0.0.0.0", "::", wrong.target.to.lo) and not is_loopback(s.address)
    }
    declared = _declared(context, wrong.target.to.lo or "") & open_ports
    for ports, said in (
        (declared, "declared, and somebody listens there"),
        (open_ports, "the only listener"),
    ):
        if len(ports) == 1:
            port = next(iter(ports))
            return _Right(
                translation=wrong,
                port=port,
                rule=_with_port(wrong.rule, wrong.target, port),
                evidence=Evidence(
                    ref=f"{pod}/sockets/{_proto(context)}/{port}",
                    text=f"{pod} listens on {_proto(context)} port {port}",
                    note=said,
                ),
                owed=False,
            )
    return None


def _declared(context: Context, address: str) -> set[int]:
    pods = context.snapshot.kube.pods
    return {
        port.container_port
        for pod in (pods.value if isinstance(pods, Known) else ())
        if address in pod.ips
        for container in pod.containers
        for port in container.ports
        if port.protocol.lower() == _proto(context)
    }


def _service(context: Context) -> ProxiedPort | None:
    packet = context.walk.flow.packet
    found = entrance(context.snapshot, index_services(context.snapshot.kube, family_of(packet.dst)), packet)
    return found.port if found is not None else None


def _candidate(context: Context, netns: str, rights: list[_Right]) -> Candidate:
    service = _service(context)
    place, first = where(context.snapshot, netns), rights[0]
    name = f"Service {service.service.key}" if service is not None else "a Service"
    wrong = first.translation.target.to.ports
    changes = {
        (r.translation.chain, r.translation.position): RuleReplace(
            netns=netns,
            backend=r.translation.backend,
            table="nat",
            chain=r.translation.chain,
            position=r.translation.position,
            old=r.translation.rule,
            rule=r.rule,
        )
        for r in rights
    }
    owed = all(right.owed for right in rights)
    return Candidate(
        cause="svc-wrong-targetport",
        netns=netns,
        where=place,
        subject=service.subject if service is not None else f"chain/{first.translation.chain}",
        message=(
            f"{name} leads to port {wrong}, on which its pods do not listen; they listen on {first.port}"
        ),
        changes=tuple(changes.values()),
        evidence=(
            first.translation.evidence,
            _silence(context, first.translation),
            *(r.evidence for r in rights[:2]),
        ),
        safety=Safety.KICK,
        owner="kube-proxy, from the Service's targetPort",
        overwritten="kube-proxy writes its own port again at its next full sync",
        lasting=_lasting(service, first.port, owed=owed),
        from_owner=owed,
    )


def _silence(context: Context, wrong: Translation) -> Evidence:
    pod = wrong.failure.netns
    port = wrong.target.to.ports
    return Evidence(
        ref=f"{pod}/sockets",
        text=f"nobody in {pod} listens on {_proto(context)} port {port}",
        note="so the pod's kernel refuses",
    )


def _lasting(service: ProxiedPort | None, port: int, *, owed: bool) -> str:
    if owed:
        return "restart kube-proxy on this node: the EndpointSlice has the right port, the rule has not"
    if service is None:
        return f"set the Service's targetPort to {port}"
    index = service.service.ports.index(service.port)
    patch = f'[{{"op":"replace","path":"/spec/ports/{index}/targetPort","value":{port}}}]'
    own = service.service
    return f"kubectl -n {own.namespace} patch service {own.name} --type=json -p '{patch}'"


def _advice(context: Context, wrong: Translation, pod: str) -> Candidate:
    """Say that the endpoint listens nowhere it could be sent to: nothing to repair on the node."""
    service = _service(context)
    name = f"Service {service.service.key}" if service is not None else "a Service"
    waiting = listeners(context.snapshot, pod, _proto(context)) or ()
    ports = sorted({f"{s.address}:{s.port}" for s in waiting})
    listens = f"{pod} listens on {', '.join(ports)}" if ports else f"nobody listens in {pod}"
    return Candidate(
        cause="svc-wrong-targetport",
        netns=wrong.netns,
        where=where(context.snapshot, wrong.netns),
        subject=service.subject if service is not None else f"chain/{wrong.chain}",
        message=f"{name} leads to port {wrong.target.to.ports} of {pod}, on which nobody listens",
        changes=(),
        evidence=(
            wrong.evidence,
            _silence(context, wrong),
            Evidence(ref=f"{pod}/sockets", text=listens, note="what is there"),
        ),
        safety=Safety.ADVICE,
        owner="the Service's and the pod's manifests",
        lasting="make targetPort the port that the application listens on, or start the application",
    )


SVC_WRONG_TARGETPORT = Cause(
    id="svc-wrong-targetport",
    title="the Service's port leads to one on which nobody listens",
    what="The translation works, and the pod has no listener on the port that it leads to.",
    shows="Connections are refused at once, by the pod: the RST comes from the pod's address.",
    dies="At the pod's sockets.",
    proof="`ss -ltn` in the pod lacks the port of the DNAT; the pod's containerPort is another.",
    repair="Correct targetPort in the Service's manifest; until then the right port in the endpoint's rule.",
    owner="The Service's manifest; kube-proxy writes what it says.",
    source="the Debug Services page of Kubernetes, kubernetes#73049",
    verdicts=frozenset({Verdict.NOT_LISTENING, Verdict.REFUSED}),
    candidates=_candidates,
)
