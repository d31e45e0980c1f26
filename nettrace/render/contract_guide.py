"""
The documents of the guided flows.

Lives here: what `nettrace debug` prints, of a Service and of a pod.
"""

from msgspec import Struct, field

from nettrace.model.guide import Axis, CheckState, RepairDone
from nettrace.render.contract_finding import EvidenceView, FindingView
from nettrace.render.version import API_VERSION, ApiVersion

__all__ = ["GuideCheckView", "GuideDocument", "PodDebugDocument"]


class GuideCheckView(Struct, frozen=True, kw_only=True):
    """
    One check of the guided flow.

    ``checked`` is what was looked at and done, ``seen`` what stands there, ``conclusion`` what
    follows.  ``about`` is the Service under test where it is not the one that was asked for,
    ``flow`` the source and target of the packets it is about.
    """

    id: str
    axis: Axis
    title: str
    state: CheckState
    checked: tuple[str, ...]
    seen: tuple[EvidenceView, ...]
    conclusion: str
    findings: tuple[FindingView, ...]
    about: str | None
    flow: tuple[str, str] | None


class GuideDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="ServiceDebug"):
    """
    The answer of ``nettrace debug``.

    ``leaf`` is the cause that it ended at, null if every check passed; ``state`` sums the checks
    up.  ``live``: real queries and connections were made.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    service: str
    client: str
    context: str
    live: bool
    state: CheckState
    leaf: str | None
    checks: tuple[GuideCheckView, ...]
    repairs: tuple[RepairDone, ...]


class PodDebugDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="PodDebug"):
    """
    The answer of ``nettrace debug pod/NAMESPACE/NAME``.

    ``node`` is null while the pod is on none.  ``leaf``, ``state`` and ``live`` are as for a Service.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    pod: str
    node: str | None
    context: str
    live: bool
    state: CheckState
    leaf: str | None
    checks: tuple[GuideCheckView, ...]
