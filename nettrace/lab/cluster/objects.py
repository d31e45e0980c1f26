"""
The cluster as a whole: from options and manifests to everything the API would hold.

Lives here: which manifests count, Nodes with their annotations, kube-proxy's configuration,
and all objects sorted into the files of a lab's ``manifests`` directory.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from nettrace.lab.addresses import network
from nettrace.lab.blueprint import Options
from nettrace.lab.cluster.documents import Document, at, name_of, read_directory, text_map, written
from nettrace.lab.cluster.ingress import CONTROLLER_LABEL, CONTROLLER_NAME, ingress_notes
from nettrace.lab.cluster.proxy import MODES
from nettrace.lab.cluster.services import KUBE_DNS, endpoint_slices, services_of
from nettrace.lab.cluster.workloads import LabNode, LabPod, ignored_kinds, pods_of
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube
from nettrace.model.policy import NAMESPACE_NAME
from nettrace.parse.manifests import kube_from_documents

__all__ = ["Cluster", "cluster"]

_OWN_MANIFESTS = Path(__file__).parent.parent / "manifests" / "cluster"
_KUBE_PROXY = "KubeProxyConfiguration"
_UNENFORCED = ("AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
#: Whose layout a lab has in mode nftables: the one of the dump that it is held against.
_NATIVE_VERSION = "v1.36.2"


class Cluster(Struct, frozen=True, kw_only=True):
    """
    The desired state of a lab.

    ``files`` are the materialised manifests by file name, ``kube`` the same as model types,
    ``declared`` what the user wrote;
    ``notes`` say what of the user's manifests the lab does not run.
    """

    pods: tuple[LabPod, ...]
    services: tuple[Document, ...]
    slices: tuple[Document, ...]
    kube: Kube
    files: dict[str, str]
    ingresses: tuple[Document, ...] = ()
    declared: tuple[Document, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def dns_address(self) -> str | None:
        """The ClusterIP of cluster DNS, if there is one."""
        for service in self.services:
            if name_of(service) == KUBE_DNS:
                return at(service, "spec.clusterIP", str, "") or None
        return None


def cluster(nodes: Sequence[LabNode], options: Options) -> Cluster:
    """
    Return the cluster that *options* ask for.

    The user's manifests, if any, take the place of the lab's workload; cluster DNS and
    kube-proxy's configuration are the lab's own unless the user's manifests have them, and so
    is the Ingress controller where there are Ingresses.
    UserError for manifests that cannot be read or do not fit together.
    """
    own = _OWN_MANIFESTS
    given = options.declared
    user = read_directory(options.manifests or own / "workload.yaml") if given is None else given
    documents = [*user]
    before = options.before
    if not any(d.get("kind") == "Service" and name_of(d) == KUBE_DNS for d in documents):
        documents += read_directory(own / "dns.yaml")
    if not any(d.get("kind") == _KUBE_PROXY for d in documents):
        # The pods' network is the lab's to choose, so its own configuration leaves it open.
        documents += [{**d, "clusterCIDR": None} for d in read_directory(own / "kube-proxy.yaml")]
    ingresses = [d for d in documents if d.get("kind") == "Ingress"]
    if ingresses and not any(_is_controller(d) for d in documents):
        documents += read_directory(own / "ingress.yaml")
    pods = pods_of(
        documents,
        nodes,
        lenient=(options.manifests is None and given is None) or len(nodes) == 1,
        placed={
            "/".join(name_of(d)): (at(d, "spec.nodeName", str, ""), at(d, "status.podIP", str, ""))
            for d in before
            if d.get("kind") == "Pod" and not at(d, "spec.hostNetwork", bool, False)
        },
    )
    services = services_of(
        documents,
        network(options.service_cidr, "the service network"),
        [d for d in before if d.get("kind") == "Service"],
    )
    slices = endpoint_slices(documents, services, pods)
    proxy = [_proxy(d, options) for d in documents if d.get("kind") == _KUBE_PROXY]
    made = ("Service", "Pod", "EndpointSlice", "Node", "Namespace", _KUBE_PROXY)
    sorted_out: dict[str, Sequence[Document]] = {
        "namespaces.yaml": _namespaces(documents, pods),
        "nodes.yaml": [_node(node, str(proxy[0]["mode"]) if proxy else "") for node in nodes],
        "services.yaml": services,
        "pods.yaml": [pod.document for pod in pods],
        "endpointslices.yaml": slices,
        "kube-proxy.yaml": proxy[:1],
        "servicecidrs.yaml": [_service_cidr(options)] if _watches_cidrs(documents, proxy) else [],
        "others.yaml": [d for d in documents if d.get("kind") not in made],
    }
    every = [document for part in sorted_out.values() for document in part]
    return Cluster(
        pods=pods,
        services=services,
        slices=slices,
        ingresses=tuple(ingresses),
        kube=kube_from_documents(every, "the lab's manifests"),
        files={name: written(part) for name, part in sorted_out.items() if part},
        declared=tuple(user),
        notes=(
            *(f"no pods are run for {name}" for name in ignored_kinds(documents)),
            *(
                f"nobody enforces {d['kind']} {name_of(d)[1]}"
                for d in documents
                if d.get("kind") in _UNENFORCED
            ),
            *ingress_notes(ingresses),
        ),
    )


def _watches_cidrs(documents: Sequence[Document], proxy: Sequence[Document]) -> bool:
    """kube-proxy reads ServiceCIDRs in mode nftables; the API server makes the first of them."""
    given = any(d.get("kind") == "ServiceCIDR" for d in documents)
    return not given and any(d["mode"] == "nftables" for d in proxy[:1])


def _service_cidr(options: Options) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [options.service_cidr]},
    }


def _namespaces(documents: Sequence[Document], pods: Sequence[LabPod]) -> list[Document]:
    """Return the Namespaces as the API has them: one for whatever is in one, with its name as a label."""
    given = {name_of(d)[1]: d for d in documents if d.get("kind") == "Namespace"}
    used = {p.namespace for p in pods} | {name_of(d)[0] for d in documents if d.get("kind") == "Service"}
    found: list[Document] = []
    for name in sorted({*given, *used}):
        document = given.get(name, {"apiVersion": "v1", "kind": "Namespace"})
        labels = {**text_map(document, "metadata.labels"), NAMESPACE_NAME: name}
        metadata = {**at(document, "metadata", dict, {}), "name": name, "labels": labels}
        found.append({**document, "metadata": metadata})
    return found


def _proxy(document: Document, options: Options) -> Document:
    mode = options.proxy or document.get("mode") or "iptables"
    if mode not in MODES:
        raise UserError(f"the lab's kube-proxy has no mode {mode!r}", hint=f"it has {', '.join(MODES)}")
    return {**document, "mode": mode, "clusterCIDR": document.get("clusterCIDR") or options.pod_cidr}


def _is_controller(document: Document) -> bool:
    paths = ("metadata.labels", "spec.template.metadata.labels")
    return document.get("kind") != "Service" and any(
        at(document, path, dict, {}).get(CONTROLLER_LABEL) == CONTROLLER_NAME for path in paths
    )


def _node(node: LabNode, mode: str) -> Document:
    """A Node as kubelet, kube-controller-manager and the network's agent together leave it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux"},
            "annotations": dict(node.annotations),
        },
        "spec": {"podCIDR": str(node.pod_cidr), "podCIDRs": [str(node.pod_cidr)]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": node.address},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [{"type": "Ready", "status": "True"}],
            **({"nodeInfo": {"kubeProxyVersion": _NATIVE_VERSION}} if mode in ("nftables", "ipvs") else {}),
        },
    }
