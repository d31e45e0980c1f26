"""
The hooks that a plugin may implement.

Lives here: one function a hook, its docstring the contract.  A plugin implements those it
has something to say to; a hook that is not in here is refused at load.
"""

from collections.abc import Sequence

import pluggy

from nettrace.diagnose.cause import Cause
from nettrace.model.cni import CniPlugin
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.relay import Relay
from nettrace.model.section import SectionKey
from nettrace.model.service_table import MapWords, ServiceTable
from nettrace.model.snapshot import Snapshot
from nettrace.plugin_api.types import ApiKind, Detection, Topology

__all__ = ["PROJECT", "HookSpecs", "hookimpl", "hookspec"]

#: The name of pluggy's project and of the entry-point group.
PROJECT = "nettrace"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """
    All hooks.

    Each is pure: it looks at the snapshot it is given, and at nothing else.  A section that
    was not read is no error: the hook says what it can without it.
    """

    @hookspec
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """Say whether the system is there, and by what it was recognised; None if it is not."""

    @hookspec
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:  # type: ignore[empty-body]
        """
        Name the sections that nettrace_owes() wants to see.

        They are read first: ``SectionKey("node:NAME", "files")``, ``SectionKey("", "kube/nodes")``.
        It is asked again when they are read, so that it may want more where the system is there.
        """

    @hookspec(firstresult=True)
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """
        Call a device, a chain or an address by what it is to the system.

        *thing* is ``links/NAME``, ``xt/TABLE/CHAIN`` or an address; None if it is nobody's here.
        """

    @hookspec
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:  # type: ignore[empty-body]
        """
        Say what the system has to have put on *node*.

        Every parameter comes from the snapshot, and ``source`` says from where.
        """

    @hookspec
    def nettrace_causes(self) -> Sequence[Cause]:  # type: ignore[empty-body]
        """Return the causes that only this system has."""

    @hookspec(firstresult=True)
    def nettrace_delegate(self, snapshot: Snapshot, node: str, plugin: CniPlugin) -> CniPlugin | None:
        """
        Say to which CNI plugin one of the system's own hands on, with which settings, on *node*.

        Where it cannot (its agent has not written what it needs), the answer is *plugin* with
        ``problem``.  None for plugins that are not the system's.
        """

    @hookspec
    def nettrace_topologies(self) -> Sequence[Topology]:  # type: ignore[empty-body]
        """Return the networks that the plugin can build in a lab."""

    @hookspec
    def nettrace_owners(self) -> Sequence[Owner]:  # type: ignore[empty-body]
        """
        Say which chains, tables and programs of BPF are the system's, by their names.

        What they drop is then no stranger's rule: it is the system's to say, or a firewall's, whose own
        commands mend it.
        """

    @hookspec
    def nettrace_maps(self) -> Sequence[str]:  # type: ignore[empty-body]
        """
        Name the BPF maps whose entries the plugin can read, in full.

        Where they are to be shown or kept, they are read as ``SectionKey("node:NAME", "bpf/MAP")``.
        """

    @hookspec
    def nettrace_map_words(self, snapshot: Snapshot, node: str) -> Sequence[MapWords]:  # type: ignore[empty-body]
        """
        Put the entries of the system's maps on *node* into words.

        A map of a layout that is not known is among them, and says so.
        """

    @hookspec
    def nettrace_service_table(self, snapshot: Snapshot, node: str) -> ServiceTable | None:
        """Say for which addresses the system's own data path on *node* answers, with whom behind them."""

    @hookspec
    def nettrace_kinds(self) -> Sequence[ApiKind]:  # type: ignore[empty-body]
        """
        Name the kinds of objects that the system keeps in the API.

        They are read with the cluster's other objects, as the section ``kube/custom``; a server that
        does not know a kind has none of it.
        """

    @hookspec
    def nettrace_transit(self, snapshot: Snapshot, netns: str) -> Sequence[Relay]:  # type: ignore[empty-body]
        """
        Say what programs behind TUN devices of *netns* do with packets, and which capture frames there.

        Asked when a packet is sent into one, or a frame to where one may be captured, with
        nettrace_sections() and the devices and sockets of the namespace read.  The answers are data that
        the walk looks up, and part of a snapshot.
        """
