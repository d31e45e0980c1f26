"""
What a node's CNI files say: the configuration that counts, the addresses given away, and to whom.

Lives here: questions to the files of a node in a snapshot.
Not here: the files' form (nettrace.parse.cni), plugins that hand on to others (nettrace.plugin_api).
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from nettrace.model.addr import family_of, in_prefix
from nettrace.model.cni import CONF_DIRECTORIES, CniConf, Ipam, IpRange, Lease, Sandbox
from nettrace.model.kube import Pod
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.parse.cni import parse_conf, parse_lease, parse_sandbox

__all__ = [
    "ENDED",
    "RESULTS",
    "capacity",
    "confs_of",
    "free_in",
    "holders",
    "is_leaked",
    "leases_of",
    "live_containers",
    "netns_of",
    "node_files",
    "sandbox_of",
    "sandboxes_of",
    "subnets",
    "within",
]

#: Phases in which a pod has given its network back.
ENDED = ("Succeeded", "Failed")

#: libcni's cache of results.
RESULTS = "/var/lib/cni/results/"
#: What a runtime takes for a configuration (go-cni, ocicni).
_SUFFIXES = (".conf", ".conflist", ".json")


def node_files(snapshot: Snapshot, node: str) -> Mapping[str, str] | None:
    """Return the files of a node, None if they were not read."""
    state = snapshot.nodes.get(node)
    return state.files.value if state is not None and isinstance(state.files, Known) else None


def confs_of(snapshot: Snapshot, node: str) -> tuple[CniConf, ...]:
    """
    Return a node's network configurations in the order in which runtimes look at them, by name.

    The first is the one that counts: containerd takes no other if that is broken, CRI-O the first
    that is not.
    """
    files = node_files(snapshot, node) or {}
    for directory in CONF_DIRECTORIES:
        names = sorted(
            path for path in files if path.rpartition("/")[0] == directory and path.endswith(_SUFFIXES)
        )
        if names:
            return tuple(parse_conf(path, files[path]) for path in names)
    return ()


def leases_of(snapshot: Snapshot, node: str, network: str, ipam: Ipam) -> tuple[Lease, ...]:
    """Return what host-local has given away in one network of a node, by address."""
    files = node_files(snapshot, node) or {}
    directory = f"{ipam.data_dir.rstrip('/')}/{network}/"
    found = (parse_lease(path, files[path]) for path in files if path.startswith(directory))
    return tuple(sorted((one for one in found if one is not None), key=lambda one: _order(one.address)))


def _order(address: str) -> tuple[int, int]:
    return family_of(address), int(ip_address(address))


def sandboxes_of(snapshot: Snapshot, node: str) -> tuple[Sandbox, ...]:
    """Return the sandboxes that the runtime attached on a node and did not detach."""
    files = node_files(snapshot, node) or {}
    found = (parse_sandbox(path, files[path]) for path in sorted(files) if path.startswith(RESULTS))
    return tuple(one for one in found if one is not None)


def live_containers(snapshot: Snapshot, node: str) -> frozenset[str]:
    """
    Return the ids of containers that live on a node, as far as anything says so.

    By the control groups of the processes in its namespaces, and by namespaces that are still there
    of those the runtime remembers.
    """
    found = {one for netns in snapshot.namespaces.values() if netns.node == node for one in netns.containers}
    handles = {_plain(netns.handle) for netns in snapshot.namespaces.values() if netns.node == node}
    found |= {one.container for one in sandboxes_of(snapshot, node) if _plain(one.netns) in handles}
    return frozenset(found)


def _plain(path: str) -> str:
    """``/var/run`` is a link to ``/run``."""
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


def capacity(ranges: Iterable[IpRange]) -> int:
    """Return how many addresses one set of ranges can give away."""
    return sum(1 + _distance(one) - _holds_gateway(one) for one in ranges if one.first)


def _distance(one: IpRange) -> int:
    return int(ip_address(one.last)) - int(ip_address(one.first))


def _holds_gateway(one: IpRange) -> bool:
    low, high = int(ip_address(one.first)), int(ip_address(one.last))
    return family_of(one.gateway) == family_of(one.first) and low <= int(ip_address(one.gateway)) <= high


def free_in(ranges: Iterable[IpRange], leases: Iterable[Lease]) -> int:
    """Return how many addresses of one set of ranges are not given away."""
    rows = tuple(ranges)
    return capacity(rows) - sum(1 for lease in leases if any(within(lease.address, row) for row in rows))


def within(address: str, row: IpRange) -> bool:
    """Is an address one that a range gives away?"""
    if not row.first or family_of(address) != family_of(row.first):
        return False
    number = int(ip_address(address))
    in_range = int(ip_address(row.first)) <= number <= int(ip_address(row.last))
    return in_range and address != row.gateway and in_prefix(address, row.subnet)


def subnets(ipam: Ipam) -> Iterator[str]:
    """Yield the networks that addresses come from."""
    yield from (row.subnet for rows in ipam.ranges for row in rows if row.first)


def sandbox_of(snapshot: Snapshot, node: str, pod: str, uid: str = "") -> Sandbox | None:
    """
    Return the sandbox of a pod (namespace/name) on a node.

    Of several that were attached under its name, one of its UID, then one that lives, then the last.
    """
    live = live_containers(snapshot, node)
    found = [one for one in sandboxes_of(snapshot, node) if one.pod == pod]
    found.sort(key=lambda one: (bool(uid) and one.uid == uid, one.container in live))
    return found[-1] if found else None


def netns_of(snapshot: Snapshot, node: str, pod: Pod) -> str | None:
    """Return the namespace of a pod: by its object, the control group of its UID, or its sandbox."""
    if pod.netns is not None and pod.netns in snapshot.namespaces:
        return pod.netns
    for netns in snapshot.namespaces.values():
        if netns.pod == pod.key and netns.node == node and pod.uid in ("", netns.pod_uid):
            return netns.name
    if pod.uid:
        for netns in snapshot.namespaces.values():
            if netns.pod_uid == pod.uid:
                return netns.name
    sandbox = sandbox_of(snapshot, node, pod.key, pod.uid)
    if sandbox is None:
        return None
    for netns in snapshot.namespaces.values():
        if netns.node == node and (
            sandbox.container in netns.containers or _plain(netns.handle) == _plain(sandbox.netns)
        ):
            return netns.name
    return None


def holders(snapshot: Snapshot, address: str) -> tuple[str, ...]:
    """Return every namespace with an address, as far as they were read, those of nodes left out."""
    own = {node.netns for node in snapshot.nodes.values()}
    return tuple(
        netns.name
        for netns in snapshot.namespaces.values()
        if netns.name not in own
        and isinstance(netns.addresses, Known)
        and any(one.address == address for one in netns.addresses.value)
    )


def is_leaked(snapshot: Snapshot, node: str, lease: Lease) -> bool | None:
    """
    Is a lease nobody's: of no sandbox that lives, its address in no namespace and of no pod of the node?

    None where a namespace of the node was not read, so that its addresses are not known.
    """
    if lease.container in live_containers(snapshot, node):
        return False
    if any(snapshot.namespaces[name].node == node for name in holders(snapshot, lease.address)):
        return False
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    if any(lease.address in pod.ips and pod.node_name == node and pod.phase not in ENDED for pod in pods):
        return False
    mine = [netns for netns in snapshot.namespaces.values() if netns.node == node]
    return True if all(isinstance(netns.addresses, Known) for netns in mine) else None
