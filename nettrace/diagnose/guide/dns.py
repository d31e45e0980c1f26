"""
Does the name lead to the Service, for this client?

Real queries over UDP and TCP with the client's own resolv.conf; without them, the walk of a query.
"""

from msgspec import Struct
from msgspec.structs import replace

from nettrace.diagnose.causes.dns_coredns_down import DNS_COREDNS_DOWN
from nettrace.diagnose.causes.dns_hostnetwork import DNS_HOSTNETWORK
from nettrace.diagnose.causes.dns_no_record import DNS_NO_RECORD
from nettrace.diagnose.causes.dns_search_incomplete import DNS_SEARCH_INCOMPLETE
from nettrace.diagnose.causes.dns_search_wildcard import DNS_SEARCH_WILDCARD
from nettrace.diagnose.causes.dns_udp_blocked import DNS_UDP_BLOCKED
from nettrace.diagnose.causes.dns_wrong_clusterdns import DNS_WRONG_CLUSTERDNS
from nettrace.diagnose.guide.case import Case, Heading, advice, names
from nettrace.diagnose.guide.connections import remembered
from nettrace.diagnose.guide.endpoints import selected
from nettrace.diagnose.guide.flow import Tried, evidence_of, tried
from nettrace.diagnose.guide.objects import (
    families,
    find_service,
    pods,
    ready_addresses,
    services,
    slices_unread,
)
from nettrace.diagnose.guide.proxy import alive
from nettrace.diagnose.guide.request import Asking, queried, section, state
from nettrace.model.addr import family_of, in_prefix
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import Axis, Check, CheckState
from nettrace.model.kube import Pod, Service
from nettrace.model.lookup import DnsAnswer, Lookup
from nettrace.model.resolver import Resolver
from nettrace.model.section import Known, Missing, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict

__all__ = ["domain_of", "named"]

_TITLE = Heading("dns", Axis.DNS, "Does its name lead to it?")
_NODE_LOCAL = "169.254.0.0/16"  # node-local DNS cache: 169.254.20.10 by default
_PORT = 53

#: Causes that say less than that TCP works and UDP does not.
_NAMELESS = ("firewall-rule-drop", "nft-foreign-drop")


class _Server(Struct, frozen=True, kw_only=True):
    """Who is asked, and the Service of the cluster's DNS if it is known."""

    address: str
    service: Service | None


def domain_of(resolver: Resolver) -> str | None:
    """Return the cluster's domain as a pod's search list has it: what follows ``svc.``."""
    return next((d.removeprefix("svc.") for d in resolver.search if d.startswith("svc.")), None)


def named(case: Case) -> Asking[Check]:
    """Resolve the Service's name as the client would."""
    if case.external or case.as_dns:
        why = "from outside it is called by address" if case.external else "it is the DNS server itself"
        return _TITLE.skipped(why)
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    if service is None:
        return _TITLE.unknown(f"{case.key} is not known")
    dns = _cluster_dns(snapshot, case)
    found = yield from section(SectionKey(case.netns, "resolver"))
    resolver = found.value if isinstance(found, Known) and case.client_pod is not None else None
    if resolver is None and dns is None:
        reason = "no Service of a cluster DNS is known"
        if isinstance(found, Missing) and case.client_pod is not None:
            reason = f"{found.reason or found.kind.value}, and {reason}"
        return _TITLE.unknown(f"whom to ask is not known: {reason}")
    if resolver is not None:
        finding = _misconfigured(case, snapshot, service, resolver, dns)
        if finding is not None:
            return _problem(finding, _file_words(resolver))
        case = replace(case, domain=domain_of(resolver) or case.domain)
    address = resolver.nameservers[0] if resolver is not None else _first_address(dns)
    if not address:
        return _TITLE.unknown("the cluster's DNS Service has no address")
    asked = yield from _asked(case, service, resolver, _Server(address=address, service=dns))
    if asked.state is CheckState.PASSED and dns is not None:
        old = yield from remembered(case, dns)
        if old is not None:
            return replace(
                _problem(old.findings[0], *old.findings[0].evidence, flow=(old.source, old.target)),
                checked=(*asked.checked, f"what the node remembers of {case.client}'s queries"),
                sport=old.sport,
            )
    if asked.state is CheckState.PASSED and case.client_pod is not None and isinstance(found, Missing):
        why = f"whether {case.client} asks so is not known: its resolv.conf was not read"
        said = f"{asked.conclusion}; {why}: {found.reason or found.kind.value}"
        return replace(asked, state=CheckState.UNKNOWN, conclusion=said)
    return asked


def _first_address(service: Service | None) -> str:
    return service.cluster_ips[0] if service is not None and service.cluster_ips else ""


def _cluster_dns(snapshot: Snapshot, case: Case) -> Service | None:
    """Return the Service of the cluster's DNS: by its usual name, else by its label."""
    known = services(snapshot) or ()
    usual = [s for s in known if (s.namespace, s.name) == case.dns]
    labelled = [s for s in known if s.labels.get("k8s-app") in ("kube-dns", "coredns") and s.cluster_ips]
    return next(iter((*usual, *labelled)), None)


def _file_words(resolver: Resolver) -> Evidence:
    text = f"nameserver {' '.join(resolver.nameservers)}; search {' '.join(resolver.search)}"
    return Evidence(ref="resolver", text=f"{text}; ndots:{resolver.ndots}", note=resolver.path)


def _problem(
    finding: Finding, *seen: Evidence, checked: tuple[str, ...] = (), flow: tuple[str, str] | None = None
) -> Check:
    return _TITLE.problem(
        finding,
        checked=checked or ("/etc/resolv.conf of the client",),
        seen=seen or finding.evidence,
        flow=flow,
    )


def _own_pod(snapshot: Snapshot, case: Case) -> Pod | None:
    return next((pod for pod in pods(snapshot) or () if pod.key == case.client_pod), None)


def _misconfigured(
    case: Case, snapshot: Snapshot, service: Service, resolver: Resolver, dns: Service | None
) -> Finding | None:
    """Look for what is wrong with the file itself."""
    pod = _own_pod(snapshot, case)
    if (
        dns is not None
        and dns.cluster_ips
        and not any(
            server in dns.cluster_ips or (family_of(server) == 4 and in_prefix(server, _NODE_LOCAL))
            for server in resolver.nameservers[:1]  # who is asked; the others are for when it is silent
        )
    ):
        of_node = pod is not None and pod.host_network
        return advice(
            DNS_HOSTNETWORK if of_node else DNS_WRONG_CLUSTERDNS,
            f"{case.client} asks {names(resolver.nameservers)} for names; "
            f"the cluster's DNS is {', '.join(dns.cluster_ips)} ({dns.key})",
            subject=case.client,
            evidence=(
                _file_words(resolver),
                Evidence(ref="kube/services", text=f"{dns.key} {dns.cluster_ips[0]}"),
            ),
        )
    short = _relative(case)
    domain = domain_of(resolver) or case.domain
    wanted = f"{case.name}.{case.namespace}.svc.{domain}"
    if wanted not in resolver.candidates(short):
        return advice(
            DNS_SEARCH_INCOMPLETE,
            f"{case.client} does not find {service.key} as {short!r}: {wanted} is not among what it asks for",
            subject=case.client,
            evidence=(
                _file_words(resolver),
                Evidence(ref="resolver", text=names(resolver.candidates(short), 6)),
            ),
        )
    return None


def _relative(case: Case) -> str:
    """Return the shortest name by which the client may call the Service."""
    return case.name if case.client_namespace == case.namespace else f"{case.name}.{case.namespace}"


def _asked(case: Case, service: Service, resolver: Resolver | None, server: _Server) -> Asking[Check]:
    """Make the queries, and judge the answers."""
    full = f"{case.name}.{case.namespace}.svc.{case.domain}"
    snapshot = yield from state()
    kind = _record_type(snapshot, service)
    lookup = Lookup(netns=case.netns, server=server.address, name=full, type=kind)
    udp = yield from queried(lookup)
    if udp is None:
        return (yield from _modelled(case, server))
    tcp = yield from queried(replace(lookup, proto="tcp"))
    asked = [(lookup, udp), (replace(lookup, proto="tcp"), tcp)]
    if udp.rcode and resolver is not None:
        for name in resolver.candidates(_relative(case)):
            if name == full:
                break
            before = replace(lookup, name=name)
            asked.append((before, (yield from queried(before))))
    seen = tuple(Evidence(ref="", text=f"{one}: {answer or 'not asked'}") for one, answer in asked)
    if not udp.rcode:
        return (yield from _silent(case, server, tcp, seen))
    unread = slices_unread(snapshot)
    if service.headless and unread:
        reason = f"{full} is {udp}; whether that is right is not known: {unread}"
        return _TITLE.unknown(reason, checked=(f"{full} asked of {server.address}",), seen=seen)
    wrong = _wrong(case, snapshot, service, udp, full)
    if wrong is not None:
        return _problem(wrong, *seen, checked=(f"{full} asked of {server.address}",))
    early = [one for one, answer in asked[2:] if answer is not None and answer.found]
    if early:
        finding = advice(
            DNS_SEARCH_WILDCARD,
            f"{early[0].name} exists as well and is found before {full}",
            subject=case.client,
            evidence=seen,
            lasting="drop the search domain that answers for any name",
        )
        return _problem(finding, *seen)
    if not udp.found and service.type != "ExternalName":
        reason = f"{full} is {udp}: {service.key} has no ready endpoint that it could lead to"
        return _TITLE.unknown(reason, checked=(f"{full} asked of {server.address}",), seen=seen)
    note = "" if tcp is None or tcp.rcode else "; over TCP the server does not answer"
    short = full if resolver is None else _relative(case)
    return _TITLE.passed(
        f"{short} is {udp} for {case.client}{note}",
        checked=(f"{full} asked of {server.address} over UDP and TCP",),
        seen=seen,
    )


def _record_type(snapshot: Snapshot, service: Service) -> str:
    """Return the type of record to ask for: of the first family of the Service, or of its endpoints."""
    addresses = service.cluster_ips[:1] or sorted(ready_addresses(snapshot, service))
    return "AAAA" if families(addresses) == (6,) else "A"


def _wrong(case: Case, snapshot: Snapshot, service: Service, answer: DnsAnswer, full: str) -> Finding | None:
    """Return the finding if the answer is not the Service's address."""
    if service.type == "ExternalName":
        right = answer.found
        wanted = f"an alias for {service.external_name}"
    elif service.headless:
        ready = ready_addresses(snapshot, service)
        answered = answer.rcode in ("NOERROR", "NXDOMAIN")
        right = answered and set(answer.records) <= ready and (bool(answer.records) or not ready)
        wanted = names(sorted(ready))
    else:
        right = bool(set(answer.records) & set(service.cluster_ips))
        wanted = ", ".join(service.cluster_ips)
    if right:
        return None
    return advice(
        DNS_NO_RECORD,
        f"the DNS server says {answer} for {full}; it should say {wanted}",
        subject=case.subject,
        evidence=(
            Evidence(ref="", text=f"{full}: {answer}", note="the answer"),
            Evidence(ref="kube/services", text=f"{service.key}: {wanted}", note="the object"),
        ),
    )


def _silent(case: Case, server: _Server, tcp: DnsAnswer | None, seen: tuple[Evidence, ...]) -> Asking[Check]:
    """The server did not answer over UDP: find out why, as for any other Service."""
    checked = (f"{case.name}.{case.namespace} asked of {server.address} over UDP and TCP",)
    if tcp is None or not tcp.rcode:
        down = yield from _no_endpoint(case, server)
        if down is not None:
            return _problem(down, *seen, checked=checked)
    flow = yield from tried(case.client, _target(server, "udp"))
    seen = (*seen, *evidence_of(flow))
    ends = {path.verdict for path in flow.walk.paths}
    if ends == {Verdict.NOT_LISTENING} and server.service is not None:
        return _problem(_nobody(server.service, flow), *seen, checked=checked)
    by_name = [found for found in flow.findings if found.cause not in _NAMELESS]
    if by_name:
        return _problem(by_name[0], *seen, checked=checked, flow=(flow.source, flow.target))
    if tcp is not None and tcp.rcode:
        return _problem(_udp_blocked(case, server, flow), *seen, checked=checked)
    if flow.findings:
        return _problem(flow.findings[0], *seen, checked=checked, flow=(flow.source, flow.target))
    proxy = yield from alive(case)
    if proxy.findings:
        return _problem(proxy.findings[0], *seen, checked=checked, flow=proxy.flow)
    ended = "the walk of the query ends elsewhere" if flow.state is CheckState.PASSED else flow.result
    return _TITLE.ended(
        CheckState.PROBLEM if flow.state is CheckState.PROBLEM else CheckState.UNKNOWN,
        f"{server.address} does not answer, and no known cause fits: {ended}",
        checked=checked,
        seen=seen,
    )


def _nobody(service: Service, flow: Tried) -> Finding:
    """The pods of the cluster's DNS are there and ready, and nobody in them listens."""
    where = sorted({path.failing_step.netns for path in flow.walk.paths if path.failing_step is not None})
    return advice(
        DNS_COREDNS_DOWN,
        f"the cluster's DNS {service.key} does not serve: nobody in {names(where)} listens on port {_PORT}",
        subject=f"svc/{service.key}",
        evidence=evidence_of(flow),
    )


def _target(server: _Server, proto: str) -> str:
    if server.service is not None and server.address in server.service.cluster_ips:
        return f"svc/{server.service.key}:{_PORT}/{proto}"
    return (
        f"[{server.address}]:{_PORT}/{proto}"
        if ":" in server.address
        else f"{server.address}:{_PORT}/{proto}"
    )


def _no_endpoint(case: Case, server: _Server) -> Asking[Finding | None]:
    """Return the finding if the cluster's DNS has no endpoint, with what its own objects say."""
    if server.service is None or server.address not in server.service.cluster_ips:
        return None
    own = server.service
    under = yield from selected(replace(case, namespace=own.namespace, name=own.name, port=None, as_dns=True))
    if under.state is not CheckState.PROBLEM:
        return None
    return advice(
        DNS_COREDNS_DOWN,
        f"the cluster's DNS {own.key} does not serve: {under.conclusion}",
        subject=f"svc/{own.key}",
        evidence=under.seen,
        lasting=under.findings[0].repairs[0].lasting if under.findings else "",
    )


def _udp_blocked(case: Case, server: _Server, flow: Tried) -> Finding:
    notes = flow.diagnosis.notes
    step = next((p.failing_step for p in flow.walk.paths if p.failing_step is not None), None)
    why = step.why.text if step is not None and step.why is not None else ""
    evidence = [Evidence(ref="", text=flow.words)]
    if why:
        evidence.append(
            Evidence(ref=step.why.ref if step and step.why else "", text=why, note="this decides")
        )
    evidence += [Evidence(ref="", text=note) for note in notes[:1]]
    return advice(
        DNS_UDP_BLOCKED,
        f"{server.address} answers {case.client} over TCP and not over UDP",
        subject=case.client,
        where=step.node if step is not None else "",
        evidence=tuple(evidence),
    )


def _modelled(case: Case, server: _Server) -> Asking[Check]:
    """Without real queries: the walk of a query and its answer."""
    down = yield from _no_endpoint(case, server)
    if down is not None:
        return _problem(down)
    flow = yield from tried(case.client, _target(server, "udp"))
    checked = (f"the walk of a query to {server.address}; nothing was sent",)
    if flow.findings:
        found = flow.findings[0]
        return _problem(found, *evidence_of(flow), checked=checked, flow=(flow.source, flow.target))
    reached = flow.state is CheckState.PASSED
    return _TITLE.ended(
        CheckState.UNKNOWN if reached else flow.state,  # a name is what a server says it is
        "queries reach the DNS server, and none was sent: what it answers is not known"
        if reached
        else flow.result,
        checked=checked,
        seen=evidence_of(flow),
        flow=(flow.source, flow.target),
    )
