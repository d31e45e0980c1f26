"""
How a node gives its pods network: CNI configurations, leases of addresses, and sandboxes.

Lives here: the types.  CNI is the interface by which Kubernetes asks for a pod's network, host-local
the store of addresses that most of its plugins use.
Not here: the files they are read from (nettrace.parse.cni), what they say of a node
(nettrace.kube.ipam), systems that hand on to others (plugins).
"""

from typing import Any

from msgspec import Struct, field

__all__ = ["CONF_DIRECTORIES", "CniConf", "CniPlugin", "IpRange", "Ipam", "Lease", "Sandbox"]

#: Where a runtime looks for network configurations: the usual place, k3s', MicroK8s'.
CONF_DIRECTORIES = (
    "/etc/cni/net.d",
    "/var/lib/rancher/k3s/agent/etc/cni/net.d",
    "/var/snap/microk8s/current/args/cni-network",
)


class IpRange(Struct, frozen=True, kw_only=True):
    """
    Addresses to give away: ``first`` to ``last`` of ``subnet``, but for ``gateway``.

    All of it filled in as host-local does (allocator/range.go: Canonicalize); ``subnet`` alone
    is as it was written where it is no network (Calico's ``usePodCidr``), with ``first`` "".
    """

    subnet: str
    first: str = ""
    last: str = ""
    gateway: str = ""


class Ipam(Struct, frozen=True, kw_only=True):
    """
    Who gives addresses: ``type``, and for host-local its ranges.

    ``ranges`` are sets: a pod gets one address of each.  ``data_dir`` is where leases are.
    """

    type: str
    ranges: tuple[tuple[IpRange, ...], ...] = ()
    data_dir: str = ""


class CniPlugin(Struct, frozen=True, kw_only=True):
    """
    One plugin of a configuration.

    ``bridge`` is the device of the plugin bridge, "" for others.  ``settings`` is all of it as
    written.  ``problem`` says why a plugin that hands on to another cannot; ``source`` where what
    it hands on was read.
    """

    type: str
    ipam: Ipam | None = None
    bridge: str = ""
    capabilities: frozenset[str] = frozenset()
    settings: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    source: str = ""


class CniConf(Struct, frozen=True, kw_only=True):
    """One file of the configuration directory; ``error`` says why it is none."""

    path: str
    name: str = ""
    version: str = ""
    plugins: tuple[CniPlugin, ...] = ()
    error: str = ""

    def has(self, type: str) -> bool:
        """Is a plugin of this type in it?"""
        return any(plugin.type == type for plugin in self.plugins)


class Lease(Struct, frozen=True, kw_only=True):
    """An address that host-local has given away: to whose sandbox and device; the file says so."""

    address: str
    container: str
    ifname: str
    network: str
    path: str


class Sandbox(Struct, frozen=True, kw_only=True):
    """
    A sandbox that was attached to a network, as the runtime's CNI library remembers it.

    ``pod`` is namespace/name and ``uid`` its UID, "" where the runtime did not say; ``netns`` the
    path of its namespace on the node, ``addresses`` what the plugins answered, ``ports`` the
    hostPorts asked for as (host's port, container's port, protocol).
    """

    container: str
    network: str
    ifname: str
    netns: str = ""
    pod: str = ""
    uid: str = ""
    addresses: tuple[str, ...] = ()
    ports: tuple[tuple[int, int, str], ...] = ()
    path: str = ""
