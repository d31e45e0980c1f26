"""
Network policies changed in a lab that is up: the policy controllers' next run on each node.

Lives here: the manifests of a lab with some objects more or other, and the nodes' chains and sets
brought to what they now ask for.  A controller touches its own chains and sets only, and so does
this: what else was changed on a node stays.
Not here: which chains these are (nettrace.lab.cluster.policies).
"""

from collections.abc import Sequence
from pathlib import Path

from nettrace.collect.netns import in_netns
from nettrace.lab import store
from nettrace.lab.addresses import network
from nettrace.lab.cluster.documents import Document, name_of, read_directory, written
from nettrace.lab.cluster.policies import TOP_CHAINS, Policed, policed
from nettrace.lab.reconcile import blueprint_of, merged
from nettrace.lab.reprogram import reprogrammed
from nettrace.lab.tools import netns_path, restore_rules, restore_sets, run
from nettrace.lab.topologies.kubernetes import DECLARED
from nettrace.model.lab import LabRecord
from nettrace.model.section import Known
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import rule_text
from nettrace.parse.manifests import kube_from_documents

__all__ = ["add_policies", "enforce", "program_policies"]

_FILE = "networkpolicies.yaml"
_OWN = ("KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-")
_SETS = ("KUBE-SRC-", "KUBE-DST-")


def add_policies(record: LabRecord, documents: Sequence[Document]) -> None:
    """Add policies to a lab's manifests, or change those of the same name, and have them enforced."""
    path = Path(record.manifests or "", _FILE)
    old = list(read_directory(path)) if path.exists() else []
    new = {(d.get("kind"), name_of(d)): d for d in (*old, *documents)}
    path.write_text(written(list(new.values())), encoding="utf-8")
    enforce(record)


def enforce(record: LabRecord) -> None:
    """Bring every node of the lab to what the policies in its manifests ask for."""
    if store.read_blueprint(record).agents:
        _enforce_by_network(record)
        return
    documents = read_directory(Path(record.manifests or ""))
    kube = kube_from_documents(documents, f"lab {record.name}")
    service_net = network(record.options["service_cidr"], "the service network")
    with store.locked(record.name) as lock:
        for node in record.namespaces:
            if node.role == "node":
                program_policies(node.netns, policed(_EMPTY, kube, node.name, service_net), lock=lock)


def _enforce_by_network(record: LabRecord) -> None:
    """Have the lab's own network system write its chains and sets again, and nothing else."""
    declared = list(read_directory(Path(record.root) / DECLARED))
    path = Path(record.manifests or "", _FILE)
    new = blueprint_of(record, merged(declared, read_directory(path))[0] if path.exists() else declared)
    with store.locked(record.name) as lock:
        for netns, text in new.rules.items():
            restore_sets(netns, new.sets.get(netns, ""), lock=lock)
            there = _only(in_netns(netns_path(netns), run, ["iptables-nft-save"], lock=lock), new.agents)
            own = _only(text, new.agents)
            restore_rules(netns, reprogrammed(own, own, there, new.agents), lock=lock)
            _drop_sets(netns, new.sets.get(netns, ""), new.agents, lock=lock)


def _only(text: str, agents: tuple[str, ...]) -> str:
    """What of rules in iptables-save's format is in chains whose names begin so."""
    kept = [
        line
        for line in text.splitlines()
        if line.startswith(("*", "COMMIT")) or line[1:].removeprefix("A ").startswith(agents)
    ]
    return "".join(f"{line}\n" for line in kept)


def _drop_sets(netns: str, sets: str, agents: tuple[str, ...], *, lock: int) -> None:
    """Take away sets of the network system that it no longer wants: they are called as its chains are."""
    named = in_netns(netns_path(netns), run, ["ipset", "list", "-n"], lock=lock).split()
    kept = {line.split()[1] for line in sets.splitlines() if line.startswith("create ")}
    begin = tuple(one.rstrip("-") for one in agents)
    stale = [f"destroy {name}\n" for name in named if name.startswith(begin) and name not in kept]
    restore_sets(netns, "".join(stale), lock=lock)


_EMPTY = XtRuleset(
    {"filter": Known(XtTable({name: Known(XtChain(policy="ACCEPT")) for name in BUILTIN_CHAINS["filter"]}))}
)


def program_policies(netns: str, wanted: Policed, *, lock: int | None = None) -> None:
    """Give one node's namespace the chains and sets of *wanted*, and none that are no longer wanted."""
    there = in_netns(netns_path(netns), run, ["iptables-nft", "-S"], lock=lock).splitlines()
    old = [line.split()[1] for line in there if line.startswith("-N ") and line.split()[1].startswith(_OWN)]
    jumps = [line for line in there if line.startswith("-A ") and line.split()[-1] in TOP_CHAINS.values()]
    table = wanted.rules.tables["filter"]
    chains = (
        {n: c.value for n, c in table.value.chains.items() if isinstance(c, Known)}
        if isinstance(table, Known)
        else {}
    )
    made = {name: chain for name, chain in chains.items() if name.startswith(_OWN)}
    lines = ["*filter", *(f":{name} - [0:0]" for name in dict.fromkeys((*made, *old)))]
    lines += [line.replace("-A ", "-D ", 1) for line in jumps if line.split()[1] in TOP_CHAINS]
    for name in TOP_CHAINS if made else ():
        lines += [f"-I {name} 1 {rule_text(rule)}" for rule in chains[name].rules]
    lines += [f"-A {name} {rule_text(rule)}" for name, chain in made.items() for rule in chain.rules]
    lines += [f"-X {name}" for name in old if name not in made]
    restore_sets(netns, wanted.sets, lock=lock)
    restore_rules(netns, "\n".join([*lines, "COMMIT", ""]), lock=lock)
    named = in_netns(netns_path(netns), run, ["ipset", "list", "-n"], lock=lock).split()
    kept = {line.split()[1] for line in wanted.sets.splitlines() if line.startswith("create ")}
    stale = [f"destroy {name}\n" for name in named if name.startswith(_SETS) and name not in kept]
    restore_sets(netns, "".join(stale), lock=lock)
