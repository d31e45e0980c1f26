"""Docker's hooks."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.plugin_api import Detection, Topology, hookimpl
from nettrace_plugins.docker.causes import DOCKER_DNAT_MISSING
from nettrace_plugins.docker.containers import running_containers
from nettrace_plugins.docker.owes import CHAIN, OWNER, owed_by_docker

__all__ = ["Docker", "plugin"]

_NAMES = {
    "links/docker0": "Docker's own bridge",
    f"xt/nat/{CHAIN}": "Docker's published ports",
    f"xt/filter/{CHAIN}": "Docker's accepts for published ports",
    "xt/filter/DOCKER-USER": "the operator's own rules for containers",
}


_DOCKERD = Owner(
    name="dockerd",
    chains=("DOCKER",),
    overwritten="dockerd writes its own again when it is restarted; DOCKER-USER it leaves alone",
)


class Docker:
    """What Docker adds to nettrace."""

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """Docker is there where it has records of containers, runs, or has its bridge."""
        evidence: list[Evidence] = []
        nodes: list[str] = []
        for node in snapshot.nodes.values():
            found = [
                Evidence(ref=f"node:{node.name}/files", text=c.source, note=f"container {c.name}")
                for c in running_containers(snapshot, node.name)
            ]
            processes = node.processes.value if isinstance(node.processes, Known) else ()
            found += [
                Evidence(ref=f"node:{node.name}/processes", text=f"{p.name} ({p.pid})")
                for p in processes
                if p.name == OWNER
            ]
            links = snapshot.section(SectionKey(node.netns, "links"))
            if isinstance(links, Known) and any(link.name == "docker0" for link in links.value):
                found.append(Evidence(ref=f"{node.netns}/links/docker0", text="docker0 (bridge)"))
            if found:
                nodes.append(node.name)
                evidence += found
        if not nodes:
            return None
        return Detection(name="docker", nodes=tuple(nodes), evidence=tuple(evidence), owners=(OWNER,))

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Return each node's files, and its addresses to know the bridges by."""
        found: list[SectionKey] = []
        for node in snapshot.nodes.values():
            found += [SectionKey(f"node:{node.name}", "files"), SectionKey(node.netns, "addresses")]
        return found

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name Docker's devices, chains, and the containers' addresses."""
        if thing in _NAMES:
            return _NAMES[thing]
        node = next((n.name for n in snapshot.nodes.values() if n.netns == netns), None)
        for container in running_containers(snapshot, node) if node is not None else ():
            if any(network.address == thing for network in container.networks):
                return f"container {container.name}"
        return None

    @hookimpl
    def nettrace_owes(self, snapshot: Snapshot, node: str) -> Sequence[Owed]:
        """Return what dockerd has to have put on *node*."""
        return tuple(owed_by_docker(snapshot, node))

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return Docker's causes."""
        return (DOCKER_DNAT_MISSING,)

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return one host with two containers."""
        return (
            Topology(
                name="docker",
                summary="one host with two containers on docker0, one of them published",
                builder="nettrace_plugins.docker.topology:docker",
                faults=("docker-dnat-missing", "forward-policy-drop", "ip-forward-off", "masquerade-missing"),
            ),
        )

    @hookimpl
    def nettrace_owners(self) -> Sequence[Owner]:
        """Return dockerd, whose chains are called DOCKER."""
        return (_DOCKERD,)


plugin = Docker()
