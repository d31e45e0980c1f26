"""
All that Felix writes into iptables and ipsets of one node.

Lives here: frame, pods and policies put together and added to the rules of others, and the sets' text.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from nettrace.kube.policy import isolating
from nettrace.kube.policy_ends import cluster_of
from nettrace.model.kube import Kube, Pod
from nettrace.model.policy import NetworkPolicy
from nettrace.model.section import Known, Section
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRule, XtRuleset, XtTable
from nettrace_plugins.calico.names import ALL_POOLS, HOSTS, MASQUERADED, VTEPS, policy_chain, veth
from nettrace_plugins.calico.policies import Members, policy_chains
from nettrace_plugins.calico.rules import rules
from nettrace_plugins.calico.static import APPENDED, INSERTED, frame
from nettrace_plugins.calico.workloads import Workload, dispatch_chains, profile_chains, workload_chains

__all__ = ["Felix", "felix", "sets_text"]


class Felix(Struct, frozen=True, kw_only=True):
    """
    What Felix on a node knows.

    ``encapsulation`` is ``ipip``, ``vxlan`` or ``""``, ``pools`` are the networks of all pools and
    ``masqueraded`` those with natOutgoing, ``hosts`` the nodes' addresses.
    """

    node: str
    kube: Kube
    encapsulation: str
    pools: tuple[str, ...]
    masqueraded: tuple[str, ...]
    hosts: tuple[str, ...]


def felix(own: Felix, present: XtRuleset) -> tuple[XtRuleset, Members]:
    """Add Felix' rules to *present*, and return them with the sets that they name."""
    pods = own.kube.pods.value if isinstance(own.kube.pods, Known) else ()
    chains = {table: dict(made) for table, made in frame(own.encapsulation).items()}
    local, sets = _workloads(own, pods)
    chains["filter"] |= local
    sets |= _frame_sets(own)
    tables: dict[str, Section[XtTable]] = dict(present.tables)
    for table, made in chains.items():
        tables[table] = Known(_table(table, present, made))
    return XtRuleset(tables), sets


def _frame_sets(own: Felix) -> Members:
    found: Members = {
        ALL_POOLS: ("hash:net", own.pools),
        MASQUERADED: ("hash:net", own.masqueraded),
    }
    if own.encapsulation == "ipip":
        found[HOSTS] = ("hash:net", own.hosts)
    if own.encapsulation == "vxlan":
        found[VTEPS] = ("hash:net", own.hosts)
    return found


def _workloads(own: Felix, pods: Sequence[Pod]) -> tuple[dict[str, list[str]], Members]:
    """The chains of the node's pods, of the policies that isolate one of them, and of their profiles."""
    section = own.kube.network_policies
    policies = sorted(section.value if isinstance(section, Known) else (), key=lambda one: one.key)
    local = [pod for pod in pods if pod.node_name == own.node and not pod.host_network and pod.ips]
    found = dispatch_chains([veth(pod.namespace, pod.name) for pod in local])
    profiles: dict[str, bool] = {}
    active: dict[str, NetworkPolicy] = {}
    for pod in local:
        inbound, outbound = (isolating(policies, pod, way) for way in ("ingress", "egress"))
        active |= {one.key: one for one in (*inbound, *outbound)}
        named = {f"kns.{pod.namespace}": True, f"ksa.{pod.namespace}.default": False}
        profiles |= named
        workload = Workload(
            device=veth(pod.namespace, pod.name),
            inbound=tuple(policy_chain("pi", one.namespace, one.name) for one in inbound),
            outbound=tuple(policy_chain("po", one.namespace, one.name) for one in outbound),
            profiles=tuple(named),
        )
        found |= workload_chains(workload)
    found |= profile_chains(profiles)
    sets: Members = {}
    cluster = cluster_of(own.kube, {})
    for policy in active.values():
        chains, members = policy_chains(policy, cluster, pods)
        found |= chains
        sets |= members
    return found, sets


def _table(name: str, present: XtRuleset, made: Mapping[str, Sequence[str]]) -> XtTable:
    old = present.tables.get(name)
    standing = old.value if isinstance(old, Known) else XtTable({})
    chains: dict[str, Section[XtChain]] = {
        built_in: Known(XtChain(policy="ACCEPT")) for built_in in BUILTIN_CHAINS[name]
    }
    chains |= standing.chains
    for chain, texts in INSERTED.get(name, {}).items():
        chains[chain] = Known(_with(chains[chain], head=rules(chain, texts)))
    for chain, texts in APPENDED.get(name, {}).items():
        chains[chain] = Known(_with(chains[chain], tail=rules(f"{chain}*appends*", texts)))
    for chain, texts in made.items():
        chains[chain] = Known(XtChain(rules=rules(chain, texts)))
    return XtTable(chains)


def _with(
    section: Section[XtChain], *, head: tuple[XtRule, ...] = (), tail: tuple[XtRule, ...] = ()
) -> XtChain:
    assert isinstance(section, Known)  # noqa: S101  (made here, not read)
    return replace(section.value, rules=(*head, *section.value.rules, *tail))


def sets_text(sets: Members) -> str:
    """Write sets for ``ipset restore``: made where they are not there yet, and filled anew."""
    lines = []
    for name, (kind, members) in sets.items():
        lines += [f"create {name} {kind} family inet -exist", f"flush {name}"]
        lines += [f"add {name} {member}" for member in members]
    return "".join(f"{line}\n" for line in lines)
