"""
The case: which Service, called by whom.

Lives here: what all checks know from the start, and words that they share.
"""

from typing import Any, NamedTuple

from msgspec import Struct

from nettrace.diagnose.cause import Explanation
from nettrace.model.finding import Evidence, Finding, Repair, Safety
from nettrace.model.guide import Axis, Check, CheckState
from nettrace.model.kube import Service, ServicePort

__all__ = ["Case", "Heading", "advice", "names"]


class Case(Struct, frozen=True, kw_only=True):
    """
    What is debugged.

    ``client`` is a target text (``pod/default/client``, ``node/node-a``, ``internet``), ``netns``
    its namespace, ``client_pod`` namespace/name if it is a pod, ``client_namespace`` the Kubernetes
    namespace in which its names are looked for.  ``port`` is one of the Service's, by number or
    name, None for all of them.  ``external``: is it called from outside?  ``as_dns``: the Service
    is the cluster's DNS itself, so that asking it for names is no separate check.
    """

    namespace: str
    name: str
    client: str
    netns: str
    client_namespace: str = "default"
    client_pod: str | None = None
    port: int | str | None = None
    proto: str | None = None
    external: bool = False
    as_dns: bool = False
    dns: tuple[str, str] = ("kube-system", "kube-dns")
    domain: str = "cluster.local"

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def subject(self) -> str:
        """``svc/namespace/name``."""
        return f"svc/{self.key}"

    @property
    def full_name(self) -> str:
        """The Service's name in DNS."""
        return f"{self.name}.{self.namespace}.svc.{self.domain}"

    def ports(self, service: Service) -> tuple[ServicePort, ...]:
        """Return the ports of *service* that are meant; all where none was named."""
        return tuple(
            port
            for port in service.ports
            if (self.port is None or self.port in (port.port, port.name))
            and (self.proto is None or self.proto == port.protocol.lower())
        )

    def target(self, port: ServicePort) -> str:
        """Return the target text of one port of the Service."""
        return f"svc/{self.key}:{port.port}/{port.protocol.lower()}"


class Heading(NamedTuple):
    """What a check is called: its word, its axis, what it asks; and ways to end it."""

    id: str
    axis: Axis
    title: str

    def ended(
        self,
        state: CheckState,
        conclusion: str,
        *,
        checked: tuple[str, ...] = (),
        seen: tuple[Evidence, ...] = (),
        findings: tuple[Finding, ...] = (),
        flow: tuple[str, str] | None = None,
        sport: int | None = None,
    ) -> Check:
        """End it in *state*."""
        return Check(
            id=self.id,
            axis=self.axis,
            title=self.title,
            state=state,
            conclusion=conclusion,
            checked=checked,
            seen=seen,
            findings=findings,
            flow=flow,
            sport=sport,
        )

    def passed(self, conclusion: str, **more: Any) -> Check:
        """End it well."""
        return self.ended(CheckState.PASSED, conclusion, **more)

    def skipped(self, reason: str) -> Check:
        """Say why it does not apply."""
        return self.ended(CheckState.SKIPPED, reason)

    def unknown(self, reason: str, **more: Any) -> Check:
        """Say what could not be known."""
        return self.ended(CheckState.UNKNOWN, reason, **more)

    def problem(self, finding: Finding, *, seen: tuple[Evidence, ...] | None = None, **more: Any) -> Check:
        """End it at a cause."""
        shown = finding.evidence if seen is None else seen
        return self.ended(CheckState.PROBLEM, finding.message, seen=shown, findings=(finding,), **more)


def advice(
    cause: Explanation,
    message: str,
    *,
    subject: str,
    where: str = "",
    evidence: tuple[Evidence, ...] = (),
    lasting: str = "",
) -> Finding:
    """Return the finding of a cause that only a person may mend; *lasting* is what to do, or to type."""
    repair = Repair(
        id=f"{cause.id}:{subject}",
        changes=(),
        safety=Safety.ADVICE,
        owner=cause.owner,
        lasting=lasting or cause.repair,
    )
    return Finding(
        cause=cause.id,
        severity=cause.severity,
        message=message,
        subject=subject,
        where=where,
        evidence=evidence,
        repairs=(repair,),
    )


def names(items: tuple[str, ...] | list[str], limit: int = 4) -> str:
    """Write a list of names, the rest of a long one as a number."""
    if not items:
        return "none"
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")
