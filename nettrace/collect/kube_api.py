"""
Kubernetes objects from the API server.

Lives here: which resources are read, with pages, time limits and what a refusal makes of a section.
Not here: what the objects mean (nettrace.parse.manifests), how a server is spoken to (lightkube).

Nothing is written: ``list`` on the resources of RESOURCES, and ``get`` on kube-proxy's ConfigMap and
DaemonSet, are all that it takes.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from nettrace.model.errors import UserError
from nettrace.model.kube import Kube
from nettrace.model.section import Known, Missing, MissingKind, Section
from nettrace.plugin_api.types import ApiKind

if TYPE_CHECKING:
    from lightkube import Client
    from lightkube.config.kubeconfig import SingleConfig

__all__ = ["PATIENCE", "RESOURCES", "ApiSource", "Resource", "read_api"]

#: Seconds until a resource counts as not answered, all of its pages together.
PATIENCE = 20.0
#: Objects of a page; the API server's own clients use 500.
_PAGE = 500
#: Seconds between two pieces of an answer.
_QUIET = 10.0

_FORBIDDEN = (401, 403)
_NO_SUCH = 404  # the server has no such kind: a CustomResourceDefinition that is not installed
_GONE = 410  # the list's continuation has expired: begin again (API conventions, "Retrieving large results")


class ApiSource(NamedTuple):
    """
    Which API server: a kubeconfig file and one of its contexts.

    Without a file it is found as kubectl does: the Pod's service account, $KUBECONFIG, ~/.kube/config.
    """

    kubeconfig: Path | None = None
    context: str | None = None


class Resource(NamedTuple):
    """
    One resource of the API, and the section of Kube that it fills.

    ``name`` is that of a single object to get, "" for all of them.  ``optional``: a server that does
    not know the kind has none of it.
    """

    section: str
    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    name: str = ""
    namespace: str = ""
    optional: bool = False

    @property
    def words(self) -> str:
        """What it is called in RBAC rules and messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_PROXY = {"name": "kube-proxy", "namespace": "kube-system", "optional": True}

RESOURCES = (
    Resource("services", "", "v1", "Service", "services"),
    Resource("endpoint_slices", "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    Resource("pods", "", "v1", "Pod", "pods"),
    Resource("nodes", "", "v1", "Node", "nodes", namespaced=False),
    Resource("namespaces", "", "v1", "Namespace", "namespaces", namespaced=False),
    Resource("network_policies", "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    Resource("ingresses", "networking.k8s.io", "v1", "Ingress", "ingresses"),
    Resource(
        "admin_policies",
        "policy.networking.k8s.io",
        "v1alpha1",
        "AdminNetworkPolicy",
        "adminnetworkpolicies",
        namespaced=False,
        optional=True,
    ),
    Resource(
        "admin_policies",
        "policy.networking.k8s.io",
        "v1alpha1",
        "BaselineAdminNetworkPolicy",
        "baselineadminnetworkpolicies",
        namespaced=False,
        optional=True,
    ),
    Resource(
        "service_cidrs",
        "networking.k8s.io",
        "v1",
        "ServiceCIDR",
        "servicecidrs",
        namespaced=False,
        optional=True,
    ),
    Resource("proxy", "", "v1", "ConfigMap", "configmaps", **_PROXY),  # type: ignore[arg-type]
    Resource("proxy", "apps", "v1", "DaemonSet", "daemonsets", **_PROXY),  # type: ignore[arg-type]
)

#: What a resource came to: its objects, or why there are none.
_Answer = list[dict[str, Any]] | Missing


def read_api(source: ApiSource, *, patience: float = PATIENCE, kinds: Sequence[ApiKind] = ()) -> Kube:
    """
    Return the cluster's objects, each kind as a section of its own; *kinds* are those of plugins, in one.

    What the server refuses is Missing(DENIED); what does not come whole within *patience* seconds,
    or is not what it should be, Missing(FAILED).  UserError for a kubeconfig that cannot be used.
    """
    config = _config(source)
    origin = f"api {config.context_name}"
    wanted = (*RESOURCES, *(_custom(kind) for kind in kinds))
    answers = _all(config, patience, wanted)
    kube = Kube(origin=origin)
    sections: dict[str, Any] = {}
    for name in dict.fromkeys(resource.section for resource in wanted):
        sections[name] = _section(name, answers)
    sections["endpoints"] = Known(())  # EndpointSlices are what this server's kube-proxy watches
    return replace(kube, **sections)


def _custom(kind: ApiKind) -> Resource:
    return Resource(
        "custom", kind.group, kind.version, kind.kind, kind.plural, namespaced=False, optional=True
    )


def _config(source: ApiSource) -> "SingleConfig":
    from lightkube import KubeConfig  # noqa: PLC0415  (heavy)
    from lightkube.core.exceptions import ConfigError  # noqa: PLC0415  (heavy)
    from yaml import YAMLError  # noqa: PLC0415  (heavy)

    where = str(source.kubeconfig or "kubeconfig")
    try:
        found = (
            KubeConfig.from_file(source.kubeconfig)
            if source.kubeconfig is not None
            else KubeConfig.from_env()
        )
        chosen = found.get(context_name=source.context)
    except ConfigError as error:
        raise UserError(str(error), where=where, hint="--kubeconfig FILE, --context NAME") from error
    except OSError as error:
        raise UserError(f"cannot read the kubeconfig: {error.strerror}", where=where) from error
    except (
        YAMLError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise UserError(f"not a kubeconfig: {type(error).__name__}: {error}", where=where) from error
    if chosen is None:
        raise UserError("no context is set", where=where, hint="--context NAME")
    return chosen


def _all(config: "SingleConfig", patience: float, wanted: Sequence[Resource]) -> dict[Resource, _Answer]:
    """Read all resources at once, each in a thread of its own that nobody waits for when its time is up."""
    until = monotonic() + patience
    done: SimpleQueue[tuple[Resource, _Answer]] = SimpleQueue()
    for resource in wanted:
        reading = threading.Thread(
            target=lambda one=resource: done.put((one, _read(config, one, until))),
            name=f"api {resource.words}",
            daemon=True,
        )
        reading.start()
    found: dict[Resource, _Answer] = {}
    while len(found) < len(wanted):
        try:
            resource, answer = done.get(timeout=max(0.0, until - monotonic()))
        except Empty:
            break
        found[resource] = answer
    late = Missing(MissingKind.FAILED, f"the API server did not answer completely within {patience:g} s")
    return {resource: found.get(resource, late) for resource in wanted}


def _read(config: "SingleConfig", resource: Resource, until: float) -> _Answer:
    """Read one resource; every way in which that can fail is a Missing."""
    from httpx2 import HTTPError  # noqa: PLC0415  (heavy)
    from lightkube.core.exceptions import ApiError  # noqa: PLC0415  (heavy)

    try:
        with _client(config) as client:
            try:
                return _objects(client, resource, until)
            except ApiError as error:
                if error.status.code != _GONE:
                    raise
                return _objects(client, resource, until)
    except ApiError as error:
        return _refused(resource, error.status.code, str(error))
    except TimeoutError:
        return Missing(MissingKind.FAILED, f"{resource.words}: the list did not end in time")
    except (HTTPError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        # The network, TLS, an answer that was cut off, that is no JSON or no list: lightkube lets all pass.
        words = str(error) or type(error).__name__
        return Missing(MissingKind.FAILED, f"{resource.words}: {words}")


def _client(config: "SingleConfig") -> "Client":
    from httpx2 import Timeout  # noqa: PLC0415  (heavy)
    from lightkube import Client  # noqa: PLC0415  (heavy)

    return Client(config=config, timeout=Timeout(_QUIET))


def _refused(resource: Resource, code: int | None, words: str) -> _Answer:
    if code in _FORBIDDEN:
        return Missing(MissingKind.DENIED, f"{resource.words}: {words}")
    if code == _NO_SUCH and resource.optional:
        return []
    return Missing(MissingKind.FAILED, f"{resource.words}: {words}")


def _objects(client: "Client", resource: Resource, until: float) -> list[dict[str, Any]]:
    kind = _kind(resource)
    if resource.name:
        return [_plain(client.get(kind, resource.name, namespace=resource.namespace), resource)]
    found = []
    listed = (
        client.list(kind, chunk_size=_PAGE, namespace="*")
        if resource.namespaced
        else client.list(kind, chunk_size=_PAGE)
    )
    for one in listed:
        if monotonic() > until:
            raise TimeoutError
        found.append(_plain(one, resource))
    return found


@cache
def _kind(resource: Resource) -> Any:
    """Return lightkube's class for a resource whose objects stay as the server wrote them."""
    from lightkube.generic_resource import (  # noqa: PLC0415  (heavy)
        create_global_resource,
        create_namespaced_resource,
    )

    make: Callable[..., Any] = create_namespaced_resource if resource.namespaced else create_global_resource
    return make(resource.group, resource.version, resource.kind, resource.plural)


def _plain(one: Mapping[str, Any], resource: Resource) -> dict[str, Any]:
    """Items of a list do not say what they are."""
    group = f"{resource.group}/" if resource.group else ""
    return {**one, "apiVersion": f"{group}{resource.version}", "kind": resource.kind}


def _section(name: str, answers: Mapping[Resource, _Answer]) -> Section[Any]:
    """Make one section of the objects that belong to it; an object that is malformed spoils it."""
    from nettrace.parse.manifests import kube_from_documents  # noqa: PLC0415  (PyYAML)

    own = [answer for resource, answer in answers.items() if resource.section == name]
    missing = next((answer for answer in own if isinstance(answer, Missing)), None)
    if missing is not None:
        return missing
    documents = [one for answer in own if not isinstance(answer, Missing) for one in answer]
    if name == "proxy":
        documents += _versions(answers)
    try:
        section: Section[Any] = getattr(kube_from_documents(documents, ""), name)
    except UserError as error:
        return Missing(MissingKind.FAILED, f"{name}: {error.what}")
    return Known(()) if isinstance(section, Missing) else section


def _versions(answers: Mapping[Resource, _Answer]) -> Sequence[dict[str, Any]]:
    """Return the objects that tell kube-proxy's version where its DaemonSet does not: its pods, the nodes."""
    found: list[dict[str, Any]] = []
    for resource, answer in answers.items():
        if isinstance(answer, Missing):
            continue
        if resource.section == "nodes":
            found += answer
        elif resource.section == "pods":
            found += [
                one
                for one in answer
                if ((one.get("metadata") or {}).get("labels") or {}).get("k8s-app") == "kube-proxy"
            ]
    return found
