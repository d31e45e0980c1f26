"""
What can be built: one file a topology, each a function from options to a Blueprint.

Lives here: the table of topologies.
Not here: building them (nettrace.lab.build).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nettrace.lab.blueprint import Blueprint, Options
from nettrace.lab.topologies.docker import docker
from nettrace.lab.topologies.flannel import flannel
from nettrace.lab.topologies.flannel_backends import HOST_GW, UDP, VXLAN

__all__ = ["CLUSTERS", "TOPOLOGIES"]

#: Name -> function of (lab's name, lab's directory, options).  UserError for options that do not fit.
TOPOLOGIES: dict[str, Callable[[str, Path, Options], Blueprint]] = {
    "docker": docker,
    **{backend.topology: partial(flannel, backend) for backend in (HOST_GW, UDP, VXLAN)},
}

#: Those of them that are Kubernetes clusters.
CLUSTERS = tuple(name for name in TOPOLOGIES if name != "docker")
