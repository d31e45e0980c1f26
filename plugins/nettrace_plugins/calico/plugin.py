"""Calico's hooks."""

from collections.abc import Sequence

from nettrace.plugin_api import Topology, hookimpl

__all__ = ["Calico", "plugin"]

_TOPOLOGIES = (
    Topology(
        name="calico-bgp",
        summary="a cluster whose nodes tell each other by BGP where their pods are, by Calico",
        builder="nettrace_plugins.calico.topology:calico_bgp",
        cluster=True,
    ),
    Topology(
        name="calico-vxlan",
        summary="a cluster whose nodes a VXLAN of Calico joins",
        builder="nettrace_plugins.calico.topology:calico_vxlan",
        cluster=True,
    ),
)


class Calico:
    """What Calico adds to nettrace."""

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return a cluster for each way between the nodes."""
        return _TOPOLOGIES


plugin = Calico()
