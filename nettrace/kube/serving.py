"""
One service port on one node: what all its rules need to know, and the words for them.

Lives here: which kinds of traffic find an endpoint, what the port's chains and endpoints are
called in findings.
Not here: the rules themselves (dispatch_rules, service_chains).
"""

from msgspec import Struct

from nettrace.kube.endpoints import Backend, Choice
from nettrace.kube.names import SERVICE_PREFIXES, XLB_PREFIX
from nettrace.kube.services import ProxiedPort
from nettrace.kube.settings import Settings
from nettrace.model.owed import RuleNote

__all__ = ["Serving", "chain_words", "endpoint_words"]

_PURPOSES = {
    **dict(
        zip(
            SERVICE_PREFIXES,
            ("endpoints of", "this node's endpoints of", "outside traffic to", "source ranges of"),
            strict=True,
        )
    ),
    XLB_PREFIX: "outside traffic to this node's endpoints of",
}


def chain_words(prefix: str, port: ProxiedPort) -> str:
    """Say what the chain with one of SERVICE_PREFIXES or XLB_PREFIX of a service port is for."""
    named = f" (port {port.port.name})" if port.port.name else ""
    return f"{_PURPOSES[prefix]} Service {port.service.key}{named}"


def endpoint_words(backend: Backend, port: ProxiedPort) -> str:
    """``endpoint default/hostnames-0 10.244.1.5:9376 of Service default/hostnames``."""
    pod = f"{backend.pod} " if backend.pod else ""
    return f"endpoint {pod}{backend.text} of Service {port.service.key}"


class Serving(Struct, frozen=True, kw_only=True):
    """
    A service port with the endpoints that its node uses.

    ``commented`` False: a cluster so large that rules about endpoints carry no comments.
    """

    port: ProxiedPort
    choice: Choice
    settings: Settings
    commented: bool = True

    @property
    def internal(self) -> bool:
        """
        Is traffic to the cluster IP led to the port's chains?

        Where what is to be dropped is marked, it is led there too, without an endpoint.
        """
        if self.port.internal_local and not self.settings.traits.mark_drop:
            return bool(self.choice.local)
        return self.choice.exists

    @property
    def external(self) -> bool:
        """Is traffic from outside led on, to endpoints or to be marked?"""
        if self.port.external_local and not self.settings.traits.mark_drop:
            return bool(self.choice.local)
        return self.choice.exists

    @property
    def inside_local(self) -> bool:
        """Does the internal policy Local hold, which kube-proxies know since some version only?"""
        return self.port.internal_local and self.settings.traits.internal_policy

    @property
    def outside_local(self) -> bool:
        """Does policy Local hold for outside traffic, as this version of kube-proxy sees it?"""
        return self.port.node_local if self.settings.traits.xlb else self.port.external_local

    @property
    def firewalled(self) -> bool:
        """Do source ranges guard the load balancer's addresses?"""
        return bool(self.choice.exists and self.port.load_balancer_ips and self.port.source_ranges)

    @property
    def internal_chain(self) -> str:
        """The chain for traffic to the cluster IP."""
        return self.port.chain("KUBE-SVL-" if self.port.internal_local else "KUBE-SVC-")

    def note(self, about: str) -> RuleNote:
        """Return the note of a rule about something of this Service."""
        subject = self.port.subject
        return RuleNote(source=subject, about=f"{about} of Service {self.port.service.key}", subject=subject)

    def chain_note(self, prefix: str) -> RuleNote:
        """Return the note of one of the port's own chains."""
        subject = self.port.subject
        return RuleNote(source=subject, about=chain_words(prefix, self.port), subject=subject)

    def endpoint_note(self, backend: Backend) -> RuleNote:
        """Return the note of a rule about one endpoint."""
        source = f"EndpointSlice {backend.source}"
        return RuleNote(source=source, about=endpoint_words(backend, self.port), subject=self.port.subject)
