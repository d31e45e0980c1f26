"""
The plan of a lab: everything that is going to be made, before anything is.

Lives here: the types between topologies (which describe) and build (which makes).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from nettrace.model.bpf import BpfMap
from nettrace.model.lab import LabNetns

__all__ = ["Attachment", "Blueprint", "Daemon", "Opaque", "OpaqueProgram", "Options"]


class Options(Struct, frozen=True, kw_only=True):
    """
    What the user may choose about a lab.

    The defaults are those of the demo.  ``manifests`` is a directory, or None for the
    topology's own.  ``docker_net`` and ``publish`` (the host's port of the container ``web``)
    concern the docker topology, ``nodes``, ``pod_cidr``, ``service_cidr`` and ``proxy`` the cluster
    ones.  ``proxy`` is kube-proxy's mode, "" for that of the manifests.

    A lab that is up is changed by what it is to be: ``declared`` are the objects in place of those
    on disk, ``before`` what its API held until now, whose pods, addresses and ports are kept.
    """

    nodes: int = 2
    manifests: Path | None = None
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    node_net: str = "172.18.0.0/24"
    docker_net: str = "192.168.0.0/24"
    publish: int = 8088
    proxy: str = ""
    declared: tuple[Mapping[str, Any], ...] | None = None
    before: tuple[Mapping[str, Any], ...] = ()


class Daemon(Struct, frozen=True, kw_only=True):
    """
    A process that lives in a namespace for as long as the lab does.

    ``argv`` must put itself into the background once it answers, and exit 0 then; so whoever
    starts it knows when it is ready.  ``pid_file``, relative to the lab's directory, is where
    it leaves its process id; it stands before it is ready.  ``reads`` are files of the blueprint
    that it reads when it starts: with other contents it has to be started anew.  ``last``: it asks
    others, and starts when these are up.  ``settled`` is a command, run in its namespace, that fails
    until the daemon has from the others what it needs; a lab is up when all of them have.
    """

    netns: str
    name: str
    argv: tuple[str, ...]
    pid_file: str
    reads: tuple[str, ...] = ()
    last: bool = False
    settled: tuple[str, ...] = ()


class OpaqueProgram(Struct, frozen=True, kw_only=True):
    """A program of BPF on tc: on which device, on which ``side`` (``ingress``, ``egress``), its name."""

    device: str
    side: str
    name: str


class Opaque(Struct, frozen=True, kw_only=True):
    """
    The programs on the devices of one namespace, and the maps that all of them use.

    They let everything pass, which nothing shows.  ``maps`` have entries, and no ids yet.
    """

    programs: tuple[OpaqueProgram, ...]
    maps: tuple[BpfMap, ...] = ()


class Attachment(Struct, frozen=True, kw_only=True):
    """
    One sandbox to be joined to a network by its CNI plugins.

    ``node`` and ``netns`` are names under /run/netns, ``container`` the sandbox's id.  ``args`` are
    the runtime's CNI_ARGS (``K8S_POD_NAME`` ...), ``ports`` the portMappings of its pod's hostPorts.
    ``home``, relative to the lab's directory, is where the node's files are, ``conf`` the conflist; both
    are given where a blueprint holds it.
    """

    node: str
    netns: str
    container: str
    ifname: str = "eth0"
    args: tuple[tuple[str, str], ...] = ()
    ports: tuple[dict[str, Any], ...] = ()
    home: str = ""
    conf: dict[str, Any] = field(default_factory=dict)


class Blueprint(Struct, frozen=True, kw_only=True):
    """
    One lab.  All mappings are keyed by names under /run/netns.

    They are worked through in the order of the fields: ``sysctls`` stand before the first
    device exists (devices take over conf.default when they are made), then ``wiring``, one
    stage after the other, the namespaces of one stage at the same time, each a list of lines
    for ip(8) ``-batch``; then ``attachments`` by CNI plugins, then
     ``device_sysctls``, those of single devices, ``fdb`` for bridge(8), ``sets``
    for ``ipset restore``, ``native`` for nft, ``servers`` for ``ipvsadm -R``, and ``rules``, which name the
    sets, for iptables-restore;
    ``programs`` are of BPF.
    ``files`` are relative to the lab's directory.  ``agents`` are what the names of the chains begin with
    that the nodes' agents own: they write them whole, and take away those that they no longer want.
    ``modules`` are those of the kernel that it cannot do without.
    """

    namespaces: tuple[LabNetns, ...]
    files: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, dict[str, str]] = field(default_factory=dict)
    wiring: tuple[dict[str, tuple[str, ...]], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    device_sysctls: dict[str, dict[str, str]] = field(default_factory=dict)
    fdb: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    native: dict[str, str] = field(default_factory=dict)
    servers: dict[str, str] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)
    programs: dict[str, Opaque] = field(default_factory=dict)
    daemons: tuple[Daemon, ...] = ()
    agents: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    has_manifests: bool = False
    notes: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
