"""Labs on a real kernel: what can be reached in them, and that nothing of them stays."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.reversename
import pytest

from nettrace.collect.netns import in_netns
from nettrace.lab import build as building
from nettrace.lab import down, exec_in, find, list_labs, up
from nettrace.model.errors import UserError
from nettrace.model.lab import LAB_ROOT, LabRecord
from tests.kernel.labs import a_lab, address_of, ask, lab_name, path_of, traces_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HOSTNAMES = {"hostnames-0", "hostnames-1", "hostnames-2"}


@pytest.fixture(scope="module")
def docker() -> Iterator[LabRecord]:
    """A docker lab for all tests that change nothing."""
    with a_lab("docker") as record:
        yield record


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabRecord]:
    """A flannel-vxlan lab for all tests that change nothing."""
    with a_lab("flannel-vxlan") as record:
        yield record


def cluster_ip(record: LabRecord, service: str) -> str:
    """The ClusterIP of a Service, from the lab's manifests."""
    import yaml

    text = Path(record.root, "manifests/services.yaml").read_text(encoding="utf-8")
    return next(
        str(document["spec"]["clusterIP"])
        for document in yaml.safe_load_all(text)
        if document["metadata"]["name"] == service
    )


# --- what can be reached ---------------------------------------------------------------


def test_docker_connections(docker: LabRecord) -> None:
    """Published port from outside, container to container, container to outside, host to container."""
    host = address_of(docker, "docker-host")
    outside = address_of(docker, "internet")
    assert ask(docker, "internet", host, 8088) == ("web", outside)
    assert ask(docker, "app", address_of(docker, "web"), 80) == ("web", address_of(docker, "app"))
    assert ask(docker, "web", address_of(docker, "app"), 8080)[0] == "app"
    assert ask(docker, "web", outside, 80) == ("internet", host)
    assert ask(docker, "docker-host", address_of(docker, "web"), 80) == ("web", "192.168.0.1")
    assert ask(docker, "docker-host", host, 8088)[0] == "web"


def test_pods_reach_pods(cluster: LabRecord) -> None:
    """Pods reach pods of the same and of the other node, which see their true address."""
    for target in sorted(HOSTNAMES):
        answer = ask(cluster, "client-a", address_of(cluster, target), 9376)
        assert answer == (target, address_of(cluster, "client-a"))


def test_services(cluster: LabRecord) -> None:
    """A ClusterIP leads to all three endpoints, from pods of both nodes and from a node itself."""
    address = cluster_ip(cluster, "hostnames")
    for source in ("client-a", "client-b", "node-a"):
        assert {ask(cluster, source, address, 80)[0] for _ in range(40)} == HOSTNAMES


def test_own_service(cluster: LabRecord) -> None:
    """A pod reaches itself through its own Service, and sees its node as the client then."""
    seen = {ask(cluster, "hostnames-0", cluster_ip(cluster, "hostnames"), 80) for _ in range(40)}
    assert ("hostnames-0", "10.244.1.1") in seen
    assert {name for name, _ in seen} == HOSTNAMES


def test_outside(cluster: LabRecord) -> None:
    """A pod calls the outside by TCP and UDP, and the outside sees its node."""
    outside = address_of(cluster, "internet")
    assert ask(cluster, "client-a", outside, 80) == ("internet", address_of(cluster, "node-a"))
    assert ask(cluster, "client-b", outside, 53, "udp") == ("internet", address_of(cluster, "node-b"))


def test_node_port(cluster: LabRecord) -> None:
    """The NodePort of each node leads an outside client to all endpoints."""
    for node in ("node-a", "node-b"):
        answers = {ask(cluster, "internet", address_of(cluster, node), 30080)[0] for _ in range(40)}
        assert answers == HOSTNAMES


def test_containers_of_one_pod(cluster: LabRecord) -> None:
    """Two containers of a pod are two processes that share its loopback; the outside has no way there."""
    assert ask(cluster, "client-a", "127.0.0.1", 9090) == ("client-a", "127.0.0.1")
    assert ask(cluster, "client-a", "127.0.0.1", 8080)[0] == "client-a"
    with pytest.raises(ConnectionRefusedError):
        ask(cluster, "client-b", address_of(cluster, "client-a"), 9090)
    netns = path_of(cluster, "client-a").rpartition("/")[2]
    assert len([process for process in cluster.processes if process.netns == netns]) == 2


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_dns(cluster: LabRecord, proto: str) -> None:
    """Cluster DNS answers by UDP and TCP through its Service: addresses of Services, names of addresses."""
    send: Callable[..., dns.message.Message] = dns.query.udp if proto == "udp" else dns.query.tcp
    address = cluster_ip(cluster, "hostnames")

    def query(name: Any, kind: str) -> str:
        message = dns.message.make_query(name, kind)
        answer = send(message, cluster_ip(cluster, "kube-dns"), timeout=2)
        return str(answer.answer[0][0])

    for source in ("client-a", "client-b"):
        path = path_of(cluster, source)
        assert in_netns(path, query, "hostnames.default.svc.cluster.local", "A") == address
        name = in_netns(path, query, dns.reversename.from_address(address), "PTR")
        assert name == "hostnames.default.svc.cluster.local."
        port = in_netns(path, query, "_dns._udp.kube-dns.kube-system.svc.cluster.local", "SRV")
        assert port == "0 0 53 kube-dns.kube-system.svc.cluster.local."


def test_exec(cluster: LabRecord, capfd: pytest.CaptureFixture[str]) -> None:
    """A command sees its pod's devices and the cluster's names, and its exit status is returned."""
    assert exec_in(cluster, "client-a", ["ls", "/sys/class/net"]) == 0
    assert capfd.readouterr().out.split() == ["eth0", "lo"]
    assert exec_in(cluster, "default/client-a", ["getent", "hosts", "hostnames"]) == 0
    assert capfd.readouterr().out.split()[0] == cluster_ip(cluster, "hostnames")
    assert exec_in(cluster, "node-b", ["sh", "-c", "exit 7"]) == 7
    assert exec_in(cluster, "internet", ["no-such-command"]) == 127
    with pytest.raises(UserError, match="no 'nobody' in the lab"):
        exec_in(cluster, "nobody", ["true"])


# --- variations ------------------------------------------------------------------------


def test_other_addresses(tmp_path: Path) -> None:
    """Networks, ports, names and the number of nodes are the user's to choose."""
    (tmp_path / "shop.yaml").write_text(SHOP, encoding="utf-8")
    with a_lab(
        "flannel-vxlan",
        nodes=3,
        manifests=tmp_path,
        pod_cidr="10.9.0.0/20",
        service_cidr="10.99.0.0/24",
        node_net="192.0.2.0/25",
    ) as record:
        pods = [entry for entry in record.namespaces if entry.role == "pod"]
        assert [(pod.name, pod.node) for pod in pods][:3] == [
            ("api-0", "node-a"),
            ("api-1", "node-b"),
            ("api-2", "node-c"),
        ]
        assert pods[0].addresses == ("10.9.1.2",)
        address = cluster_ip(record, "api")
        assert address.startswith("10.99.0.")
        assert {ask(record, "caller", address, 8000)[0] for _ in range(40)} == {"api-0", "api-1", "api-2"}
        port = address_of(record, "node-c"), 31999
        assert ask(record, "internet", *port)[0].startswith("api-")
        assert ask(record, "caller", cluster_ip(record, "clock"), 123, "udp")[0] == "clock"


SHOP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: main, ports: [{name: web, containerPort: 3000}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec:
  type: NodePort
  selector: {app: api}
  ports: [{port: 8000, targetPort: web, nodePort: 31999}]
---
apiVersion: v1
kind: Pod
metadata: {name: clock, namespace: shop, labels: {app: clock}}
spec: {containers: [{name: main, ports: [{containerPort: 1123, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: clock, namespace: shop}
spec:
  selector: {app: clock}
  ports: [{port: 123, targetPort: 1123, protocol: UDP}]
---
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: shop}
spec: {containers: [{name: main}]}
"""


def test_two_labs_at_once(cluster: LabRecord) -> None:
    """Two labs with the same addresses stand side by side; taking one down leaves the other alone."""
    with a_lab("flannel-vxlan") as other:
        assert ask(other, "client-a", address_of(other, "hostnames-1"), 9376)[0] == "hostnames-1"
        assert {cluster.name, other.name} <= {record.name for record in list_labs()}
        with pytest.raises(UserError, match=r"there are \d+ labs"):
            find(None)
        with pytest.raises(UserError, match="a lab called"):
            up("docker", name=other.name)
        assert find(other.name) == other
    assert traces_of(other.name) == []
    assert ask(cluster, "client-a", address_of(cluster, "hostnames-1"), 9376)[0] == "hostnames-1"


def test_own_namespace_is_left_alone() -> None:
    """Neither building nor taking down changes a device, route, rule or sysctl of the machine's own."""
    commands = (
        ["ip", "-o", "link"],
        ["ip", "route", "show", "table", "all"],
        ["nft", "list", "ruleset"],
        ["sysctl", "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"],
    )

    def state() -> list[str]:
        return [subprocess.run(argv, capture_output=True, text=True, check=True).stdout for argv in commands]

    before = state()
    with a_lab("flannel-vxlan"):
        assert state() == before
    assert state() == before


# --- nothing stays ---------------------------------------------------------------------


@pytest.mark.parametrize("topology", ["docker", "flannel-vxlan"])
def test_down_leaves_nothing(topology: str) -> None:
    """After `down` there is no namespace, no file and no process of the lab, not even a shell in it."""
    name = lab_name()
    record = up(topology, name=name)
    assert all(Path(f"/proc/{pid}").exists() for pid in record.pids)
    shell = subprocess.Popen(
        ["nsenter", f"--net={path_of(record, 'internet')}", "sh", "-c", "trap '' TERM; sleep 100; sleep 100"]
    )
    try:
        assert down(name) == name
        assert shell.wait(5) != 0
    finally:
        shell.kill()
    assert traces_of(name) == []
    with pytest.raises(UserError, match="no lab called"):
        down(name)


@pytest.mark.parametrize("stage", ["ip_batch", "set_sysctls", "bridge_batch", "restore_rules", "start"])
@pytest.mark.parametrize("error", [UserError("made to fail"), KeyboardInterrupt()])
def test_failure_half_way(monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException) -> None:
    """Whatever stage of `up` fails or is interrupted, nothing of the lab is left."""
    calls = 0
    real = getattr(building, stage)

    def fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(building, stage, fails)
    name = lab_name()
    with pytest.raises(type(error)):
        up("flannel-vxlan", name=name)
    assert calls >= 2
    assert traces_of(name) == []


def test_listener_that_cannot_start(tmp_path: Path) -> None:
    """Two containers of a pod on one port: the error says which, and nothing is left."""
    (tmp_path / "pod.yaml").write_text(
        """{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "twice"}, "spec": {"containers": [
        {"name": "a", "ports": [{"containerPort": 80}]}, {"name": "b", "ports": [{"containerPort": 80}]}]}}
        """,
        encoding="utf-8",
    )
    name = lab_name()
    with pytest.raises(UserError, match=r"twice: cannot listen on tcp/.*80: Address already in use"):
        up("flannel-vxlan", name=name, manifests=tmp_path)
    assert traces_of(name) == []


UP = "import sys; from nettrace.lab import up; print('go', flush=True); up('flannel-vxlan', name=sys.argv[1])"


def _started(name: str, delay: float) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", UP, name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    end = time.monotonic() + 5
    while not Path(LAB_ROOT, name).exists() and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(delay)
    return process


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.08, 0.11, 0.15, 0.2])
def test_kill_in_the_middle_of_up(delay: float) -> None:
    """`up` killed at any instant leaves what `down` removes without a trace."""
    name = lab_name()
    process = _started(name, delay)
    process.kill()
    process.communicate()
    if Path(LAB_ROOT, name).exists():
        down(name)
    time.sleep(0.3)  # what a child of the killed one might still have made would be here by now
    assert traces_of(name) == []


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("delay", [0.03, 0.1])
def test_interrupt_in_the_middle_of_up(number: str, delay: float) -> None:
    """`up` that is interrupted takes down by itself what it built."""
    import signal

    name = lab_name()
    process = _started(name, delay)
    process.send_signal(getattr(signal, number))
    process.communicate()
    if process.returncode == 0:  # it was faster
        down(name)
    assert traces_of(name) == []


@pytest.mark.parametrize("damage", ["truncate", "remove", "remove directory"])
def test_down_without_a_record(damage: str) -> None:
    """A lab whose record is damaged or gone is found by its prefix, and taken down."""
    import shutil

    name = lab_name()
    record = up("docker", name=name)
    path = Path(record.root, "lab.json")
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:100])
        assert [entry.state for entry in list_labs() if entry.name == name] == ["damaged"]
        with pytest.raises(UserError, match="damaged"):
            find(name)
    elif damage == "remove":
        path.unlink()
    else:
        shutil.rmtree(record.root)
        with pytest.raises(UserError, match="of an earlier lab"):
            up("docker", name=name)
    down(name)
    assert traces_of(name) == []


def test_recycled_process_number_is_spared() -> None:
    """A process that has the number of a lab's, but started at another time, is not the lab's to end."""
    from msgspec.structs import replace

    from nettrace.lab import store

    name = lab_name()
    record = up("docker", name=name)
    time.sleep(0.05)  # start times count in hundredths of a second
    with subprocess.Popen(["sleep", "100"]) as stranger:
        recycled = replace(record.processes[0], pid=stranger.pid)
        store.write(replace(record, processes=(recycled, *record.processes[1:])))
        down(name)
        assert stranger.poll() is None
        stranger.kill()
    assert traces_of(name) == []


def test_a_lab_that_is_being_built_is_not_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` does not cut in while another process builds the lab."""
    from nettrace.lab import store

    monkeypatch.setattr(store, "_LOCK_WAIT", 0.1)
    name = lab_name()
    store.claim(name)
    try:
        with store.locked(name), pytest.raises(UserError, match="is being built or taken down"):
            down(name)
    finally:
        store.remove(name)
    assert traces_of(name) == []
