"""
What is attached on a node: each sandbox that lives, with the configuration of its network.

Lives here: joining the runtime's CNI cache with the configurations and the Pods, and the chains' names.
Not here: what is owed for it (owes).

Chains are called by the network and the container (pkg/utils/utils.go of the CNI plugins:
FormatChainName, MustFormatChainNameWithPrefix).
"""

from collections.abc import Iterator
from hashlib import sha512

from msgspec import Struct

from nettrace.kube.ipam import ENDED, confs_of, live_containers, sandboxes_of, subnets
from nettrace.model.addr import family_of, in_prefix
from nettrace.model.cni import CniConf, CniPlugin, Sandbox
from nettrace.model.kube import Pod
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = ["REFERENCE", "Attached", "attached", "dnat_chain", "masq_chain", "ports_of", "unmapped_pods"]

#: The project's plugins that make a device, and those that come after.
REFERENCE = ("bridge", "ptp", "macvlan", "ipvlan", "portmap", "firewall")


class Attached(Struct, frozen=True, kw_only=True):
    """One sandbox that lives: its network's configuration, its IPv4 address and the network of that."""

    sandbox: Sandbox
    conf: CniConf
    address: str
    subnet: str

    @property
    def about(self) -> str:
        """Whose it is, in words."""
        pod = self.sandbox.pod
        return f"pod {pod}" if pod else f"sandbox {self.sandbox.container[:12]}"

    @property
    def subject(self) -> str:
        """Whose it is, as a target."""
        return f"pod/{self.sandbox.pod}" if self.sandbox.pod else f"container/{self.sandbox.container[:12]}"

    def plugin(self, type: str) -> CniPlugin | None:
        """Return the plugin of a type in its configuration."""
        return next((one for one in self.conf.plugins if one.type == type), None)


def attached(snapshot: Snapshot, node: str) -> Iterator[Attached]:
    """Yield the sandboxes that live on a node and whose network has a configuration there."""
    live = live_containers(snapshot, node)
    confs = {conf.name: conf for conf in reversed(confs_of(snapshot, node)) if not conf.error}
    for sandbox in sandboxes_of(snapshot, node):
        conf = confs.get(sandbox.network)
        address = next((one for one in sandbox.addresses if family_of(one) == 4), "")
        if sandbox.container not in live or conf is None or not address:
            continue
        ipam = conf.plugins[0].ipam
        nets = subnets(ipam) if ipam is not None else iter(())
        subnet = next((net for net in nets if family_of(net) == 4 and in_prefix(address, net)), "")
        yield Attached(sandbox=sandbox, conf=conf, address=address, subnet=subnet)


def dnat_chain(sandbox: Sandbox) -> str:
    """Return portmap's chain of a sandbox."""
    return f"CNI-DN-{_digest(sandbox)[:21]}"


def masq_chain(sandbox: Sandbox) -> str:
    """Return the chain of a sandbox's masquerade."""
    return f"CNI-{_digest(sandbox)[:24]}"


def _digest(sandbox: Sandbox) -> str:
    return sha512(f"{sandbox.network}{sandbox.container}".encode()).hexdigest()


def ports_of(pod: Pod) -> tuple[tuple[int, int, str], ...]:
    """Return the hostPorts of a pod as (host's port, container's, protocol)."""
    return tuple(
        (port.host_port, port.container_port, port.protocol.lower())
        for container in pod.containers
        for port in container.ports
        if port.host_port
    )


def unmapped_pods(snapshot: Snapshot, node: str) -> Iterator[tuple[Pod, CniConf]]:
    """
    Yield the pods of a node that ask for hostPorts which no plugin of its configuration maps.

    Only where the device is made by one of the project's plugins, or by one that hands on to them:
    others map ports by themselves.
    """
    confs = confs_of(snapshot, node)
    if not confs or confs[0].error:
        return
    conf = confs[0]
    first = conf.plugins[0].type
    if first not in (*REFERENCE, "flannel") or any("portMappings" in p.capabilities for p in conf.plugins):
        return
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    for pod in pods:
        runs = pod.phase not in ENDED and not pod.host_network and pod.ips
        if pod.node_name == node and runs and ports_of(pod):
            yield pod, conf
