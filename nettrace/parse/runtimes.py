"""
What container runtimes say of their containers.

Lives here: the JSON of ``crictl ps``, and of Docker's API (Engine API, ``/containers/ID/json``).
Not here: asking them (nettrace.collect.workloads).
"""

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

__all__ = ["Workload", "crictl_workloads", "docker_workload"]

_POD, _NAMESPACE, _UID, _NAME = (
    f"io.kubernetes.{word}" for word in ("pod.name", "pod.namespace", "pod.uid", "container.name")
)


class Workload(Struct, frozen=True, kw_only=True):
    """
    One container that a runtime knows.

    ``name`` is the container's, "" for a pod's sandbox; ``pod`` namespace/name and ``uid`` its pod's, ""
    for none.  ``netns`` is the path of its network namespace, ``pid`` its first process, where said.
    """

    container: str
    name: str = ""
    pod: str = ""
    uid: str = ""
    netns: str = ""
    pid: int = 0


def _labelled(container: str, name: str, labels: Mapping[str, Any], **more: Any) -> Workload:
    pod = f"{labels.get(_NAMESPACE, '')}/{labels[_POD]}" if labels.get(_POD) else ""
    named = str(labels.get(_NAME) or name)
    return Workload(
        container=container,
        name="" if named == "POD" else named,  # dockershim's and cri-dockerd's sandbox
        pod=pod,
        uid=str(labels.get(_UID, "")),
        **more,
    )


def crictl_workloads(text: str) -> tuple[Workload, ...]:
    """Return the containers in the output of ``crictl ps -o json``; ValueError for what is none."""
    value = json.loads(text)
    rows = value.get("containers") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise ValueError("crictl lists no containers")
    found = []
    for row in rows:
        if not isinstance(row, dict) or not row.get("id"):
            continue
        metadata, labels = row.get("metadata"), row.get("labels")
        name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
        found.append(_labelled(str(row["id"]), name, labels if isinstance(labels, dict) else {}))
    return tuple(found)


def docker_workload(text: str) -> Workload:
    """Return the container that Docker's API describes; ValueError for what is none."""
    value = json.loads(text)
    if not isinstance(value, dict) or not isinstance(value.get("Id"), str):
        raise ValueError("no container of Docker's API")
    config, state, network = (value.get(key) for key in ("Config", "State", "NetworkSettings"))
    labels = config.get("Labels") if isinstance(config, dict) else None
    pid = state.get("Pid") if isinstance(state, dict) else 0
    key = network.get("SandboxKey") if isinstance(network, dict) else ""
    return _labelled(
        value["Id"],
        str(value.get("Name", "")).lstrip("/"),
        labels if isinstance(labels, dict) else {},
        pid=pid if isinstance(pid, int) else 0,
        netns=str(key or ""),
    )
