"""
Control groups of containers: from /proc/PID/cgroup to the container's id and its pod's UID.

Lives here: the paths that kubelet and container runtimes make, for both of kubelet's cgroup drivers.
Not here: reading them (nettrace.collect.workloads).

``/kubepods/burstable/pod<UID>/<ID>`` (cgroupfs), ``/kubepods.slice/kubepods-burstable.slice/
kubepods-burstable-pod<UID, - as _>.slice/cri-containerd-<ID>.scope`` (systemd; ``crio-``, ``docker-``),
``/docker/<ID>``, ``/system.slice/docker-<ID>.scope``.  Sources: pkg/kubelet/cm of Kubernetes,
cgroups(7).
"""

import re

__all__ = ["container_id", "pod_uid"]

_CONTAINER = re.compile(r"[0-9a-f]{64}")
#: A UID of the API, or of a static pod: a digest of its manifest.
_POD = re.compile(
    r"kubepods[^\n]*?[/-]pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})"
)


def container_id(text: str) -> str:
    """Return the id of the innermost container that a process's control groups name, "" for none."""
    found = [match for line in text.splitlines() for match in _CONTAINER.findall(line)[-1:]]
    return found[0] if found else ""


def pod_uid(text: str) -> str:
    """Return the UID of the pod that a process's control groups name, "" for none."""
    found = _POD.search(text)
    return found[1].replace("_", "-") if found is not None else ""
