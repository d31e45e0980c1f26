"""
Targets that only a DNS server knows: looked up as the client would, from its namespace.

Lives here: which targets are such names, and the queries.  They are real, and the only packets that
a trace sends without being asked for a probe.
Not here: names of the snapshot (nettrace.kube.resolve), one query (nettrace.observe.dns).
"""

from msgspec.structs import replace

from nettrace.app.ask import ask
from nettrace.app.context import Context
from nettrace.app.remember import Question
from nettrace.kube.resolve import resolve
from nettrace.kube.service_names import aliased
from nettrace.model.addr import is_address
from nettrace.model.errors import UserError
from nettrace.model.kube import Service
from nettrace.model.lookup import Lookup
from nettrace.model.resolver import Resolver
from nettrace.model.section import Known, SectionKey
from nettrace.observe.dns import query
from nettrace.parse.target import Target, parse_target

__all__ = ["looked_up"]


def looked_up(context: Context, question: Question) -> tuple[Question, tuple[str, ...]]:
    """
    Put the address in place of a DNS name as the target; the second says what was asked and answered.

    A name is looked up if it has a dot and nothing in the snapshot bears it (``host/NAME`` likewise),
    or if it is that of an ExternalName Service for something outside the cluster.  UserError
    where it has no address, and where no query can be sent.
    """
    target = parse_target(question.target)
    name = _foreign(context, target)
    if name is None:
        return question, ()
    if question.at is not None:
        raise UserError(f"{name!r} is looked up by a client, and --at has none", hint="give its address")
    if target.port is None and target.proto not in ("icmp", "icmpv6"):
        raise UserError(f"which port of {name}?", where=target.text, hint=f"write {target.text}:PORT")
    if isinstance(target.port, str):
        raise UserError(f"{name} has no port called {target.port}", hint="give the port's number")
    client = ask(context, lambda snapshot: resolve(snapshot, question.source, "127.0.0.1:1")).origin.netns
    address, server = _address(context, client, name)
    port = f":{target.port}" if target.port is not None else ""
    proto = f"/{target.proto}" if target.proto else ""
    asked = f"{name} is {address}, by {server} as {client} asks it"
    return replace(question, target=f"{address}{port}{proto}"), (asked,)


def _foreign(context: Context, target: Target) -> str | None:
    """The name to look up; None for a target that is something of the snapshot's."""
    kube = context.snapshot.kube
    services: tuple[Service, ...] = kube.services.value if isinstance(kube.services, Known) else ()
    if target.kind in ("svc", None):
        named = [s for s in services if s.name == target.name and target.namespace in (None, s.namespace)]
        if len(named) == 1:
            service = aliased(named[0], services)
            return service.external_name if service.type == "ExternalName" else None
    if target.kind not in ("host", None) or target.namespace is not None or is_address(target.name):
        return None
    pods = kube.pods.value if isinstance(kube.pods, Known) else ()
    known = {*context.snapshot.namespaces, *context.snapshot.nodes, *(pod.name for pod in pods)}
    known |= {container.name for pod in pods for container in pod.containers}
    return target.name if "." in target.name and target.name not in known else None


def _address(context: Context, client: str, name: str) -> tuple[str, str]:
    """Return the first A record of a name, and the server that had it."""
    if not context.live:
        raise UserError(
            f"{name} cannot be looked up: {context.label} is not live",
            hint="give its address: ip/ADDRESS:PORT",
        )
    key = SectionKey(client, "resolver")
    context.read_unread([key])
    section = context.snapshot.section(key)
    if not isinstance(section, Known):
        raise UserError(
            f"{name} cannot be looked up: {section.reason}",
            where=client,
            hint="give its address: ip/ADDRESS:PORT",
        )
    resolver: Resolver = section.value
    said = "its resolv.conf names no server"
    for server in resolver.nameservers:
        for candidate in resolver.candidates(name):
            answer = query(context.path(client), Lookup(netns=client, server=server, name=candidate))
            if answer.found and answer.records:
                return answer.records[0], server
            said = f"{server} answers {answer.rcode or answer.errno} for {candidate}"
            if not answer.rcode:
                break  # nobody there: the next server
    raise UserError(f"{name} has no address: {said}", where=client, hint="give its address: ip/ADDRESS:PORT")
