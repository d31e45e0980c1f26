"""
Reading the sections of one namespace, inside its worker.

Lives here: which function reads which section, and what several sections share while they
are read: the session, the list of nf_tables, the owners of sockets.
Not here: joining namespaces to a snapshot (reader).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from nettrace.collect import nft, xt
from nettrace.collect.cgroups import read_socket_programs
from nettrace.collect.conntrack import read_conntrack
from nettrace.collect.failure import as_section
from nettrace.collect.hook_programs import read_hook_programs
from nettrace.collect.ipsets import read_ipsets
from nettrace.collect.ipvs import read_ipvs, read_ipvs_connections
from nettrace.collect.links import read_links
from nettrace.collect.machine_bpf import MachineBpf
from nettrace.collect.neighbours import read_addresses, read_fdb, read_neighbours
from nettrace.collect.nf_tables import TableSeen, list_tables
from nettrace.collect.offloads import read_offloads
from nettrace.collect.peers import Candidates
from nettrace.collect.processes import Owner, Running, socket_owners
from nettrace.collect.recent import read_recent
from nettrace.collect.resolver import read_resolver
from nettrace.collect.routes import read_routes, read_rules
from nettrace.collect.session import Session
from nettrace.collect.sockets import read_sockets
from nettrace.collect.sysctls import read_sysctls
from nettrace.collect.xfrm import read_xfrm
from nettrace.model.resolver import Resolver
from nettrace.model.section import Known, Missing, MissingKind, Section
from nettrace.model.snapshot import Netns
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRuleset, XtTable

__all__ = ["EVERYTHING", "Shared", "read_sections"]


class Shared(Struct, frozen=True):
    """
    What all namespaces of one collection share.

    Who peers may be, the processes of the machine, and by inode the name under /run/netns and the
    resolv.conf that somebody knows of, and the BPF of the machine.
    """

    candidates: Candidates
    processes: Sequence[Running]
    names: Mapping[int, str] = {}
    resolv_confs: Mapping[int, str] = {}
    bpf: MachineBpf = field(default_factory=MachineBpf)


class _Batch:
    """One visit to a namespace."""

    def __init__(self, session: Session, inode: int, shared: Shared) -> None:
        self.session = session
        self.inode = inode
        self.shared = shared

    @cached_property
    def tables(self) -> tuple[TableSeen, ...]:
        return list_tables(self.session)

    @cached_property
    def owners(self) -> dict[int, Owner]:
        return socket_owners(process for process in self.shared.processes if process.netns == self.inode)

    @property
    def resolver(self) -> Resolver:
        shared = self.shared
        name, given = shared.names.get(self.inode, ""), shared.resolv_confs.get(self.inode)
        return read_resolver(self.inode, name, shared.processes, given)


_READERS: Mapping[str, Callable[[_Batch], object]] = {
    "links": lambda batch: read_links(batch.session, batch.shared.candidates),
    "addresses": lambda batch: read_addresses(batch.session),
    "routes": lambda batch: read_routes(batch.session),
    "rules": lambda batch: read_rules(batch.session),
    "neighbours": lambda batch: read_neighbours(batch.session),
    "fdb": lambda batch: read_fdb(batch.session),
    "sysctls": lambda batch: read_sysctls(),
    "sockets": lambda batch: read_sockets(batch.session, batch.owners),
    "socket_programs": lambda batch: (
        *read_socket_programs(batch.inode, batch.shared.processes, batch.shared.bpf),
        *read_hook_programs(batch.session, batch.shared.bpf),
    ),
    "conntrack": lambda batch: read_conntrack(batch.session),
    "ipsets": lambda batch: read_ipsets(batch.session),
    "ipvs": lambda batch: read_ipvs(),
    "ipvs_connections": lambda batch: read_ipvs_connections(),
    "recent": lambda batch: read_recent(),
    "offloads": lambda batch: read_offloads(),
    "xfrm": lambda batch: read_xfrm(batch.session),
    "resolver": lambda batch: batch.resolver,
    "nft": lambda batch: nft.outline(batch.session, batch.tables),
    "xt/nft": lambda batch: xt.nft_ruleset(batch.tables),
    "xt/legacy": lambda batch: xt.read_legacy(),
    "xt6/nft": lambda batch: xt.nft_ruleset(batch.tables, 6),
    "xt6/legacy": lambda batch: xt.read_legacy(6),
}

#: Every section of a namespace; of rule sets, the whole.
EVERYTHING = (*_READERS, "xt/nft/*", "xt6/nft/*", "nft/*")

#: What the sections of chains begin with -> the version of IP.
_FAMILIES = {"xt": 4, "xt6": 6}


def read_sections(session: Session, netns: Netns, names: Collection[str], shared: Shared) -> Netns:
    """
    Read the sections *names* and return *netns* with them filled.

    Names are those of SectionKey, ``xt/nft/*`` and ``xt6/nft/*`` for all tables with all their
    chains, and ``nft/*`` likewise for native ones with their sets.
    ValueError for a name that no section has.
    """
    batch = _Batch(session, netns.inode, shared)
    deep = {head: [name for name in names if name.startswith(f"{head}/nft/")] for head in _FAMILIES}
    native = [name for name in names if name.startswith("nft/")]
    plain = {_whole(name) for name in names if not any(name in below for below in deep.values())}
    plain.difference_update(native)
    if native and not isinstance(netns.nft, Known):
        plain.add("nft")
    for head, below in deep.items():
        if below and not isinstance(getattr(netns, f"{head}_nft"), Known):
            plain.add(f"{head}/nft")
    found: dict[str, Any] = {}
    for name in sorted(plain):
        read = _READERS.get(name)
        if read is None:
            raise ValueError(f"there is no section called {name}")
        found[name.replace("/", "_")] = as_section(lambda read=read: read(batch))  # type: ignore[misc]
    netns = replace(netns, **found)
    if native and isinstance(netns.nft, Known):
        netns = replace(netns, nft=Known(nft.deepen(session, netns.nft.value, native)))
    for head, below in deep.items():
        if below:
            field = f"{head}_nft"
            deepened = _deepen(session, getattr(netns, field), below, _FAMILIES[head])
            netns = replace(netns, **{field: deepened})
    return netns


def _whole(name: str) -> str:
    """``xt/legacy`` for a table or chain of it: its kernel gives no less."""
    head, _, rest = name.partition("/")
    return f"{head}/legacy" if head in _FAMILIES and rest.startswith("legacy/") else name


def _deepen(
    session: Session, ruleset: Section[XtRuleset], names: Sequence[str], family: int
) -> Section[XtRuleset]:
    """Read tables (``xt/nft/TABLE``) and chains (``xt/nft/TABLE/CHAIN``) into a rule set."""
    if isinstance(ruleset, Missing):
        return ruleset
    tables = dict(ruleset.value.tables)
    wanted: dict[str, set[str]] = {}
    for name in names:
        _, _, table, *chain = name.split("/", 3)
        for each in tables if table == "*" else (table,):
            wanted.setdefault(each, set()).update(chain)
            if not chain:
                wanted[each].add("*")
    for table, chains in wanted.items():
        section = tables.get(table)
        if isinstance(section, Known):
            tables[table] = _fill(session, table, section.value, chains, family)
    return Known(XtRuleset({name: section for name, section in tables.items() if section is not _GONE}))


_GONE: Missing = Missing(MissingKind.FAILED, "the table is not there any more")


def _invented(there: XtTable, table: str, chain: str) -> bool:
    """iptables-nft-save prints all built-in chains of a table, those that do not exist as empty ones."""
    return chain in BUILTIN_CHAINS[table] and chain not in there.chains


def _fill(session: Session, name: str, table: XtTable, wanted: set[str], family: int) -> Section[XtTable]:
    there = {chain: section for chain, section in table.chains.items() if chain in wanted or "*" in wanted}
    unread = [chain for chain, section in there.items() if isinstance(section, Missing)]
    if not unread:
        return Known(table)
    chains: dict[str, Section[XtChain]] = dict(table.chains)
    if "*" in wanted and len(unread) > 1:
        section = xt.read_table(session, name, family)
        if isinstance(section, Missing):
            return Known(XtTable(chains | dict.fromkeys(unread, section)))
        if section.value is None:
            return _GONE
        existing = section.value.chains.items()
        return Known(
            XtTable({chain: found for chain, found in existing if not _invented(table, name, chain)})
        )
    for chain, found in xt.read_chains(session, name, unread, len(chains), family).items():
        if _invented(table, name, chain):
            continue
        if isinstance(found, Missing):
            chains[chain] = found
        elif found.value is not None:
            chains[chain] = Known(found.value)
        else:
            chains.pop(chain, None)
    return Known(XtTable(chains))
