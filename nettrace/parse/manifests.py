"""
Kubernetes manifests: YAML or JSON to the cluster's desired state.

Lives here: documents, lists of objects, and which kinds count.
Not here: the single kinds (manifest_services, manifest_nodes, manifest_proxy), reading files
(nettrace.app).

Taken are what people write and what ``kubectl get -o yaml|json`` prints, status and all.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
import yaml

from nettrace.model.errors import UserError
from nettrace.model.ingress import Ingress
from nettrace.model.kube import CustomObject, EndpointSlice, Kube, KubeNode, Pod, Service
from nettrace.model.policy import AdminPolicy, Namespace, NetworkPolicy
from nettrace.model.section import Known, Missing, MissingKind, Section
from nettrace.parse.fields import Fields
from nettrace.parse.manifest_ingress import ingress
from nettrace.parse.manifest_nodes import node, pod
from nettrace.parse.manifest_policies import admin_policy, baseline_policy, namespace, network_policy
from nettrace.parse.manifest_proxy import Versions, image_version, proxy_config
from nettrace.parse.manifest_services import endpoint_slice, service, slices_of_endpoints

__all__ = ["Document", "kube_from_documents", "parse_documents"]

T = TypeVar("T")

#: Kinds that say something here -> their API groups.  Another group's Service (Knative has
#: one) is another thing.
_GROUPS = {
    "AdminNetworkPolicy": ("policy.networking.k8s.io",),
    "BaselineAdminNetworkPolicy": ("policy.networking.k8s.io",),
    "ConfigMap": ("",),
    "DaemonSet": ("apps", "extensions"),
    "EndpointSlice": ("discovery.k8s.io",),
    "Endpoints": ("",),
    "Ingress": ("networking.k8s.io",),
    "KubeProxyConfiguration": ("kubeproxy.config.k8s.io",),
    "Namespace": ("",),
    "NetworkPolicy": ("networking.k8s.io", "extensions"),
    "Node": ("",),
    "Pod": ("",),
    "Service": ("",),
    "ServiceCIDR": ("networking.k8s.io",),
}


#: Ends of API groups that are Kubernetes' own; those of its first days have no dot.
_OWN_GROUPS = (".k8s.io",)


class Document(dict[str, Any]):
    """One object of a manifest; ``where`` says which file, document and item it is."""

    where: str = ""


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """YAML as Kubernetes reads it: times stay text, ``yes`` and ``12:30`` are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own


# The core schema of YAML 1.2 (section 10.3.2), and merging.  PyYAML looks the first letter up, then matches.
_SCALARS = {
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": ("~|null|Null|NULL|", "~nN"),
    "int": ("[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN)",
        "-+0123456789.",
    ),
    "merge": ("<<", "<"),
}
for _name, (_form, _first) in _SCALARS.items():
    _letters = [*_first, *([""] if _name == "null" else [])]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_form})\Z"), _letters)


def parse_documents(text: str, where: str) -> list[dict[str, Any]]:
    """
    Return the objects in *text*: YAML of several documents, or JSON; lists are opened.

    *where* names the file in errors, here and later.  UserError for text that is neither, or
    a document that is not an object with a kind.
    """
    found: list[dict[str, Any]] = []
    for number, content in enumerate(_contents(text, where), 1):
        if content is not None:
            found += _opened(content, f"{where}, document {number}", {})
    return found


def _contents(text: str, where: str) -> Iterator[Any]:
    if text.lstrip().startswith("{"):
        try:
            documents = _json_documents(text)
        except (ValueError, RecursionError):
            pass  # YAML in flow style, or what YAML's error says better
        else:
            yield from documents
            return
    try:
        yield from yaml.load_all(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise UserError(
            f"neither YAML nor JSON: {error.problem or error.context}",
            where=place,
            hint="mend the file, or leave it out",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = str(error).partition("\n")[0]
        raise UserError(
            f"neither YAML nor JSON: {what}", where=where, hint="mend the file, or leave it out"
        ) from None


def _json_documents(text: str) -> list[Any]:
    """Return JSON documents that follow each other; ValueError if the text is anything else."""
    try:
        return [msgspec.json.decode(text)]
    except msgspec.DecodeError:
        pass
    decoder = json.JSONDecoder()
    documents: list[Any] = []
    rest = text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:].lstrip()
    return documents


def _opened(content: Any, where: str, given: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a document as the objects it holds; *given* is what a list says about its items."""
    fields = Fields(content, where)
    kind = fields.text("kind", given.get("kind", ""))
    if not kind:
        fields.fail("kind is missing: not a Kubernetes object", "kind")
    api_version = fields.text("apiVersion", given.get("apiVersion", ""))
    if kind.endswith("List") and "items" in content:
        of_items = {} if kind == "List" else {"kind": kind.removesuffix("List"), "apiVersion": api_version}
        items = content["items"] or []
        if not isinstance(items, list):
            fields.fail("expected a list", "items")
        return [
            item
            for index, inner in enumerate(items)
            for item in _opened(inner, f"{where}, items[{index}]", of_items)
        ]
    document = Document(content, kind=kind)
    if api_version:
        document["apiVersion"] = api_version
    document.where = where
    return [document]


def kube_from_documents(docs: Iterable[Mapping[str, Any]], origin: str) -> Kube:
    """
    Return the cluster's desired state that the objects describe.

    All sections are Known, but for namespaces and policies where there is not one object of
    these kinds: then they were most likely left out, and "no policy" would be a guess.

    Of two objects of one kind and name the later counts, as for ``kubectl apply``.  Other
    kinds are ignored, but for those of others' API groups, which plugins may know.  UserError
    names the document and the field of a malformed object.
    """
    services: dict[str, Service] = {}
    slices: dict[str, EndpointSlice] = {}
    endpoints: dict[str, tuple[EndpointSlice, ...]] = {}
    pods: dict[str, Pod] = {}
    ingresses: dict[str, Ingress] = {}
    nodes: dict[str, KubeNode] = {}
    configs: list[Fields] = []
    versions = Versions()
    namespaces: dict[str, Namespace] = {}
    policies: dict[str, NetworkPolicy] = {}
    admin: dict[tuple[str, bool], AdminPolicy] = {}
    service_cidrs: dict[str, tuple[str, ...]] = {}
    custom: dict[tuple[str, str, str, str], CustomObject] = {}

    def take_namespace(fields: Fields) -> None:
        one = namespace(fields)
        namespaces[one.name] = one

    def take_policy(fields: Fields) -> None:
        one = network_policy(fields)
        policies[one.key] = one

    def take_admin(fields: Fields) -> None:
        one = admin_policy(fields)
        admin[one.name, False] = one

    def take_baseline(fields: Fields) -> None:
        one = baseline_policy(fields)
        admin[one.name, True] = one

    def take_service_cidr(fields: Fields) -> None:
        name = fields.inside("metadata").required("name")
        service_cidrs[name] = fields.inside("spec").texts("cidrs")

    def take_service(fields: Fields) -> None:
        one = service(fields)
        services[one.key] = one

    def take_slice(fields: Fields) -> None:
        one = endpoint_slice(fields)
        slices[f"{one.namespace}/{one.name}"] = one

    def take_endpoints(fields: Fields) -> None:
        namespace, name, found = slices_of_endpoints(fields)
        endpoints[f"{namespace}/{name}"] = found

    def take_ingress(fields: Fields) -> None:
        one = ingress(fields)
        ingresses[one.key] = one

    def take_pod(fields: Fields) -> None:
        one = pod(fields)
        pods[one.key] = one
        if one.labels.get("k8s-app") == "kube-proxy":
            versions.pods.append(image_version(fields.inside("spec")))

    def take_node(fields: Fields) -> None:
        one = node(fields)
        nodes[one.name] = one
        info = fields.inside("status").inside("nodeInfo")
        versions.nodes.append(info.text("kubeProxyVersion") or info.text("kubeletVersion"))

    def take_daemon_set(fields: Fields) -> None:
        if fields.inside("metadata").text("name") == "kube-proxy":
            versions.daemon_sets.append(
                image_version(fields.inside("spec").inside("template").inside("spec"))
            )

    def take_config_map(fields: Fields) -> None:
        if fields.inside("metadata").text("name") == "kube-proxy":
            written = fields.inside("data").text("config.conf")
            inner = parse_documents(written, f"{fields.where}: data[config.conf]") if written else []
            configs.extend(Fields(one, one.where if isinstance(one, Document) else "") for one in inner)

    takers: dict[str, Callable[[Fields], None]] = {
        "AdminNetworkPolicy": take_admin,
        "BaselineAdminNetworkPolicy": take_baseline,
        "ConfigMap": take_config_map,
        "DaemonSet": take_daemon_set,
        "EndpointSlice": take_slice,
        "Endpoints": take_endpoints,
        "Ingress": take_ingress,
        "KubeProxyConfiguration": configs.append,
        "Namespace": take_namespace,
        "NetworkPolicy": take_policy,
        "Node": take_node,
        "Pod": take_pod,
        "Service": take_service,
        "ServiceCIDR": take_service_cidr,
    }
    for number, document in enumerate(docs, 1):
        where = document.where if isinstance(document, Document) else f"document {number}"
        fields = Fields(document if isinstance(document, dict) else dict(document), where)
        kind = fields.text("kind")
        api_version = fields.text("apiVersion")
        group = api_version.rpartition("/")[0]
        if kind in takers and (not api_version or group in _GROUPS[kind]):
            takers[kind](fields)
        elif "." in group and not group.endswith(_OWN_GROUPS):
            for one in _custom(fields, group, kind):
                custom[one.group, one.kind, one.namespace, one.name] = one
    known = {(one.namespace, one.service) for one in slices.values()}
    mirrored = [
        one for found in endpoints.values() for one in found if (one.namespace, one.service) not in known
    ]
    given = bool(namespaces or policies or admin)
    return Kube(
        origin=origin,
        namespaces=_given(namespaces.values(), given=given),
        network_policies=_given(policies.values(), given=given),
        admin_policies=_given(admin.values(), given=given),
        services=Known(tuple(services.values())),
        endpoint_slices=Known((*slices.values(), *mirrored)),
        ingresses=Known(tuple(ingresses.values())),
        pods=Known(tuple(pods.values())),
        nodes=Known(tuple(nodes.values())),
        proxy=Known(proxy_config(configs[-1] if configs else None, versions)),
        endpoints=Known(tuple(one for found in endpoints.values() for one in found)),
        custom=Known(tuple(custom.values())),
        service_cidrs=Known(tuple(dict.fromkeys(cidr for found in service_cidrs.values() for cidr in found))),
    )


def _custom(fields: Fields, group: str, kind: str) -> Iterator[CustomObject]:
    """Yield an object of somebody's own kind; a tool's configuration file, which has no name, is none."""
    meta, spec = (fields.value.get(name) for name in ("metadata", "spec"))
    names = [meta.get(key) or "" for key in ("name", "namespace")] if isinstance(meta, dict) else []
    if names and names[0] and all(isinstance(name, str) for name in names):
        inside = spec if isinstance(spec, dict) else {}
        yield CustomObject(group=group, kind=kind, name=names[0], namespace=names[1], spec=inside)


def _given(found: Iterable[T], *, given: bool) -> Section[tuple[T, ...]]:
    """Return what was found, or Missing where nobody gave objects of these kinds at all."""
    if given:
        return Known(tuple(found))
    return Missing(
        MissingKind.UNSUPPORTED,
        "the manifests hold neither a Namespace nor a policy: kubectl get ns,netpol -A -o yaml",
    )
