"""
Leaves of the guided Service flow: how each is made in a lab, and as whom it is met.

Lives here: shell commands, and edits of the lab's manifests, which stand for what the API server says.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nettrace.lab.policies import add_policies
from nettrace.lab.store import find
from tests.acceptance import faults
from tests.acceptance.faults import Scene

__all__ = [
    "LEAVES",
    "Leaf",
    "Object",
    "as_written",
    "client_address",
    "edited",
    "end_processes",
    "near_pod",
    "on_client",
    "on_node",
    "on_peer",
    "service_of",
]

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


def service_of(scene: Scene, objects: list[Object], key: str = "") -> Object:
    """The object of the Service under test, or of another by its namespace/name."""
    wanted = key or scene.service
    return next(o for o in objects if o["kind"] == "Service" and _key(o) == wanted)


def _slices(scene: Scene, objects: list[Object], key: str = "") -> list[Object]:
    namespace, name = (key or scene.service).split("/")
    return [
        o
        for o in objects
        if o["kind"] == "EndpointSlice"
        and o["metadata"].get("namespace", "default") == namespace
        and o["metadata"]["labels"]["kubernetes.io/service-name"] == name
    ]


def _pods(scene: Scene, objects: list[Object]) -> list[Object]:
    return [o for o in objects if o["kind"] == "Pod" and _key(o) in scene.endpoints]


def _key(o: Object) -> str:
    return f"{o['metadata'].get('namespace', 'default')}/{o['metadata']['name']}"


# --- objects ---------------------------------------------------------------------------


def external_name(scene: Scene, objects: list[Object]) -> None:
    """The Service is an alias."""
    service_of(scene, objects)["spec"] = {"type": "ExternalName", "externalName": "example.com"}


def headless(scene: Scene, objects: list[Object]) -> None:
    """The Service has no address."""
    spec = service_of(scene, objects)["spec"]
    spec["type"], spec["clusterIP"] = "ClusterIP", "None"
    spec.pop("clusterIPs", None)
    for port in spec["ports"]:
        port.pop("nodePort", None)


def foreign_proxy(scene: Scene, objects: list[Object]) -> None:
    """Another proxy is to serve it."""
    labels = service_of(scene, objects)["metadata"].setdefault("labels", {})
    labels["service.kubernetes.io/service-proxy-name"] = "other"


def unnamed_port(scene: Scene, objects: list[Object]) -> None:
    """The targetPort is a name that no container has."""
    service_of(scene, objects)["spec"]["ports"][0]["targetPort"] = "web"


def wrong_selector(scene: Scene, objects: list[Object]) -> None:
    """The selector has another value."""
    selector = service_of(scene, objects)["spec"]["selector"]
    first = next(iter(selector))
    selector[first] += "-v2"


def not_ready(scene: Scene, objects: list[Object]) -> None:
    """No pod is ready."""
    for pod in _pods(scene, objects):
        for condition in pod["status"]["conditions"]:
            condition["status"] = "False"
    for piece in _slices(scene, objects):
        for endpoint in piece["endpoints"]:
            endpoint["conditions"] = {"ready": False, "serving": False, "terminating": False}


def stale_slice(scene: Scene, objects: list[Object]) -> None:
    """One ready pod is not in the slice."""
    for piece in _slices(scene, objects):
        piece["endpoints"] = piece["endpoints"][1:]


def other_family(scene: Scene, objects: list[Object]) -> None:
    """The Service is dual stack, its pods are not."""
    spec = service_of(scene, objects)["spec"]
    spec["clusterIPs"] = [scene.cluster_ip, "fd00:10:96::77"]
    spec["ipFamilies"] = ["IPv4", "IPv6"]


def same_address(scene: Scene, objects: list[Object]) -> None:
    """Two pods have one address."""
    first = _pods(scene, objects)[0]
    other = next(o for o in objects if o["kind"] == "Pod" and _key(o) in scene.client.values())
    other["status"]["podIP"] = first["status"]["podIP"]
    other["status"]["podIPs"] = [{"ip": first["status"]["podIP"]}]


def other_address(scene: Scene, objects: list[Object]) -> None:
    """The Service was made anew: DNS still has the old address."""
    spec = service_of(scene, objects)["spec"]
    spec["clusterIP"] = spec["clusterIP"].rsplit(".", 1)[0] + ".233"
    spec["clusterIPs"] = [spec["clusterIP"]]


def as_written(scene: Scene, objects: list[Object]) -> None:
    """A lab brings its clients itself, and its controllers write addresses and slices anew."""
    clients = set(scene.client.values())
    objects[:] = [o for o in objects if o["kind"] != "EndpointSlice"]
    objects[:] = [o for o in objects if o["kind"] != "Pod" or _key(o) not in clients]
    for pod in objects:
        if pod["kind"] == "Pod":
            del pod["status"]


def internal_local(scene: Scene, objects: list[Object]) -> None:
    """Policy Local for callers inside, and all endpoints on the far node."""
    service_of(scene, objects)["spec"]["internalTrafficPolicy"] = "Local"


def external_local(scene: Scene, objects: list[Object]) -> None:
    """Policy Local for callers outside, and one node without a pod."""
    as_written(scene, objects)
    service_of(scene, objects)["spec"]["externalTrafficPolicy"] = "Local"
    near = min(scene.client)
    gone = [pod for pod, node in scene.node_of.items() if node == near]
    objects[:] = [o for o in objects if o["kind"] != "Pod" or _key(o) not in gone]


def far_only(scene: Scene, objects: list[Object]) -> None:
    """Policy Local inside, and no pod on the client's node."""
    as_written(scene, objects)
    internal_local(scene, objects)
    near = min(scene.client)
    gone = [pod for pod, node in scene.node_of.items() if node == near]
    objects[:] = [o for o in objects if o["kind"] != "Pod" or _key(o) not in gone]


def dns_not_ready(scene: Scene, objects: list[Object]) -> None:
    """The pods of the cluster's DNS are not ready."""
    for piece in _slices(scene, objects, "kube-system/kube-dns"):
        for endpoint in piece["endpoints"]:
            endpoint["conditions"] = {"ready": False, "serving": False, "terminating": False}
    for pod in objects:
        if pod["kind"] == "Pod" and _key(pod).startswith("kube-system/"):
            for condition in pod["status"]["conditions"]:
                condition["status"] = "False"


# --- the lab's own parts ---------------------------------------------------------------


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


_UNMARKED = (
    "iptables -t nat -S | sed -n 's/^-A \\(KUBE-SEP-.*-s POD.*MASQ\\)/-D \\1/p' | "
    "while read -r rule; do eval iptables -t nat $rule; done"
)
_FOREIGN = (
    "nft add table inet fw; nft 'add chain inet fw f { type filter hook forward priority 10; policy drop; }'"
)

_OF_NODE = {
    "bridge-nf-off": "dns",
    "flannel-fdb-missing": "path",
    "forward-policy-drop": "dns",
    "hairpin-off": "hairpin",
    "ip-forward-off": "dns",
    "kube-postrouting-missing": "hairpin",
    "pod-route-missing": "path",
    "service-rules-absent": "rules",
    "stale-endpoint-rule": "rules",
    "svc-wrong-targetport": "rules",
}

LEAVES = (
    Leaf("svc-missing", "service", service="svc/default/no-such"),
    Leaf("svc-wrong-namespace", "service", service="svc/elsewhere/hostnames"),
    Leaf("svc-port-not-listed", "definition", service="svc/default/hostnames:81"),
    Leaf("svc-protocol-mismatch", "definition", service="svc/default/hostnames:80/udp"),
    Leaf("svc-externalname", "definition", edit=external_name),
    Leaf("svc-headless-port", "definition", edit=headless, service="svc/default/hostnames:80"),
    Leaf("svc-foreign-proxy", "definition", edit=foreign_proxy),
    Leaf("svc-named-port-mismatch", "endpoints", edit=unnamed_port),
    Leaf("svc-selector-mismatch", "endpoints", edit=wrong_selector),
    Leaf("svc-no-ready-endpoints", "endpoints", edit=not_ready),
    Leaf("svc-endpoints-stale", "endpoints", edit=stale_slice),
    Leaf("svc-ipfamily-mismatch", "endpoints", edit=other_family),
    Leaf("duplicate-ip", "endpoints", edit=same_address),
    Leaf("itp-local-no-endpoint", "rules", edit=far_only, rebuilt=True),
    Leaf("etp-local-no-endpoint", "outside", edit=external_local, call=("--external",), rebuilt=True),
    Leaf("dns-no-record", "dns", edit=other_address),
    Leaf("dns-wrong-clusterdns", "dns", before=wrong_nameserver),
    Leaf("dns-search-incomplete", "dns", before=no_search),
    Leaf("dns-coredns-down", "dns", before=no_dns_server),
    Leaf("dns-coredns-down", "dns", before=no_dns_server, edit=dns_not_ready),
    Leaf("dns-udp-blocked", "dns", shell=udp_dropped),
    Leaf("pod-not-listening", "pods", before=no_listener),
    Leaf("svc-app-listens-localhost", "pods", shell=listens_on_localhost),
    Leaf("kubeproxy-not-running", "kube-proxy", shell=flushed, call=("--external",)),
    Leaf("rules-flushed", "dns", shell=flushed),
    Leaf("iptables-legacy-nft-mix", "kube-proxy", shell=both_backends),
    Leaf("proxy-mode-switch-leftover", "kube-proxy", shell=old_mode),
    Leaf("veth-host-down", "pods", shell=on_node("ip link set VETH down")),
    Leaf("veth-detached", "pods", shell=on_node("ip link set VETH nomaster")),
    Leaf("bridge-down", "dns", shell=on_node("ip link set cni0 down")),
    Leaf("bridge-port-disabled", "pods", shell=on_node("bridge link set dev VETH state 0")),
    Leaf(
        "bridge-port-isolated",
        "path",
        shell=on_node("bridge link set dev VETH isolated on", "bridge link set dev CLIENT isolated on"),
    ),
    Leaf("pod-default-route-missing", "dns", shell=on_client("ip route del default")),
    Leaf("pod-default-route-missing", "dns", shell=on_client("ip route replace default via 10.244.1.254")),
    Leaf(
        "stale-permanent-neigh",
        "pods",
        shell=on_node("ip neigh replace POD lladdr 02:00:00:00:00:99 dev cni0 nud permanent"),
    ),
    Leaf("reject-route", "path", shell=on_node("ip route replace blackhole PEERCIDR")),
    Leaf("wrong-next-hop", "path", shell=on_node("ip route replace PEERCIDR via OUTSIDE")),
    Leaf(
        "policy-rule-hijack",
        "dns",
        shell=on_node(
            "ip route add default via OUTSIDE dev eth0 table 52", "ip rule add prio 5270 lookup 52"
        ),
    ),
    Leaf("node-no-default-route", "dns", shell=on_node("ip route del default"), call=("--from-node",)),
    Leaf("iface-forwarding-off", "dns", shell=on_node("sysctl -qw net.ipv4.conf.cni0.forwarding=0")),
    Leaf("tunnel-link-down", "path", shell=on_node("ip link set flannel.1 down")),
    Leaf("hairpin-masq-missing", "hairpin", shell=on_node(_UNMARKED)),
    Leaf("overlay-udp-blocked", "path", shell=on_peer("iptables -I INPUT -p udp --dport 8472 -j DROP")),
    Leaf(
        "forward-reject-host-prohibited",
        "dns",
        shell=on_node("iptables -I FORWARD -j REJECT --reject-with icmp-host-prohibited"),
    ),
    Leaf("input-drop-kills-node-clients", "pods", shell=on_node("iptables -P INPUT DROP")),
    Leaf("notrack-on-service", "rules", shell=on_node("iptables -t raw -A PREROUTING -d VIP -j NOTRACK")),
    Leaf(
        "masq-pod-to-pod",
        "path",
        shell=on_node("iptables -t nat -I POSTROUTING -o flannel.1 -j MASQUERADE"),
    ),
    Leaf("nft-foreign-drop", "dns", shell=on_node(_FOREIGN)),
    Leaf("nft-table-gone", "dns", shell=on_node("nft delete table ip kube-proxy"), proxy="nftables"),
    Leaf("netpol-default-deny", "path", before=ingress_denied),
    Leaf("dns-policy-egress-blocked", "dns", before=egress_denied),
    *(Leaf(cause, at, shell=faults.FAULTS[cause].inject) for cause, at in _OF_NODE.items()),
)
