"""
What plugins hand back.

Lives here: the types of the hooks that have no type in nettrace.model or nettrace.diagnose.
"""

from msgspec import Struct

from nettrace.model.finding import Evidence

__all__ = ["ApiKind", "Detection", "Topology"]


class ApiKind(Struct, frozen=True, kw_only=True):
    """A kind of objects that a system keeps in the API: cluster-wide, of a CustomResourceDefinition."""

    group: str
    version: str
    kind: str
    plural: str


class Detection(Struct, frozen=True, kw_only=True):
    """
    A network system that is on a node; ``name`` is the plugin's own, by which it is loaded.

    ``version`` and ``mode`` (a back end) as far as the state tells them, "" otherwise; ``nodes`` are
    those it was seen on, ``evidence`` what it was seen by.  ``owners`` are the names under which
    nettrace_owes() says what it has to have put there.  ``leftovers`` are what it, or one that it took
    the place of, left behind; a system of which nothing but these is there has no ``evidence``.
    """

    name: str
    version: str = ""
    mode: str = ""
    nodes: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    owners: tuple[str, ...] = ()
    leftovers: tuple[Evidence, ...] = ()


class Topology(Struct, frozen=True, kw_only=True):
    """
    A network that ``nettrace lab up NAME`` can build.

    ``builder`` is ``package.module:function``, a function as nettrace.lab.topologies.Describe: named
    rather than given, so that a plugin's pure part brings in nothing that does I/O.  ``cluster`` says
    that it is a Kubernetes cluster, ``faults`` which causes ``nettrace lab break`` can inject there.
    """

    name: str
    summary: str
    builder: str
    cluster: bool = False
    faults: tuple[str, ...] = ()
