"""What container runtimes say: crictl's list, Docker's API, control groups."""

import json

import pytest

from nettrace.parse.cgroup import container_id, pod_uid
from nettrace.parse.runtimes import Workload, crictl_workloads, docker_workload

ID = "0123456789abcdef" * 4
UID = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("text", "container", "uid"),
    [
        (f"0::/kubepods/burstable/pod{UID}/{ID}\n", ID, UID),
        (f"0::/kubepods/pod{UID}/{ID}\n", ID, UID),
        (
            (
                "0::/kubepods.slice/kubepods-besteffort.slice/"
                f"kubepods-besteffort-pod{UID.replace('-', '_')}.slice/crio-{ID}.scope\n"
            ),
            ID,
            UID,
        ),
        (f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{'a' * 32}.slice\n", "", "a" * 32),
        (f"12:pids:/docker/{ID}\n11:cpu:/docker/{ID}\n0::/\n", ID, ""),
        (f"0::/system.slice/docker-{ID}.scope\n", ID, ""),
        (f"0::/docker/{'f' * 64}/kubepods/pod{UID}/{ID}\n", ID, UID),  # a node that is a container
        ("0::/user.slice/user-1000.slice/podman\n", "", ""),
    ],
)
def test_control_groups(text: str, container: str, uid: str) -> None:
    """Both drivers of kubelet, the usual runtimes, static pods, nested nodes."""
    assert (container_id(text), pod_uid(text)) == (container, uid)


def test_crictl() -> None:
    """`crictl ps -o json`: the container's name and its pod's."""
    row = {
        "id": ID,
        "podSandboxId": "f" * 64,
        "metadata": {"name": "coredns", "attempt": 0},
        "state": "CONTAINER_RUNNING",
        "labels": {
            "io.kubernetes.container.name": "coredns",
            "io.kubernetes.pod.name": "coredns-0",
            "io.kubernetes.pod.namespace": "kube-system",
            "io.kubernetes.pod.uid": UID,
        },
    }
    assert crictl_workloads(json.dumps({"containers": [row]})) == (
        Workload(container=ID, name="coredns", pod="kube-system/coredns-0", uid=UID),
    )
    with pytest.raises(ValueError):
        crictl_workloads("[]")


def test_a_sandbox_of_cri_dockerd_has_no_name() -> None:
    """The container called POD is the pod's sandbox."""
    labels = {"io.kubernetes.container.name": "POD", "io.kubernetes.pod.name": "web"}
    text = json.dumps({"Id": ID, "Name": "/k8s_POD_web", "Config": {"Labels": labels}})
    assert docker_workload(text).name == ""
    with pytest.raises(ValueError):
        docker_workload('{"message": "no"}')
