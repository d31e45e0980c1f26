"""
The snapshot: what the nodes are, frozen.

Lives here: namespaces, nodes, and finding a section by its key.
Not here: how a snapshot is read from the kernel (nettrace.collect) or a file
(nettrace.parse.snapshot_file).
"""

from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from nettrace.model.bpf import BpfMap, BpfProgram, BpfState, short_name
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import IpvsConnection, VirtualServer
from nettrace.model.kube import Kube
from nettrace.model.links import Address, FdbEntry, Link, Neighbour
from nettrace.model.nft import NftRuleset, split_path
from nettrace.model.offloads import DeviceOffloads
from nettrace.model.recent import RecentList
from nettrace.model.relay import Relay
from nettrace.model.resolver import Resolver
from nettrace.model.routes import PolicyRule, Route
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, Section, SectionKey
from nettrace.model.sockets import ConntrackEntry, Socket
from nettrace.model.xfrm import Xfrm
from nettrace.model.xt import XT_SECTIONS, XtChain, XtRuleset, XtTable

__all__ = ["SNAPSHOT_VERSION", "Netns", "NodeState", "Process", "Role", "Snapshot", "maps_called"]

#: Raised whenever a reader of the previous version would misread the file.
SNAPSHOT_VERSION = 2

#: What a namespace is for.  ``outside`` is somebody on the network who is not a node;
#: ``wire`` joins the others as a switch would.
Role = str  # "node" | "pod" | "container" | "outside" | "wire" | "other"


class Process(Struct, frozen=True, kw_only=True):
    """One process of interest on a node (kube-proxy, flanneld, dockerd, docker-proxy ...)."""

    pid: int
    name: str
    cmdline: tuple[str, ...] = ()
    netns: str | None = None


class Netns(Struct, frozen=True, kw_only=True):
    """
    One network namespace.

    ``name`` is unique in the snapshot; ``handle`` is how this machine reaches it
    (``/run/netns/NAME``, ``/proc/PID/ns/net``), which means nothing elsewhere.
    ``sysctls`` maps dotted names (``net.ipv4.ip_forward``; a device's own dots are kept as
    ``/``) to values as text.  ``xt_*`` are iptables' rule sets, ``xt6_*`` ip6tables'; ``nft`` is the
    outline of native nftables; each chain and each set in it is a section of its own.  ``xfrm`` is IPsec.
    ``resolver`` is the resolv.conf of whoever lives in it, ``socket_programs`` the BPF that no device bears:
    on the cgroups of these processes, run for their sockets, and at netfilter's hooks.
    ``containers`` are the ids of the containers whose processes live in it, ``container_names`` what their
    runtime calls them, ``pod`` (namespace/name) and ``pod_uid`` the pod, as far as control groups and
    runtimes say them.
    """

    name: str
    node: str
    role: Role = "other"
    handle: str = ""
    inode: int = 0
    containers: tuple[str, ...] = ()
    container_names: tuple[str, ...] = ()
    pod: str = ""
    pod_uid: str = ""
    links: Section[tuple[Link, ...]] = NOT_READ
    addresses: Section[tuple[Address, ...]] = NOT_READ
    routes: Section[tuple[Route, ...]] = NOT_READ
    rules: Section[tuple[PolicyRule, ...]] = NOT_READ
    neighbours: Section[tuple[Neighbour, ...]] = NOT_READ
    fdb: Section[tuple[FdbEntry, ...]] = NOT_READ
    sysctls: Section[dict[str, str]] = NOT_READ
    sockets: Section[tuple[Socket, ...]] = NOT_READ
    socket_programs: Section[tuple[BpfProgram, ...]] = NOT_READ
    conntrack: Section[tuple[ConntrackEntry, ...]] = NOT_READ
    xt_nft: Section[XtRuleset] = NOT_READ
    xt_legacy: Section[XtRuleset] = NOT_READ
    xt6_nft: Section[XtRuleset] = NOT_READ
    xt6_legacy: Section[XtRuleset] = NOT_READ
    ipsets: Section[tuple[IpSet, ...]] = NOT_READ
    ipvs: Section[tuple[VirtualServer, ...]] = NOT_READ
    ipvs_connections: Section[tuple[IpvsConnection, ...]] = NOT_READ
    recent: Section[tuple[RecentList, ...]] = NOT_READ
    offloads: Section[tuple[DeviceOffloads, ...]] = NOT_READ
    nft: Section[NftRuleset] = NOT_READ
    xfrm: Section[Xfrm] = NOT_READ
    resolver: Section[Resolver] = NOT_READ
    relays: Section[tuple[Relay, ...]] = NOT_READ  # what plugins make of the other sections


class NodeState(Struct, frozen=True, kw_only=True):
    """
    One node: what belongs to the machine rather than to a namespace.

    ``netns`` is the node's own namespace (hostNetwork).  ``files`` maps absolute paths (as
    the node sees them) to text, for the few files that owners leave: ``/run/flannel/subnet.env``,
    Docker's container records, CNI configuration.  The entries of maps in ``bpf`` are sections of their
    own.
    """

    name: str
    netns: str
    files: Section[dict[str, str]] = NOT_READ
    processes: Section[tuple[Process, ...]] = NOT_READ
    bpf: Section[BpfState] = NOT_READ


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything that is known, complete enough to answer on another machine."""

    version: int = SNAPSHOT_VERSION
    taken: str = ""  # RFC 3339
    origin: str = ""  # ``this machine``, ``lab NAME``, ``file NAME``
    kernel: str = ""
    nodes: dict[str, NodeState] = field(default_factory=dict)
    namespaces: dict[str, Netns] = field(default_factory=dict)
    kube: Kube = field(default_factory=Kube)

    def section(self, key: SectionKey) -> Any:
        """
        Return the section that *key* names: ``Known`` or ``Missing``.

        A chain of a table that is known and does not have it is ``Known(None)``; so is a
        table of a known rule set.  A namespace that is not in the snapshot is
        ``Missing(FAILED)``.
        """
        if key.name.startswith("kube/"):
            return getattr(self.kube, key.name.removeprefix("kube/"))
        if key.netns.startswith("node:"):
            node = self.nodes.get(key.netns.removeprefix("node:"))
            if node is None:
                return Missing(MissingKind.FAILED, f"no node {key.netns}")
            if key.name.startswith("bpf/"):
                return _maps(node.bpf, key.name.removeprefix("bpf/"))
            return getattr(node, key.name)
        netns = self.namespaces.get(key.netns)
        if netns is None:
            return Missing(MissingKind.FAILED, f"no namespace {key.netns} in this snapshot")
        head, *rest = key.name.split("/", 3)
        if head == "nft" and rest:
            return _nft_section(netns.nft, key.name)
        if head not in XT_SECTIONS:
            return getattr(netns, head)
        section: Any = getattr(netns, f"{head}_{rest[0]}")
        for part, holder in zip(rest[1:], ("tables", "chains"), strict=False):
            if isinstance(section, Missing):
                return section
            if section.value is None:
                return section
            section = getattr(section.value, holder).get(part, Known(None))
        return section

    def with_netns(self, netns: Netns) -> "Snapshot":
        """Return a snapshot in which *netns* takes the place of the one of its name."""
        return replace(self, namespaces={**self.namespaces, netns.name: netns})

    def with_section(self, key: SectionKey, section: Any) -> "Snapshot":
        """
        Return a snapshot in which the section that *key* names is *section*.

        For a table or a chain the levels above must be Known or NotRead; a NotRead level is
        not invented: ValueError.  ``Known(None)`` for a chain or table removes it.
        """
        if key.name.startswith("kube/"):
            return replace(self, kube=replace(self.kube, **{key.name.removeprefix("kube/"): section}))
        if key.netns.startswith("node:"):
            name = key.netns.removeprefix("node:")
            node = self.nodes[name]
            if key.name.startswith("bpf/"):
                node = replace(node, bpf=_with_maps(node.bpf, key, section))
            else:
                node = replace(node, **{key.name: section})
            return replace(self, nodes={**self.nodes, name: node})
        netns = self.namespaces[key.netns]
        head, *rest = key.name.split("/", 3)
        if head == "nft" and rest:
            return self.with_netns(replace(netns, nft=_with_nft(netns.nft, key, section)))
        if head not in XT_SECTIONS:
            return self.with_netns(replace(netns, **{head: section}))
        attribute = f"{head}_{rest[0]}"
        if len(rest) == 1:
            return self.with_netns(replace(netns, **{attribute: section}))
        ruleset = getattr(netns, attribute)
        if isinstance(ruleset, Missing):
            raise ValueError(f"{key}: the rule set itself is {ruleset.kind}")
        tables = dict(ruleset.value.tables)
        if len(rest) == 2:
            _put(tables, rest[1], section)
        else:
            table = tables.get(rest[1], Known(XtTable({})))
            if isinstance(table, Missing):
                raise ValueError(f"{key}: table {rest[1]} is {table.kind}")
            chains = table.value.chains.copy()
            _put(chains, rest[2], section)
            tables[rest[1]] = Known(XtTable(chains))
        return self.with_netns(replace(netns, **{attribute: Known(XtRuleset(tables))}))

    def chain(self, netns: str, backend: str, table: str, chain: str) -> XtChain | None:
        """Return a chain if it is known and exists, else None.  For display, not for verdicts."""
        section = self.section(SectionKey(netns, f"xt/{backend}/{table}/{chain}"))
        return section.value if isinstance(section, Known) else None


def _put(holder: dict[str, Any], name: str, section: Any) -> None:
    if isinstance(section, Known) and section.value is None:
        holder.pop(name, None)
    else:
        holder[name] = section


def maps_called(state: BpfState, name: str) -> tuple[BpfMap, ...]:
    """Return the maps that may be called *name*: the kernel keeps 15 bytes of it, a pin all."""
    short = short_name(name)
    found = [one for one in state.maps if one.name == short]
    return tuple(one for one in found if not one.pinned or one.pinned.rsplit("/", 1)[-1] == name)


def _maps(state: Section[BpfState], name: str) -> Any:
    """Return the maps called *name*; Missing as long as the entries of one were not read."""
    if isinstance(state, Missing):
        return state
    found = maps_called(state.value, name)
    unread = (one.entries for one in found if isinstance(one.entries, Missing))
    return next((one for one in unread if one.kind is MissingKind.NOT_READ), Known(found))


def _with_maps(state: Section[BpfState], key: SectionKey, section: Any) -> Section[BpfState]:
    """Return the state with these maps (Known), or with their entries missing for a reason."""
    if isinstance(state, Missing):
        return section if isinstance(section, Missing) else state
    if isinstance(section, Known):
        new = {one.id: one for one in section.value}
    else:
        called = maps_called(state.value, key.name.removeprefix("bpf/"))
        new = {one.id: replace(one, entries=section) for one in called}
    return Known(replace(state.value, maps=tuple(new.get(one.id, one) for one in state.value.maps)))


def _nft_section(ruleset: Section[NftRuleset], path: str) -> Any:
    """Return the rules of a chain or the elements of a set; ``Known(None)`` if there is none of that name."""
    if isinstance(ruleset, Missing):
        return ruleset
    key, name = split_path(path)
    table = ruleset.value.tables.get(key)
    if table is None:
        return Known(None)
    if name.startswith("@"):
        held = table.sets.get(name[1:])
        return held.elements if held is not None else Known(None)
    chain = table.chains.get(name)
    return chain.rules if chain is not None else Known(None)


def _with_nft(ruleset: Section[NftRuleset], key: SectionKey, section: Any) -> Section[NftRuleset]:
    """Return the rule set with the rules of one chain, or the elements of one set, that it has."""
    if isinstance(ruleset, Missing):
        raise ValueError(f"{key}: the rule set itself is {ruleset.kind}")
    where, name = split_path(key.name)
    table = ruleset.value.tables.get(where)
    if table is None or name.removeprefix("@") not in (table.sets if name.startswith("@") else table.chains):
        raise ValueError(f"{key}: there is nothing of that name")
    if name.startswith("@"):
        held = replace(table.sets[name[1:]], elements=section)
        table = replace(table, sets={**table.sets, name[1:]: held})
    else:
        chain = replace(table.chains[name], rules=section)
        table = replace(table, chains={**table.chains, name: chain})
    return Known(replace(ruleset.value, tables={**ruleset.value.tables, where: table}))
