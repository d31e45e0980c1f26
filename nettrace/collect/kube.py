"""
Kubernetes objects from a directory of manifests, joined with the namespaces of the snapshot.

Lives here: finding and reading the files, and which namespace a pod lives in.
Not here: what the documents mean (nettrace.parse.manifests).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec.structs import replace

from nettrace.model.errors import UserError
from nettrace.model.kube import Kube, Pod
from nettrace.model.section import Known, Missing, MissingKind

__all__ = ["absent", "place_pods", "read_manifests"]

_SUFFIXES = (".json", ".yaml", ".yml")


def absent() -> Kube:
    """Return the objects of a snapshot for which none were given."""
    missing = Missing(MissingKind.UNSUPPORTED, "no Kubernetes objects were given: --manifests DIR")
    sections = dict.fromkeys((name for name in Kube.__struct_fields__ if name != "origin"), missing)
    return replace(Kube(), **sections)


def read_manifests(directory: Path, origin: str) -> Kube:
    """
    Read all manifests below *directory*, in the order of their paths; a single file will do.

    UserError, with the file, for what is not there, not readable or not a manifest.
    """
    # PyYAML is not needed where no objects are given.
    from nettrace.parse.manifests import kube_from_documents, parse_documents  # noqa: PLC0415

    documents: list[Mapping[str, object]] = []
    for path in _files(directory):
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UserError(f"cannot read the manifest: {reason}", where=str(path)) from error
        documents += parse_documents(text, str(path))
    return kube_from_documents(documents, origin)


def _files(directory: Path) -> list[Path]:
    try:
        if directory.is_file():
            return [directory]
        found = sorted(path for path in directory.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
        directory.stat()
    except OSError as error:
        raise UserError(
            f"cannot read the manifests: {(error.strerror or 'unknown').lower()}",
            where=str(directory),
            hint="--manifests takes a directory of YAML or JSON files, or one such file",
        ) from error
    if not found:
        raise UserError(
            "there are no manifests: no .yaml, .yml or .json file",
            where=str(directory),
            hint="kubectl get svc,endpointslices,pods,nodes,ns,netpol -A -o yaml > DIR/objects.yaml",
        )
    return found


def place_pods(
    kube: Kube,
    by_pod: Mapping[str, str],
    by_address: Mapping[str, str],
    node_netns: Mapping[str, str],
) -> Kube:
    """
    Say of each pod in which namespace of the snapshot it lives, where that is known.

    *by_pod* maps namespace/name or a UID, *by_address* an address, *node_netns* a node's name to a
    namespace's name.  A pod of the host's network lives in its node's.
    """
    if not isinstance(kube.pods, Known):
        return kube
    return replace(
        kube, pods=Known(tuple(_placed(pod, by_pod, by_address, node_netns) for pod in kube.pods.value))
    )


def _placed(
    pod: Pod, by_pod: Mapping[str, str], by_address: Mapping[str, str], node_netns: Mapping[str, str]
) -> Pod:
    if pod.netns is not None:
        return pod
    if pod.host_network:
        return replace(pod, netns=node_netns.get(pod.node_name or ""))
    found: Iterable[str | None] = (
        by_pod.get(pod.uid or pod.key),
        by_pod.get(pod.key),
        *(by_address.get(address) for address in pod.ips),
    )
    return replace(pod, netns=next((name for name in found if name is not None), None))
