"""
Show: the sections behind one word, read for the namespaces that were asked for.

Lives here: which sections `nettrace show WHAT` needs.  The tables are made by nettrace.render.
"""

from msgspec.structs import replace

from nettrace.app.context import Context
from nettrace.model.errors import UserError
from nettrace.model.late import at_hand
from nettrace.model.nft import nft_path
from nettrace.model.section import Known, MissingKind, SectionKey
from nettrace.model.service_table import MapWords, ServiceTable
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS, XT_SECTIONS

__all__ = ["SHOWN", "programs", "service_tables", "show"]

#: Word of the command line -> the sections it shows.
SHOWN: dict[str, tuple[str, ...]] = {
    "namespaces": ("links", "addresses"),
    "links": ("links", "addresses"),
    "routes": ("rules", "routes"),
    "rules": ("xt/nft", "xt/legacy", "xt6/nft", "xt6/legacy", "nft"),
    "sets": ("ipsets",),
    "ipvs": ("ipvs",),
    "offloads": ("offloads",),
    "xfrm": ("xfrm",),
    "conntrack": ("conntrack",),
    "sockets": ("sockets",),
    "services": (),
    "policies": (),
}


def show(context: Context, what: str, *, of: str | None = None) -> Snapshot:
    """
    Return the snapshot with the sections of *what* read, narrowed to the namespace or node *of*.

    For ``rules`` every chain of every table is read.
    """
    if what not in SHOWN:
        raise UserError(f"nothing is called {what!r}", hint=f"show one of {', '.join(SHOWN)}")
    if what == "services":
        names: tuple[str, ...] = ("services", "endpoint_slices", "nodes")
        context.read_unread([SectionKey("", f"kube/{name}") for name in names])
        services = context.snapshot.kube.services
        if not isinstance(services, Known) and not service_tables(context):
            raise UserError(
                f"no Services are known: {services.reason or services.kind.value}",
                where=context.label,
                hint="give the cluster's objects with --manifests DIR",
                code=3,
            )
        return context.snapshot
    if what == "policies":
        names = ("pods", "namespaces", "network_policies", "admin_policies")
        context.read_unread([SectionKey("", f"kube/{name}") for name in names])
        return context.snapshot
    chosen = _namespaces(context.snapshot, of)
    context.read([SectionKey(name, section) for name in chosen for section in SHOWN[what]])
    if what == "rules":
        context.read(_all_chains(context.snapshot, chosen))
    snapshot = context.snapshot
    return replace(snapshot, namespaces={name: snapshot.namespaces[name] for name in chosen})


def service_tables(context: Context) -> tuple[ServiceTable, ...]:
    """Return the Service tables of data paths that are no rule sets, of every node."""
    context.read_unread(context.plugins.maps(context.snapshot))
    found = (context.plugins.service_tables(context.snapshot, node) for node in context.snapshot.nodes)
    return tuple(table for tables in found for table in tables)


def programs(context: Context, *, of: str | None = None) -> tuple[Snapshot, dict[str, tuple[MapWords, ...]]]:
    """
    Return the snapshot with the programs of BPF and the maps read, and by node the maps in words.

    *of* narrows it to a namespace, or to a node with its maps.
    """
    chosen = _namespaces(context.snapshot, of)
    nodes = {name: node for name, node in context.snapshot.nodes.items() if node.netns in chosen}
    keys = [SectionKey(name, section) for name in chosen for section in ("links", "socket_programs")]
    context.read_unread([*keys, *(SectionKey(f"node:{name}", "bpf") for name in nodes)])
    maps = context.plugins.maps(replace(context.snapshot, nodes=nodes))
    context.read_unread(maps)
    words = {name: context.plugins.map_words(context.snapshot, name) for name in nodes}
    snapshot = context.snapshot
    return (
        replace(
            snapshot,
            namespaces={name: snapshot.namespaces[name] for name in chosen},
            nodes={name: snapshot.nodes[name] for name in nodes},
        ),
        words,
    )


def _namespaces(snapshot: Snapshot, of: str | None) -> list[str]:
    if of is None:
        return list(snapshot.namespaces)
    name = of.split("/")[-1]
    if name in snapshot.namespaces:
        return [name]
    if name in snapshot.nodes:
        return [snapshot.nodes[name].netns]
    known = ", ".join(sorted(snapshot.namespaces)[:12])
    raise UserError(f"there is no namespace or node {of!r}", hint=f"known: {known}")


def _all_chains(snapshot: Snapshot, chosen: list[str]) -> list[SectionKey]:
    """Return the keys of all chains (nft back end, native) and tables (legacy) that were not read yet."""
    keys = []
    for name in chosen:
        for word in (f"{head}/{backend}" for head in XT_SECTIONS for backend in BACKENDS):
            ruleset = snapshot.section(SectionKey(name, word))
            if not isinstance(ruleset, Known):
                continue
            for table, section in ruleset.value.tables.items():
                if not isinstance(section, Known):
                    if section.kind is MissingKind.NOT_READ:
                        keys.append(SectionKey(name, f"{word}/{table}"))
                    continue
                keys.extend(
                    SectionKey(name, f"{word}/{table}/{chain}")
                    for chain, body in at_hand(section.value.chains)
                    if not isinstance(body, Known) and body.kind is MissingKind.NOT_READ
                )
        native = snapshot.section(SectionKey(name, "nft"))
        for table in native.value.tables.values() if isinstance(native, Known) else ():
            keys.extend(
                SectionKey(name, nft_path(table, chain))
                for chain, body in table.chains.items()
                if not isinstance(body.rules, Known) and body.rules.kind is MissingKind.NOT_READ
            )
    return keys
