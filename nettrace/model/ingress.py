"""
Ingress objects, and the answer to what a request comes to by one of them.

Lives here: networking.k8s.io/v1 as far as a request depends on it.
Not here: choosing among the rules (nettrace.kube.ingress).
"""

from msgspec import Struct

__all__ = ["Ingress", "IngressBackend", "IngressPath", "IngressRoute"]


class IngressBackend(Struct, frozen=True, kw_only=True):
    """The Service behind a path; ``port`` is its number or its name."""

    service: str
    port: int | str | None = None


class IngressPath(Struct, frozen=True, kw_only=True):
    """One path of one rule; ``host`` "" is any.  ``path_type`` is Exact, Prefix, ImplementationSpecific."""

    host: str = ""
    path: str = "/"
    path_type: str = "Prefix"
    backend: IngressBackend


class Ingress(Struct, frozen=True, kw_only=True):
    """An Ingress, its rules flattened to paths."""

    name: str
    namespace: str = "default"
    class_name: str | None = None
    paths: tuple[IngressPath, ...] = ()
    default_backend: IngressBackend | None = None

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class IngressRoute(Struct, frozen=True, kw_only=True):
    """
    What a request for *host* and *path* comes to.

    ``rule`` is None where the default backend takes it, or nobody.  ``status`` is 0 where it goes on
    to ``service`` (namespace/name) and ``port``, else the status that the controller answers with:
    404 for no rule, 503 for a Service, port or endpoint that is not there; ``checks`` are (fine,
    sentence), in order.
    """

    host: str
    path: str
    rule: IngressPath | None = None
    service: str | None = None
    port: int | None = None
    status: int = 0
    checks: tuple[tuple[bool, str], ...] = ()
