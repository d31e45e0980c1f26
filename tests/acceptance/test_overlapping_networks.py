"""A bridge whose network overlaps the LAN's: a host is hidden by it, found, reached again, undone."""

from tests.acceptance.bench import bench
from tests.acceptance.scenes import kubernetes_scene


def test_a_host_behind_the_bridges_network() -> None:
    """From pod and node the host is looked for on the bridge; a route of its own leads to it, for real."""
    with bench("flannel-vxlan") as lab:
        scene = kubernetes_scene(lab)
        near = min(scene.client)
        pod, host = scene.client[near], scene.outside_ip
        assert {one["outcome"] for one in lab.connect(pod, host, 80)} == {"connected"}
        first, _, last = host.rpartition(".")
        lab.shell(near, f"ip addr add {first}.{int(last) ^ 1}/31 dev cni0")
        broken = lab.nettrace(
            "trace", f"pod/{pod}", "internet:80", "--lab", lab.name, "-o", "json", expect=(1,)
        ).json
        assert broken["findings"][0]["cause"] == "podcidr-overlaps-host-net"
        outcomes = {one["outcome"] for one in lab.connect(pod, host, 80, times=1, seconds=4.5)}
        assert outcomes == {path["outcome"] for path in broken["paths"]} != {"connected"}
        lab.nettrace("repair", "apply", "podcidr-overlaps-host-net", "--lab", lab.name, "--yes", expect=(0,))
        assert {one["outcome"] for one in lab.connect(pod, host, 80)} == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert "dev cni0" in lab.shell(near, f"ip route get {host}")
