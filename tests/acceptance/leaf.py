"""
One leaf of the guided Service flow.

Lives here: what it is made of, and a lab's manifests with an edit in them.
Not here: the leaves (leaves, leaves_network, leaves_settings).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.acceptance.faults import Scene

Object = dict[str, Any]


class Leaf(NamedTuple):
    """
    One leaf.

    *cause* is where the flow has to end, *at* the check that it ends in.  *shell* are commands for
    members of the lab, *edit* changes the objects.  *call* are the options of ``nettrace debug``
    and *service* its argument, the Service under test where it is "".  *rebuilt*: the lab is built from
    the changed objects, so that its rules are as they ask.  *proxy* is kube-proxy's mode.  *mended*: its
    repair is applied, the flow then goes to its end, and undo brings the fault back.  *topology* is the lab.
    *address*: where a client from outside then calls the Service, a node's NodePort where it is "".
    """

    cause: str
    at: str
    shell: Callable[[Scene], list[tuple[str, str]]] | None = None
    edit: Callable[[Scene, list[Object]], None] | None = None
    before: Callable[[Scene], None] | None = None
    call: tuple[str, ...] = ()
    service: str = ""
    rebuilt: bool = False
    proxy: str = "iptables"
    mended: bool = False
    topology: str = "flannel-vxlan"
    address: str = ""


def edited(scene: Scene, edit: Callable[[Scene, list[Object]], None], into: Path) -> Path:
    """Write the lab's objects, changed by *edit*, as manifests into a directory."""
    objects: list[Object] = []
    for file in sorted(Path(scene.bench.record()["manifests"]).rglob("*.y*ml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document:
                objects.extend(document.get("items", [document]))
    edit(scene, objects)
    into.mkdir()
    (into / "all.yaml").write_text(yaml.safe_dump_all(objects))
    return into
