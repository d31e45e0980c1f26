"""
Plugins, asked as one.

Lives here: the questions the use cases put to all plugins together with the core's own causes.
Not here: finding and loading them (nettrace.collect.plugins).
"""

from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import EntryPoint

import pluggy

from nettrace.collect.plugins import load_manager
from nettrace.diagnose.cause import Cause
from nettrace.diagnose.causes import CAUSES
from nettrace.kube.owner import KUBE_PROXY
from nettrace.model.cni import CniPlugin
from nettrace.model.errors import UserError
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.relay import Relay
from nettrace.model.section import SectionKey
from nettrace.model.service_table import MapWords, ServiceTable
from nettrace.model.snapshot import Snapshot
from nettrace.plugin_api.types import Detection, Topology

__all__ = ["Plugins", "load_plugins"]


class Plugins:
    """All plugins that are installed."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager

    @property
    def names(self) -> tuple[str, ...]:
        """The plugins' names."""
        return tuple(sorted(name for name, _ in self._manager.list_name_plugin()))

    @cached_property
    def _causes(self) -> tuple[Cause, ...]:
        found: dict[str, Cause] = {}
        for cause in (*CAUSES, *(c for causes in self._manager.hook.nettrace_causes() for c in causes)):
            if cause.id in found:
                raise UserError(
                    f"two causes are called {cause.id}",
                    where=", ".join(self.names),
                    hint="one of the plugins brings a cause that nettrace has; uninstall it",
                )
            found[cause.id] = cause
        return tuple(found[name] for name in sorted(found))

    def causes(self) -> tuple[Cause, ...]:
        """Return the core's causes and the plugins', by id."""
        return self._causes

    def sections(self, snapshot: Snapshot) -> tuple[SectionKey, ...]:
        """Return the sections that owes() wants to see."""
        answers = self._manager.hook.nettrace_sections(snapshot=snapshot)
        return tuple(sorted({key for keys in answers for key in keys}))

    def sections_of(self, plugin: str, snapshot: Snapshot) -> tuple[SectionKey, ...]:
        """Return the sections that one plugin wants to see; none for a name that no plugin has."""
        others = [found for name, found in self._manager.list_name_plugin() if name != plugin]
        caller = self._manager.subset_hook_caller("nettrace_sections", others)
        return tuple(sorted({key for keys in caller(snapshot=snapshot) for key in keys}))

    def owes(self, snapshot: Snapshot, node: str) -> tuple[Owed, ...]:
        """Return what the systems on *node* have to have put there."""
        answers = self._manager.hook.nettrace_owes(snapshot=snapshot, node=node)
        return tuple(item for items in answers for item in items)

    def transit(self, snapshot: Snapshot, netns: str) -> tuple[Relay, ...]:
        """Return what programs behind TUN devices of a namespace do with packets."""
        answers = self._manager.hook.nettrace_transit(snapshot=snapshot, netns=netns)
        return tuple(relay for relays in answers for relay in relays)

    def maps(self, snapshot: Snapshot) -> tuple[SectionKey, ...]:
        """Return the sections of the BPF maps that plugins can read, on every node."""
        names = sorted({name for names in self._manager.hook.nettrace_maps() for name in names})
        return tuple(SectionKey(f"node:{node}", f"bpf/{name}") for node in snapshot.nodes for name in names)

    def map_words(self, snapshot: Snapshot, node: str) -> tuple[MapWords, ...]:
        """Return the maps of a node that plugins can put into words, by id."""
        answers = self._manager.hook.nettrace_map_words(snapshot=snapshot, node=node)
        return tuple(sorted((m for found in answers for m in found), key=lambda m: (m.system, m.id)))

    def service_tables(self, snapshot: Snapshot, node: str) -> tuple[ServiceTable, ...]:
        """Return the Service tables of the data paths on a node that are no rule sets."""
        found = self._manager.hook.nettrace_service_table(snapshot=snapshot, node=node)
        return tuple(sorted(found, key=lambda table: table.system))

    def owners(self) -> tuple[Owner, ...]:
        """Return who writes which rules: kube-proxy, and whom the plugins know."""
        answers = self._manager.hook.nettrace_owners()
        return (KUBE_PROXY, *sorted((o for found in answers for o in found), key=lambda owner: owner.name))

    def detect(self, snapshot: Snapshot) -> tuple[Detection, ...]:
        """Return the systems that are there, by name."""
        found = self._manager.hook.nettrace_detect(snapshot=snapshot)
        return tuple(sorted(found, key=lambda detection: detection.name))

    def delegate(self, snapshot: Snapshot, node: str, plugin: CniPlugin) -> CniPlugin:
        """Return the CNI plugin that *plugin* hands on to on a node; itself if it does the work."""
        answer: CniPlugin | None = self._manager.hook.nettrace_delegate(
            snapshot=snapshot, node=node, plugin=plugin
        )
        return answer or plugin

    def name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Return what a plugin calls *thing*; see nettrace.plugin_api.hookspecs."""
        answer: str | None = self._manager.hook.nettrace_name(snapshot=snapshot, netns=netns, thing=thing)
        return answer

    def topologies(self) -> tuple[Topology, ...]:
        """Return the networks that plugins can build."""
        answers = self._manager.hook.nettrace_topologies()
        return tuple(sorted((t for found in answers for t in found), key=lambda t: t.name))


def load_plugins(points: Iterable[EntryPoint] | None = None) -> Plugins:
    """
    Load the plugins that are installed, or those of *points*.

    Raises UserError for one that cannot be imported or does not fit the hooks.
    """
    return Plugins(load_manager(points))
