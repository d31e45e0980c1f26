"""The pod's address: leased to it, in its namespace, in its status, and nobody else's?"""

from collections.abc import Sequence

from nettrace.diagnose.causes.duplicate_ip import DUPLICATE_IP
from nettrace.diagnose.causes.ipam_leaked_ips import IPAM_LEAKED_IPS
from nettrace.diagnose.causes.ipam_lease_missing import IPAM_LEASE_MISSING
from nettrace.diagnose.causes.ipam_range_exhausted import IPAM_RANGE_EXHAUSTED
from nettrace.diagnose.causes.pod_address_missing import POD_ADDRESS_MISSING
from nettrace.diagnose.causes.pod_ip_stale import POD_IP_STALE
from nettrace.diagnose.causes.pod_sandbox_missing import POD_SANDBOX_MISSING
from nettrace.diagnose.guide.case import Heading, advice, names
from nettrace.diagnose.guide.pod.case import (
    PodCase,
    PodNetwork,
    Pool,
    addresses_of,
    mac_of,
    network_of_pod,
    pool_of,
)
from nettrace.diagnose.guide.request import Asking, section, state
from nettrace.kube.ipam import ENDED, holders, netns_of, sandbox_of, sandboxes_of, within
from nettrace.model.cni import Lease
from nettrace.model.finding import Evidence, Finding
from nettrace.model.guide import Axis, Check
from nettrace.model.kube import Pod
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot

__all__ = ["leased", "present", "reported"]

_LEASE = Heading("lease", Axis.ADDRESS, "Was an address given to it, and is there one left?")
_SANDBOX = Heading("sandbox", Axis.ADDRESS, "Has its network namespace that address, and it alone?")
_STATUS = Heading("status", Axis.ADDRESS, "Does its status say the same?")

_SHORT = 12  # characters of a container's id, as crictl shows them


def _everywhere() -> Asking[Snapshot]:
    """Return the state with the addresses of all namespaces read."""
    snapshot = yield from state()
    for name in snapshot.namespaces:
        yield from section(SectionKey(name, "addresses"))
    found = yield from state()
    return found


# --- the lease -------------------------------------------------------------------------


def leased(case: PodCase) -> Asking[Check]:
    """Find the pod's lease among those of its node, and leases that are nobody's."""
    network = yield from network_of_pod(case)
    if isinstance(network, str):
        return _LEASE.unknown(network)
    ipam, conf = network.ipam, network.conf
    snapshot = yield from _everywhere()
    pool = pool_of(snapshot, case.node, network)
    if pool is None or ipam is None or conf is None:
        giver = ipam.type if ipam is not None else network.plugin.type if network.plugin else "nobody"
        return _LEASE.skipped(f"addresses are given by {giver}, whose leases are not in files of the node")
    directory = f"{ipam.data_dir.rstrip('/')}/{conf.name}"
    looked = (f"{len(pool.leases)} leases in {directory} on {case.node}",)
    mine = _own(snapshot, case, pool.leases)
    held = _held(snapshot, case)
    if mine:
        return _LEASE.passed(
            f"{names([lease.address for lease in mine])}; {_pool_words(pool)}",
            checked=looked,
            seen=(*_seen(case.node, mine), *_seen(case.node, pool.leaked, note="nobody's")),
        )
    if held:
        finding = _not_leased(snapshot, case, network, pool, held)
        if finding is not None:
            return _LEASE.problem(finding, checked=looked)
        said = f"it has {names(held)}, which {conf.name} does not give; {_pool_words(pool)}"
        return _LEASE.passed(said, checked=looked)
    if pool.size and pool.free <= 0:
        if pool.unsure and not pool.leaked:
            return _LEASE.unknown(
                f"all {pool.size} addresses are given away, perhaps to sandboxes that are gone: "
                f"not all namespaces of {case.node} were read",
                checked=looked,
                seen=_seen(case.node, pool.unsure),
            )
        finding = _leaked(case, pool) if pool.leaked else _exhausted(case, pool, directory)
        return _LEASE.problem(finding, checked=looked)
    return _LEASE.passed(f"it has none; {_pool_words(pool)}", checked=looked)


def _pool_words(pool: Pool) -> str:
    said = f"{max(pool.free, 0)} of {pool.size} addresses are free"
    if pool.leaked:
        some = names([one.address for one in pool.leaked])
        said += f", {len(pool.leaked)} leased to sandboxes that are gone ({some})"
    return said


def _seen(node: str, leases: Sequence[Lease], note: str = "") -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            ref=f"node:{node}/files",
            text=f"{one.path}: {one.container[:_SHORT]} {one.ifname}".rstrip(),
            note=note,
        )
        for one in leases[:4]
    )


def _own(snapshot: Snapshot, case: PodCase, leases: Sequence[Lease]) -> tuple[Lease, ...]:
    """Return the leases of the pod's sandbox: by its id, else by the containers in its namespace."""
    sandbox = sandbox_of(snapshot, case.node, case.key, case.pod.uid)
    netns = netns_of(snapshot, case.node, case.pod)
    ids = set(snapshot.namespaces[netns].containers) if netns is not None else set()
    if sandbox is not None:
        ids.add(sandbox.container)
    if not ids:  # nobody says which sandbox is its own: the address in its namespace or status has to do
        named = {sandbox.container for sandbox in sandboxes_of(snapshot, case.node)}
        held = {*_held(snapshot, case), *case.pod.ips}
        return tuple(lease for lease in leases if lease.address in held and lease.container not in named)
    return tuple(lease for lease in leases if lease.container in ids)


def _held(snapshot: Snapshot, case: PodCase) -> list[str]:
    """Return the addresses in the pod's namespace, as far as that is known."""
    netns = netns_of(snapshot, case.node, case.pod)
    return [a for _, a in addresses_of(snapshot, netns) or ()] if netns is not None else []


def _not_leased(
    snapshot: Snapshot, case: PodCase, network: PodNetwork, pool: Pool, held: Sequence[str]
) -> Finding | None:
    """Return the finding of an address that the pod has and no lease gives it; None for another network's."""
    own = netns_of(snapshot, case.node, case.pod)
    for address in held:
        lease = next((one for one in pool.leases if one.address == address), None)
        others = [name for name in holders(snapshot, address) if name != own]
        if others:
            return _duplicate(snapshot, case, address, others[0], pool.leases)
        if lease is None and not _gives(network, address):
            continue
        what = (
            f"is leased to container {lease.container[:_SHORT]}"
            if lease is not None
            else "is leased to nobody"
        )
        return advice(
            IPAM_LEASE_MISSING,
            f"{case.key} has {address}, which {what}: the next pod may get it too",
            subject=case.subject,
            where=case.node,
            evidence=(
                Evidence(ref=f"{own}/addresses", text=f"{address} in the namespace of {case.key}"),
                *_seen(case.node, (lease,) if lease is not None else ()),
            ),
            lasting=f"kubectl -n {case.pod.namespace} delete pod {case.pod.name}, and let it be made anew",
        )
    return None


def _gives(network: PodNetwork, address: str) -> bool:
    ipam = network.ipam
    return ipam is not None and any(within(address, row) for rows in ipam.ranges for row in rows)


def _leaked(case: PodCase, pool: Pool) -> Finding:
    some = names([lease.address for lease in pool.leaked])
    files = " ".join(lease.path for lease in pool.leaked[:8])
    more = " ..." if len(pool.leaked) > 8 else ""
    return advice(
        IPAM_LEAKED_IPS,
        f"{case.node} has no address left for {case.key}: {len(pool.leaked)} of {pool.size} are leased to "
        f"sandboxes that are gone ({some})",
        subject=f"node/{case.node}",
        where=case.node,
        evidence=(
            *_seen(case.node, pool.leaked, note="no such container lives, and no namespace has the address"),
            Evidence(ref="", text=f"{len(pool.leases)} leases, {pool.size} addresses"),
        ),
        lasting=f"see that `crictl pods --no-trunc -q` has none of these containers, then rm {files}{more}",
    )


def _exhausted(case: PodCase, pool: Pool, directory: str) -> Finding:
    return advice(
        IPAM_RANGE_EXHAUSTED,
        f"{case.node} has no address left for {case.key}: all {pool.size} are leased to sandboxes that live",
        subject=f"node/{case.node}",
        where=case.node,
        evidence=(Evidence(ref=f"node:{case.node}/files", text=f"{len(pool.leases)} leases in {directory}"),),
    )


# --- the sandbox -----------------------------------------------------------------------


def present(case: PodCase) -> Asking[Check]:
    """Find the pod's namespace, its device and address, and whoever else has that address."""
    network = yield from network_of_pod(case)
    snapshot = yield from _everywhere()
    netns = netns_of(snapshot, case.node, case.pod)
    looked = [f"the network namespaces of {case.node}"]
    if netns is None:
        return _absent(snapshot, case, tuple(looked))
    found = addresses_of(snapshot, netns)
    looked.append(f"the addresses of {netns}, and who else has them")
    if found is None:
        return _SANDBOX.unknown(f"the addresses of {netns} were not read", checked=tuple(looked))
    links = yield from section(SectionKey(netns, "links"))
    snapshot = yield from state()
    if not found:
        devices = names([x.name for x in links.value if x.name != "lo"]) if isinstance(links, Known) else "?"
        finding = advice(
            POD_ADDRESS_MISSING,
            f"the namespace of {case.key} ({netns}) has no address",
            subject=case.subject,
            where=case.node,
            evidence=(Evidence(ref=f"{netns}/addresses", text=f"none; devices: {devices}"),),
            lasting=f"kubectl -n {case.pod.namespace} delete pod {case.pod.name}, and let it be made anew",
        )
        return _SANDBOX.problem(finding, checked=tuple(looked))
    pool = pool_of(snapshot, case.node, network) if not isinstance(network, str) else None
    leases = pool.leases if pool is not None else ()
    for _, address in found:
        others = [name for name in holders(snapshot, address) if name != netns]
        if others:
            finding = _duplicate(snapshot, case, address, others[0], leases)
            return _SANDBOX.problem(finding, checked=tuple(looked))
    mine = _own(snapshot, case, leases)
    given = {lease.address for lease in mine}
    if given and not given & {address for _, address in found}:
        finding = advice(
            IPAM_LEASE_MISSING,
            f"{case.key} has {names([a for _, a in found])}, and was given {names(sorted(given))}",
            subject=case.subject,
            where=case.node,
            evidence=_seen(case.node, mine),
            lasting=f"kubectl -n {case.pod.namespace} delete pod {case.pod.name}, and let it be made anew",
        )
        return _SANDBOX.problem(finding, checked=tuple(looked))
    said = (
        f"{netns}: {', '.join(f'{address} on {device}' for device, address in found)}, and nobody else has it"
    )
    unread = [n.name for n in snapshot.namespaces.values() if not isinstance(n.addresses, Known)]
    if unread:
        said = f"{netns} has {names([a for _, a in found])}; whether {names(unread)} have it too was not read"
        return _SANDBOX.unknown(said, checked=tuple(looked))
    seen = tuple(Evidence(ref=f"{netns}/addresses", text=f"{a} dev {d}") for d, a in found)
    return _SANDBOX.passed(said, checked=tuple(looked), seen=seen)


def _absent(snapshot: Snapshot, case: PodCase, looked: tuple[str, ...]) -> Check:
    sandbox = sandbox_of(snapshot, case.node, case.key, case.pod.uid)
    told = bool(sandboxes_of(snapshot, case.node)) or any(
        netns.pod_uid for netns in snapshot.namespaces.values() if netns.node == case.node
    )
    placed = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    told = told or any(pod.netns is not None and pod.node_name == case.node for pod in placed)
    if not told and case.pod.ips:
        return _SANDBOX.unknown(
            f"nothing on {case.node} says which of its namespaces is the pod's: no control group of its UID, "
            "no entry of the runtime's CNI cache",
            checked=looked,
        )
    gone = (
        (
            Evidence(
                ref=f"node:{case.node}/files",
                text=f"sandbox {sandbox.container[:_SHORT]} in {sandbox.netns}",
                note=f"{sandbox.path}; that namespace is gone",
            ),
        )
        if sandbox is not None
        else (Evidence(ref="", text=f"no namespace of {case.node} is the pod's"),)
    )
    finding = advice(
        POD_SANDBOX_MISSING,
        f"{case.key} has no network namespace on {case.node}",
        subject=case.subject,
        where=case.node,
        evidence=gone,
        lasting=f"kubectl -n {case.pod.namespace} describe pod {case.pod.name}: see FailedCreatePodSandBox",
    )
    return _SANDBOX.problem(finding, checked=looked)


def _duplicate(
    snapshot: Snapshot, case: PodCase, address: str, other: str, leases: Sequence[Lease]
) -> Finding:
    """Return the finding of an address that two namespaces have, with who has the lease."""
    own = netns_of(snapshot, case.node, case.pod) or ""
    rival = _pod_in(snapshot, other)
    lease = next((one for one in leases if one.address == address), None)
    mine = _own(snapshot, case, (lease,) if lease is not None else ())
    evidence = [
        Evidence(
            ref=f"{name}/addresses",
            text=f"{address} in {name}, {mac_of(snapshot, name, address)}".rstrip(", "),
            note=who,
        )
        for name, who in ((own, f"pod {case.key}"), (other, f"pod {rival.key}" if rival is not None else ""))
    ]
    evidence += _seen(case.node, (lease,) if lease is not None else (), note="the only lease of that address")
    name = rival.key if rival is not None else f"namespace {other}"
    unleased = rival if mine else case.pod
    if unleased is not None:
        lasting = f"kubectl -n {unleased.namespace} delete pod {unleased.name}: it is the one without a lease"
    else:
        lasting = f"end what lives in {other}: it has no lease"
    return advice(
        DUPLICATE_IP,
        f"{case.key} and {name} have the same address {address}",
        subject=case.subject,
        where=case.node,
        evidence=tuple(evidence),
        lasting=lasting,
    )


def _pod_in(snapshot: Snapshot, netns: str) -> Pod | None:
    """Return the pod that lives in a namespace."""
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    node = snapshot.namespaces[netns].node
    return next(
        (pod for pod in pods if not pod.host_network and netns_of(snapshot, node, pod) == netns), None
    )


# --- the status ------------------------------------------------------------------------


def reported(case: PodCase) -> Asking[Check]:
    """Compare the status with the namespace, and with the statuses of all other pods."""
    if not case.known:
        return _STATUS.skipped("no object of it is known")
    snapshot = yield from _everywhere()
    looked = ("status.podIPs of the pod, of all others, and the addresses in its namespace",)
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    for address in case.pod.ips:
        same = [
            pod
            for pod in pods
            if address in pod.ips and pod.key != case.key and not pod.host_network and pod.phase not in ENDED
        ]
        if same:
            both = sorted((case.pod, same[0]), key=lambda pod: pod.created)
            younger = both[1] if all(pod.created for pod in both) else None
            finding = advice(
                DUPLICATE_IP,
                f"{case.key} and {same[0].key} have the same address {address} in their status",
                subject=case.subject,
                where=case.node,
                evidence=tuple(
                    Evidence(
                        ref="kube/pods",
                        text=f"pod {pod.key} on {pod.node_name}: {', '.join(pod.ips)}",
                        note=pod.created,
                    )
                    for pod in both
                ),
                lasting=f"kubectl -n {younger.namespace} delete pod {younger.name}: it is the younger one"
                if younger is not None
                else "",
            )
            return _STATUS.problem(finding, checked=looked)
    held = _held(snapshot, case)
    if not held:
        return _STATUS.unknown("the addresses in its namespace are not known", checked=looked)
    seen = (Evidence(ref="kube/pods", text=f"podIPs {names(list(case.pod.ips))}"),)
    if not set(case.pod.ips) & set(held):
        says = names(list(case.pod.ips)) if case.pod.ips else "no address"
        finding = advice(
            POD_IP_STALE,
            f"the status of {case.key} has {says}, and its namespace {names(held)}",
            subject=case.subject,
            where=case.node,
            evidence=(*seen, Evidence(ref="", text=f"in its namespace: {names(held)}")),
        )
        return _STATUS.problem(finding, checked=looked)
    return _STATUS.passed(f"podIPs {names(list(case.pod.ips))}, nobody else's", checked=looked, seen=seen)
