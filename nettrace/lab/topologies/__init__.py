"""
What can be built: one file a topology, each a function from options to a Blueprint.

Lives here: the table of topologies.
Not here: building them (nettrace.lab.build).
"""

from collections.abc import Callable
from pathlib import Path

from nettrace.lab.blueprint import Blueprint, Options
from nettrace.lab.topologies.docker import docker
from nettrace.lab.topologies.flannel_vxlan import flannel_vxlan

__all__ = ["TOPOLOGIES"]

#: Name -> function of (lab's name, lab's directory, options).  UserError for options that do not fit.
TOPOLOGIES: dict[str, Callable[[str, Path, Options], Blueprint]] = {
    "docker": docker,
    "flannel-vxlan": flannel_vxlan,
}
