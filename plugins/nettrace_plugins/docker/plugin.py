"""Docker's hooks."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed
from nettrace.model.owner import Owner
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS
from nettrace.plugin_api import Detection, Topology, hookimpl
from nettrace_plugins.docker.causes import DOCKER_DNAT_MISSING
from nettrace_plugins.docker.containers import running_containers
from nettrace_plugins.docker.filter_causes import (
    DOCKER_FILTER_ACCEPT_MISSING,
    DOCKER_NETWORK_ISOLATION,
    DOCKER_RAW_DIRECT_DROP,
)
from nettrace_plugins.docker.filtering import FORWARD, PORTS, layout_of, owed_filtering
from nettrace_plugins.docker.owes import CHAIN, OWNER, owed_by_docker

__all__ = ["Docker", "plugin"]

_NAMES = {
    "links/docker0": "Docker's own bridge",
    f"xt/nat/{CHAIN}": "Docker's published ports",
    f"xt/filter/{CHAIN}": "Docker's accepts for published ports",
    "xt/filter/DOCKER-USER": "the operator's own rules for containers",
    f"xt/filter/{FORWARD}": "Docker's way through its chains (since 28)",
    "xt/filter/DOCKER-BRIDGE": "Docker's way to the accepts of published ports (since 28)",
    "xt/filter/DOCKER-CT": "Docker's accepts for known connections (since 28)",
    "xt/filter/DOCKER-INTERNAL": "what keeps Docker's internal networks to themselves (since 28.3)",
    "xt/filter/DOCKER-ISOLATION-STAGE-1": "what leaves one of Docker's networks",
    "xt/filter/DOCKER-ISOLATION-STAGE-2": "what would come into another one",
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
        layouts = {layout_of(snapshot, snapshot.nodes[name].netns) for name in nodes} - {""}
        return Detection(
            name="docker",
            version=", ".join(sorted(layouts)),  # as its chains tell it
            nodes=tuple(nodes),
            evidence=tuple(evidence),
            owners=(OWNER,),
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """
        Return each node's files, and its addresses to know the bridges by.

        Where containers run, the chains of the filter table too, which tell the layout.
        """
        found: list[SectionKey] = []
        for node in snapshot.nodes.values():
            found += [SectionKey(f"node:{node.name}", "files"), SectionKey(node.netns, "addresses")]
            for backend in BACKENDS if running_containers(snapshot, node.name) else ():
                found += [SectionKey(node.netns, f"xt/{backend}/filter/{name}") for name in (PORTS, FORWARD)]
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
        return (*owed_by_docker(snapshot, node), *owed_filtering(snapshot, node))

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return Docker's causes."""
        return (
            DOCKER_DNAT_MISSING,
            DOCKER_FILTER_ACCEPT_MISSING,
            DOCKER_NETWORK_ISOLATION,
            DOCKER_RAW_DIRECT_DROP,
        )

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """Return hosts with containers: one network, and three in either layout of dockerd."""
        return (
            Topology(
                name="docker",
                summary="one host with two containers on docker0, one of them published",
                builder="nettrace_plugins.docker.topology:docker",
                faults=("docker-dnat-missing", "forward-policy-drop", "ip-forward-off", "masquerade-missing"),
            ),
            *(
                Topology(
                    name=f"docker-{version}",
                    summary=f"one host with three networks, one of them internal, by Docker {version}",
                    builder=f"nettrace_plugins.docker.networks:docker_{version}",
                    faults=("docker-dnat-missing", "ip-forward-off", "masquerade-missing"),
                )
                for version in (27, 28)
            ),
        )

    @hookimpl
    def nettrace_owners(self) -> Sequence[Owner]:
        """Return dockerd, whose chains are called DOCKER."""
        return (_DOCKERD,)


plugin = Docker()
