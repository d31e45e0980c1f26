"""
The lab's own parts, changed: processes, files, policies, rules.

Lives here: a function a fault, and shell commands for members of the lab.
Not here: edits of objects (leaf_objects).
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from nettrace.lab.policies import add_policies
from nettrace.lab.store import find
from tests.acceptance import faults
from tests.acceptance.faults import Scene
from tests.acceptance.leaf import Object


def end_processes(scene: Scene, who: str) -> None:
    """End the processes that the lab started for one of its members."""
    netns = scene.bench.netns(who)
    for process in scene.bench.record()["processes"]:
        if process["netns"] == netns:
            os.kill(process["pid"], signal.SIGKILL)
            until = time.monotonic() + 5
            while _lives(process["pid"]) and time.monotonic() < until:
                time.sleep(0.02)


def _lives(pid: int) -> bool:
    """Is the process there, and no zombie?"""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3] + " "
    except FileNotFoundError:
        return False


def near_pod(scene: Scene) -> str:
    """The endpoint on the client's node."""
    near = min(scene.client)
    return next(pod for pod, node in scene.node_of.items() if node == near)


def client_address(scene: Scene) -> str:
    """The address of the client."""
    shown = json.loads(scene.bench.shell(scene.client[min(scene.client)], "ip -j -4 addr show eth0"))
    return str(shown[0]["addr_info"][0]["local"])


def no_listener(scene: Scene) -> None:
    """The application of one pod is gone."""
    end_processes(scene, near_pod(scene))


def no_dns_server(scene: Scene) -> None:
    """The DNS server's process is gone."""
    for member in scene.bench.record()["namespaces"]:
        if str(member.get("pod") or "").startswith("kube-system/"):
            end_processes(scene, member["name"])


def listens_on_localhost(scene: Scene) -> list[tuple[str, str]]:
    """The application listens on 127.0.0.1 only; it ends by itself after a minute."""
    end_processes(scene, near_pod(scene))
    code = (
        "import socket, time; s = socket.socket(); s.setsockopt(1, 2, 1); "
        f"s.bind(('127.0.0.1', {scene.target_port})); s.listen(); time.sleep(60)"
    )
    return [(near_pod(scene), f'python3 -c "{code}" >/dev/null 2>&1 & sleep 1')]


def _resolv_conf(scene: Scene, change: Callable[[str], str]) -> None:
    record = scene.bench.record()
    near = min(scene.client)
    path = Path(record["root"], "pods", scene.client[near], "etc/resolv.conf")
    path.write_text(change(path.read_text()))


def wrong_nameserver(scene: Scene) -> None:
    """The pod's nameserver is somebody else."""
    _resolv_conf(scene, lambda text: "nameserver 10.96.0.99\n" + text.partition("\n")[2])


def no_search(scene: Scene) -> None:
    """The pod's search list is empty."""
    _resolv_conf(scene, lambda text: text.splitlines()[0] + "\n")


def _policy(scene: Scene, spec: Object) -> None:
    add_policies(
        find(scene.bench.name),
        [
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "deny", "namespace": "default"},
                "spec": spec,
            }
        ],
    )


def ingress_denied(scene: Scene) -> None:
    """A policy lets nobody reach the Service's pods."""
    _policy(scene, {"podSelector": {"matchLabels": {"app": "hostnames"}}, "policyTypes": ["Ingress"]})


def egress_denied(scene: Scene) -> None:
    """A policy lets no pod of the namespace call anybody."""
    _policy(scene, {"podSelector": {}, "policyTypes": ["Egress"]})


def udp_dropped(scene: Scene) -> list[tuple[str, str]]:
    """Somebody's rule drops UDP to port 53 on every node."""
    return [(node, "iptables -I FORWARD -p udp --dport 53 -j DROP") for node in scene.client]


def flushed(scene: Scene) -> list[tuple[str, str]]:
    """Nothing of kube-proxy is left on the client's node."""
    near = min(scene.client)
    clean = "; ".join(
        f"iptables -t {table} -S | sed -n 's/^-A \\(.*-j KUBE-.*\\)/-D \\1/p;s/^-A \\(KUBE-.*\\)/-D \\1/p' | "
        f"while read -r rule; do eval iptables -t {table} $rule; done; "
        f"iptables -t {table} -S | sed -n 's/^-N \\(KUBE-.*\\)/\\1/p' | "
        f"while read -r chain; do iptables -t {table} -X $chain; done"
        for table in ("nat", "filter", "mangle")
    )
    return [(near, clean)]


def both_backends(scene: Scene) -> list[tuple[str, str]]:
    """Rules of an older kube-proxy in iptables-legacy."""
    near = min(scene.client)
    rules = "iptables-legacy -t nat -N KUBE-SERVICES; iptables-legacy -t nat -N KUBE-SVC-OLDOLDOLDOLDOLDO"
    return [(near, rules)]


def old_mode(scene: Scene) -> list[tuple[str, str]]:
    """A table of the nftables mode is left over."""
    return [(min(scene.client), "nft add table ip kube-proxy")]


def _device(scene: Scene, *commands: str) -> list[tuple[str, str]]:
    """Commands on the client's node, with VETH for the port of its endpoint and CLIENT for the client's."""
    near = min(scene.client)
    veth = faults.veth_of(scene, near, near_pod(scene))
    client = faults.veth_of(scene, near, scene.client[near])
    return [(near, one.replace("VETH", veth).replace("CLIENT", client)) for one in commands]


def on_node(*commands: str) -> Callable[[Scene], list[tuple[str, str]]]:
    """
    Make a fault of shell commands on the client's node.

    PEERCIDR, POD, VIP, OUTSIDE, PEER and CLIENTIP stand for addresses, VETH and CLIENT for ports.
    """

    def inject(scene: Scene) -> list[tuple[str, str]]:
        near = min(scene.client)
        far = next(node for node in scene.pod_cidr if node != near)
        known = {
            "PEERCIDR": scene.pod_cidr[far],
            "POD": scene.endpoints[near_pod(scene)],
            "VIP": scene.cluster_ip,
            "OUTSIDE": scene.outside_ip,
            "PEERNODE": scene.node_ip[far],
            "PEER": scene.endpoints[next(p for p, n in scene.node_of.items() if n == far)],
        }
        return [(who, _filled(one, known)) for who, one in _device(scene, *commands)]

    return inject


def _filled(command: str, known: dict[str, str]) -> str:
    for word, value in known.items():
        command = command.replace(word, value)
    return command


def on_client(command: str) -> Callable[[Scene], list[tuple[str, str]]]:
    """Make a fault of a shell command in the client pod."""
    return lambda scene: [(scene.client[min(scene.client)], command)]


def on_peer(command: str) -> Callable[[Scene], list[tuple[str, str]]]:
    """Make a fault of a shell command on the other node."""
    return lambda scene: [(next(n for n in scene.pod_cidr if n != min(scene.client)), command)]
