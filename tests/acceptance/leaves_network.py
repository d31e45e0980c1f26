"""
Leaves about addresses, tunnels and the ways between nodes, each repaired where there is a repair.

Lives here: the shell commands of the catalogue of faults that make them.
"""

import json
from collections.abc import Callable

from tests.acceptance import faults
from tests.acceptance.faults import Scene
from tests.acceptance.leaf import Leaf, Object
from tests.acceptance.leaf_objects import as_written, service_of
from tests.acceptance.leaf_parts import near_pod, on_node

__all__ = ["NETWORK_LEAVES"]


def _near(scene: Scene) -> str:
    return min(scene.client)


def _far(scene: Scene) -> str:
    return next(node for node in scene.pod_cidr if node != _near(scene))


def bridge_address(scene: Scene) -> list[tuple[str, str]]:
    """The bridge of the client's node loses its address."""
    shown = json.loads(scene.bench.shell(_near(scene), "ip -j -4 addr show cni0"))[0]["addr_info"][0]
    return [(_near(scene), f"ip addr del {shown['local']}/{shown['prefixlen']} dev cni0")]


def endpoint_on_node(scene: Scene) -> list[tuple[str, str]]:
    """The client's node has the address of its own endpoint."""
    return [(_near(scene), f"ip addr add {scene.endpoints[near_pod(scene)]}/32 dev lo")]


def client_on_node(scene: Scene) -> list[tuple[str, str]]:
    """The client's node has the client's address."""
    shown = json.loads(scene.bench.shell(scene.client[_near(scene)], "ip -j -4 addr show eth0"))
    return [(_near(scene), f"ip addr add {shown[0]['addr_info'][0]['local']}/32 dev lo")]


def wide_netmask(scene: Scene) -> list[tuple[str, str]]:
    """The client takes all pods for its neighbours."""
    pod = scene.client[_near(scene)]
    shown = json.loads(scene.bench.shell(pod, "ip -j -4 addr show eth0"))[0]["addr_info"][0]
    gateway = json.loads(scene.bench.shell(pod, "ip -j route show default"))[0]["gateway"]
    address = shown["local"]
    commands = (
        f"ip addr del {address}/{shown['prefixlen']} dev eth0; ip addr add {address}/16 dev eth0; "
        f"ip route replace default via {gateway}"
    )
    return [(pod, commands)]


def same_mac(scene: Scene) -> list[tuple[str, str]]:
    """The client's pod has the MAC address of an endpoint on its bridge."""
    mac = json.loads(scene.bench.shell(near_pod(scene), "ip -j link show eth0"))[0]["address"]
    return [(scene.client[_near(scene)], f"ip link set eth0 address {mac}")]


def other_vtep_mac(scene: Scene) -> list[tuple[str, str]]:
    """The far node's VXLAN device has another MAC than its Node says."""
    return [(_far(scene), "ip link set flannel.1 address 02:00:00:00:00:99")]


def _made_anew(*, vni: int, port: int) -> Callable[[Scene], list[tuple[str, str]]]:
    """Make the far node's VXLAN device again, with all that was on it."""

    def inject(scene: Scene) -> list[tuple[str, str]]:
        near, far = _near(scene), _far(scene)
        mac = json.loads(scene.bench.shell(near, "ip -j link show flannel.1"))[0]["address"]
        own = json.loads(scene.bench.shell(far, "ip -j link show flannel.1"))[0]
        address = json.loads(scene.bench.shell(far, "ip -j -4 addr show flannel.1"))[0]["addr_info"][0][
            "local"
        ]
        vtep = scene.pod_cidr[near].split("/")[0]
        rest = f"dev eth0 local {scene.node_ip[far]} dstport {port} nolearning"
        commands = (
            "ip link del flannel.1",
            f"ip link add flannel.1 address {own['address']} mtu {own['mtu']} type vxlan id {vni} {rest}",
            f"ip addr add {address}/32 dev flannel.1",
            "ip link set flannel.1 up",
            f"ip neigh add {vtep} lladdr {mac} dev flannel.1 nud permanent",
            f"bridge fdb add {mac} dev flannel.1 dst {scene.node_ip[near]} self permanent",
            f"ip route add {scene.pod_cidr[near]} via {vtep} dev flannel.1 onlink",
        )
        return [(far, "; ".join(commands))]

    return inject


def wrong_checksum(scene: Scene) -> list[tuple[str, str]]:
    """A rule writes into the tunnel's outer checksum, and the device below leaves none to the next one."""
    near = _near(scene)
    rule = "udp dport 8472 udp checksum set 0x1234"
    chain = "type filter hook postrouting priority 0"
    table = f"nft 'table ip spoils {{ chain post {{ {chain}; {rule}; }}; }}'"
    off = (
        "python3 -c 'import array, fcntl, socket, struct\n"
        'value = array.array("B", struct.pack("II", 0x17, 0))\n'  # ETHTOOL_STXCSUM: ethtool -K eth0 tx off
        'request = struct.pack("16sP16x", b"eth0", value.buffer_info()[0])\n'
        "fcntl.ioctl(socket.socket(), 0x8946, request)'"
    )
    return [(near, f"{off}; {table}")]


def old_address(scene: Scene) -> list[tuple[str, str]]:
    """The peer's VTEP is looked for at an address that nobody has."""
    near = _near(scene)
    for entry in json.loads(scene.bench.shell(near, "bridge -j fdb show dev flannel.1")):
        if entry.get("dst") == scene.node_ip[_far(scene)]:
            gone = entry["dst"].rsplit(".", 1)[0] + ".77"
            return [(near, f"bridge fdb replace {entry['mac']} dev flannel.1 dst {gone} self permanent")]
    raise AssertionError("no entry for the peer")


def no_neighbour(scene: Scene) -> list[tuple[str, str]]:
    """The peer's VTEP has no MAC any more."""
    vtep = scene.pod_cidr[_far(scene)].split("/")[0]
    return [(_near(scene), f"ip neigh del {vtep} dev flannel.1")]


_AWAY = "192.168.60.12"


def behind_a_router(scene: Scene, objects: list[Object]) -> None:
    """The peer's Node has an address in no network of the client's node."""
    far = _far(scene)
    node = next(o for o in objects if o["kind"] == "Node" and o["metadata"]["name"] == far)
    node["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"] = _AWAY
    for address in node["status"]["addresses"]:
        if address["type"] == "InternalIP":
            address["address"] = _AWAY


def route_behind_a_router(scene: Scene) -> list[tuple[str, str]]:
    """The route to the peer's pods names it as a next hop all the same."""
    return [(_near(scene), f"ip route replace {scene.pod_cidr[_far(scene)]} via {_AWAY} dev eth0 onlink")]


_SECOND = "192.0.2.11"


def published_at_second(scene: Scene, objects: list[Object]) -> None:
    """The Service is published at the address of a second uplink of the client's node."""
    as_written(scene, objects)
    service_of(scene, objects)["spec"]["externalIPs"] = [_SECOND]


def second_uplink(scene: Scene) -> list[tuple[str, str]]:
    """
    The client's node has a second uplink with a rule and a table for its address.

    By it comes a client from outside whose network the first uplink does not lead to.
    """
    near = _near(scene)
    outside = (
        f"ip link add eth1 type veth peer name eth1 netns {scene.bench.netns(near)}; ip link set eth1 up; "
        "sysctl -qw net.ipv4.conf.eth1.rp_filter=0; ip addr add 192.0.2.1/24 dev eth1; "
        f"ip addr add 198.51.100.7/32 dev lo; ip route add {_SECOND}/32 dev eth1 src 198.51.100.7"
    )
    inside = (
        f"sysctl -qw net.ipv4.conf.eth1.rp_filter=0; ip addr add {_SECOND}/24 dev eth1; "
        f"ip link set eth1 up; ip rule add prio 100 from {_SECOND} lookup 100; "
        "ip route add default via 192.0.2.1 dev eth1 table 100"
    )
    return [("internet", outside), (near, inside)]


NETWORK_LEAVES = (
    Leaf(
        "published-secondary-iface-asym",
        "outside",
        edit=published_at_second,
        rebuilt=True,
        shell=second_uplink,
        call=("--external",),
        mended=True,
        address=_SECOND,
    ),
    Leaf(
        "hostgw-no-l2",
        "path",
        edit=behind_a_router,
        shell=route_behind_a_router,
        topology="flannel-host-gw",
    ),
    Leaf("bridge-address-missing", "dns", shell=bridge_address, mended=True),
    Leaf("martian-local-source", "pods", shell=endpoint_on_node, mended=True),
    Leaf("martian-local-source", "dns", shell=client_on_node, mended=True),
    Leaf("pod-wrong-netmask", "path", shell=wide_netmask, mended=True),
    Leaf("duplicate-mac", "path", shell=same_mac, mended=True),
    Leaf("vtep-mac-mismatch", "path", shell=other_vtep_mac, mended=True),
    Leaf("vni-mismatch", "path", shell=_made_anew(vni=2, port=8472)),
    Leaf("vxlan-port-mismatch", "path", shell=_made_anew(vni=1, port=4789)),
    Leaf("vxlan-checksum-offload", "path", shell=wrong_checksum),
    Leaf("fdb-stale-remote", "path", shell=old_address, mended=True),
    Leaf("flannel-arp-missing", "path", shell=no_neighbour, mended=True),
    Leaf("rp-filter-strict", "path", shell=faults.rp_filter_strict, mended=True),
    Leaf(
        "service-jump-missing",
        "dns",
        shell=faults.service_jump_missing,
        mended=True,
    ),
    Leaf(
        "service-output-jump-missing",
        "dns",
        shell=on_node(
            "iptables -t nat -D OUTPUT -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES"
        ),
        call=("--from-node",),
        mended=True,
    ),
)
