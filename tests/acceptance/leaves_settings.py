"""
Leaves that are settings: of kube-proxy, of the Service, of the pods' devices.

Lives here: edits of the objects that a lab is then built from, and the shell commands for the rest.
"""

from typing import Any

from tests.acceptance.faults import Scene
from tests.acceptance.leaf import Leaf, Object
from tests.acceptance.leaf_objects import as_written, service_of
from tests.acceptance.leaf_parts import client_address, end_processes, on_node

__all__ = ["SETTINGS_LEAVES"]


def _proxy(scene: Scene, objects: list[Object], **changes: Any) -> None:
    """Change kube-proxy's configuration."""
    as_written(scene, objects)
    next(o for o in objects if o["kind"] == "KubeProxyConfiguration").update(changes)


def masquerade_all(scene: Scene, objects: list[Object]) -> None:
    """kube-proxy masquerades whatever calls a Service."""
    proxy = next(o for o in objects if o["kind"] == "KubeProxyConfiguration")
    _proxy(scene, objects, iptables={**(proxy.get("iptables") or {}), "masqueradeAll": True})


def narrow_cidr(scene: Scene, objects: list[Object]) -> None:
    """kube-proxy takes another network for the pods'."""
    _proxy(scene, objects, clusterCIDR="10.99.0.0/16")


def nodes_cidr(scene: Scene, objects: list[Object]) -> None:
    """kube-proxy takes the nodes' own network for the pods'."""
    _proxy(scene, objects, clusterCIDR=f"{next(iter(scene.node_ip.values()))}/24")


def nodes_cidr_local(scene: Scene, objects: list[Object]) -> None:
    """The same, and callers from outside are to meet a node's own pods alone."""
    nodes_cidr(scene, objects)
    service_of(scene, objects)["spec"]["externalTrafficPolicy"] = "Local"


def excluded_addresses(scene: Scene, objects: list[Object]) -> None:
    """kube-proxy serves NodePorts in a network that no node is in."""
    _proxy(scene, objects, nodePortAddresses=["192.0.2.0/24"])


def source_ranges(scene: Scene, objects: list[Object]) -> None:
    """The Service has a balancer's address, and lets in a network that nobody outside is in."""
    as_written(scene, objects)
    spec = service_of(scene, objects)["spec"]
    spec["type"], spec["loadBalancerSourceRanges"] = "LoadBalancer", ["192.0.2.0/24"]


def local_only(scene: Scene, objects: list[Object]) -> None:
    """A node port leads to pods of the very node alone."""
    as_written(scene, objects)
    service_of(scene, objects)["spec"]["externalTrafficPolicy"] = "Local"


def balanced(scene: Scene, objects: list[Object]) -> None:
    """A balancer in front of the nodes asks each whether it has a pod."""
    local_only(scene, objects)
    service_of(scene, objects)["spec"]["type"] = "LoadBalancer"


def other_name(scene: Scene) -> list[tuple[str, str]]:
    """kube-proxy goes by another name than its Node, and writes what it owes where no pod is local."""
    near = min(scene.client)
    away = (
        "iptables -t nat -S | sed -n 's/^-A \\(KUBE-EXT-.*-j KUBE-SVL-.*\\)/-D \\1/p' | "
        "while read -r rule; do eval iptables -t nat $rule; done"
    )
    words = f"-m comment --comment '{scene.service} has no local endpoints' -m addrtype --dst-type LOCAL"
    drop = f"iptables -A KUBE-EXTERNAL-SERVICES -p tcp {words} -m tcp --dport {scene.node_port} -j DROP"
    return [(near, f"{away}; {drop}")]


def renamed_node(scene: Scene, objects: list[Object]) -> None:
    """The EndpointSlice has the node's name with a domain."""
    service_of(scene, objects)["spec"]["externalTrafficPolicy"] = "Local"
    near, name = min(scene.client), scene.service.partition("/")[2]
    for piece in objects:
        if piece["kind"] == "EndpointSlice" and piece["metadata"]["name"].startswith(name):
            for end in piece["endpoints"]:
                end["nodeName"] += ".example.com" if end["nodeName"] == near else ""


_HEALTH_PORT = "$(iptables -S KUBE-NODEPORTS | sed -n 's/.*--dport \\([0-9]*\\) .*/\\1/p')"


def no_health_server(scene: Scene) -> None:
    """Nobody on the client's node answers for the Service's health."""
    end_processes(scene, min(scene.client))


def large_mtu(scene: Scene) -> list[tuple[str, str]]:
    """Pods and bridges take more than the tunnel, and nobody is told of what did not fit."""
    larger = "for l in $(ls /sys/class/net | grep -E 'veth|cni0'); do ip link set $l mtu 1500; done"
    told = "iptables -A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP"
    pods = [m["name"] for m in scene.bench.record()["namespaces"] if m["role"] == "pod"]
    return [
        *((node, f"{larger}; {told}") for node in scene.client),
        *((pod, "ip link set eth0 mtu 1500") for pod in pods),
    ]


def narrow_underlay(scene: Scene) -> list[tuple[str, str]]:
    """The far node's uplink takes less than the tunnel's packets, which others do not know."""
    far = next(node for node in scene.pod_cidr if node != min(scene.client))
    return [(far, "ip link set eth0 mtu 1470; ip link set flannel.1 mtu 1450")]


def old_connection(scene: Scene) -> list[tuple[str, str]]:
    """The client asked for a name before there were rules, and goes on from the same port."""
    near = min(scene.client)
    rules = scene.bench.shell(near, "iptables -t nat -S KUBE-SERVICES").splitlines()
    rule = next(r for r in rules if "-p udp" in r and "--dport 53 " in r).removeprefix("-A KUBE-SERVICES ")
    address = rule.partition("-d ")[2].partition("/")[0]
    code = (
        "import socket, time; s = socket.socket(2, 2); s.bind(('', 5300)); "
        f"s.connect(('{address}', 53)); s.send(b'who'); time.sleep(60)"
    )
    return [
        (near, f"iptables -t nat -D KUBE-SERVICES {rule}"),
        (scene.client[near], f'python3 -c "{code}" >/dev/null 2>&1 & sleep 1'),
        (near, f"iptables -t nat -I KUBE-SERVICES 1 {rule}"),
    ]


def sticky(scene: Scene, objects: list[Object]) -> None:
    """Each client keeps its endpoint."""
    as_written(scene, objects)
    service_of(scene, objects)["spec"]["sessionAffinity"] = "ClientIP"


def stuck(scene: Scene) -> list[tuple[str, str]]:
    """The client is remembered for an endpoint that is gone: only the rule of its affinity is still there."""
    near = min(scene.client)
    service = "".join(
        line.split()[-1]
        for line in scene.bench.shell(near, "iptables -t nat -S KUBE-SERVICES").splitlines()
        if f"-d {scene.cluster_ip}/32" in line and f"--dport {scene.port} " in line and "KUBE-SVC" in line
    )
    client = client_address(scene)
    chain, gone = "KUBE-SEP-GONEGONEGONEGONE", f"{client.rpartition('.')[0]}.253"
    held = f"--name {chain} --mask 255.255.255.255 --rsource"
    to = f"-m tcp -j DNAT --to-destination {gone}:{scene.target_port}"
    commands = (
        f"iptables -t nat -N {chain}",
        f"iptables -t nat -A {chain} -p tcp -m recent --set {held} {to}",
        f"iptables -t nat -I {service} -m recent --rcheck --seconds 10800 --reap {held} -j {chain}",
        f"echo +{client} > /proc/net/xt_recent/{chain}",
    )
    return [(near, "; ".join(commands))]


def stuck_in_a_set(scene: Scene) -> list[tuple[str, str]]:
    """The same in mode nftables, where an endpoint's clients are a set."""
    near, name = min(scene.client), scene.service.partition("/")[2]
    client = client_address(scene)
    gone = f"{client.rpartition('.')[0]}.253"
    table, chain = "ip kube-proxy", f"endpoint-gone__{gone}/{scene.target_port}"
    services = f"nft list table {table} | sed -n 's/.*chain \\(service-[^ ]*{name}[^ ]*\\) .*/\\1/p'"
    first = f"ip saddr @affinity-gone goto {chain}"
    commands = (
        f"nft 'add set {table} affinity-gone {{ type ipv4_addr; flags dynamic,timeout; timeout 3h; }}'",
        f"nft 'add element {table} affinity-gone {{ {client} }}'",
        f"nft add chain {table} {chain}",
        f"nft add rule {table} {chain} meta l4proto tcp dnat to {gone}:{scene.target_port}",
        f"for c in $({services}); do nft insert rule {table} $c {first}; done",
    )
    return [(near, "; ".join(commands))]


SETTINGS_LEAVES = (
    Leaf("session-affinity-stuck", "rules", edit=sticky, rebuilt=True, shell=stuck, mended=True),
    Leaf(
        "session-affinity-stuck",
        "rules",
        edit=sticky,
        rebuilt=True,
        shell=stuck_in_a_set,
        proxy="nftables",
    ),
    Leaf("conntrack-stale-udp", "dns", shell=old_connection, mended=True),
    Leaf("masquerade-all", "source", edit=masquerade_all, rebuilt=True),
    Leaf("clustercidr-wrong", "source", edit=narrow_cidr, rebuilt=True),
    Leaf("clustercidr-wrong", "source", edit=nodes_cidr, rebuilt=True, call=("--from-node",)),
    Leaf("clustercidr-wrong", "outside", edit=nodes_cidr_local, rebuilt=True, call=("--external",)),
    Leaf(
        "nodeport-addresses-excluded", "outside", edit=excluded_addresses, rebuilt=True, call=("--external",)
    ),
    Leaf("lb-source-ranges", "outside", edit=source_ranges, rebuilt=True, call=("--external",)),
    Leaf(
        "etp-local-hostname-mismatch",
        "outside",
        edit=local_only,
        rebuilt=True,
        shell=other_name,
        call=("--external",),
    ),
    Leaf("etp-local-hostname-mismatch", "outside", edit=renamed_node, call=("--external",)),
    Leaf(
        "healthcheck-nodeport-failing",
        "outside",
        edit=balanced,
        rebuilt=True,
        shell=on_node(f"iptables -I INPUT -p tcp --dport {_HEALTH_PORT} -j DROP"),
        call=("--external",),
    ),
    Leaf(
        "healthcheck-nodeport-failing",
        "outside",
        edit=balanced,
        rebuilt=True,
        before=no_health_server,
        call=("--external",),
    ),
    Leaf(
        "route-localnet-off",
        "outside",
        shell=on_node("sysctl -qw net.ipv4.conf.all.route_localnet=0"),
        call=("--from-node",),
        mended=True,
    ),
    Leaf("mtu-pod-too-big", "path", shell=large_mtu, mended=True),
    Leaf("mtu-underlay-blackhole", "path", shell=narrow_underlay, mended=True),
)
