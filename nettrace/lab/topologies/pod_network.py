"""
What a network system does on the nodes of a lab's cluster.

Lives here: the type between a plugin, which says it, and the topology that is made of it (kubernetes).
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from msgspec import Struct

from nettrace.lab.blueprint import Attachment, Daemon, Opaque, Options
from nettrace.lab.cluster.documents import Document
from nettrace.lab.cluster.policies import Policed, policed
from nettrace.lab.cluster.workloads import LabNode
from nettrace.model.kube import Kube
from nettrace.model.lab import LabNetns
from nettrace.model.xt import XtRuleset

__all__ = ["PodNetwork", "Site"]


class Site(Struct, frozen=True, kw_only=True):
    """
    One node of a cluster, with what an agent on it knows.

    ``netns`` is the node's, ``pods`` are the namespaces of the pods on it, ``nodes`` all nodes with it,
    ``pods_of`` all pods by their node; ``root`` is the lab's directory.
    """

    root: Path
    netns: str
    node: LabNode
    nodes: tuple[LabNode, ...]
    pods_of: dict[str, tuple[LabNetns, ...]]
    pod_net: IPv4Network
    service_net: IPv4Network
    kube: Kube
    options: Options

    @property
    def peers(self) -> tuple[LabNode, ...]:
        """The other nodes."""
        return tuple(node for node in self.nodes if node.name != self.node.name)

    @property
    def pods(self) -> tuple[LabNetns, ...]:
        """The namespaces of the pods on this node."""
        return self.pods_of.get(self.node.name, ())


def _nothing(site: Site) -> Sequence[str]:
    return ()


def _no_programs(site: Site) -> Opaque | None:
    return None


def _not_attached(site: Site, pod: LabNetns) -> Attachment | None:
    return None


def _no_files(site: Site) -> dict[str, str]:
    return {}


def _no_daemons(site: Site) -> Sequence[Daemon]:
    return ()


def _no_objects(sites: Sequence[Site]) -> Sequence[Document]:
    return ()


def _policies(rules: XtRuleset, site: Site) -> Policed:
    return policed(rules, site.kube, site.node.name, site.service_net)


class PodNetwork(Struct, frozen=True, kw_only=True):
    """
    One network system, or one back end of it.

    * ``annotations`` (the node, the nodes' network) are what it publishes of a node in the API,
      ``objects`` what it keeps there beside the nodes.
    * ``wiring`` are the lines for ip(8), in the node, that make its devices, attach its pods and lead
      to the other nodes; ``pod_wiring`` (site, pod) those inside a pod; ``fdb`` those for bridge(8).
    * ``attach`` (site, pod) has real CNI plugins attach a pod, in place of ``wiring`` and ``pod_wiring``.
    * ``rules`` adds what the system writes to those of kube-proxy, with the sets it needs; ``agents``
      are what the names of its own chains begin with.  ``sysctls`` are those of the node beyond
      forwarding and bridge netfilter, ``device_sysctls`` those of devices that ``wiring`` makes.
    * ``files`` are what it and its CNI plugin leave on the node, relative to the node's root: each is
      put below ``nodes/NAME/``.
    * ``daemons`` are its processes on the node, ``programs`` those of BPF on the node's devices;
      ``modules`` are the kernel's that it cannot do without.
    """

    topology: str
    annotations: Callable[[LabNode, IPv4Network], dict[str, str]]
    wiring: Callable[[Site], Sequence[str]]
    pod_wiring: Callable[[Site, LabNetns], Sequence[str]]
    attach: Callable[[Site, LabNetns], Attachment | None] = _not_attached
    fdb: Callable[[Site], Sequence[str]] = _nothing
    rules: Callable[[XtRuleset, Site], Policed] = _policies
    agents: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    objects: Callable[[Sequence[Site]], Sequence[Document]] = _no_objects
    sysctls: Callable[[Site], dict[str, str]] = _no_files
    device_sysctls: Callable[[Site], dict[str, str]] = _no_files
    files: Callable[[Site], dict[str, str]] = _no_files
    daemons: Callable[[Site], Sequence[Daemon]] = _no_daemons
    programs: Callable[[Site], Opaque | None] = _no_programs
