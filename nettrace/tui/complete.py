"""
Completion of targets: pods, Services, nodes, addresses and their ports.

Lives here: the words that a snapshot knows, and which of them fit what was typed.
"""

from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = ["complete", "words_of"]


def words_of(snapshot: Snapshot) -> tuple[str, ...]:
    """Return every target text that this snapshot has a name for, what is asked most first."""
    services: list[str] = []
    pods: list[str] = []
    addresses: list[str] = []
    for service in snapshot.kube.services.value if isinstance(snapshot.kube.services, Known) else ():
        for port in service.ports:
            proto = f"/{port.protocol.lower()}" if port.protocol != "TCP" else ""
            services.append(f"svc/{service.key}:{port.port}{proto}")
            addresses.extend(f"{_bracketed(ip)}:{port.port}{proto}" for ip in service.cluster_ips)
            if port.node_port:
                services.extend(f"node/{name}:{port.node_port}{proto}" for name in snapshot.nodes)
    for pod in snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ():
        pods.append(f"pod/{pod.key}")
        pods.extend(
            f"pod/{pod.key}:{port.container_port}" for container in pod.containers for port in container.ports
        )
    nodes = [f"node/{name}" for name in snapshot.nodes]
    namespaces = [f"netns/{name}" for name in snapshot.namespaces]
    for netns in snapshot.namespaces.values():
        if isinstance(netns.addresses, Known):
            addresses.extend(a.address for a in netns.addresses.value if a.scope == "global")
    outside = ["internet"] if any(n.role == "outside" for n in snapshot.namespaces.values()) else []
    return tuple(dict.fromkeys([*pods, *services, *nodes, *outside, *namespaces, *addresses]))


def complete(typed: str, words: tuple[str, ...]) -> str | None:
    """
    Return the question *typed* with its last target completed, None if nothing fits.

    A target that is completed already is followed by the next one in order that begins like it.
    """
    head, arrow, tail = typed.rpartition("->")
    lead = f"{head}{arrow} " if arrow else ""
    begun = tail.strip()
    if not begun:
        return None
    fits = [word for word in words if word.startswith(begun) and word != begun]
    fits = fits or [word for word in words if f"/{begun}" in word]
    return f"{lead}{fits[0]}" if fits else None


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
