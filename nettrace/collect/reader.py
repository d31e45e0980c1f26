"""
Reading a snapshot: first its skeleton, then the sections somebody asks for.

Lives here: handles to namespaces with everything NOT_READ, reading keys in parallel over
namespaces, and a section for every way reading can fail.
Not here: deciding what to read (the walk asks, nettrace.app answers).
"""

import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from msgspec.structs import replace

from nettrace.collect.batch import EVERYTHING, Shared, read_sections
from nettrace.collect.bpf_state import read_bpf, read_maps
from nettrace.collect.discover import Handle, read_record
from nettrace.collect.failure import CollectError, as_section, missing
from nettrace.collect.kube import absent, place_pods, read_manifests
from nettrace.collect.kube_api import ApiSource, read_api
from nettrace.collect.netns import Pool, netns_inode, still_there
from nettrace.collect.node import node_processes, read_files
from nettrace.collect.plugins import api_kinds
from nettrace.collect.processes import Running, running
from nettrace.collect.session import Session
from nettrace.model.bpf import BpfProgram, BpfState
from nettrace.model.kube import Kube
from nettrace.model.section import Known, Missing, MissingKind, Section, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Snapshot

__all__ = ["Reader"]

T = TypeVar("T")

#: Sections for which the machine's processes are looked through.
_OF_PROCESSES = frozenset({"resolver", "sockets", "socket_programs"})

#: Who is likeliest to be at the other end of a veth comes first.
_PEER_ORDER = {"node": 0, "wire": 1}


class Reader:
    """
    Reads the namespaces of *handles*.

    *lab* is the lab they belong to, None for this machine; *manifests* the Kubernetes objects
    to take instead of the lab's own, *api* the server to ask for them.  Close it: it keeps a
    thread in every namespace it read, and with it the namespace.
    """

    def __init__(
        self,
        handles: Sequence[Handle],
        *,
        lab: str | None = None,
        manifests: Path | str | None = None,
        api: ApiSource | None = None,
    ) -> None:
        self.handles = tuple(handles)
        self._record = read_record(lab) if lab is not None else None
        self._manifests = Path(manifests) if manifests is not None else None
        self._api = api
        self._by_name = {handle.name: handle for handle in self.handles}
        ordered = sorted(self.handles, key=lambda handle: _PEER_ORDER.get(handle.role, 2))
        self._candidates = [(handle.name, handle.path, handle.inode) for handle in ordered]
        self._pool = Pool()
        self._sessions: dict[str, Session] = {}

    def take_objects(self, manifests: Path | None, api: ApiSource | None) -> bool:
        """Take the objects from there from now on; not, and False, where a source of them was named."""
        if self._manifests is not None or self._api is not None:
            return False
        self._manifests, self._api = manifests, api
        return True

    def skeleton(self) -> Snapshot:
        """
        Return the namespaces and nodes with nothing read yet, and the Kubernetes objects.

        UserError for manifests that cannot be read.
        """
        namespaces = {
            handle.name: Netns(
                name=handle.name,
                node=handle.node or handle.name,
                role=handle.role,
                handle=handle.path,
                inode=handle.inode,
                containers=handle.containers,
                container_names=handle.container_names,
                pod=handle.pod or "",
                pod_uid=handle.pod_uid,
            )
            for handle in self.handles
        }
        nodes = {
            handle.node or handle.name: NodeState(name=handle.node or handle.name, netns=handle.name)
            for handle in self.handles
            if handle.role == "node"
        }
        return Snapshot(
            taken=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            origin=f"lab {self._record.name}" if self._record else "this machine",
            kernel=os.uname().release,
            nodes=nodes,
            namespaces=namespaces,
            kube=self._kube({name: node.netns for name, node in nodes.items()}),
        )

    def read(self, keys: Iterable[SectionKey], snapshot: Snapshot) -> Snapshot:
        """
        Return *snapshot* with the sections *keys* read anew.

        Namespaces are read at the same time.  What cannot be read is Missing with its
        reason; a key of a namespace or node that the snapshot has not is passed over.
        """
        wanted: dict[str, dict[str, None]] = {}
        for key in keys:
            wanted.setdefault(key.netns, {})[key.name] = None
        kube = wanted.pop("", None)
        nodes = {holder: wanted.pop(holder) for holder in list(wanted) if holder.startswith("node:")}
        spaces = {name: tuple(names) for name, names in wanted.items() if name in snapshot.namespaces}
        wants = nodes or any(_OF_PROCESSES.intersection(names) for names in spaces.values())
        processes = running() if wants else ()
        snapshot = self._read_spaces(spaces, snapshot, processes)
        for holder, names in nodes.items():
            name = holder.removeprefix("node:")
            if name in snapshot.nodes:
                node = self._read_node(snapshot.nodes[name], names, processes)
                snapshot = replace(snapshot, nodes={**snapshot.nodes, name: node})
        if kube is not None:
            read = self._kube({name: node.netns for name, node in snapshot.nodes.items()})
            snapshot = replace(snapshot, kube=read)
        return snapshot

    def read_all(self, snapshot: Snapshot) -> Snapshot:
        """Return *snapshot* with every section of every namespace and node read, rules and all."""
        keys = [SectionKey(name, section) for name in snapshot.namespaces for section in EVERYTHING]
        keys += [SectionKey(f"node:{name}", section) for name in snapshot.nodes for section in _NODE_SECTIONS]
        return self.read(keys, snapshot)

    def close(self) -> None:
        """End all threads and close what they had open."""
        for name, session in self._sessions.items():
            handle = self._by_name[name]
            with suppress(CollectError):  # it could never be entered: nothing is open
                self._pool.worker(handle.path, handle.inode).run(session.close)
        self._sessions.clear()
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- namespaces ----------------------------------------------------------------------

    def _read_spaces(
        self, wanted: dict[str, tuple[str, ...]], snapshot: Snapshot, processes: Sequence[Running]
    ) -> Snapshot:
        shared = Shared(
            self._candidates,
            processes,
            {handle.inode: handle.netns for handle in self.handles if handle.netns},
            {handle.inode: handle.resolv_conf for handle in self.handles if handle.resolv_conf},
        )
        futures: dict[str, Future[Netns]] = {}
        found: dict[str, Netns] = {}
        for name, names in wanted.items():
            handle = self._by_name.get(name)
            netns = snapshot.namespaces[name]
            if handle is None:
                reason = Missing(MissingKind.FAILED, f"nobody knows how to enter the namespace {name}")
                found[name] = _all_missing(netns, names, reason)
                continue
            session = self._sessions.setdefault(name, Session(name))
            worker = self._pool.worker(handle.path, handle.inode)
            futures[name] = worker.submit(read_sections, session, netns, names, shared)
        for name, future in futures.items():
            handle, netns = self._by_name[name], snapshot.namespaces[name]
            try:
                found[name] = future.result()
            except CollectError as error:  # it could not be entered
                found[name] = _all_missing(netns, wanted[name], missing(error))
                continue
            if not still_there(handle.path, handle.inode):
                # The worker kept it alive: what was read is that of a namespace nobody can reach.
                reason = Missing(MissingKind.FAILED, f"{handle.path} vanished while it was read")
                found[name] = _all_missing(netns, wanted[name], reason)
        return replace(snapshot, namespaces={**snapshot.namespaces, **found})

    # --- nodes and objects ---------------------------------------------------------------

    def _read_node(self, node: NodeState, names: Iterable[str], processes: Sequence[Running]) -> NodeState:
        found: dict[str, Any] = {}
        maps = [name.removeprefix("bpf/") for name in names if name.startswith("bpf/")]
        for name in names:
            if name.startswith("bpf/"):
                continue
            if name == "files":
                found[name] = as_section(lambda: self._files(node))
            elif name == "processes":
                inodes = {
                    handle.inode: handle.name
                    for handle in self.handles
                    if (handle.node or handle.name) == node.name and handle.inode
                }
                found[name] = Known(node_processes(processes, inodes, node.netns))
            elif name == "bpf":
                found[name] = as_section(lambda: self._bpf(node))
            else:
                raise ValueError(f"a node has no section called {name}")
        node = replace(node, **found)
        if maps and isinstance(node.bpf, Missing) and node.bpf.kind is MissingKind.NOT_READ:
            node = replace(node, bpf=as_section(lambda: self._bpf(node)))
        if maps and isinstance(node.bpf, Known):
            node = replace(node, bpf=Known(read_maps(node.bpf.value, maps)))
        return node

    def _bpf(self, node: NodeState) -> BpfState:
        """Ask for the programs of all the node's namespaces, and the maps that go with them."""
        names = [handle.name for handle in self.handles if (handle.node or handle.name) == node.name]
        empty = Snapshot(namespaces={name: Netns(name=name, node=node.name) for name in names})
        read = self._read_spaces(dict.fromkeys(names, ("links", "socket_programs")), empty, running())
        programs: list[BpfProgram] = []
        for netns in read.namespaces.values():
            programs += [p for link in _value(netns.links) for p in link.bpf]
            programs += _value(netns.socket_programs)
        alone = sum(handle.role == "node" for handle in self.handles) == 1
        return read_bpf(programs, alone=alone)

    def _files(self, node: NodeState) -> dict[str, str]:
        if self._record is not None:
            return read_files(Path(self._record.root, "nodes", node.name), everything=True)
        # A node made of a namespace shares this machine's files, which say nothing about it.
        return read_files(Path("/")) if self._by_name[node.netns].inode == netns_inode() else {}

    def _kube(self, node_netns: dict[str, str]) -> Kube:
        directory, origin = self._manifests, f"manifests {self._manifests}"
        if directory is None and self._record is not None and self._record.manifests is not None:
            directory, origin = Path(self._record.manifests), f"lab {self._record.name}"
        if directory is None and self._api is None:
            return absent()
        if self._api is not None:
            read = read_api(self._api, kinds=api_kinds())
        else:
            read = read_manifests(Path(directory or ""), origin)
        by_pod = {handle.pod: handle.name for handle in self.handles if handle.pod}
        by_pod |= {handle.pod_uid: handle.name for handle in self.handles if handle.pod_uid}
        kube = place_pods(read, by_pod, {}, node_netns)
        pods = kube.pods.value if isinstance(kube.pods, Known) else ()
        if all(pod.netns is not None or not pod.ips for pod in pods):
            return kube
        return place_pods(kube, by_pod, self._by_address(), node_netns)

    def _by_address(self) -> dict[str, str]:
        """Address -> name of the namespace that alone has it, of those that may be pods."""
        names = [handle.name for handle in self.handles if handle.role not in ("node", "wire")]
        empty = Snapshot(namespaces={name: Netns(name=name, node=name) for name in names})
        read = self._read_spaces(dict.fromkeys(names, ("addresses",)), empty, ())
        found: dict[str, set[str]] = {}
        for netns in read.namespaces.values():
            for address in netns.addresses.value if isinstance(netns.addresses, Known) else ():
                if address.scope == "global":
                    found.setdefault(address.address, set()).add(netns.name)
        return {address: next(iter(holders)) for address, holders in found.items() if len(holders) == 1}


_NODE_SECTIONS = ("files", "processes", "bpf")


def _value(section: Section[tuple[T, ...]]) -> tuple[T, ...]:
    return section.value if isinstance(section, Known) else ()


def _all_missing(netns: Netns, names: Iterable[str], reason: Missing) -> Netns:
    """Mark the sections that hold *names* as missing; of a rule set, the whole."""
    fields = {"nft" if name.startswith("nft/") else "_".join(name.split("/", 2)[:2]) for name in names}
    return replace(netns, **dict.fromkeys(fields, reason))
