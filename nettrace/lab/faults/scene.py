"""
A lab as a cause finds it.

Lives here: reading sections of a lab's namespaces when they are needed, and the questions that
several causes ask: which node, which Service, which pod.
Not here: the causes.
"""

from collections.abc import Mapping
from typing import Any

from nettrace.collect.reader import Reader
from nettrace.model.errors import UserError
from nettrace.model.kube import KubeNode, Pod, Service
from nettrace.model.lab import LabNetns, LabRecord
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.xt import XtChain, XtRule

__all__ = ["ALL", "BACKEND", "Scene"]

#: Stands for every node.
ALL = "all"

#: The back end the lab's rules are written with.
BACKEND = "nft"

#: What changes are about, and what trying and undoing one on the model may look at.
_STATE = ("links", "addresses", "routes", "rules", "neighbours", "fdb", "sysctls")
_TOUCHED = (*_STATE, f"xt/{BACKEND}/nat", f"xt/{BACKEND}/filter")


class Scene:
    """
    The lab and what was read of it so far.

    ``wishes`` are the parameters of the fault: which node, pod, Service and so on.
    """

    def __init__(self, record: LabRecord, reader: Reader, wishes: Mapping[str, str]) -> None:
        self.record = record
        self.wishes = wishes
        self._reader = reader
        self.snapshot = reader.skeleton()

    def known(self, netns: str, name: str) -> Any:
        """Return a section's value, read if it was not yet; UserError if it cannot be read."""
        key = SectionKey(netns, name)
        section = self.snapshot.section(key)
        if isinstance(section, Missing) and section.kind is MissingKind.NOT_READ:
            self.snapshot = self._reader.read([key], self.snapshot)
            section = self.snapshot.section(key)
        if isinstance(section, Missing):
            raise UserError(f"{key} cannot be read: {section.reason or section.kind}", where=self.record.name)
        return section.value

    def read_touched(self, netns: str) -> None:
        """Read what changes may be about, rules with all their chains."""
        keys = [SectionKey(netns, name) for name in _TOUCHED]
        self.snapshot = self._reader.read(keys, self.snapshot)

    # --- namespaces ----------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[LabNetns, ...]:
        """The lab's nodes."""
        return tuple(entry for entry in self.record.namespaces if entry.role == "node")

    def chosen_nodes(self, default: str | None = None) -> tuple[LabNetns, ...]:
        """
        Return the node that ``node`` names, or all; *default* where nothing was said, else the first.

        UserError if there is no such node.
        """
        wanted = self.wishes.get("node", default)
        if wanted == ALL:
            return self.nodes
        return (self._node(wanted) if wanted else self.nodes[0],)

    def peer_of(self, node: LabNetns) -> KubeNode:
        """Return the node that ``peer`` names, or the first but *node*; UserError if there is none."""
        wanted = self.wishes.get("peer")
        for found in self._kube("nodes"):
            if found.name != node.name and wanted in (None, found.name):
                return found  # type: ignore[no-any-return]
        raise UserError(
            f"{node.name} has no other node {wanted or ''}".rstrip(), hint="build the lab with --nodes 2"
        )

    def path(self, netns: str) -> str:
        """How this machine reaches a namespace of the snapshot."""
        return self.snapshot.namespaces[netns].handle

    def _node(self, name: str) -> LabNetns:
        for entry in self.nodes:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.nodes)
        raise UserError(f"there is no node {name!r} in the lab", hint=f"nodes are {names}, and `all`")

    # --- objects -------------------------------------------------------------------------

    def _kube(self, kind: str) -> tuple[Any, ...]:
        section = getattr(self.snapshot.kube, kind)
        return section.value if isinstance(section, Known) else ()

    def service(self) -> Service:
        """
        Return the Service that ``service`` names, or the first that has endpoints and is not cluster DNS.

        UserError if there is no such Service.
        """
        wanted = self.wishes.get("service", "").removeprefix("svc/")
        services: tuple[Service, ...] = self._kube("services")
        found = [
            service
            for service in services
            if (wanted in (service.name, service.key) if wanted else self._is_ordinary(service))
        ]
        if found:
            return found[0]
        keys = ", ".join(service.key for service in services)
        raise UserError(f"there is no Service {wanted}".rstrip(), hint=f"Services of this lab: {keys}")

    def _is_ordinary(self, service: Service) -> bool:
        return (
            bool(service.cluster_ips) and service.namespace != "kube-system" and bool(self.pods_of(service))
        )

    def pods_of(self, service: Service) -> tuple[Pod, ...]:
        """The pods that are endpoints of a Service."""
        targets = {
            endpoint.target
            for piece in self._kube("endpoint_slices")
            if (piece.namespace, piece.service) == (service.namespace, service.name)
            for endpoint in piece.endpoints
        }
        return tuple(pod for pod in self._kube("pods") if pod.key in targets)

    def pod(self) -> LabNetns:
        """
        Return the namespace of the pod or container that ``pod`` names, or of a Service's first endpoint.

        UserError if there is no such pod.
        """
        wanted = self.wishes.get("pod", "").removeprefix("pod/")
        pods = [entry for entry in self.record.namespaces if entry.role in ("pod", "container")]
        if not wanted:
            keys = {pod.key for pod in self.pods_of(self.service())}
            pods = [entry for entry in pods if entry.pod in keys]
        for entry in pods:
            if wanted in ("", entry.name, entry.pod):
                return entry
        raise UserError(
            f"there is no pod {wanted!r} in the lab", hint=", ".join(entry.name for entry in pods)
        )

    # --- rules ---------------------------------------------------------------------------

    def chain(self, netns: str, table: str, chain: str) -> XtChain:
        """Return a chain; UserError if it does not exist."""
        found: XtChain | None = self.known(netns, f"xt/{BACKEND}/{table}/{chain}")
        if found is None:
            raise UserError(f"{netns} has no chain {chain} in its table {table}")
        return found

    def numbered(self, netns: str, table: str, chain: str) -> tuple[tuple[int, XtRule], ...]:
        """Return (position, rule) of a chain from the last to the first: deleting moves none to come."""
        rules = self.chain(netns, table, chain).rules
        return tuple(sorted(enumerate(rules, 1), key=lambda pair: -pair[0]))
