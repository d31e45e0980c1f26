"""
Callers that kube-proxy takes for pods, by the network that its rules test, and that are none.

Lives here: what two users of clustercidr-wrong ask: the rule that tells pods by their source, and whether
an address is a pod's.
Not here: the cause (clustercidr_wrong.py), pods that are taken for others (nettrace.diagnose.guide.source).
"""

from collections.abc import Iterator

from msgspec import Struct

from nettrace.diagnose.difference_xt import shown
from nettrace.diagnose.look import rule_ref
from nettrace.kube.names import SERVICE_PREFIXES
from nettrace.kube.services import prefixes_of_family
from nettrace.model.addr import family_of, in_prefix
from nettrace.model.finding import Evidence
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.walk import Path
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Jump

__all__ = ["MASQUERADE", "TakenForPod", "is_no_pod", "pod_networks", "taken_for_pods"]

#: Where kube-proxy's rules mark what is to be masqueraded (pkg/proxy/iptables, kubeMarkMasqChain).
MASQUERADE = "KUBE-MARK-MASQ"


class TakenForPod(Struct, frozen=True, kw_only=True):
    """
    A rule by which a caller that is no pod passed for one.

    ``tested`` is the network that the rule takes for the pods', ``source`` the caller's address.
    """

    node: str
    netns: str
    backend: str
    chain: str
    position: int
    rule: XtRule
    tested: str
    source: str

    @property
    def evidence(self) -> Evidence:
        """The rule."""
        return Evidence(
            ref=rule_ref(self.netns, self.backend, "nat", self.chain, self.position),
            text=shown(self.chain, self.rule),
            note=f"{self.source} is in {self.tested}",
        )


def pod_networks(snapshot: Snapshot, family: int, node: str | None = None) -> tuple[str, ...]:
    """Return the podCIDRs of a family that the Nodes, or one of them, have."""
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    held = [cidr for one in nodes if node in (None, one.name) for cidr in one.pod_cidrs]
    return tuple(prefixes_of_family(held, family))


def is_no_pod(snapshot: Snapshot, address: str) -> bool:
    """
    Is it certain that no pod has *address*?

    Only where the Nodes' podCIDRs hold the pods: where a cloud's network gives pods their addresses,
    these say nothing of who is one.
    """
    family = family_of(address)
    networks = pod_networks(snapshot, family)
    pods = snapshot.kube.pods.value if isinstance(snapshot.kube.pods, Known) else ()
    theirs = [ip for pod in pods if not pod.host_network for ip in pod.ips if family_of(ip) == family]
    if not networks or not theirs or not all(_in_any(ip, networks) for ip in theirs):
        return False
    return not _in_any(address, networks)


def _in_any(address: str, networks: tuple[str, ...]) -> bool:
    return any(in_prefix(address, network) for network in networks)


def taken_for_pods(snapshot: Snapshot, path: Path) -> Iterator[TakenForPod]:
    """
    Yield the rules of Services' chains on the request's way that took its source for a pod's, and it is none.

    Either ``-s NETWORK -j KUBE-SVC-...``, pods' short way to all endpoints where a Service has policy Local,
    or ``! -s NETWORK -j KUBE-MARK-MASQ``, which let it pass.
    """
    seen: set[tuple[str, str]] = set()
    for step in path.request.steps:
        chain_name, packet = step.chain, step.before
        if step.table != "nat" or chain_name is None or step.backend is None or packet is None:
            continue
        if not chain_name.startswith(SERVICE_PREFIXES) or (step.netns, chain_name) in seen:
            continue
        seen.add((step.netns, chain_name))
        chain = snapshot.chain(step.netns, step.backend, "nat", chain_name)
        for position, rule in enumerate(chain.rules if chain is not None else (), start=1):
            if _lets_pods_pass(rule, packet.src) and is_no_pod(snapshot, packet.src):
                yield TakenForPod(
                    node=step.node,
                    netns=step.netns,
                    backend=step.backend,
                    chain=chain_name,
                    position=position,
                    rule=rule,
                    tested=rule.src.value if rule.src is not None else "",
                    source=packet.src,
                )


def _lets_pods_pass(rule: XtRule, source: str) -> bool:
    """Does the rule tell pods by their source, and take *source* for one?"""
    if rule.src is None or not isinstance(rule.target, Jump) or not in_prefix(source, rule.src.value):
        return False
    if rule.target.chain == MASQUERADE:
        return rule.src.invert
    return not rule.src.invert and rule.target.chain.startswith(SERVICE_PREFIXES)
